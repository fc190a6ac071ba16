"""What a worker can do about a run in its own process: tell it, and say so when that is not enough."""

from __future__ import annotations

import asyncio
import threading
import traceback
from datetime import timedelta
from typing import Any

import pytest

from mainspring.domain.control import SoftTimeLimit
from mainspring.domain.runs import Ended
from mainspring.domain.states import FailureKind, RunState
from mainspring.domain.tasks import Context, task
from mainspring.encoding import INLINE_LIMIT
from mainspring.errors import StoreFull, StoreUnavailable
from tests.runtime.arrange import Fleet, happens, until
from tests.services.arrange import Faulty

LIMIT = timedelta(seconds=30)


def test_a_coroutine_is_cancelled_at_its_soft_limit_and_has_timed_out(small_fleet: Fleet) -> None:
    reached = threading.Event()

    @task(name="slow", soft_time_limit=LIMIT, max_retries=0)
    async def slow() -> None:
        reached.set()
        await asyncio.Event().wait()

    small_fleet.worker(slow)
    run_id = small_fleet.enqueue(slow)
    happens(reached)
    small_fleet.passes(29)
    assert small_fleet.run(run_id).state is RunState.RUNNING
    small_fleet.passes(2)
    run = small_fleet.ends(run_id)
    assert (run.state, run.failure_kind, run.tries) == (RunState.FAILED, FailureKind.TIMED_OUT, 1)
    assert small_fleet.attempt(run_id).error_type == "SoftTimeLimit"


def test_a_thread_hears_of_its_soft_limit_when_it_reports_and_by_callback(small_fleet: Fleet) -> None:
    reached, heard = threading.Event(), list[object]()

    @task(name="slow", soft_time_limit=LIMIT, max_retries=0)
    def slow(ctx: Context) -> None:
        ctx.on_stop(heard.append)
        reached.set()
        try:
            while True:
                ctx.progress(1)
        except SoftTimeLimit as limit:
            heard.append(ctx.cancelled)
            raise limit

    small_fleet.worker(slow)
    run_id = small_fleet.enqueue(slow)
    happens(reached)
    small_fleet.passes(31)
    assert small_fleet.ends(run_id).failure_kind is FailureKind.TIMED_OUT
    assert heard == ["soft_time_limit", True]


def test_a_run_that_was_cancelled_after_its_soft_limit_is_cancelled(small_fleet: Fleet) -> None:
    reached, told = threading.Event(), threading.Event()
    gate = small_fleet.gate()

    @task(name="slow", soft_time_limit=LIMIT)
    def slow(ctx: Context) -> None:
        ctx.on_stop(lambda cause: told.set())
        reached.set()
        gate.wait()
        ctx.progress(1)

    small_fleet.worker(slow)
    run_id = small_fleet.enqueue(slow)
    happens(reached)
    small_fleet.passes(31)
    happens(told)
    small_fleet.steering.cancel(run_id, "ann")
    small_fleet.passes(3)
    gate.set()
    assert small_fleet.ends(run_id).state is RunState.CANCELLED


def test_a_callback_that_fails_says_so_in_the_log_and_stops_nobody(
    small_fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    reached = threading.Event()

    @task(name="clumsy")
    def clumsy(ctx: Context) -> None:
        ctx.on_stop(lambda cause: {}[cause])
        reached.set()
        until(lambda: "on_stop_failed" in caplog.text)
        while True:
            ctx.progress(1)

    small_fleet.worker(clumsy)
    run_id = small_fleet.enqueue(clumsy)
    happens(reached)
    small_fleet.steering.cancel(run_id, "ann")
    assert small_fleet.ends(run_id).state is RunState.CANCELLED
    assert "KeyError: 'cancelled'" in small_fleet.log(run_id)


@pytest.mark.parametrize(
    ("is_async", "said"),
    [
        (False, "a thread can only be asked, by ctx.cancelled and ctx.progress(); only @task(isolated=True)"),
        (True, "it was cancelled and caught that; only @task(isolated=True)"),
    ],
)
def test_a_run_that_goes_on_although_it_was_asked_says_in_its_log_why(
    small_fleet: Fleet, is_async: bool, said: str
) -> None:
    gate, reached = small_fleet.gate(), threading.Event()

    def deaf() -> str:
        reached.set()
        gate.wait()
        return "done"

    async def adeaf() -> str:
        reached.set()
        while not gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return "done"

    function: Any = task(name="deaf")(adeaf if is_async else deaf)
    small_fleet.worker(function)
    run_id = small_fleet.enqueue(function)
    happens(reached)
    assert small_fleet.steering.cancel(run_id, "ann").asked
    small_fleet.passes(12)
    until(lambda: said in small_fleet.log(run_id))
    assert small_fleet.run(run_id).state is RunState.RUNNING
    gate.set()
    assert small_fleet.ends(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize("is_async", [False, True])
def test_a_run_whose_long_parameters_cannot_be_read_goes_back_uncharged(fleet: Fleet, is_async: bool) -> None:
    def echo(text: str) -> int:
        return len(text)

    async def aecho(text: str) -> int:
        return len(text)

    function: Any = task(name="echo")(aecho if is_async else echo)
    unreadable = Faulty(fleet.database)
    run_id = fleet.enqueue(function, parameters={"text": "é" * INLINE_LIMIT})
    unreadable.before_read = _refuse_parameters
    fleet.worker(function, database=unreadable)
    until(lambda: fleet.view(run_id).attempts)
    run = fleet.run(run_id)
    assert (run.state, run.tries, run.losses) == (RunState.SCHEDULED, 0, 0)
    assert run.state_reason == "its parameters could not be read: gone away"
    assert fleet.attempt(run_id).outcome == Ended.RETURNED


def _refuse_parameters() -> None:
    readers = {frame.name for frame in traceback.extract_stack()}
    if readers & {"with_parameters", "long_parameters"}:
        raise StoreUnavailable("gone away")


def test_on_a_full_disk_nothing_is_claimed_and_ends_are_recorded_when_there_is_room(
    small_fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    gate, reached, full = small_fleet.gate(), threading.Event(), threading.Event()

    @task(name="hold")
    def hold(i: int) -> int:
        reached.set()
        gate.wait()
        return i

    disk = Faulty(small_fleet.database)

    def before_write() -> None:
        if full.is_set() and threading.current_thread().name == "mainspring-pump":
            raise StoreFull("no room")

    disk.before_write = before_write
    worker = small_fleet.worker(hold, database=disk, slots=1)
    first = small_fleet.enqueue(hold, parameters={"i": 1})
    happens(reached)
    full.set()
    second = small_fleet.enqueue(hold, parameters={"i": 2})
    gate.set()
    until(lambda: worker._full)
    for _ in range(5):
        small_fleet.passes(6)
    assert small_fleet.run(first).state is RunState.RUNNING
    assert small_fleet.run(second).state is RunState.READY
    full.clear()
    for run_id in (first, second):
        until(lambda: small_fleet.passes(1) or not worker._full)
        assert small_fleet.ends(run_id).state is RunState.SUCCEEDED
    said = [r.message.split()[0] for r in caplog.records if r.name == "mainspring.worker"]
    assert [word for word in said if word.startswith("database_")] == ["database_full", "database_has_room;"]


def test_a_worker_without_code_for_children_gives_isolated_runs_back(small_fleet: Fleet) -> None:
    @task(name="alone", isolated=True)
    def alone() -> None: ...

    small_fleet.worker(alone)
    run_id = small_fleet.enqueue(alone)
    until(lambda: small_fleet.view(run_id).attempts)
    run = small_fleet.run(run_id)
    assert (run.state, run.tries) == (RunState.SCHEDULED, 0)
    assert run.state_reason == "task 'alone' runs isolated, and worker w1 has no code for child processes"
