"""Fill a database as a scheduler and a worker would, through the store and with a clock that is told what to say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy

from mainspring.domain.calendars import CalendarRule
from mainspring.domain.dependencies import Need
from mainspring.domain.occurrences import Occurrence, Pause, plan_firing
from mainspring.domain.runs import ClaimedRun, Ended, NewRun, Outcome, RunKind
from mainspring.domain.spec import FanOut, OverlapPolicy, ScheduleSpec, spec_from_text
from mainspring.domain.states import FailureKind
from mainspring.domain.triggers import IntervalTrigger, parse_cron, trigger_from_definition
from mainspring.encoding import canonical, fingerprint
from mainspring.ids import ClaimId, RunId, SessionId, new_run_id, uuid7
from mainspring.store import claiming, ledger, queueing, runs, schedules, sessions
from mainspring.store.database import Database, Tx
from mainspring.store.ledger import Firing
from mainspring.store.migrate import upgrade
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite.database import SqliteDatabase

START = datetime(2026, 3, 27, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LONG = "x" * 70_000


def open_database(url: str) -> Database:
    if url.startswith("sqlite:///"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:///")))
    return PostgresDatabase(url)


def scheduled(name: str, cron: str | None = None, zone: str = "UTC", **more: Any) -> ScheduleSpec:
    trigger = more.pop("trigger", None) or parse_cron(cron or "0 * * * *", zone, seed=name)
    return ScheduleSpec(name=name, task="demo.task", trigger=trigger, zone=zone, **more)


@dataclass
class World:
    """A database and the time in it."""

    database: Database
    now: datetime = START
    worker: SessionId = field(default=SessionId(""))

    def add(self, spec: ScheduleSpec) -> None:
        self.database.write(lambda tx: schedules.add_schedule(tx, spec, "file", self.now, "tester", "data=1"))

    def edit(self, spec: ScheduleSpec) -> None:
        old = self._stored(spec.name)
        assert self.database.write(
            lambda tx: schedules.edit_schedule(tx, old, spec, "file", self.now, "tester", "data=1")
        )

    def pause(self, name: str, until: datetime | None = None) -> None:
        old = self._stored(name)
        pause = Pause(self.now, until, "tester", "stocktaking")
        assert self.database.write(lambda tx: schedules.pause_schedule(tx, old, pause, "tester"))

    def resume(self, name: str) -> None:
        old = self._stored(name)
        assert self.database.write(lambda tx: schedules.resume_schedule(tx, old, self.now, "tester"))

    def delete(self, name: str) -> None:
        old = self._stored(name)
        assert self.database.write(lambda tx: schedules.delete_schedule(tx, old, self.now, "tester"))

    def _stored(self, name: str) -> schedules.StoredSchedule:
        found = self.database.read(lambda tx: schedules.find_schedule(tx, name))
        assert found is not None
        return found

    def live(self, until: datetime, step: timedelta) -> None:
        """Fire what is due at every *step* until *until*."""
        while self.now < until:
            self.now = min(self.now + step, until)
            self.fire()

    def fire(self) -> None:
        """Fire all that is due now."""
        while due := self.database.read(lambda tx: ledger.due_schedules(tx, self.now, 1000)):
            ids = [schedule.position.schedule_id for schedule in due]
            busy = self.database.read(lambda tx, ids=ids: ledger.unfinished(tx, ids))
            firings = []
            for schedule in due:
                spec = spec_from_text(schedule.spec_text)
                unfinished = len({at for at in busy.get(schedule.position.schedule_id, {}).values() if at})
                position = replace(schedule.position, unfinished=unfinished)
                plan = plan_firing(spec, position, self.now)
                made = tuple(run for o in plan.fired for run in self._runs(spec, plan.position.schedule_id, o))
                firings.append(Firing(plan, made))
            self.database.write(lambda tx, firings=firings: ledger.fire(tx, firings, self.now, "data=1"))

    def _runs(self, spec: ScheduleSpec, schedule_id: Any, occurrence: Occurrence) -> list[NewRun]:
        return [
            NewRun(
                id=new_run_id(), task=spec.task, queue="default", priority=5, max_tries=3, parameters="{}",
                due_at=occurrence.fire_at, kind=RunKind.SCHEDULED, schedule_id=schedule_id,
                fire_at=occurrence.fire_at, member=_member(member), snapshot=json.dumps({"schedule": spec.name}),
            )
            for member in spec.members()
        ]  # fmt: skip

    def enqueue(self, queue: str, parameters: str = "{}", needs: Sequence[RunId] = (), hours: int = 0) -> RunId:
        run = NewRun(
            id=new_run_id(), task="demo.task", queue=queue, priority=8, max_tries=3, parameters=parameters,
            due_at=self.now + hours * HOUR, needs=tuple(Need(needed) for needed in needs), snapshot='{"by":"hand"}',
        )  # fmt: skip
        self.database.write(lambda tx: queueing.insert_runs(tx, [run], self.now))
        return run.id

    def open_worker(self, kind: Any = "worker") -> SessionId:
        session = sessions.NewSession(
            SessionId(uuid7()), kind, "w", "host", 1, "boot", "0.1.0", "[]", "default", 10, ""
        )
        ttl, lease_now = 3650 * DAY, self.database.lease_now()
        self.database.write(lambda tx: sessions.open_session(tx, session, ttl, self.now, lease_now))
        return session.id

    def claim(self, queue: str, n: int = 1) -> list[ClaimedRun]:
        lease_now = self.database.lease_now()
        mark = ClaimId(uuid7())
        return self.database.write(lambda tx: claiming.claim(tx, self.worker, queue, n, self.now, lease_now, mark))

    def finish(self, run: ClaimedRun, ended: Ended, **more: Any) -> None:
        outcome = Outcome(run, ended, self.now, self.now, **more)
        self.database.write(lambda tx: claiming.finish(tx, self.worker, [outcome], self.now))

    def succeed(self, run: ClaimedRun, result: str = '{"rows":3}') -> None:
        self.finish(run, Ended.SUCCEEDED, result=result, result_hash=fingerprint(result))

    def reopen(self, run_id: RunId) -> None:
        def work(tx: Tx) -> None:
            found = runs.find_run(tx, run_id)
            assert found is not None
            (place,) = queueing.take_places(tx, 1)
            assert runs.reopen(tx, found, place, self.now, 2)

        self.database.write(work)


def _member(member: Any) -> str:
    if member is None:
        return ""
    return member if isinstance(member, str) else canonical(member)


def fill(url: str) -> datetime:
    """Fill the empty database at *url* with schedules and runs of every kind; return the time at the end."""
    database = open_database(url)
    try:
        upgrade(database)
        world = World(database)
        world.worker = world.open_worker()
        world.open_worker("scheduler")
        _schedules(world)
        _runs_by_hand(world)
        # The sessions are still alive at the end.
        database.write(lambda tx: tx.core(sqlalchemy.text(_seen(tx)), {"now": tx.at(world.now)}))
        return world.now
    finally:
        database.close()


def _seen(tx: Tx) -> str:
    prefix = "mainspring." if tx.dialect == "postgresql" else ""
    return f"UPDATE {prefix}worker_sessions SET seen_at = :now"


def _schedules(world: World) -> None:
    world.add(scheduled("hourly"))
    world.add(scheduled("berlin", "30 2 * * *", "Europe/Berlin"))
    world.add(scheduled("fan", "0 6 * * *", fan_out=FanOut("ticker", ("PETR4", {"b": 1, "a": "é"}, 7))))
    world.add(scheduled("backlog", trigger=IntervalTrigger(20 * MINUTE, START)))
    world.add(scheduled("weekly", "0 */6 * * *", calendars=CalendarRule(("weekdays",), ())))
    world.add(scheduled("slow", overlap=OverlapPolicy.SKIP))
    world.add(scheduled("edited"))
    world.add(scheduled("paused", "15 * * * *"))
    world.add(scheduled("gone", "0 */2 * * *"))
    world.add(scheduled("off", "0 */2 * * *", enabled=False))
    world.add(scheduled("later", trigger=trigger_from_definition({"at": "2026-12-01T09:00"})))
    world.live(START + DAY, HOUR)
    world.pause("paused")
    world.edit(scheduled("edited", "30 * * * *", "Asia/Kolkata"))
    world.delete("gone")
    world.live(START + 2 * DAY, HOUR)
    world.resume("paused")
    # Nobody fires for a day, in which clocks in Berlin go forward.
    world.live(START + 3 * DAY, DAY)
    world.live(START + 3 * DAY + 90 * MINUTE, 30 * MINUTE)


def _runs_by_hand(world: World) -> None:
    for _ in range(3):
        for run in world.claim("default", 5):
            world.succeed(run)
    for _ in range(2):
        world.enqueue("tries", LONG)
        (run,) = world.claim("tries")
        world.finish(run, Ended.RETRIED, due_at=world.now, reason="again")
        world.database.write(lambda tx: queueing.stage_due(tx, world.now))
        (run,) = world.claim("tries")
        world.finish(run, Ended.INTERRUPTED, reason="stopping")
        (run,) = world.claim("tries")
        world.finish(run, Ended.FAILED, failure_kind=FailureKind.ERROR, error_message="no")
    world.reopen(run.id)
    (run,) = world.claim("tries")
    world.succeed(run, json.dumps(LONG))
    needed = world.enqueue("running")
    world.enqueue("waiting", needs=[needed, world.enqueue("later", hours=5)])
    world.enqueue("waiting", needs=[needed])
    world.claim("running")
    cancelled = world.enqueue("running")
    world.database.write(lambda tx: queueing.cancel(tx, [cancelled], "not needed", world.now))
