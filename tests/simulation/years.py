"""Fire 200 schedules of 40 zones through ten virtual years and compare every fire time with brute force.

`python -m tests.simulation.years [--years 10] [--seed N]`. The scheduler's own firing code runs on a SQLite file by a
clock that leaps from one fire time to the next; it is restarted four times a day, comes back late, and once with newer
time zone data. Runs are deleted every quarter, as retention does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any, Final

from mainspring.clock import EPOCH, ManualClock, SystemClock
from mainspring.domain import calendars, zones
from mainspring.domain.calendars import CalendarRule
from mainspring.domain.spec import Misfire, MisfirePolicy, ScheduleSpec
from mainspring.domain.triggers import trigger_from_definition
from mainspring.runtime.scheduler import Scheduler
from mainspring.services import adoption
from mainspring.services.schedules import Scheduling
from mainspring.store.database import Database, Tx
from mainspring.store.migrate import upgrade
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.verify.look import look
from tests.simulation.wall_clocks import Closed, Decision, LateRule, decisions, fire_seconds

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
EAST: Final = (
    "Europe/Berlin", "Europe/London", "Europe/Lisbon", "Europe/Athens", "Europe/Istanbul", "Europe/Chisinau",
    "Africa/Cairo", "Africa/Casablanca", "Africa/Johannesburg", "Asia/Amman", "Asia/Beirut", "Asia/Jerusalem",
    "Asia/Gaza", "Asia/Tehran", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo", "Australia/Sydney",
    "Australia/Adelaide", "Australia/Lord_Howe",
)  # fmt: skip
WEST: Final = (
    "UTC", "Atlantic/Azores", "America/Nuuk", "America/St_Johns", "America/Halifax", "America/New_York",
    "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles", "America/Anchorage",
    "America/Sao_Paulo", "America/Santiago", "America/Havana", "America/Mexico_City", "Pacific/Honolulu",
    "Pacific/Auckland", "Pacific/Chatham", "Pacific/Easter", "Antarctica/Troll",
)  # fmt: skip
CHANGED: Final = {"Asia/Amman": "Asia/Beirut", "America/Mexico_City": "America/Chicago"}
"""Zones whose data changes once, as if their countries gave up summer time, and whose clocks they had before."""
_NEWER: Final = "2099a"


@dataclass
class Counts:
    """What a part of the simulation came to."""

    expected: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    looks: int = 0
    restarts: int = 0
    refused: int = 0
    """Lives of a scheduler with older time zone data than the schedules, in which nothing may fire."""
    recomputed: int = 0
    differences: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Add another part."""
        for name in ("expected", "runs", "looks", "restarts", "refused", "recomputed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.outcomes += other.outcomes
        self.differences += other.differences


def specs_of(zone: str, chance: Random) -> list[ScheduleSpec]:
    """Return five schedules in *zone*, of every kind of trigger and with policies that the seed decides."""
    half = chance.choice((0, 0, 0, 30))
    closed = {START.date() + timedelta(days=chance.randrange(3650)): "closed" for _ in range(120)}
    triggers: Sequence[dict[str, Any]] = (
        {"cron": f"{half} */{chance.choice((6, 8, 12))} * * *"},
        {"cron": chance.choice(("30 0 * * *", "0,30 2 * * *", "0 3 * * *", "30 1,2 * * *", "0 0 L * *"))},
        {"every": f"{chance.choice((7, 9, 11, 17))}h", "anchor": f"2026-01-01T00:{half:02}"},
        chance.choice((
            {"calendar": {"months": 1, "day": 31, "time": "02:30"}},
            {"calendar": {"days": 2, "time": "00:00"}},
            {"calendar": {"weeks": 1, "weekday": "sunday", "time": "02:30"}},
        )),
        chance.choice((
            {"fields": {"hour": "9-17/4", "minute": half, "day_of_week": "0-4"}},
            {"fields": {"day": "last", "hour": "*/4", "minute": half}},
            {"fields": {"hour": "1-3", "minute": half}},
        )),
    )  # fmt: skip
    found = []
    for number, trigger in enumerate(triggers):
        name = f"{zone.replace('/', '-').lower()}-{number}"
        dst = {"gap": chance.choice(("after", "skip")), "fold": chance.choice(("first", "both", "last"))}
        own = number in (1, 4)
        found.append(ScheduleSpec(
            name=name,
            task="years.nothing",
            trigger=trigger_from_definition(
                trigger | ({"dst": dst} if "every" not in trigger else {}), zone, seed=name, created_at=START
            ),
            zone=zone,
            jitter=timedelta(seconds=chance.choice((0, 0, 45))),
            calendars=CalendarRule(exclude=(*(("weekends",) if number == 4 else ()), *(("own",) if own else ()))),
            own_calendars={"own": closed} if own else {},
            misfire=Misfire(
                chance.choice(list(MisfirePolicy)),
                timedelta(seconds=chance.choice((30, 30, 600))),
                cap=chance.choice((1, 3, 100)),
                max_age=chance.choice((None, timedelta(hours=2))),
            ),
        ))  # fmt: skip
    return found


@dataclass
class Part:
    """Some zones and their schedules, through all the time."""

    names: Sequence[str]
    start: datetime
    end: datetime
    swap_at: datetime | None
    """When newer time zone data comes; older and newer agree on the fire times around it."""
    seed: int
    every_restart: timedelta = timedelta(hours=6)

    def run(self) -> Counts:
        """Live through the time, then compare."""
        folder = Path(tempfile.mkdtemp(prefix="mainspring-years-", dir="/dev/shm" if _has_memory() else None))
        try:
            return self._run(folder)
        finally:
            use_zones(None)
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, folder: Path) -> Counts:
        self._counts, self._chance = Counts(), Random(f"{self.seed} {self.names}")
        self._specs = [spec for zone in self.names for spec in specs_of(zone, self._chance)]
        self._older = older_zones(folder, [name for name in self.names if name in CHANGED])
        self._clock = ManualClock(self.start)
        self._looks: list[int] = []
        self._swap_look = 0
        self._purged_at = self.start
        use_zones(self._older, _older_version())
        database = SqliteDatabase(folder / "years.db", lease_clock=lambda: EPOCH)
        self._database: Database = database
        try:
            upgrade(database)
            adoption.settle(database)
            scheduling = Scheduling(database, self._clock)
            for spec in self._specs:
                scheduling.put(spec, "file", "years")
            self._live()
            assert self._swap_look or self.swap_at is None, "the newer time zone data never came"
            self._purge()
            self._compare()
        finally:
            database.close()
        return self._counts

    def _live(self) -> None:
        newer = False
        while self._clock.now() < self.end:
            stale = False
            if not newer and self.swap_at is not None and self._clock.now() >= self.swap_at:
                newer = True
                self._swap_look = self._looks[-1]
                use_zones(None, _NEWER)
            elif newer and self._chance.random() < 0.01:
                stale = True
                use_zones(self._older, _older_version())
            self._life(refused=stale)
            if stale:
                use_zones(None, _NEWER)
            if self._clock.now() - self._purged_at > timedelta(days=91):
                self._purge()
            self._wait(self._downtime())

    def _life(self, *, refused: bool) -> None:
        """Let a scheduler live for some hours; one with older data than the schedules' must not do anything."""
        counts, clock = self._counts, self._clock
        counts.restarts += 1
        # Whole seconds throughout, for those are what fire times are compared in.
        seconds = int(self.every_restart.total_seconds() * (0.5 + self._chance.random()))
        until = min(clock.now() + timedelta(seconds=seconds), self.end)
        scheduler = Scheduler(self._database, clock, "years")
        counts.recomputed += scheduler._scheduling.recompute()
        firer = scheduler._firer
        if refused:
            counts.refused += 1
            if firer.run_once().decided:
                counts.differences.append(f"{clock.now()}: fired with older time zone data")
            return
        while clock.now() < until:
            assert clock.now().microsecond == 0
            self._looks.append(int(clock.now().timestamp()))
            while firer.run_once().more:
                pass
            following = firer.next_fire_at(clock.now())
            if following is None or following >= until:
                break
            self._wait(following - clock.now() + timedelta(seconds=self._chance.choice((0, 0, 1, 5, 20))))
        if clock.now() < until:
            self._wait(until - clock.now())

    def _downtime(self) -> timedelta:
        luck, spread = self._chance.random(), self._chance.random()
        longest = 60 if luck < 0.7 else 1_200 if luck < 0.95 else 5 * 3_600 if luck < 0.999 else 40 * 3_600
        return timedelta(seconds=int(longest * spread))

    def _wait(self, span: timedelta) -> None:
        self._clock.advance(span)

    def _purge(self) -> None:
        """Compare the runs of the last quarter with the ledger and delete them; marks and ledger stay."""
        self._counts.runs += self._database.write(lambda tx: _take_runs(tx, self._purged_at, self._counts.differences))
        self._purged_at = self._clock.now()

    def _compare(self) -> None:
        counts = self._counts
        counts.looks = len(self._looks)
        named = {spec.name: spec for spec in self._specs}
        ids = look(self._database, lambda seen: dict(seen.rows("SELECT name, key(id) FROM schedules")))
        for name, decided in self._expected():
            found = self._ledger(ids[name])
            counts.expected += len(decided)
            counts.outcomes.update(d.outcome for d in decided)
            difference = first_difference(decided, found)
            if difference:
                counts.differences.append(f"{name} ({named[name].trigger.in_words()}): {difference}")

    def _ledger(self, schedule_id: str) -> list[tuple[int, int, int, str, str | None]]:
        return look(self._database, lambda seen: seen.rows(  # type: ignore[return-value]
            "SELECT micros(fire_at), micros(until_at), n, outcome, cause FROM occurrences WHERE schedule_id = :id "
            "ORDER BY fire_at", id=schedule_id))  # fmt: skip

    def _expected(self) -> Iterator[tuple[str, list[Decision]]]:
        first, last = int(self.start.timestamp()), self._looks[-1]
        for zone in self.names:
            specs = [spec for spec in self._specs if spec.zone == zone]
            times: dict[str, list[int]] = {spec.name: [] for spec in specs}
            reigns = [(zone, first, last)]
            if zone in CHANGED:
                reigns = [(CHANGED[zone], first, self._swap_look), (zone, self._swap_look, last)]
            on_walls = [spec for spec in specs if spec.trigger.to_json()["kind"] != "interval"]
            for data, begin, end in reigns:
                triggers = [spec.trigger.to_json() for spec in on_walls]
                for index, seconds in fire_seconds(triggers, data, begin, end):
                    times[on_walls[index].name] += seconds
            for spec in specs:
                if spec not in on_walls:
                    times[spec.name] = _interval_seconds(spec, first, last)
                yield spec.name, list(decisions(times[spec.name], self._looks, _late_rule(spec), _closed(spec)))


def first_difference(expected: Sequence[Decision], found: Sequence[tuple[int, int, int, str, str | None]]) -> str:
    """Return in words where the rows of a ledger and what was expected differ first, or nothing."""
    place = 0
    for fire_at, until_at, n, outcome, cause in found:
        wanted = expected[place : place + n]
        row = f"{_show(fire_at // 1_000_000)} ({n}) {outcome} {cause or ''}"
        if len(wanted) < n:
            return f"the ledger has {row}, which was not expected"
        if wanted[0].fire_at * 1_000_000 != fire_at or wanted[-1].fire_at * 1_000_000 != until_at:
            return f"the ledger has {row}, expected was {_show(wanted[0].fire_at)} to {_show(wanted[-1].fire_at)}"
        if any((d.outcome, d.cause) != (outcome, cause) for d in wanted):
            other = next(d for d in wanted if (d.outcome, d.cause) != (outcome, cause))
            return f"the ledger has {row}, expected was {_show(other.fire_at)} {other.outcome} {other.cause or ''}"
        place += n
    if place < len(expected):
        return f"the ledger ends before {_show(expected[place].fire_at)} ({len(expected) - place} are missing)"
    return ""


def _show(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def _late_rule(spec: ScheduleSpec) -> LateRule:
    misfire = spec.misfire
    age = None if misfire.max_age is None else int(misfire.max_age.total_seconds())
    return LateRule(str(misfire.policy), int(misfire.grace.total_seconds()), misfire.cap, age)


def _closed(spec: ScheduleSpec) -> Closed:
    own: frozenset[date] = frozenset(spec.own_calendars.get("own", ()))
    return Closed(spec.zone, "weekends" in spec.calendars.exclude, own)


def _interval_seconds(spec: ScheduleSpec, first: int, last: int) -> list[int]:
    body: Any = spec.trigger.to_json()
    step = body["every_us"] // 1_000_000
    anchor = int(datetime.fromisoformat(body["anchor"]).timestamp())
    return list(range(anchor + ((first - anchor) // step + 1) * step, last + 1, step))


def _take_runs(tx: Tx, since: datetime, differences: list[str]) -> int:
    """Compare runs with the ledger one to one, delete them, and return how many they were."""

    def one(statement: str) -> int:
        return int(tx.connection.exec_driver_sql(statement).scalar_one())

    runs = one("SELECT count(*) FROM runs")
    fired = one(f"SELECT count(*) FROM occurrences WHERE outcome = 'fired' AND recorded_at > {tx.at(since)}")
    strangers = one(
        "SELECT count(*) FROM runs r WHERE kind <> 'scheduled' OR member <> '' OR due_at < fire_at "
        "OR due_at >= fire_at + 45000000 OR NOT EXISTS (SELECT 1 FROM occurrences o "
        "WHERE o.schedule_id = r.schedule_id AND o.fire_at = r.fire_at AND o.outcome = 'fired')"
    )
    if runs != fired or strangers:
        differences.append(f"since {since}: {fired} fired, {runs} runs, {strangers} of them without a fire time")
    for table in ("ready", "run_payloads", "runs"):
        tx.connection.exec_driver_sql(f"DELETE FROM {table}")
    return runs


# Time zone data: the product reads that of the package `tzdata`; here it is given a changed copy for some years.


def older_zones(folder: Path, names: Sequence[str]) -> Path | None:
    """Return a copy of the time zone data in which *names* are as before they changed, or None."""
    if not names:
        return None
    copied = folder / "older" / "tzdata"
    shutil.copytree(str(resources.files("tzdata")), copied, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    for name in names:
        shutil.copyfile(copied / "zoneinfo" / CHANGED[name], copied / "zoneinfo" / name)
    return copied


def use_zones(folder: Path | None, version: str | None = None) -> None:
    """Let the product read the time zone data in *folder*, or the package's, and take it for *version*."""
    zones.resources = resources if folder is None else _Elsewhere(folder)  # type: ignore[assignment]
    for cached in (zones.zone, zones.shifts_around, zones.zone_names, zones.tzdata_version):
        cached.cache_clear()
    calendars.tzdata_version = zones.tzdata_version if version is None else lambda: version  # type: ignore[assignment]


def _older_version() -> str:
    return str(zones.tzdata_version())


class _Elsewhere:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self, _package: str) -> Path:
        return self._folder


def _has_memory() -> bool:
    return Path("/dev/shm").is_dir()


def run_part(part: Part) -> Counts:
    """Run *part*: for processes of a pool."""
    return part.run()


def parts(years: int, seed: int) -> list[Part]:
    """Return the whole work in two parts."""
    end, middle = START.replace(year=START.year + years), START.year + years // 2
    # Summer in Beirut is as all the year in Amman now; winter in Chicago as all the year in Mexico City.
    east, west = datetime(middle, 7, 15, tzinfo=UTC), datetime(middle, 1, 15, tzinfo=UTC)
    return [Part(EAST, START, end, east, seed), Part(WEST, START, end, west, seed)]


def main() -> int:
    """Print the figures and every difference; return 1 if there was one."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.years")
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    clock = SystemClock()
    began, total = clock.monotonic(), Counts()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for counts in pool.map(run_part, parts(given.years, given.seed)):
            total.add(counts)
    seconds = clock.monotonic() - began
    for difference in total.differences:
        print(f"DIFFERENCE {difference}")
    outcomes = ", ".join(f"{n} {name}" for name, n in sorted(total.outcomes.items()))
    print(
        f"seed {given.seed}: {given.years} years, {5 * (len(EAST) + len(WEST))} schedules, "
        f"{len(EAST) + len(WEST)} zones, {total.restarts} lives of a scheduler ({total.refused} with older zone data), "
        f"{total.looks} looks: {total.expected} fire times ({outcomes}), {total.runs} runs, "
        f"{total.recomputed} next times recomputed, {len(total.differences)} differences, {seconds:.0f} s, "
        f"{total.expected / seconds:.0f} fire times/s"
    )
    return 1 if total.differences else 0


if __name__ == "__main__":
    sys.exit(main())
