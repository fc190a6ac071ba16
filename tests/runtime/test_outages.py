"""A worker survives a lost lease, a lost reply and a database that is away, and no late attempt changes a row."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from mainspring.clock import ManualClock
from mainspring.domain.states import RunState
from mainspring.domain.tasks import task
from mainspring.errors import StoreUnavailable
from mainspring.runtime.loops import Loop, backoff
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.schema import metadata
from tests.runtime.arrange import Fleet, PatientClock, happens, until
from tests.services.arrange import Faulty
from tests.store.arrange import NOON, SECOND
from tests.store.conftest import Open

SESSIONS = metadata.tables["worker_sessions"]


def _sessions(fleet: Fleet) -> list[tuple[str, str]]:
    query = sqlalchemy.select(SESSIONS.c.kind, SESSIONS.c.state).order_by(SESSIONS.c.id)
    return fleet.database.read(lambda tx: [tuple(row) for row in tx.core(query)])


def _bury(fleet: Fleet) -> None:
    """End all sessions, as a rescuer does with those whose lease has run out."""
    dead = sqlalchemy.update(SESSIONS).values(state="dead", ended_at=fleet.clock.now())
    fleet.database.write(lambda tx: tx.core(dead))


def test_a_heartbeat_keeps_the_lease_for_as_long_as_the_worker_lives(fleet: Fleet) -> None:
    fleet.worker(name="w")
    fleet.maintenance()
    fleet.passes(60)
    assert _sessions(fleet) == [("worker", "live")]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_worker_whose_lease_was_lost_drops_its_work_and_begins_anew(fleet: Fleet, is_async: bool) -> None:
    gate, began, calls = fleet.gate(), threading.Semaphore(0), []

    def hold() -> int:
        calls.append(1)
        mine = len(calls)
        began.release()
        if mine == 1:
            gate.wait()
        return mine

    async def ahold() -> int:
        calls.append(1)
        mine = len(calls)
        began.release()
        while mine == 1 and not gate.is_set():
            await asyncio.sleep(0.001)
        return mine

    held = task(name="hold")(ahold if is_async else hold)
    # One slot: the call that goes on although its run was taken away must not hold up what comes after it.
    fleet.worker(held, slots=1)
    run_id = fleet.enqueue(held)
    assert began.acquire(timeout=20)
    _bury(fleet)
    fleet.maintenance()
    fleet.passes(3)
    until(lambda: _sessions(fleet) == [("worker", "dead"), ("worker", "live")])
    fleet.passes(2)
    run = fleet.ends(run_id)
    assert (run.state, run.attempt, run.losses, run.tries) == (RunState.SUCCEEDED, 2, 1, 1)
    gate.set()
    fleet.passes(2)
    assert fleet.view(run_id).result == 2
    assert [(a.attempt, a.outcome) for a in fleet.view(run_id).attempts] == [(1, "lost"), (2, "succeeded")]


def test_a_result_that_comes_after_the_lease_was_lost_is_fenced(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    gate, began = fleet.gate(), threading.Event()

    @task(name="hold")
    def hold() -> str:
        began.set()
        gate.wait()
        return "late"

    fleet.worker(hold)
    run_id = fleet.enqueue(hold)
    happens(began)
    _bury(fleet)
    fleet.maintenance()
    # Rescued before the worker's next heartbeat: it does not know yet, and reports.
    until(lambda: fleet.run(run_id).state is RunState.READY)
    gate.set()
    until(lambda: any("fenced" in record.getMessage() for record in caplog.records))
    run = fleet.run(run_id)
    assert (run.state, run.attempt, run.losses, fleet.view(run_id).has_result) == (RunState.READY, 1, 1, False)


def test_a_session_that_could_not_be_renewed_in_time_is_not_trusted_any_more(small_fleet: Fleet) -> None:
    faulty = Faulty(small_fleet.database)

    @task(name="quick")
    def quick() -> None: ...

    worker = small_fleet.worker(quick, database=faulty)
    faulty.down = True
    small_fleet.passes(11)
    assert not worker._session.trusted
    old = worker._session.id
    run_id = small_fleet.enqueue(quick)
    faulty.down = False
    small_fleet.passes(6)
    until(lambda: worker._session.id != old)
    assert small_fleet.ends(run_id).attempt == 1


def test_an_outage_shorter_than_the_lease_costs_nothing(fleet: Fleet) -> None:
    gate, began = fleet.gate(), threading.Event()

    @task(name="hold")
    def hold() -> str:
        began.set()
        gate.wait()
        return "done"

    faulty = Faulty(fleet.database)
    worker = fleet.worker(hold, database=faulty)
    session = worker._session.id
    run_id = fleet.enqueue(hold)
    happens(began)
    faulty.down = True
    gate.set()
    fleet.passes(6)
    assert fleet.run(run_id).state is RunState.RUNNING
    faulty.down = False
    # Longer than the longest pause between two tries to record a result.
    fleet.passes(6)
    run = fleet.ends(run_id)
    assert (run.state, run.attempt, worker._session.id == session) == (RunState.SUCCEEDED, 1, True)


def test_results_are_recorded_after_the_outage_that_met_them(fleet: Fleet) -> None:
    gates = [fleet.gate() for _ in range(3)]
    began = threading.Semaphore(0)

    @task(name="hold")
    def hold(i: int) -> int:
        began.release()
        gates[i].wait()
        return i

    faulty = Faulty(fleet.database)
    fleet.worker(hold, database=faulty)
    ids = fleet.enqueue_many(hold, [{"i": i} for i in range(3)])
    for _ in ids:
        assert began.acquire(timeout=20)
    faulty.down = True
    for gate in gates:
        gate.set()
        fleet.passes(1)
    faulty.down = False
    fleet.passes(5)
    assert [fleet.ends(run_id).state for run_id in ids] == [RunState.SUCCEEDED] * 3
    assert [fleet.view(run_id).result for run_id in ids] == [0, 1, 2]


@pytest.mark.parametrize("end", ["immediate", "kill -9"])
def test_a_postgres_server_that_stops_and_starts_again_ends_nothing(
    postgres_cluster: Any, clock: PatientClock, tmp_path: Any, end: str
) -> None:
    from mainspring.store.migrate import upgrade

    # Asks once and gives up at once: the loops' own patience is what is tried here.
    database = PostgresDatabase(postgres_cluster.url(), lease_clock=clock.now, retry_for=0)
    upgrade(database)
    fleet = Fleet(database, clock, tmp_path)
    gate, began = fleet.gate(), threading.Event()

    @task(name="hold")
    def hold() -> str:
        began.set()
        gate.wait()
        return "done"

    try:
        worker = fleet.worker(hold)
        scheduler = fleet.scheduler()
        run_id = fleet.enqueue(hold)
        happens(began)
        postgres_cluster.kill9() if end == "kill -9" else postgres_cluster.stop("immediate")
        gate.set()
        fleet.passes(5)
        assert worker._pump.is_alive()
        postgres_cluster.start()
        fleet.passes(12)
        assert fleet.ends(run_id).state is RunState.SUCCEEDED
        assert scheduler._fire._thread is not None
        assert scheduler._fire._thread.is_alive()
        again = fleet.enqueue(hold)
        fleet.passes(3)
        assert fleet.ends(again).state is RunState.SUCCEEDED
    finally:
        fleet.close()
        database.close()


def test_a_claim_whose_reply_was_lost_is_adopted(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    @task(name="once")
    def once() -> None:
        calls.append(1)

    faulty = Faulty(fleet.database)
    lost: list[str] = []

    def lose_the_reply() -> None:
        if faulty.writes[-1].startswith("cycle") and not lost:
            lost.append("reply")
            raise StoreUnavailable("the connection broke after the commit")

    faulty.after_write = lose_the_reply
    fleet.worker(once, database=faulty)
    run_id = fleet.enqueue(once)
    until(lambda: lost)
    assert fleet.run(run_id).state is RunState.RUNNING
    fleet.passes(8)
    run = fleet.ends(run_id)
    assert (run.state, run.attempt, run.losses, calls) == (RunState.SUCCEEDED, 1, 0, [1])
    assert any("claim_adopted" in record.getMessage() for record in caplog.records)


def test_a_finish_whose_reply_was_lost_is_not_recorded_twice(fleet: Fleet) -> None:
    gate, began = fleet.gate(), threading.Event()

    @task(name="once")
    def once() -> str:
        began.set()
        gate.wait()
        return "done"

    faulty = Faulty(fleet.database)
    worker = fleet.worker(once, database=faulty)
    run_id = fleet.enqueue(once)
    happens(began)
    lost: list[str] = []

    def lose_the_reply() -> None:
        if faulty.writes[-1].startswith("cycle") and not lost:
            lost.append("reply")
            raise StoreUnavailable("the connection broke after the commit")

    faulty.after_write = lose_the_reply
    gate.set()
    until(lambda: lost)
    fleet.passes(2)
    until(lambda: worker.busy == 0)
    assert (fleet.run(run_id).state, fleet.run(run_id).tries) == (RunState.SUCCEEDED, 1)
    assert len(fleet.view(run_id).attempts) == 1


def test_heartbeats_in_quick_succession_do_not_start_a_run_twice(fleet: Fleet) -> None:
    calls: list[int] = []

    @task(name="once")
    def once() -> None:
        calls.append(1)

    faulty = Faulty(fleet.database)
    committed, go_on = threading.Event(), fleet.gate()

    def dawdle() -> None:
        if faulty.writes[-1].startswith("cycle") and not committed.is_set():
            committed.set()
            go_on.wait()

    faulty.after_write = dawdle
    worker = fleet.worker(once, database=faulty)
    run_id = fleet.enqueue(once)
    happens(committed)
    # The claim is committed and its reply under way; two heartbeats see a run that the worker does not know yet.
    for _ in range(3):
        beats = len([w for w in faulty.writes if "_renew" in w])
        worker._session.look()
        until(lambda n=beats: len([w for w in faulty.writes if "_renew" in w]) > n)  # type: ignore[misc]
    go_on.set()
    fleet.ends(run_id)
    fleet.passes(6)
    assert (calls, fleet.run(run_id).attempt) == ([1], 1)


def test_a_hint_that_arrives_during_a_claim_is_not_lost(fleet: Fleet) -> None:
    @task(name="quick")
    def quick(i: int) -> None: ...

    faulty = Faulty(fleet.database)
    worker = fleet.worker(quick, database=faulty)
    first = fleet.enqueue(quick, parameters={"i": 1})
    fleet.ends(first)
    more: list[Any] = []

    def enqueue_more() -> None:
        if faulty.writes[-1].startswith("cycle") and not more:
            more.append(fleet.enqueue(quick, parameters={"i": 3}))
            # What the doorbell does when the hint arrives now, after the claim has looked and before it returns.
            worker._on_hint(frozenset({"ready"}))

    until(lambda: worker.busy == 0)
    faulty.after_write = enqueue_more
    second = fleet.enqueue(quick, parameters={"i": 2})
    # The clock stands still: there is no poll that could find the third run.
    fleet.ends(second)
    assert fleet.ends(more[0]).state is RunState.SUCCEEDED
    assert fleet.clock.now() == NOON


def test_a_run_starts_by_its_hint_and_needs_no_poll(fleet: Fleet) -> None:
    @task(name="quick")
    def quick() -> None: ...

    fleet.worker(quick)
    for _ in range(3):
        assert fleet.ends(fleet.enqueue(quick)).state is RunState.SUCCEEDED
    assert fleet.clock.now() == NOON


def test_a_run_is_found_by_the_poll_when_its_hint_is_lost(fleet: Fleet, open_database: Open) -> None:
    @task(name="quick")
    def quick() -> None: ...

    class Silent(Faulty):
        def send(self, topic: str) -> None:
            """Send nothing."""

    from mainspring.services.enqueue import Enqueuer, Request

    fleet.worker(quick)
    fleet.ends(fleet.enqueue(quick))
    fleet.passes(0.1)
    run_id = Enqueuer(Silent(fleet.database), fleet.clock).enqueue(Request(quick))
    fleet.passes(2)
    assert fleet.ends(run_id).state is RunState.SUCCEEDED


def test_a_stop_during_an_outage_ends_and_leaves_the_session_to_its_lease(small_fleet: Fleet) -> None:
    faulty = Faulty(small_fleet.database)
    worker = small_fleet.worker(database=faulty)
    faulty.down = True
    small_fleet.stop(worker)
    assert _sessions(small_fleet) == [("worker", "live")]
    small_fleet.maintenance()
    small_fleet.passes(14)
    until(lambda: _sessions(small_fleet) == [("worker", "dead")])


def test_a_lost_session_that_cannot_begin_anew_leaves_no_socket_behind(small_fleet: Fleet) -> None:
    faulty = Faulty(small_fleet.database)
    worker = small_fleet.worker(database=faulty)
    faulty.down = True
    small_fleet.passes(20)
    faulty.down = False
    old = worker._session.id
    small_fleet.passes(3)
    until(lambda: worker._session.id != old)
    folder = Path(small_fleet.database.wake_address(old)).parent
    assert len(list(folder.iterdir())) == 1


def test_an_idle_worker_and_scheduler_write_nothing_but_heartbeats(fleet: Fleet) -> None:
    @task(name="quick")
    def quick() -> None: ...

    faulty = Faulty(fleet.database)
    fleet.worker(quick, database=faulty)
    fleet.scheduler(database=faulty)
    fleet.passes(2)
    del faulty.writes[:]
    fleet.passes(30)
    others = [name for name in faulty.writes if not name.startswith("Session._renew")]
    assert others == []
    # Two sessions, renewed every 3 s.
    assert 16 <= len(faulty.writes) <= 22


# --- loops


def test_a_duty_that_fails_for_days_is_still_called(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    def duty() -> float:
        nonlocal calls
        calls += 1
        if calls == 3_000:
            loop._stopping.set()
        raise StoreUnavailable("away")

    loop = Loop("duty", duty, ManualClock())
    loop._serve()
    assert calls == 3_000
    said = [record for record in caplog.records if "duty_failed" in record.getMessage()]
    assert len(said) == 4 + 3_000 // 16


@pytest.mark.parametrize("failures", [1, 5, 10, 1_023, 1_024, 100_000])
def test_the_pause_after_failures_never_exceeds_its_limit(failures: int) -> None:
    pause = backoff(failures, 0.1, 5.0)
    whole = min(0.1 * 2 ** min(failures, 10), 5.0)
    assert whole / 2 <= pause <= whole


def test_a_duty_that_recovers_says_so_and_its_signals_are_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = PatientClock(NOON)
    called = threading.Semaphore(0)
    failing = [True]

    def duty() -> float:
        called.release()
        if failing[0]:
            raise RuntimeError("a mistake")
        return 1_000.0

    loop = Loop("duty", duty, clock)
    loop.start()
    assert called.acquire(timeout=20)
    failing[0] = False
    until(lambda: clock.waiting == 1)
    clock.advance(1 * SECOND)
    assert called.acquire(timeout=20)
    until(lambda: any("duty_recovered" in r.getMessage() for r in caplog.records))
    loop.wake()
    assert called.acquire(timeout=20)
    loop.stop()
    # A mistake comes with its traceback.
    assert [bool(r.exc_info) for r in caplog.records if "duty_failed" in r.getMessage()] == [True]
