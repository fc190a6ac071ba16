"""What a worker does with its lease when nobody is there to remind it."""

from __future__ import annotations

import threading
from datetime import timedelta

from mainspring.domain.states import RunState
from mainspring.domain.tasks import task
from mainspring.runtime.session import LEASE, TRUST_MARGIN, Session
from mainspring.runtime.worker.worker import Worker, WorkerOptions
from mainspring.services.catalog import Catalog
from mainspring.store.database import Database
from tests.runtime.arrange import Fleet, PatientClock, going_on, happens, until
from tests.services.arrange import Faulty

TRUST = LEASE - timedelta(seconds=TRUST_MARGIN)


def test_a_session_is_not_trusted_from_the_moment_on_though_no_thread_came_to_say_so(
    sqlite: Database, clock: PatientClock
) -> None:
    session = Session(sqlite, clock, "scheduler", "s1")
    session._begin()  # neither heartbeat nor watchdog is started
    try:
        clock.advance(TRUST - timedelta(microseconds=1))
        assert session.trusted
        clock.advance(timedelta(microseconds=1))
        assert not session.trusted
    finally:
        session.close()


def test_what_was_claimed_while_the_lease_was_lost_is_not_started(small_fleet: Fleet, clock: PatientClock) -> None:
    @task(name="late")
    def late() -> None:
        raise AssertionError("it must not be started")

    faulty = Faulty(small_fleet.database)
    worker = Worker(faulty, clock, Catalog([late]), WorkerOptions("w1", artifacts=small_fleet.folder))
    worker._session._begin()
    try:
        run_id = small_fleet.enqueue(late)
        faulty.after_write = lambda: clock.advance(TRUST)
        worker._cycle()
        faulty.after_write = lambda: None

        assert small_fleet.run(run_id).state is RunState.RUNNING, "the claim was committed"
        assert worker.busy == 0
    finally:
        worker._session.close()


def test_what_a_stopping_worker_still_runs_is_not_taken_from_it_however_long_it_takes(small_fleet: Fleet) -> None:
    gate, began = small_fleet.gate(), threading.Event()

    @task(name="hold")
    def hold() -> None:
        began.set()
        gate.wait()

    small_fleet.maintenance()
    worker = small_fleet.worker(hold, drain=None)
    run_id = small_fleet.enqueue(hold)
    happens(began)
    small_fleet.workers.remove(worker)
    with going_on(worker.stop):
        until(lambda: not worker._accepting, "the worker stops")
        small_fleet.passes(3 * LEASE.total_seconds())
        held = small_fleet.run(run_id)
        gate.set()

    assert (held.state, held.attempt, held.losses) == (RunState.RUNNING, 1, 0)
    assert small_fleet.run(run_id).state is RunState.SUCCEEDED
