"""Decide when what runs share may be used: concurrency, rate, breaker, pauses that it asked for, and rates learnt.

A resource is its limits (what people declare), its state (what happened) and the number of attempts that use it now.
Every rule is a pure function of these and of an instant; whoever stores the state locks it from reading to writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from mainspring.domain.learning import (
    ENOUGH,
    FORGET_PACE,
    estimated_pace,
    grown_pace,
    growth_period,
    lowered_pace,
    proven_after,
    serial_window,
)
from mainspring.domain.rate import Rate, Spacing
from mainspring.domain.resource_limits import BreakerRule, ResourceLimits
from mainspring.encoding import decode, encode

__all__ = [
    "Admission",
    "BreakerRule",
    "Rate",
    "Report",
    "ResourceLimits",
    "ResourceState",
    "admit",
    "charged",
    "next_at",
    "probing",
    "releasable",
    "report",
]

UNBOUNDED: Final = 1_000_000
"""What `releasable` says of a resource that limits nothing."""
LARGEST_RAMP: Final = 64
LONGEST_PAUSE: Final = timedelta(days=1)
FIRST_PAUSE: Final = timedelta(seconds=1)
"""The pause after a refusal that names none; it doubles with each further one in a row."""
LONGEST_OWN_PAUSE: Final = timedelta(minutes=1)
SKEW: Final = timedelta(seconds=30)
"""Clocks of workers may differ by this; a state written later than that in the future was written by a wrong clock."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_COUNTING: Final = timedelta(hours=1)
_IDLE: Final = timedelta(minutes=10)
_BUCKETS: Final = 10


class Report(StrEnum):
    """What an attempt that ended says about a resource that it used."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    NEUTRAL = "neutral"
    """Nothing: it was interrupted, lost or cancelled, or failed of something else."""


class Standing(StrEnum):
    """How a resource stands, in one word."""

    FREE = "free"
    IN_USE = "in_use"
    """As much as may be is in flight."""
    PACED = "paced"
    """The next one waits for its turn at the rate."""
    BLOCKED = "blocked"
    """It asked for a pause."""
    OPEN = "open"
    """Its breaker is open."""
    RECOVERING = "recovering"
    """Its breaker lets a probe through, or a growing number."""


@dataclass(frozen=True, slots=True)
class ResourceState:
    """What happened to a resource, as far as its rules need it. Write it back only when it is not the same object."""

    at: datetime | None = None
    """When it was last changed."""
    paced_until: datetime | None = None
    """Up to where the rate is spoken for."""
    blocked_at: datetime | None = None
    blocked_until: datetime | None = None
    pause: timedelta = timedelta(0)
    """The last pause that it asked for."""
    refusals: int = 0
    """Refusals since the last success."""
    since: datetime | None = None
    successes: int = 0
    """Successes since `since`, from which the first estimate of a rate is made."""
    proven: int = 0
    """What its successes count for while nothing at all is known of it."""
    pace: float | None = None
    """The learnt rate, per second."""
    ceiling: float | None = None
    """The pace at which it last refused."""
    grown_at: datetime | None = None
    grown: int = 0
    """Successes since the pace last grew."""
    failures: int = 0
    """Failures in a row."""
    counts: tuple[tuple[int, int, int], ...] = ()
    """Tenths of the breaker's window: number, successes, failures."""
    tripped: bool = False
    by_hand: bool = False
    why: str = ""
    opened_at: datetime | None = None
    """When the breaker last opened; attempts that started earlier say nothing about it any more."""
    open_until: datetime | None = None
    """None with `tripped`: until somebody resets it."""
    flying: int = 0
    """Attempts let through since the breaker opened that have not reported."""
    ramp: int = 0
    """Successes since it opened."""

    @classmethod
    def fresh(cls) -> ResourceState:
        """Return the state of a resource that nobody has used."""
        return _FRESH

    @classmethod
    def from_json(cls, text: str | None) -> ResourceState:
        """Return the state that `to_json` wrote; what it does not know it leaves away."""
        body = decode(text) or {}
        return cls(**{name: _read(name, body[name]) for name in _NAMES if name in body})

    def to_json(self) -> str:
        """Return a JSON text that `from_json` reads; what is as in a fresh state is left out."""
        said = {name: getattr(self, name) for name in _NAMES}
        return encode({name: value for name, value in said.items() if value != getattr(_FRESH, name)})


_FRESH: Final = ResourceState()
_NAMES: Final = tuple(field.name for field in fields(ResourceState))
_INSTANTS: Final = frozenset({
    "at", "paced_until", "blocked_at", "blocked_until", "since", "grown_at", "opened_at", "open_until",
})  # fmt: skip


def _read(name: str, value: Any) -> Any:
    if name in _INSTANTS:
        return None if value is None else datetime.fromisoformat(value)
    if name == "pause":
        return timedelta(seconds=value)
    return tuple(tuple(row) for row in value) if name == "counts" else value


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a run may use a resource now; if so, with the state that follows, and if not, why and until when."""

    admitted: bool
    state: ResourceState
    until: datetime | None = None
    """When time alone lets it in; None when another one has to end first."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """How a resource stands at one instant: in a word, how many it would let in, and what it waits for."""

    standing: Standing
    places: int
    until: datetime | None = None
    words: str = ""


def admit(name: str, limits: ResourceLimits, state: ResourceState, in_use: int, now: datetime) -> Admission:
    """Decide whether one more run may use the resource *name*, of which *in_use* attempts use it now."""
    seen = look(limits, state, in_use, now)
    if seen.places < 1:
        until = f" until {_clock_time(seen.until, now)}" if seen.until is not None else ""
        return Admission(False, state, seen.until, f"held by {name}{until} ({seen.words})")
    current = _current(state, now)
    spacing = _spacing(limits, current)
    changes: dict[str, Any] = {}
    if spacing is not None:
        changes["paced_until"] = spacing.taken(current.paced_until, now)
    if _recovering(limits, current, now):
        changes["flying"] = min(current.flying, in_use) + 1
    elif current.tripped:
        changes.update(_CLOSED)
    return Admission(True, _changed(state, current, now, **changes))


def report(
    name: str,
    limits: ResourceLimits,
    state: ResourceState,
    report: Report,
    now: datetime,
    *,
    retry_after: timedelta | None = None,
    started_at: datetime | None = None,
) -> ResourceState:
    """Return the state of the resource *name* after an attempt that used it ended.

    *retry_after* is the pause asked for with `Report.REFUSED`. *started_at* is when the attempt was claimed: one that
    started before the breaker opened, or before the pause began, says nothing new.
    """
    current = _current(state, now)
    changes: dict[str, Any] = {}
    spacing = _spacing(limits, current)
    if spacing is not None and started_at is not None and started_at <= now:
        changes["paced_until"] = spacing.begun(current.paced_until, started_at)
    if report is Report.REFUSED:
        changes.update(_refused(limits, current, now, retry_after, started_at))
    elif report is Report.SUCCEEDED:
        changes.update(_learnt(limits, current, now, started_at))
    changes.update(_judged(name, limits, current, report, now, started_at))
    return _changed(state, current, now, **changes)


def charged(
    limits: ResourceLimits,
    state: ResourceState,
    report: Report,
    now: datetime,
    *,
    started_at: datetime | None = None,
) -> bool:
    """Return whether this end may count as a try; *state* is the one before `report` is told of it.

    A refusal never counts. Nor does the failure of an attempt that started before the breaker opened, or of a probe:
    these runs are held. Everything else is for the retry policy to judge.
    """
    if report is Report.REFUSED:
        return False
    if report is not Report.FAILED:
        return True
    current = _current(state, now)
    if _straggler(current, started_at):
        return False
    return not (current.tripped and (_open(current, now) or (_recovering(limits, current, now) and not current.ramp)))


def releasable(limits: ResourceLimits, state: ResourceState, in_use: int, now: datetime) -> int:
    """Return how many runs would be let in now, at most `UNBOUNDED`."""
    return look(limits, state, in_use, now).places


def next_at(limits: ResourceLimits, state: ResourceState, in_use: int, now: datetime) -> datetime | None:
    """Return before when no further run is let in: *now* or later; None when another one has to end first."""
    seen = look(limits, state, in_use, now)
    return now if seen.places else seen.until


def probing(limits: ResourceLimits, state: ResourceState, now: datetime) -> bool:
    """Return whether the next run let in probes the resource; it need not be the first in line (see `charged`)."""
    current = _current(state, now)
    return _recovering(limits, current, now) and not current.ramp


def look(limits: ResourceLimits, state: ResourceState, in_use: int, now: datetime) -> Look:
    """Return how the resource stands; of several reasons to wait, the one that lasts longest counts.

    What is open or blocked says so and until when, even if places are taken as well.
    """
    current = _current(state, now)
    stops = _stops(current, now)
    if stops:
        return max(stops, key=lambda stop: stop.until or _NEVER)
    looks = _places(limits, current, in_use, now)
    shut = [one for one in looks if one.places < 1]
    if shut:
        return max(shut, key=lambda one: one.until or _NEVER)
    standing = Standing.RECOVERING if _recovering(limits, current, now) else Standing.FREE
    return Look(standing, min((one.places for one in looks), default=UNBOUNDED))


def trip(state: ResourceState, now: datetime, until: datetime | None, why: str) -> ResourceState:
    """Return *state* with the breaker opened by hand until an instant, or until somebody resets it."""
    fields = {**_CLOSED, "tripped": True, "by_hand": True, "why": why, "opened_at": now, "open_until": until}
    return replace(state, at=now, **fields)


# --- What keeps a run out


def _stops(state: ResourceState, now: datetime) -> list[Look]:
    found = []
    if _open(state, now):
        by = "its breaker was opened by hand" if state.by_hand else "its breaker is open"
        found.append(Look(Standing.OPEN, 0, state.open_until, f"{by}: {state.why}" if state.why else by))
    if state.blocked_until is not None and now < state.blocked_until:
        found.append(Look(Standing.BLOCKED, 0, state.blocked_until, "it asked for a pause"))
    return found


def _places(limits: ResourceLimits, state: ResourceState, in_use: int, now: datetime) -> list[Look]:
    found = []
    if limits.concurrency is not None:
        words = f"{in_use} of {limits.concurrency} in use"
        found.append(Look(Standing.IN_USE, max(limits.concurrency - in_use, 0), None, words))
    if _recovering(limits, state, now):
        allowed, flying = _allowed(state), min(state.flying, in_use)
        words = "its breaker waits for a probe" if allowed == 1 else f"its breaker lets {allowed} through for now"
        found.append(Look(Standing.RECOVERING, max(allowed - flying, 0), None, words))
    spacing = _spacing(limits, state)
    if spacing is not None:
        until = spacing.free_at(state.paced_until)
        words = str(limits.rate) if limits.rate is not None else f"at the learnt {state.pace:.3g}/s"
        found.append(Look(Standing.PACED, spacing.free(state.paced_until, now), until, words))
    elif limits.unlimited:
        window = serial_window(state.proven)
        if window is not None:
            words = "one at a time until more is known of it" if window == 1 else f"{window} at a time for now"
            found.append(Look(Standing.IN_USE, max(window - in_use, 0), None, words))
    return found


def _spacing(limits: ResourceLimits, state: ResourceState) -> Spacing | None:
    if limits.rate is not None:
        return Spacing.declared(limits.rate)
    return None if state.pace is None else Spacing.learnt(state.pace)


# --- The breaker


_CLOSED: Final[Mapping[str, Any]] = {
    "tripped": False, "by_hand": False, "why": "", "open_until": None, "flying": 0, "ramp": 0, "failures": 0,
    "counts": (),
}  # fmt: skip


def _open(state: ResourceState, now: datetime) -> bool:
    return state.tripped and (state.open_until is None or now < state.open_until)


def _recovering(limits: ResourceLimits, state: ResourceState, now: datetime) -> bool:
    # What was opened by hand and has no breaker goes on at once when its time is over.
    return state.tripped and not _open(state, now) and limits.breaker is not None


def _straggler(state: ResourceState, started_at: datetime | None) -> bool:
    return started_at is not None and state.opened_at is not None and started_at < state.opened_at


def _allowed(state: ResourceState) -> int:
    """Return how many may be in flight after `ramp` successes: 1, 2, 4, 8 …"""
    return 1 << ((state.ramp + 1).bit_length() - 1)


def _judged(
    name: str, limits: ResourceLimits, state: ResourceState, report: Report, now: datetime, started_at: datetime | None
) -> dict[str, Any]:
    rule = limits.breaker
    if rule is None or _straggler(state, started_at) or _open(state, now):
        return {}
    if state.tripped:
        return _judged_recovering(name, limits, rule, state, report, now)
    if report in (Report.REFUSED, Report.NEUTRAL):
        return {}
    failed = report is Report.FAILED
    failures = state.failures + 1 if failed else 0
    counts = _counted(rule, state, failed, now)
    why = _broken(rule, failures, counts) if failed else None
    if why is not None:
        return _opened(rule, now, why)
    return {"failures": failures if rule.failures is not None else 0, "counts": counts}


def _judged_recovering(
    name: str, limits: ResourceLimits, rule: BreakerRule, state: ResourceState, report: Report, now: datetime
) -> dict[str, Any]:
    if report is Report.FAILED:
        what = "the probe failed" if not state.ramp else "it failed again while it recovered"
        return _opened(rule, now, what)
    changes: dict[str, Any] = {"flying": max(state.flying - 1, 0)}
    if report is Report.SUCCEEDED:
        changes["ramp"] = state.ramp + 1
        if _allowed(replace(state, ramp=state.ramp + 1)) >= min(limits.concurrency or LARGEST_RAMP, LARGEST_RAMP):
            return dict(_CLOSED)
    return changes


def _opened(rule: BreakerRule, now: datetime, why: str) -> dict[str, Any]:
    return {**_CLOSED, "tripped": True, "why": why, "opened_at": now, "open_until": now + rule.cool_down}


def _counted(rule: BreakerRule, state: ResourceState, failed: bool, now: datetime) -> tuple[tuple[int, int, int], ...]:
    if rule.ratio is None:
        return ()
    tenth = int(now.timestamp() / (rule.window.total_seconds() / _BUCKETS))
    kept = {row[0]: row for row in state.counts if tenth - _BUCKETS < row[0] <= tenth}
    _, good, bad = kept.get(tenth, (tenth, 0, 0))
    kept[tenth] = (tenth, good + (not failed), bad + failed)
    return tuple(kept[key] for key in sorted(kept))


def _broken(rule: BreakerRule, failures: int, counts: tuple[tuple[int, int, int], ...]) -> str | None:
    """Return why the breaker opens, or None."""
    if rule.failures is not None and failures >= rule.failures:
        return f"{failures} failures in a row" if failures > 1 else "a failure"
    bad, all_ = sum(row[2] for row in counts), sum(row[1] + row[2] for row in counts)
    if rule.ratio is not None and all_ >= rule.minimum and bad >= rule.ratio * all_:
        return f"{bad} of the last {all_} failed"
    return None


# --- Pauses and learning


def _refused(
    limits: ResourceLimits,
    state: ResourceState,
    now: datetime,
    retry_after: timedelta | None,
    started_at: datetime | None,
) -> dict[str, Any]:
    pause = _pause(state, retry_after)
    until = now + pause
    if state.blocked_at is not None and started_at is not None and started_at <= state.blocked_at:
        # It was under way when the pause began: no second lesson.
        return {"blocked_until": max(state.blocked_until or until, until)}
    changes: dict[str, Any] = {
        "blocked_at": now, "blocked_until": max(state.blocked_until or until, until), "pause": pause,
        "refusals": state.refusals + 1, "since": until, "successes": 0,
    }  # fmt: skip
    if limits.rate is not None:
        return changes
    elapsed = now - state.since if state.since is not None else timedelta(0)
    if state.pace is None:
        pace, ceiling = estimated_pace(state.successes, elapsed, pause), None
    else:
        pace, ceiling = lowered_pace(state.pace, state.ceiling, state.successes, elapsed, pause)
    return {**changes, "pace": pace, "ceiling": ceiling, "grown_at": until, "grown": 0}


def _pause(state: ResourceState, asked: timedelta | None) -> timedelta:
    if asked is not None:
        return min(max(asked, timedelta(0)), LONGEST_PAUSE)
    return min(FIRST_PAUSE * (1 << min(state.refusals, 10)), LONGEST_OWN_PAUSE)


def _learnt(limits: ResourceLimits, state: ResourceState, now: datetime, started_at: datetime | None) -> dict[str, Any]:
    changes: dict[str, Any] = {"refusals": 0}
    if limits.rate is not None:
        return changes
    if state.pace is not None:
        return {**changes, **_grown(state, now)}
    idle = state.at is None or now - state.at > _IDLE
    since = state.since if state.since is not None and not idle else started_at or now
    successes = state.successes + 1 if state.since is not None and not idle else 1
    if now - since > _COUNTING:
        since, successes = now - (now - since) / 2, successes // 2
    changes.update(since=since, successes=successes)
    if limits.unlimited:
        changes["proven"] = proven_after(state.proven, now - (started_at or now))
    return changes


def _grown(state: ResourceState, now: datetime) -> dict[str, Any]:
    began, grown, pace = state.grown_at or now, state.grown + 1, state.pace or 0.0
    changes = {"successes": state.successes + 1, "grown": grown, "grown_at": began}
    if now - began < growth_period(state.pause) or grown < ENOUGH:
        return changes
    changes.update(grown=0, grown_at=now)
    pace, ceiling = grown_pace(pace, state.ceiling, grown, now - began)
    if pace >= FORGET_PACE:
        return {**changes, "pace": None, "ceiling": None}
    return {**changes, "pace": pace, "ceiling": ceiling}


# --- Time


def _current(state: ResourceState, now: datetime) -> ResourceState:
    """Return *state* without instants that a clock set back since has left far in the future."""
    if state.at is None or now >= state.at - SKEW:
        return state
    return replace(
        state,
        paced_until=None,
        blocked_at=None,
        blocked_until=None,
        since=None,
        successes=0,
        grown_at=None,
        grown=0,
        counts=(),
        opened_at=None if state.opened_at is None else min(state.opened_at, now),
        # A time that a person named stays.
        open_until=state.open_until if state.by_hand or state.open_until is None else now,
    )


def _changed(state: ResourceState, current: ResourceState, now: datetime, **changes: Any) -> ResourceState:
    after = replace(current, **changes) if changes else current
    return state if after == state else replace(after, at=now)


def _clock_time(at: datetime | None, now: datetime) -> str:
    if at is None:
        return ""
    shown = at.astimezone(UTC)
    same_day = shown.date() == now.astimezone(UTC).date()
    return shown.strftime("%H:%M:%S UTC" if same_day else "%Y-%m-%d %H:%M UTC")
