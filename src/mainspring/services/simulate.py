"""Run a whole configuration on a virtual clock: what fires when, what it loads, where schedules collide."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from operator import sub
from typing import Final

from mainspring.domain.occurrences import Pause
from mainspring.domain.spec import OverlapPolicy, ScheduleSpec
from mainspring.domain.triggers import Trigger
from mainspring.domain.zones import local_wall
from mainspring.domain.zones import zone as find_zone
from mainspring.errors import InvalidInput
from mainspring.services.durations import Usual

LONGEST_DAYS: Final = 366
MOST_FIRE_TIMES: Final = 5_000_000
COLLISIONS_KEPT: Final = 20
DEFAULT_DURATION: Final = timedelta(seconds=30)
NIGHT: Final = (2, 6)
"""Hours between which a free slot for a new daily job is looked for."""
_HOUR: Final = 3_600
_HALF_HOUR: Final = 1_800
_DAY: Final = 86_400
_SECOND: Final = timedelta(seconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule to simulate: where its runs wait, how long they take, and its pause if it has one."""

    spec: ScheduleSpec
    queue: str = "default"
    usual: Usual = field(default_factory=lambda: Usual(DEFAULT_DURATION, DEFAULT_DURATION))
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class HourLoad:
    """What one hour brings to a queue: runs that come due, time that they work, and the most at one moment."""

    queue: str
    hour_at: datetime
    runs: int
    busy: timedelta
    peak: int


@dataclass(frozen=True, slots=True)
class Collision:
    """A minute of the day in which several schedules fire; *fire_at* is the worst of its days."""

    fire_at: datetime
    schedules: tuple[str, ...]
    days: int


@dataclass(frozen=True, slots=True)
class SkippedDay:
    """A local day on which schedules do not fire, with the reason."""

    day: date
    reason: str
    schedules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PredictedOverlap:
    """A schedule whose runs last longer than the time to its next fire time.

    *average* and *p95* say at how many of the *fire_times* a run of the last one is still unfinished, by the average
    and by the 95th percentile of past durations.
    """

    schedule: str
    usual: Usual
    shortest_gap: timedelta
    policy: OverlapPolicy
    average: int
    p95: int
    fire_times: int


@dataclass(frozen=True, slots=True)
class FreeSlot:
    """The half hour of the night that is least loaded, in local time of the simulation's zone."""

    hour: int
    minute: int
    busy_a_day: timedelta
    runs: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a configuration does in a stretch of time, if every run takes as long as usual and none has to wait."""

    begin: datetime
    end: datetime
    zone: str
    schedules: int
    fire_times: int
    runs: int
    load: tuple[HourLoad, ...]
    peak: int
    """The most runs at one moment, over all queues."""
    peak_at: datetime | None
    collisions: tuple[Collision, ...]
    skipped: tuple[SkippedDay, ...]
    overlaps: tuple[PredictedOverlap, ...]
    free_slot: FreeSlot
    unknown_tasks: tuple[str, ...]
    """Tasks of which no run has succeeded yet: a default duration was taken."""


def simulate(planned: Sequence[Planned], begin: datetime, days: int, zone: str = "UTC") -> Simulation:
    """Simulate *days* days from the hour of *begin* on; hours of the day are those of *zone*.

    Raises:
        InvalidInput: the stretch is too long, or holds too many fire times.
        UnknownName, ExchangeUnknown: a zone, calendar or exchange is not known here.
    """
    find_zone(zone)
    if not 1 <= days <= LONGEST_DAYS:
        raise InvalidInput(f"a simulation of {days} days cannot be made; choose 1 to {LONGEST_DAYS} days")
    begin = begin.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return _Course(begin, days, zone).run([one for one in planned if one.spec.enabled])


class _Course:
    """One simulation under way. Instants are whole seconds since its beginning."""

    def __init__(self, begin: datetime, days: int, zone: str) -> None:
        self._begin, self._zone, self._length = begin, zone, days * _DAY
        self._end = begin + timedelta(days=days)
        self._days = days
        self._moments: dict[tuple[Trigger, datetime | None, datetime | None], list[datetime]] = {}
        self._fire_times = 0
        self._runs = 0
        self._changes: dict[str, array[int]] = {}
        self._all_changes = self._no_changes()
        self._due: dict[str, Counter[int]] = defaultdict(Counter)
        self._minutes: list[tuple[str, frozenset[int]]] = []
        self._skipped: dict[tuple[date, str], set[str]] = defaultdict(set)
        self._overlaps: list[PredictedOverlap] = []

    def run(self, planned: Sequence[Planned]) -> Simulation:
        for one in planned:
            self._add(one)
        load: list[HourLoad] = []
        for queue, changes in sorted(self._changes.items()):
            load += self._load(queue, array("i", accumulate(changes)))
        together = array("i", accumulate(self._all_changes))
        peak = max(together, default=0)
        return Simulation(
            begin=self._begin,
            end=self._end,
            zone=self._zone,
            schedules=len(planned),
            fire_times=self._fire_times,
            runs=self._runs,
            load=tuple(load),
            peak=peak,
            peak_at=self._instant(together.index(peak)) if peak else None,
            collisions=tuple(self._collisions()),
            skipped=tuple(SkippedDay(*key, tuple(sorted(names))) for key, names in sorted(self._skipped.items())),
            overlaps=tuple(sorted(self._overlaps, key=lambda found: (-found.average, -found.p95, found.schedule))),
            free_slot=self._free_slot(together),
            unknown_tasks=tuple(sorted({one.spec.task for one in planned if not one.usual.runs})),
        )

    def _add(self, one: Planned) -> None:
        spec = one.spec
        free = self._free(one)
        kept = self._overlap(one, free)
        self._fire_times += len(free)
        seconds = [self._second(moment) for moment in kept]
        self._minutes.append((spec.name, frozenset(second // 60 for second in seconds)))
        if spec.jitter:
            seconds = [self._second(moment + spec.jitter_for(moment)) for moment in kept]
        self._occupy(one, seconds)
        for day, reason in spec.trigger.left_out(self._begin, self._end - _MICROSECOND):
            self._skipped[day, reason].add(spec.name)

    def _free(self, one: Planned) -> list[datetime]:
        """Return the fire times that neither a calendar nor a pause bars; notes the days that they bar."""
        spec, moments = one.spec, self._all_moments(one.spec)
        if not spec.calendars and one.pause is None:
            return moments
        free, known = [], dict[date, str | None]()
        where = find_zone(spec.zone)
        for moment in moments:
            day = moment.astimezone(where).date()
            if day not in known:
                known[day] = spec.refusal(moment)
            reason = one.pause.in_words() if one.pause is not None and one.pause.covers(moment) else known[day]
            if reason is None:
                free.append(moment)
            else:
                self._skipped[day, reason].add(spec.name)
        return free

    def _all_moments(self, spec: ScheduleSpec) -> list[datetime]:
        key = (spec.trigger, spec.start_at, spec.end_at)
        found = self._moments.get(key)
        if found is None:
            found = self._moments[key] = list(self._walk(spec))
        return found

    def _walk(self, spec: ScheduleSpec) -> Iterator[datetime]:
        moment = spec.next_after(self._begin - _MICROSECOND)
        count = self._fire_times
        while moment is not None and moment < self._end:
            count += 1
            if count > MOST_FIRE_TIMES:
                raise InvalidInput(
                    f"the simulation has more than {MOST_FIRE_TIMES:,} fire times, most of them of {spec.name!r} "
                    f"({spec.trigger.in_words()}); choose fewer days"
                )
            yield moment
            moment = spec.next_after(moment)

    def _overlap(self, one: Planned, moments: list[datetime]) -> list[datetime]:
        """Return the fire times that fire; where the policy is skip, not those at which the last run still works."""
        spec, usual = one.spec, one.usual
        gaps = list(map(sub, moments[1:], moments))
        shortest = min(gaps, default=usual.p95)
        if shortest >= usual.p95 and shortest >= usual.average:
            return moments
        average, p95 = (sum(1 for gap in gaps if gap < usual_one) for usual_one in (usual.average, usual.p95))
        found = PredictedOverlap(spec.name, usual, shortest, spec.overlap, average, p95, len(moments))
        self._overlaps.append(found)
        if spec.overlap is not OverlapPolicy.SKIP or not average:
            return moments
        kept = [moments[0]]
        for moment in moments[1:]:
            if moment - kept[-1] >= usual.average:
                kept.append(moment)
        return kept

    def _occupy(self, one: Planned, seconds: Sequence[int]) -> None:
        members = len(one.spec.members())
        self._runs += members * len(seconds)
        length, end = max(-(-one.usual.average // _SECOND), 1), self._length
        changes, together = self._changes_of(one.queue), self._all_changes
        # The innermost loop: written out, because it runs once for each fire time of the whole stretch.
        for second in seconds:
            until = second + length
            if until > end:
                second, until = min(second, end), end
            changes[second] += members
            changes[until] -= members
            together[second] += members
            together[until] -= members
        due = self._due[one.queue]
        for hour, count in Counter([second // _HOUR for second in seconds]).items():
            due[hour] += count * members

    def _changes_of(self, queue: str) -> array[int]:
        if queue not in self._changes:
            self._changes[queue] = self._no_changes()
        return self._changes[queue]

    def _no_changes(self) -> array[int]:
        return array("i", bytes(4 * (self._length + 1)))

    def _load(self, queue: str, running: array[int]) -> Iterator[HourLoad]:
        due = self._due[queue]
        for hour in range(self._length // _HOUR):
            part = running[hour * _HOUR : (hour + 1) * _HOUR]
            busy = sum(part)
            if busy or due[hour]:
                yield HourLoad(queue, self._instant(hour * _HOUR), due[hour], timedelta(seconds=busy), max(part))

    def _collisions(self) -> Iterator[Collision]:
        """Yield the worst collisions, one for each minute of the local day."""
        together: Counter[int] = Counter()
        for _, minutes in self._minutes:
            together.update(minutes)
        worst: dict[tuple[int, int], tuple[int, int, int]] = {}
        for minute, count in sorted(together.items()):
            if count < 2:
                continue
            local = local_wall(self._zone, self._instant(minute * 60))
            key = local.hour, local.minute
            most, at, days = worst.get(key, (0, 0, 0))
            worst[key] = (count, minute, days + 1) if count > most else (most, at, days + 1)
        ordered = sorted(worst.items(), key=lambda item: (-item[1][0], item[0]))
        for _, (_, minute, days) in ordered[:COLLISIONS_KEPT]:
            names = sorted(name for name, minutes in self._minutes if minute in minutes)
            yield Collision(self._instant(minute * 60), tuple(names), days)

    def _free_slot(self, together: array[int]) -> FreeSlot:
        slots = {
            (hour, minute): FreeSlot(hour, minute, timedelta(0), 0) for hour in range(*NIGHT) for minute in (0, 30)
        }
        due: Counter[int] = Counter()
        for _, minutes in self._minutes:
            due.update([minute // 30 for minute in minutes])
        for half in range(self._length // _HALF_HOUR):
            local = local_wall(self._zone, self._instant(half * _HALF_HOUR))
            slot = slots.get((local.hour, local.minute // 30 * 30))
            if slot is not None:
                busy = timedelta(seconds=sum(together[half * _HALF_HOUR : (half + 1) * _HALF_HOUR])) / self._days
                key = slot.hour, slot.minute
                slots[key] = replace(slot, busy_a_day=slot.busy_a_day + busy, runs=slot.runs + due[half])
        return min(slots.values(), key=lambda slot: (slot.busy_a_day, slot.runs, slot.hour, slot.minute))

    def _second(self, moment: datetime) -> int:
        return (moment - self._begin) // _SECOND

    def _instant(self, second: int) -> datetime:
        return self._begin + timedelta(seconds=second)


def hours_of_day(load: Sequence[HourLoad], zone: str) -> Mapping[tuple[str, int], HourLoad]:
    """Return the load by queue and hour of the local day: runs and busy time added up, the highest peak."""
    found: dict[tuple[str, int], HourLoad] = {}
    for one in load:
        key = one.queue, local_wall(zone, one.hour_at).hour
        before = found.get(key)
        if before is None:
            found[key] = one
            continue
        worst = max(before, one, key=lambda hour: hour.peak)
        found[key] = replace(worst, runs=before.runs + one.runs, busy=before.busy + one.busy)
    return found
