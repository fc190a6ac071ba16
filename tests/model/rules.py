"""Say when a schedule fires and what becomes of each fire time: equal distances, counted by arithmetic alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_DAY = 86_400 * 1_000_000


@dataclass(frozen=True)
class Rule:
    """What a schedule says; spans and instants in microseconds."""

    every: int
    anchor: int
    misfire: str = "latest"
    grace: int = 30_000_000
    cap: int = 100
    max_age: int | None = None
    overlap: str = "allow"
    members: tuple[str, ...] = ("",)
    task: str = "model.task"
    once: bool = False
    queue: str = "high"
    priority: int = 5
    max_tries: int = 2
    expires: int | None = None
    closed_days: tuple[int, ...] = ()
    """Days since 1970 on which a calendar lets nothing fire."""
    enabled: bool = True

    def first_after(self, moment: int) -> int:
        """Return the first fire time later than *moment*."""
        return self.anchor + ((moment - self.anchor) // self.every + 1) * self.every

    def between(self, after: int, until: int) -> list[int]:
        """Return the fire times in (after, until]."""
        return list(range(self.first_after(after), until + 1, self.every))


@dataclass
class Decided:
    """A row of the ledger: one fire time, or *n* alike."""

    fire_at: int
    until_at: int
    n: int
    outcome: str
    cause: str | None = None
    reason: str = ""
    waits: bool = False
    version: int = 0

    def joins(self, after: Decided) -> bool:
        """Return whether the next row only makes this one longer."""
        mine, other = ((d.outcome, d.cause, d.reason, d.version) for d in (self, after))
        return mine == other and self.outcome != "fired"


def decide(
    rule: Rule, pause: tuple[int, int | None, str] | None, pending: Sequence[int], now: int, busy: int
) -> list[Decided]:
    """Decide fire times that have come; *busy* is how many earlier ones have unfinished runs."""
    barred = {moment: why for moment in pending if (why := _barred(rule, pause, moment)) is not None}
    free = [moment for moment in pending if moment not in barred]
    late = _left_out(rule, free, now) if free and now - free[0] > rule.grace else {}
    decided = []
    for moment in pending:
        if moment in barred:
            row = Decided(moment, moment, 1, "skipped", *barred[moment])
        elif moment in late:
            row = Decided(moment, moment, 1, *late[moment])
        else:
            row = _overlapping(rule, moment, busy, last=moment == free[-1])
            busy += row.outcome == "fired"
        decided.append(row)
    return decided


def _barred(rule: Rule, pause: tuple[int, int | None, str] | None, moment: int) -> tuple[str, str] | None:
    if pause is not None:
        since, until, reason = pause
        if since < moment and (until is None or moment < until):
            return "paused", reason
    return ("calendar", "closed") if moment // _DAY in rule.closed_days else None


def _left_out(rule: Rule, free: Sequence[int], now: int) -> dict[int, tuple[str, str | None, str]]:
    """Return which of a late backlog do not fire, and how the ledger calls them."""
    if rule.misfire == "skip":
        return {m: ("skipped", "missed", "skip") for m in free if now - m > rule.grace}
    if rule.misfire == "latest":
        return dict.fromkeys(free[:-1], ("coalesced", None, "latest"))
    kept = free[-rule.cap :]
    out: dict[int, tuple[str, str | None, str]] = {}
    for moment in free:
        if rule.max_age is not None and now - moment > rule.max_age:
            out[moment] = ("skipped", "missed", "too old")
        elif moment not in kept:
            out[moment] = ("skipped", "missed", "beyond the cap")
    return out


def _overlapping(rule: Rule, moment: int, busy: int, *, last: bool) -> Decided:
    skipped = Decided(moment, moment, 1, "skipped", "overlap", rule.overlap)
    if rule.overlap == "skip" and busy:
        return skipped
    if rule.overlap == "queue_one" and busy > 1:
        return skipped
    if rule.overlap == "cancel_running" and not last:
        return skipped
    return Decided(moment, moment, 1, "fired", waits=rule.overlap == "queue_one" and busy == 1)
