"""Short ways to put runs, sessions and schedules into a database, and to look at what is in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import sqlalchemy

from mainspring.domain.occurrences import Position, plan_firing
from mainspring.domain.runs import ClaimedRun, Ended, FinishResult, NewRun, Outcome, RunKind
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.states import FailureKind
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.encoding import fingerprint
from mainspring.ids import ClaimId, RunId, ScheduleId, SessionId, new_run_id, uuid7
from mainspring.store import claiming, queueing, sessions
from mainspring.store.database import Database
from mainspring.store.ledger import Fired, Firing, due_schedules, fire
from mainspring.store.runs import StoredRun, find_run
from mainspring.store.schedules import StoredSchedule, add_schedule, find_schedule
from mainspring.store.schema import metadata

T = TypeVar("T")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
TTL = timedelta(seconds=12)
BOOT = "boot-1"


def new_run(**changes: Any) -> NewRun:
    """Return a run that is ready at once; *changes* replace its fields."""
    values: dict[str, Any] = {
        "id": new_run_id(), "task": "demo.task", "queue": "default", "priority": 5, "max_tries": 4,
        "parameters": "{}", "due_at": NOON,
    }  # fmt: skip
    return NewRun(**(values | changes))


def put(database: Database, *runs: NewRun, now: datetime = NOON) -> list[RunId]:
    """Insert *runs* in one transaction; return their ids."""
    database.write(lambda tx: queueing.insert_runs(tx, runs, now))
    return [run.id for run in runs]


def put_some(database: Database, n: int, now: datetime = NOON, **changes: Any) -> list[RunId]:
    """Insert *n* alike runs; return their ids in the order of arrival."""
    return put(database, *(new_run(**changes) for _ in range(n)), now=now)


def open_session(
    database: Database, now: datetime = NOON, kind: Literal["worker", "scheduler"] = "worker", **changes: Any
) -> SessionId:
    """Begin a session with the usual lease; return its id."""
    values: dict[str, Any] = {
        "id": SessionId(uuid7()), "kind": kind, "name": "w1", "host": "host", "pid": 1, "boot_id": BOOT,
        "version": "0.1.0", "tasks": "[]", "queues": "default", "slots": 10, "wake_address": "",
    }  # fmt: skip
    session = sessions.NewSession(**(values | changes))
    database.write(lambda tx: sessions.open_session(tx, session, TTL, now, database.lease_now()))
    return session.id


def claim(
    database: Database, session: SessionId, n: int = 1, queue: str = "default", now: datetime = NOON
) -> list[ClaimedRun]:
    """Claim *n* runs for *session*."""
    lease_now, mark = database.lease_now(), ClaimId(uuid7())
    return database.write(lambda tx: claiming.claim(tx, session, queue, n, now, lease_now, mark))


def claim_one(database: Database, session: SessionId, now: datetime = NOON) -> ClaimedRun:
    """Claim exactly one run for *session*."""
    (run,) = claim(database, session, 1, now=now)
    return run


def outcome(run: ClaimedRun, ended: Ended = Ended.SUCCEEDED, at: datetime = NOON, **changes: Any) -> Outcome:
    """Return the end of an attempt; a success has a result, a failure an error."""
    values: dict[str, Any] = {"run": run, "ended": ended, "started_at": at, "finished_at": at}
    if ended is Ended.SUCCEEDED:
        result = changes.get("result", '{"ok":true}')
        values |= {"result": result, "result_hash": fingerprint(result)}
    if ended is Ended.FAILED:
        values |= {"failure_kind": FailureKind.ERROR, "error_type": "ValueError", "error_message": "it broke"}
    if ended in (Ended.RETRIED, Ended.SNOOZED, Ended.RETURNED):
        values |= {"due_at": at + MINUTE}
    return Outcome(**(values | changes))


def finish(database: Database, session: SessionId, *outcomes: Outcome, now: datetime = NOON) -> FinishResult:
    """Record *outcomes* in one transaction."""
    return database.write(lambda tx: claiming.finish(tx, session, outcomes, now))


def rescue(database: Database, now: datetime = NOON, boot_id: str = BOOT, most: int = 100) -> sessions.Rescued:
    """Bury the dead and take back their runs."""
    lease_now = database.lease_now()
    return database.write(lambda tx: sessions.rescue(tx, boot_id, now, lease_now, most))


def renew(database: Database, session: SessionId, now: datetime = NOON) -> bool:
    """Renew the lease of *session*."""
    lease_now = database.lease_now()
    return database.write(lambda tx: sessions.renew_session(tx, session, TTL, now, lease_now))


def look(database: Database, run_id: RunId) -> StoredRun:
    """Return the run of this id, which must exist."""
    found = database.read(lambda tx: find_run(tx, run_id))
    assert found is not None
    return found


def contents(database: Database, *leave_out: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table that has any, sorted; to see that nothing changed."""
    found = {}
    for table in metadata.sorted_tables:
        if table.name in leave_out:
            continue
        query = sqlalchemy.select(table)
        rows = database.read(lambda tx, query=query: [tuple(row) for row in tx.core(query)])  # type: ignore[misc]
        if rows:
            found[table.name] = sorted(rows, key=repr)
    return found


def count(database: Database, table: str, where: str = "1 = 1") -> int:
    """Return how many rows of *table* match *where*."""
    query = sqlalchemy.select(sqlalchemy.func.count()).select_from(metadata.tables[table]).where(sqlalchemy.text(where))
    return int(database.read(lambda tx: tx.core(query).scalar_one()))


def every(distance: timedelta, name: str = "s1", **changes: Any) -> ScheduleSpec:
    """Return a schedule of equal distances, counted from noon."""
    return ScheduleSpec(name=name, task="demo.task", trigger=IntervalTrigger(distance, NOON), **changes)


def add(database: Database, spec: ScheduleSpec, now: datetime = NOON) -> StoredSchedule:
    """Add a schedule and return it as the database has it."""
    database.write(lambda tx: add_schedule(tx, spec, "test", now, "tester", "2026a"))
    return schedule(database, spec.name)


def schedule(database: Database, name: str = "s1") -> StoredSchedule:
    """Return the schedule of this name, which must exist."""
    found = database.read(lambda tx: find_schedule(tx, name))
    assert found is not None
    return found


def plan_due(database: Database, now: datetime, most: int = 1_000, only: str | None = None) -> list[Firing]:
    """Plan what is due as a scheduler does, before any transaction."""
    from mainspring.domain.spec import spec_from_text

    planned = []
    for due in database.read(lambda tx: due_schedules(tx, now, 500)):
        if only is None or due.name == only:
            spec = spec_from_text(due.spec_text)
            planned.append(firing(spec, due.position, now, most))
    return planned


def firing(spec: ScheduleSpec, position: Position, now: datetime, most: int = 1_000) -> Firing:
    """Return the plan of one schedule with one run for each occurrence that fires."""
    plan = plan_firing(spec, position, now, most)
    made = tuple(
        new_run(
            kind=RunKind.SCHEDULED, schedule_id=ScheduleId(position.schedule_id), fire_at=o.fire_at, due_at=o.fire_at
        )
        for o in plan.fired
    )
    return Firing(plan, made)


def fire_all(database: Database, firings: Sequence[Firing], now: datetime) -> Fired:
    """Write *firings* in one transaction."""
    return database.write(lambda tx: fire(tx, firings, now, "2026a"))


def ledger(database: Database) -> list[tuple[datetime, datetime, int, str, str | None]]:
    """Return the ledger of all schedules: (fire_at, until_at, n, outcome, cause) in order."""
    table = metadata.tables["occurrences"]
    columns = [table.c[name] for name in ("fire_at", "until_at", "n", "outcome", "cause")]
    query = sqlalchemy.select(*columns).order_by(table.c.schedule_id, table.c.fire_at)
    return database.read(lambda tx: [tuple(row) for row in tx.core(query)])


def together(*works: Callable[[], T]) -> list[T]:
    """Run *works* in threads that set off at the same moment; return their results, raise the first error."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []

    def run(place: int, work: Callable[[], T]) -> None:
        try:
            barrier.wait(10)
            results[place] = work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i, work)) for i, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:
        raise errors[0]
    return results
