"""Compare cron triggers with brute force around the changes of clocks of all zones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files

from mainspring.domain.triggers import DstRule, parse_cron
from mainspring.testing.oracle import EPOCH, rule_of, timeline, tz, wall_fire_seconds

WINDOW = timedelta(hours=26)
HOURS_PROBED = 8

EXPRESSIONS = (
    # Fixed times, most of them where clocks change.
    "0 0 * * *",
    "30 0 * * *",
    "15 1 * * *",
    "30 1 * * *",
    "0 2 * * *",
    "30 2 * * *",
    "0 3 * * *",
    "59 23 * * *",
    "0,30 0-3 * * *",
    "5 1,2,3 * * SUN",
    "0 9-17 * * MON-FRI",
    "0 0 1 * *",
    "30 2 L * *",
    "0 1 LW * *",
    "45 2 * * SUN#2",
    "15 0 * * 7L",
    "0 12 29-31 2-11 *",
    # Wildcards.
    "0 * * * *",
    "0 */2 * * *",
    "30 */3 * * *",
    "*/15 * * * *",
    "*/20 1-3 * * *",
    # Six fields.
    "30 30 2 * * *",
    "*/20 15 0-2 * * *",
)
POLICIES = (DstRule("after", "first"), DstRule("skip", "both"), DstRule("after", "last"))


@dataclass(frozen=True)
class Transition:
    """A change of clocks: the zone, the instant (whole minutes) and by how much clocks move."""

    zone: str
    at: datetime
    by: timedelta


@dataclass(frozen=True)
class Difference:
    """A window in which the trigger and brute force do not agree."""

    transition: Transition
    expression: str
    policy: DstRule
    expected: tuple[datetime, ...]
    found: tuple[datetime, ...]

    def __str__(self) -> str:
        missing = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in self.expected if moment not in self.found]
        extra = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in self.found if moment not in self.expected]
        rule = f"gap={self.policy.gap} fold={self.policy.fold}"
        at = f"{self.transition.zone} {self.transition.at:%Y-%m-%dT%H:%MZ}"
        return f"{at} {self.expression!r} {rule}: missing {missing}, too many {extra}"


def zones() -> list[str]:
    """Return all zones of the `tzdata` package."""
    return sorted((files("tzdata") / "zones").read_text(encoding="utf-8").split())


def transitions(zone: str, first_year: int = 2000, last_year: int = 2037) -> list[Transition]:
    """Return the changes of clocks in *zone* from the start of *first_year* to the end of *last_year*."""
    where, step = tz(zone), timedelta(hours=HOURS_PROBED)
    at, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    found = []
    before = at.astimezone(where).utcoffset()
    while at < end:
        after = (at + step).astimezone(where).utcoffset()
        assert before is not None
        assert after is not None
        if after != before:
            minutes = range(1, HOURS_PROBED * 60 + 1)
            moment = next(m for n in minutes if (m := at + timedelta(minutes=n)).astimezone(where).utcoffset() == after)
            found.append(Transition(zone, moment, after - before))
        at, before = at + step, after
    return [change for change in found if change.at < end]


def distinct_histories(names: Iterable[str]) -> list[list[Transition]]:
    """Return the transitions of one zone for each history that zones share; zones without transitions are left out."""
    histories: dict[tuple[tuple[datetime, timedelta], ...], list[Transition]] = {}
    for name in names:
        changes = transitions(name)
        offset = datetime(2000, 1, 1, tzinfo=UTC).astimezone(tz(name)).utcoffset()
        assert offset is not None
        if changes:
            histories.setdefault(((EPOCH, offset), *((change.at, change.by) for change in changes)), changes)
    return list(histories.values())


def differences(change: Transition) -> Iterator[Difference]:
    """Yield where triggers and brute force do not agree within 26 h of *change*."""
    start, end = change.at - WINDOW, change.at + WINDOW
    first, last = (int((moment - EPOCH).total_seconds()) for moment in (start, end))
    line = timeline(change.zone, first // 60, last // 60)
    for expression in EXPRESSIONS:
        rule = rule_of({"kind": "cron", "text": expression})
        for policy in POLICIES:
            seconds = wall_fire_seconds(rule, line, policy.gap, policy.fold)
            expected = tuple(EPOCH + timedelta(seconds=second) for second in seconds if first < second <= last)
            trigger = parse_cron(expression, change.zone, policy)
            found = []
            moment = trigger.next_after(start)
            while moment is not None and moment <= end:
                found.append(moment)
                moment = trigger.next_after(moment)
            if tuple(found) != expected:
                yield Difference(change, expression, policy, expected, tuple(found))
