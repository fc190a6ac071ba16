"""A worker stops in two stages: what runs may finish, then it is interrupted and given back, no try charged."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from mainspring.domain.states import FailureKind, RunState
from mainspring.domain.tasks import Context, task
from tests.runtime.arrange import Fleet, going_on, happens, until
from tests.services.arrange import Faulty


def _held(fleet: Fleet, is_async: bool = False, **options: Any) -> Any:
    """Return a task that waits for a gate, the gate, and an event that says that it began."""
    gate, began = fleet.gate(), threading.Event()

    def hold() -> str:
        began.set()
        gate.wait()
        return "finished"

    async def ahold() -> str:
        began.set()
        while not gate.is_set():
            await asyncio.sleep(0.001)
        return "finished"

    return task(name="hold", **options)(ahold if is_async else hold), gate, began


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stop_waits_for_what_runs_and_claims_nothing_more(fleet: Fleet, is_async: bool) -> None:
    hold, gate, began = _held(fleet, is_async)
    worker = fleet.worker(hold)
    first = fleet.enqueue(hold)
    happens(began)
    fleet.workers.remove(worker)
    with going_on(worker.stop):
        until(lambda: not worker._accepting)
        second = fleet.enqueue(hold)
        fleet.passes(20)
        assert fleet.run(first).state is RunState.RUNNING
        assert [s.state for s in fleet.reading.sessions()] == ["live"]
        gate.set()
    assert fleet.run(first).state is RunState.SUCCEEDED
    assert (fleet.run(second).state, fleet.run(second).attempt) == (RunState.READY, 0)
    assert fleet.reading.sessions() == []


@pytest.mark.parametrize("is_async", [False, True])
def test_what_does_not_end_in_time_is_given_back_and_no_try_is_charged(fleet: Fleet, is_async: bool) -> None:
    hold, gate, began = _held(fleet, is_async)
    worker = fleet.worker(hold, drain=timedelta(seconds=25))
    run_id = fleet.enqueue(hold)
    happens(began)
    fleet.stop(worker)
    run = fleet.run(run_id)
    assert (run.state, run.attempt, run.tries, run.losses) == (RunState.READY, 1, 0, 0)
    assert run.state_reason == "interrupted: the worker stopped"
    assert (fleet.attempt(run_id).outcome, fleet.attempt(run_id).charged) == ("interrupted", False)
    assert fleet.clock.monotonic() >= 1_000 + 25
    gate.set()
    fleet.worker(hold)
    assert fleet.ends(run_id).attempt == 2


def test_a_run_that_must_not_be_repeated_is_lost_when_it_is_interrupted(fleet: Fleet) -> None:
    hold, _, began = _held(fleet, at_most_once=True)
    worker = fleet.worker(hold, drain=timedelta(0))
    run_id = fleet.enqueue(hold)
    happens(began)
    fleet.stop(worker)
    run = fleet.run(run_id)
    assert (run.state, run.failure_kind) == (RunState.FAILED, FailureKind.LOST)
    assert run.failure_message == (
        "interrupted: the worker stopped; it may or may not have happened and is not repeated (at_most_once)"
    )


def test_drain_forever_waits_however_long_it_takes(small_fleet: Fleet) -> None:
    hold, gate, began = _held(small_fleet)
    worker = small_fleet.worker(hold, drain=None)
    run_id = small_fleet.enqueue(hold)
    happens(began)
    small_fleet.workers.remove(worker)
    with going_on(worker.stop) as stopping:
        until(lambda: not worker._accepting)
        small_fleet.passes(300)
        assert stopping.is_alive()
        gate.set()
    assert small_fleet.run(run_id).state is RunState.SUCCEEDED


def test_a_second_signal_ends_the_wait(small_fleet: Fleet) -> None:
    hold, _, began = _held(small_fleet, is_async=True)
    worker = small_fleet.worker(hold, drain=None)
    run_id = small_fleet.enqueue(hold)
    happens(began)
    small_fleet.workers.remove(worker)
    with going_on(worker.stop):
        until(lambda: not worker._accepting)
        worker.interrupt()
    assert small_fleet.run(run_id).state is RunState.READY


def test_a_def_task_hears_of_the_interruption(small_fleet: Fleet) -> None:
    began = threading.Event()

    @task(name="polite")
    def polite(ctx: Context) -> None:
        began.set()
        while True:
            ctx.progress(1)

    worker = small_fleet.worker(polite, drain=timedelta(0))
    run_id = small_fleet.enqueue(polite)
    happens(began)
    small_fleet.stop(worker)
    assert (small_fleet.run(run_id).state, small_fleet.run(run_id).tries) == (RunState.READY, 0)


def test_a_coroutine_that_ends_well_after_the_interruption_has_succeeded(small_fleet: Fleet) -> None:
    began = threading.Event()

    @task(name="finisher")
    async def finisher() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return "saved what there was"

    worker = small_fleet.worker(finisher, drain=timedelta(0))
    run_id = small_fleet.enqueue(finisher)
    happens(began)
    small_fleet.stop(worker)
    assert small_fleet.view(run_id).result == "saved what there was"


def test_what_a_given_back_thread_still_returns_is_dropped(fleet: Fleet) -> None:
    hold, gate, began = _held(fleet)
    worker = fleet.worker(hold, drain=timedelta(0))
    run_id = fleet.enqueue(hold)
    happens(began)
    fleet.stop(worker)
    gate.set()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("mainspring-slot")])
    run = fleet.run(run_id)
    assert (run.state, run.attempt, len(fleet.view(run_id).attempts)) == (RunState.READY, 1, 1)


def test_a_claim_under_way_when_the_stop_comes_is_given_back_at_once(fleet: Fleet) -> None:
    started: list[str] = []

    @task(name="hold", at_most_once=True)
    def hold() -> None:
        started.append("yes")
        gate.wait()

    gate, go_on, claimed = fleet.gate(), fleet.gate(), threading.Event()
    slow = Faulty(fleet.database)

    def after_write() -> None:
        if slow.writes[-1].startswith("cycle"):
            claimed.set()
            go_on.wait()

    slow.after_write = after_write
    worker = fleet.worker(hold, database=slow, drain=None)
    run_id = fleet.enqueue(hold)
    happens(claimed)
    fleet.workers.remove(worker)
    with going_on(worker.stop):
        until(lambda: worker._stopping)
        go_on.set()
    run = fleet.run(run_id)
    assert (run.state, run.tries, started) == (RunState.READY, 0, [])
    assert run.state_reason == "not begun: the worker stopped"


def test_a_worker_that_gives_runs_back_tells_the_others_at_once(fleet: Fleet) -> None:
    hold, gate, began = _held(fleet)
    told = Faulty(fleet.database)
    first = fleet.worker(hold, drain=timedelta(0), database=told)
    run_id = fleet.enqueue(hold)
    happens(began)
    fleet.stop(first)
    assert told.hints == ["ready"]
    gate.set()
    fleet.worker(hold)
    assert fleet.ends(run_id).attempt == 2


def test_stopping_twice_the_slots_of_finished_work_records_all_of_it(fleet: Fleet) -> None:
    @task(name="quick")
    def quick(i: int) -> int:
        return i

    ids = fleet.enqueue_many(quick, [{"i": i} for i in range(40)])
    worker = fleet.worker(quick, slots=5)
    until(lambda: any(fleet.run(i).state is RunState.SUCCEEDED for i in ids))
    fleet.stop(worker)
    states = {fleet.run(run_id).state for run_id in ids}
    assert RunState.RUNNING not in states
    for run_id in ids:
        run = fleet.run(run_id)
        assert len(fleet.view(run_id).attempts) == run.attempt
        assert run.state in (RunState.SUCCEEDED, RunState.READY)
