"""Make up for fire times of a range: runs of a kind of their own, spread by a rate, apart from ordinary outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from mainspring.clock import Clock
from mainspring.domain.priority import LOW
from mainspring.domain.rate import Rate
from mainspring.domain.runs import NewRun, RunKind
from mainspring.domain.spec import ScheduleSpec
from mainspring.errors import InvalidInput
from mainspring.ids import RunId
from mainspring.services.directory import Directory
from mainspring.services.enqueue import check_options
from mainspring.services.schedule_runs import runs_of
from mainspring.store import backfill as stored
from mainspring.store import queueing
from mainspring.store.database import Database, Tx
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.schedules import StoredSchedule, write_audit

MOST: Final = 10_000
"""Runs that one backfill makes at most."""
_LOOKED_AT: Final = 100_000
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is to be made up for, and how gently."""

    since: datetime
    until: datetime
    """The first instant that does not belong to it."""
    rate: Rate | None = None
    """How fast the fire times come due; all at once without one."""
    priority: int = LOW
    queue: str | None = None
    missing_only: bool = False
    """Leave out what the ledger says has fired."""

    def __post_init__(self) -> None:
        check_options(self.queue, self.priority)
        if self.since >= self.until:
            raise InvalidInput(f"since {self.since.isoformat()} is not before until {self.until.isoformat()}")
        if self.rate is not None and self.rate.burst > 1:
            raise InvalidInput(f"rate {self.rate}: a backfill is spread evenly and knows no burst; leave it out")

    @property
    def step(self) -> timedelta:
        """Return how long after one fire time the next comes due."""
        return timedelta(0) if self.rate is None else self.rate.per / self.rate.n


@dataclass(frozen=True, slots=True)
class BackfillLook:
    """What a backfill would do; nothing has been done."""

    fire_times: tuple[datetime, ...]
    """Those that would become runs."""
    runs: int
    barred: Mapping[str, int]
    """Why fire times are left out by calendars, and how many."""
    done: int
    """Fire times that an earlier backfill has made up for."""
    fired: int
    """Fire times left out because they have fired; 0 unless only missing ones are wanted."""
    takes: timedelta
    """From the first to the last coming due."""


class Backfilling:
    """Makes up for fire times, each once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._directory = Directory(database, clock)

    def look(self, schedule: StoredSchedule, wanted: Backfill) -> BackfillLook:
        """Return what a backfill would do.

        Raises:
            InvalidInput: the range reaches into the future, or holds too much.
        """
        now = self._clock.now()
        if wanted.until > now:
            raise InvalidInput(
                f"until {wanted.until.isoformat()} lies in the future; what is to come fires by itself, so end at "
                f"{now.isoformat(timespec='seconds')} or before"
            )
        times, barred = _fire_times(schedule.spec, wanted)
        done = self._database.read(lambda tx: stored.backfilled(tx, schedule.id, wanted.since, wanted.until))
        fired = set()
        if wanted.missing_only:
            fired = self._database.read(lambda tx: stored.fired(tx, schedule.id, wanted.since, wanted.until)) - done
        left = tuple(one for one in times if one not in done and one not in fired)
        runs = len(left) * len(schedule.spec.members())
        if runs > MOST:
            raise InvalidInput(
                f"this range has {runs:,} runs; one backfill makes at most {MOST:,}, so take a shorter one"
            )
        known = set(times)
        takes = max(len(left) - 1, 0) * wanted.step
        return BackfillLook(left, runs, barred, len(known & done), len(known & fired), takes)

    def start(self, schedule: StoredSchedule, wanted: Backfill, actor: str) -> list[RunId]:
        """Make the runs that a look shows, the oldest fire time first, and return their ids."""
        look, begin = self.look(schedule, wanted), self._clock.now()
        spec = replace(schedule.spec, priority=wanted.priority, queue=wanted.queue or schedule.spec.queue)
        made: list[RunId] = []
        runs = [
            run
            for place, fire_at in enumerate(look.fire_times)
            for run in self._runs(schedule, spec, fire_at, begin + place * wanted.step, actor)
        ]
        for start in range(0, len(runs), _BATCH):
            now = self._clock.now()
            batch = runs[start : start + _BATCH]
            made += self._database.write(partial(_write, schedule, batch, now, actor, wanted))
            self._database.sender.send(READY if batch[0].due_at <= now else SCHEDULES)
        return made

    def _runs(
        self, schedule: StoredSchedule, spec: ScheduleSpec, fire_at: datetime, due_at: datetime, actor: str
    ) -> Sequence[NewRun]:
        reason = f"backfilled by {actor}"
        runs = runs_of(
            self._directory, spec, schedule.id, schedule.version, RunKind.BACKFILL, due_at, reason, fire_at,
            owner_id=schedule.owner_id,
        )  # fmt: skip
        # Alone by fire time and member already; a key would make it meet ordinary runs.
        return [replace(run, key=None) for run in runs]


def _write(
    schedule: StoredSchedule, runs: Sequence[NewRun], now: datetime, actor: str, wanted: Backfill, tx: Tx
) -> list[RunId]:
    # The schedule's row first: of two backfills at the same moment the second sees what the first has made.
    stored.lock(tx, schedule.id)
    there = stored.made(tx, schedule.id, wanted.since, wanted.until)
    ours = [run for run in runs if there.get((run.fire_at, run.member), run.id) == run.id]
    queueing.insert_runs(tx, ours, now)
    body = {"since": wanted.since, "until": wanted.until, "runs": len(ours), "priority": wanted.priority}
    write_audit(tx, now, actor, "schedule.backfill", schedule.name, body)
    return [run.id for run in ours]


def _fire_times(spec: ScheduleSpec, wanted: Backfill) -> tuple[list[datetime], dict[str, int]]:
    found: list[datetime] = []
    barred: dict[str, int] = {}
    moment = spec.next_after(wanted.since - timedelta(microseconds=1))
    for _ in range(_LOOKED_AT):
        if moment is None or moment >= wanted.until:
            return found, barred
        why = spec.refusal(moment)
        if why is None:
            found.append(moment)
        else:
            barred[why] = barred.get(why, 0) + 1
        if len(found) > MOST:
            break
        moment = spec.next_after(moment)
    raise InvalidInput(
        f"this range has more than {MOST:,} fire times, or {_LOOKED_AT:,} with those that calendars leave out; take a "
        "shorter one"
    )
