"""A worker runs tasks of both kinds, in order, within its slots, and records how each attempt ended."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy

from mainspring.domain.control import Fail, RetryLater, RunCancelled, Snooze
from mainspring.domain.retry import Backoff
from mainspring.domain.states import FailureKind, RunState
from mainspring.domain.tasks import Context, task
from mainspring.encoding import INLINE_LIMIT
from mainspring.services.standstill import MaintenanceMode
from mainspring.store.schema import metadata
from tests.runtime.arrange import Fleet, happens, until
from tests.store.arrange import MINUTE, NOON, SECOND

EXACT = Backoff(timedelta(seconds=2), jitter="none")


@task(name="double")
def double(x: int) -> dict[str, int]:
    return {"doubled": 2 * x}


@task(name="adouble")
async def adouble(x: int) -> dict[str, int]:
    await asyncio.sleep(0)
    return {"doubled": 2 * x}


@pytest.mark.parametrize("function", [double, adouble])
def test_a_task_of_either_kind_runs_and_its_result_is_kept(fleet: Fleet, function: Any) -> None:
    fleet.worker(function)
    run_id = fleet.enqueue(function, parameters={"x": 21})
    run = fleet.ends(run_id)
    assert (run.state, run.attempt, run.tries, run.started_at, run.finished_at) == (
        RunState.SUCCEEDED,
        1,
        1,
        NOON,
        NOON,
    )
    assert fleet.view(run_id).result == {"doubled": 42}
    attempt = fleet.attempt(run_id)
    assert (attempt.outcome, attempt.charged, attempt.error_type) == ("succeeded", True, None)


def test_arguments_arrive_in_the_types_that_the_function_names(small_fleet: Fleet) -> None:
    got: list[Any] = []

    @task(name="typed")
    def typed(day: date, wait: timedelta, tags: set[str], n: int = 3) -> None:
        got.append((day, wait, tags, n))

    small_fleet.worker(typed)
    given = {"day": "2026-03-02", "wait": 90, "tags": ["a", "a"]}
    small_fleet.ends(small_fleet.enqueue(typed, parameters=given))
    assert got == [(date(2026, 3, 2), timedelta(seconds=90), {"a"}, 3)]


def test_long_parameters_and_results_arrive_whole(fleet: Fleet) -> None:
    @task(name="echo")
    def echo(text: str) -> str:
        return text + "!"

    fleet.worker(echo)
    long = "é" * INLINE_LIMIT
    run_id = fleet.enqueue(echo, parameters={"text": long})
    assert fleet.ends(run_id).state is RunState.SUCCEEDED
    assert fleet.view(run_id).result == long + "!"


def test_no_more_runs_than_slots_at_once(fleet: Fleet) -> None:
    gate, lock = fleet.gate(), threading.Lock()
    at_once, most = 0, 0

    @task(name="hold")
    def hold(i: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        gate.wait()
        with lock:
            at_once -= 1

    worker = fleet.worker(hold, slots=3)
    ids = fleet.enqueue_many(hold, [{"i": i} for i in range(8)])
    until(lambda: worker.busy == at_once == 3)
    fleet.passes(2)
    assert Counter(fleet.run(i).state for i in ids) == {RunState.RUNNING: 3, RunState.READY: 5}
    gate.set()
    for run_id in ids:
        assert fleet.ends(run_id).state is RunState.SUCCEEDED
    assert most == 3


def test_a_worker_whose_slots_are_all_taken_does_not_spin(small_fleet: Fleet) -> None:
    gate = small_fleet.gate()

    @task(name="hold")
    def hold() -> None:
        gate.wait()

    worker = small_fleet.worker(hold, slots=1)
    small_fleet.enqueue(hold)
    small_fleet.enqueue(hold)
    until(lambda: worker.busy == 1)
    before = small_fleet.clock.useless_waits
    small_fleet.passes(5)
    assert small_fleet.clock.useless_waits - before < 10


def _recording(names: list[str]) -> Any:
    @task(name="note")
    def note(name: str) -> None:
        names.append(name)

    return note


def test_higher_priority_first_and_first_in_first_out_within_one(fleet: Fleet) -> None:
    order: list[str] = []
    note = _recording(order)
    for name, priority in (("n1", 5), ("low", 2), ("n2", 5), ("high", 8), ("n3", 5)):
        fleet.enqueue(note, parameters={"name": name}, priority=priority)
    fleet.worker(note, slots=1)
    until(lambda: len(order) == 5)
    assert order == ["high", "n1", "n2", "n3", "low"]


def test_queues_in_strict_order(fleet: Fleet) -> None:
    order: list[str] = []
    note = _recording(order)
    for queue in ("low", "high", "default", "low", "high", "elsewhere"):
        fleet.enqueue(note, parameters={"name": queue}, queue=queue)
    fleet.worker(note, slots=1, queues="high,default,low")
    until(lambda: len(order) == 5)
    fleet.passes(2)
    assert order == ["high", "high", "default", "low", "low"]


def test_queues_by_weight_get_their_share_of_the_claims(fleet: Fleet) -> None:
    order: list[str] = []
    note = _recording(order)
    for queue in ("scraping", "analysis"):
        fleet.enqueue_many(note, [{"name": queue}] * 12, queue=queue)
    fleet.worker(note, slots=1, queues="scraping:3,analysis:1")
    until(lambda: len(order) == 24)
    assert Counter(order[:8]) == {"scraping": 6, "analysis": 2}


def test_without_queues_named_every_queue_is_served(fleet: Fleet) -> None:
    order: list[str] = []
    note = _recording(order)
    for queue in ("a", "b", "c"):
        fleet.enqueue(note, parameters={"name": queue}, queue=queue)
    fleet.worker(note, slots=1)
    until(lambda: len(order) == 3)
    assert sorted(order) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_retries_come_after_exactly_2_4_and_8_seconds_then_the_run_fails(fleet: Fleet, kind: str) -> None:
    def fails() -> None:
        raise ValueError("not today")

    async def afails() -> None:
        raise ValueError("not today")

    failing = task(name="fails", backoff=EXACT)(fails if kind == "def" else afails)
    fleet.worker(failing)
    fleet.maintenance()
    run_id = fleet.enqueue(failing)
    now = NOON
    for attempt, delay in ((1, 2), (2, 4), (3, 8)):
        until(lambda n=attempt: len(fleet.view(run_id).attempts) == n)  # type: ignore[misc]
        run = fleet.run(run_id)
        assert (run.state, run.attempt, run.due_at) == (RunState.SCHEDULED, attempt, now + delay * SECOND)
        assert run.state_reason == f"try {attempt} of 4 failed (ValueError); the next one follows"
        fleet.passes(delay)
        now += delay * SECOND
    run = fleet.ends(run_id)
    assert (run.state, run.failure_kind, run.tries, run.finished_at) == (
        RunState.FAILED,
        FailureKind.ERROR,
        4,
        NOON + 14 * SECOND,
    )
    assert run.failure_message == "not today"
    assert [(a.outcome, a.charged, a.error_type) for a in fleet.view(run_id).attempts] == [
        *[("retried", True, "ValueError")] * 3, ("failed", True, "ValueError"),
    ]  # fmt: skip
    assert fleet.attempt(run_id, 4).reason == "tried 4 times, the most that is allowed"


def _ending(small_fleet: Fleet, error: BaseException | Callable[[], Any], **options: Any) -> Any:
    @task(name="ending", **{"backoff": EXACT} | options)
    def ending() -> Any:
        if isinstance(error, BaseException):
            raise error
        return error()

    small_fleet.worker(ending)
    run_id = small_fleet.enqueue(ending)
    until(lambda: small_fleet.run(run_id).state not in (RunState.READY, RunState.RUNNING))
    return small_fleet.run(run_id), small_fleet.attempt(run_id)


def test_fail_ends_the_run_without_another_try(small_fleet: Fleet) -> None:
    run, attempt = _ending(small_fleet, Fail("the ticker does not exist"))
    assert (run.state, run.failure_kind, run.failure_message) == (
        RunState.FAILED, FailureKind.ERROR, "the ticker does not exist",
    )  # fmt: skip
    assert attempt.reason == "the task said not to try again"


def test_retry_later_replaces_the_delay_and_charges_a_try(small_fleet: Fleet) -> None:
    run, attempt = _ending(small_fleet, RetryLater(timedelta(minutes=7), "busy"))
    assert (run.state, run.due_at, run.tries, attempt.charged) == (RunState.SCHEDULED, NOON + 7 * MINUTE, 1, True)
    assert attempt.error_message == "busy"


def test_an_error_that_carries_retry_after_is_obeyed(small_fleet: Fleet) -> None:
    error = ValueError("too many requests")
    error.retry_after = timedelta(seconds=33)  # type: ignore[attr-defined]
    assert _ending(small_fleet, error)[0].due_at == NOON + 33 * SECOND


def test_snooze_comes_back_later_and_charges_nothing(small_fleet: Fleet) -> None:
    run, attempt = _ending(small_fleet, Snooze(90, "market closed"), max_retries=0)
    assert (run.state, run.due_at, run.tries) == (RunState.SCHEDULED, NOON + 90 * SECOND, 0)
    assert (attempt.outcome, attempt.charged, attempt.reason) == ("snoozed", False, "market closed")


def test_a_snooze_beyond_all_time_does_not_lose_the_run(small_fleet: Fleet) -> None:
    run, _ = _ending(small_fleet, Snooze(timedelta.max))
    assert (run.state, run.due_at.year) == (RunState.SCHEDULED, 9999)


class Opaque:
    pass


class Hostile:
    @property
    def model_dump(self) -> Any:
        raise KeyError("no")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (Opaque, "value is of type"),
        (lambda: {1: "a"}, "value has the key 1 of type int; JSON keys are text"),
        (lambda: "a\x00b", "text with a NUL character"),
        (Hostile, "no"),
    ],
)
def test_a_result_that_json_cannot_hold_fails_at_once_and_is_not_tried_again(
    small_fleet: Fleet, result: Callable[[], Any], said: str
) -> None:
    run, _ = _ending(small_fleet, result)
    assert (run.state, run.failure_kind, run.tries) == (RunState.FAILED, FailureKind.NOT_SERIALISABLE, 1)
    assert said in run.failure_message


def test_a_traceback_begins_in_the_task(small_fleet: Fleet) -> None:
    def inner() -> None:
        raise LookupError("gone")

    run, attempt = _ending(small_fleet, inner, max_retries=0)
    assert run.failure_message == "gone"
    lines = attempt.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "in ending" in lines[1]
    assert "mainspring/runtime" not in attempt.traceback
    assert lines[-1] == "LookupError: gone"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("is_async", [False, True])
def test_whatever_a_task_raises_is_its_error_and_the_worker_goes_on(
    small_fleet: Fleet, kind: type[BaseException], is_async: bool
) -> None:
    def leaves() -> None:
        raise kind("bye")

    async def aleaves() -> None:
        raise kind("bye")

    leaving = task(name="leaving", max_retries=0)(aleaves if is_async else leaves)
    small_fleet.worker(leaving, double, slots=1)
    run_id = small_fleet.enqueue(leaving)
    run = small_fleet.ends(run_id)
    assert (run.state, run.failure_kind, run.failure_message) == (RunState.FAILED, FailureKind.ERROR, "bye")
    assert small_fleet.attempt(run_id).error_type == kind.__name__
    assert small_fleet.ends(small_fleet.enqueue(double, parameters={"x": 1})).state is RunState.SUCCEEDED


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Evasive(Exception):
    @property
    def retry_after(self) -> timedelta:
        raise RuntimeError("not now")


@pytest.mark.parametrize(("error", "said"), [(Unspeakable(), "its text cannot be made"), (Evasive(), "not now")])
def test_an_error_that_cannot_be_read_ends_the_run_all_the_same(
    small_fleet: Fleet, error: Exception, said: str
) -> None:
    run, _ = _ending(small_fleet, error, max_retries=0)
    assert run.state is RunState.FAILED
    assert said in run.failure_message


def test_a_coroutine_that_cancels_itself_has_failed(small_fleet: Fleet) -> None:
    @task(name="selfish", max_retries=0)
    async def selfish() -> None:
        raise asyncio.CancelledError("me")

    small_fleet.worker(selfish)
    run = small_fleet.ends(small_fleet.enqueue(selfish))
    assert (run.state, run.failure_kind) == (RunState.FAILED, FailureKind.ERROR)


def test_parameters_that_no_longer_fit_fail_as_such_without_another_try(small_fleet: Fleet) -> None:
    @task(name="double")
    def old(y: str) -> None: ...

    run_id = small_fleet.enqueue(old, parameters={"y": "a"})
    small_fleet.worker(double)
    run = small_fleet.ends(run_id)
    assert (run.state, run.failure_kind, run.tries) == (RunState.FAILED, FailureKind.PARAMETERS, 1)
    assert run.failure_message == (
        "parameters of task 'double' do not fit: parameter 'x' is missing; unknown parameter 'y'; known: x"
    )


def test_a_run_of_an_unknown_task_is_given_back_later_and_later_until_somebody_knows_it(fleet: Fleet) -> None:
    fleet.maintenance()
    stranger = fleet.worker(name="stranger")
    run_id = fleet.enqueue(double, parameters={"x": 4})
    now = NOON
    for attempt, delay in ((1, 5), (2, 10), (3, 20)):
        until(lambda n=attempt: len(fleet.view(run_id).attempts) == n)  # type: ignore[misc]
        run = fleet.run(run_id)
        assert (run.state, run.tries, run.due_at) == (RunState.SCHEDULED, 0, now + delay * SECOND)
        assert run.state_reason == "worker stranger has no task 'double'"
        fleet.passes(delay)
        now += delay * SECOND
    until(lambda: len(fleet.view(run_id).attempts) == 4)
    fleet.stop(stranger)
    fleet.worker(double)
    fleet.passes(45)
    assert fleet.ends(run_id).state is RunState.SUCCEEDED
    assert fleet.run(run_id).tries == 1


def test_a_run_claimed_after_its_expiry_is_cancelled_and_not_started(small_fleet: Fleet) -> None:
    started: list[int] = []

    @task(name="late")
    def late() -> None:
        started.append(1)

    run_id = small_fleet.enqueue(late, expires=timedelta(seconds=30))
    small_fleet.clock.step_wall(NOON + MINUTE)
    small_fleet.worker(late)
    run = small_fleet.ends(run_id)
    assert (run.state, run.state_reason, started) == (RunState.CANCELLED, "expired: not started in time", [])


def test_the_context_names_the_run_and_is_no_parameter(small_fleet: Fleet) -> None:
    seen: list[Any] = []

    @task(name="curious", queue="q")
    def curious(ctx: Context, x: int = 1) -> None:
        seen.append((ctx.run_id, ctx.attempt, ctx.task, ctx.queue, ctx.schedule_id, ctx.cancelled, x))

    small_fleet.worker(curious)
    run_id = small_fleet.enqueue(curious)
    small_fleet.ends(run_id)
    assert seen == [(run_id, 1, "curious", "q", None, False, 1)]
    assert small_fleet.view(run_id).parameters == {"x": 1}


def test_what_a_worker_enters_is_given_to_the_function(small_fleet: Fleet) -> None:
    class Tool: ...

    Tool.__mainspring_given__ = True  # type: ignore[attr-defined]

    def handy(tool: Any, x: int) -> str:
        return f"{tool} {x}"

    handy.__annotations__["tool"] = Tool
    given = task(name="handy")(handy)
    small_fleet.worker(given, enter=lambda task, context: {"tool": f"hammer for {context.task}"})
    run_id = small_fleet.enqueue(given, parameters={"x": 2})
    small_fleet.ends(run_id)
    assert small_fleet.view(run_id).result == "hammer for handy 2"


def test_a_context_variable_ends_with_its_attempt(small_fleet: Fleet) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []

    @task(name="leaky")
    def leaky() -> None:
        seen.append(variable.get())
        variable.set(7)

    small_fleet.worker(leaky, slots=1)
    for _ in range(2):
        small_fleet.ends(small_fleet.enqueue(leaky))
    assert seen == [0, 0]


def test_coroutines_of_one_worker_run_on_one_loop_at_the_same_time(small_fleet: Fleet) -> None:
    loops: list[int] = []
    both: list[asyncio.Event] = []

    @task(name="meet")
    async def meet(i: int) -> None:
        loops.append(id(asyncio.get_running_loop()))
        if not both:
            both.append(asyncio.Event())
        if len(loops) == 2:
            both[0].set()
        await both[0].wait()

    small_fleet.worker(meet)
    for run_id in small_fleet.enqueue_many(meet, [{"i": 1}, {"i": 2}]):
        assert small_fleet.ends(run_id).state is RunState.SUCCEEDED
    assert len(set(loops)) == 1


def test_progress_is_shown_while_a_run_is_under_way(fleet: Fleet) -> None:
    gate, reached = fleet.gate(), threading.Event()

    @task(name="slow")
    def slow(ctx: Context) -> None:
        ctx.progress(1, 4, "first page")
        reached.set()
        gate.wait()

    fleet.worker(slow)
    run_id = fleet.enqueue(slow)
    happens(reached)
    fleet.passes(1)
    until(lambda: fleet.view(run_id).progress == (1.0, 4.0, "first page"))


def test_the_last_progress_of_a_run_that_ends_at_once_is_kept(fleet: Fleet) -> None:
    @task(name="quick")
    def quick(ctx: Context) -> None:
        ctx.progress(1, 2)
        ctx.progress(2, 2, "done")

    fleet.worker(quick)
    run_id = fleet.enqueue(quick)
    fleet.ends(run_id)
    fleet.passes(1)
    until(lambda: fleet.view(run_id).progress == (2.0, 2.0, "done"))


def test_progress_of_an_earlier_attempt_is_not_shown_for_the_present_one(small_fleet: Fleet) -> None:
    @task(name="again", backoff=EXACT)
    def again(ctx: Context) -> None:
        if ctx.attempt == 1:
            ctx.progress(9, 10)
            raise ValueError
        gate.wait()

    gate = small_fleet.gate()
    small_fleet.maintenance()
    small_fleet.worker(again)
    run_id = small_fleet.enqueue(again)
    until(lambda: small_fleet.view(run_id).attempts)
    small_fleet.passes(2)
    until(lambda: small_fleet.run(run_id).attempt == 2)
    assert small_fleet.view(run_id).progress is None


def test_a_def_task_that_was_asked_to_cancel_ends_at_its_next_report(fleet: Fleet) -> None:
    gate, reached = fleet.gate(), threading.Event()
    left: list[type[BaseException]] = []

    @task(name="polite")
    def polite(ctx: Context) -> None:
        reached.set()
        gate.wait()
        while not ctx.cancelled:
            pass
        try:
            ctx.progress(1)
        except RunCancelled as error:
            left.append(type(error))
            raise

    fleet.worker(polite)
    run_id = fleet.enqueue(polite)
    happens(reached)
    answer = fleet.steering.cancel(run_id, "ann")
    assert answer.asked
    assert answer.in_words() == f"run {run_id} is under way and was asked to cancel"
    gate.set()
    run = fleet.ends(run_id)
    assert (run.state, run.state_reason, run.tries) == (RunState.CANCELLED, "cancelled while it ran", 0)
    assert left == [RunCancelled]


def test_a_running_coroutine_is_cancelled_and_may_clean_up(fleet: Fleet) -> None:
    reached = threading.Event()
    cleaned: list[bool] = []

    @task(name="endless")
    async def endless() -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    fleet.worker(endless)
    run_id = fleet.enqueue(endless)
    happens(reached)
    assert fleet.steering.cancel(run_id, "ann").asked
    assert fleet.ends(run_id).state is RunState.CANCELLED
    assert cleaned == [True]


@pytest.mark.parametrize("error", [ValueError("too late"), Snooze(5), RetryLater(5)])
def test_a_run_that_was_asked_to_cancel_is_not_tried_again_when_it_fails(small_fleet: Fleet, error: Exception) -> None:
    gate, reached = small_fleet.gate(), threading.Event()

    @task(name="stubborn")
    def stubborn(ctx: Context) -> None:
        reached.set()
        gate.wait()
        while not ctx.cancelled:
            pass
        raise error

    small_fleet.worker(stubborn)
    run_id = small_fleet.enqueue(stubborn)
    happens(reached)
    small_fleet.steering.cancel(run_id, "ann")
    gate.set()
    assert small_fleet.ends(run_id).state is RunState.CANCELLED


def test_a_run_that_succeeds_although_it_was_asked_to_cancel_has_succeeded(small_fleet: Fleet) -> None:
    gate, reached = small_fleet.gate(), threading.Event()

    @task(name="deaf")
    def deaf() -> str:
        reached.set()
        gate.wait()
        return "done"

    small_fleet.worker(deaf)
    run_id = small_fleet.enqueue(deaf)
    happens(reached)
    small_fleet.steering.cancel(run_id, "ann")
    gate.set()
    assert small_fleet.ends(run_id).state is RunState.SUCCEEDED


def test_statistics_are_kept_with_the_session_that_did_the_work(fleet: Fleet) -> None:
    fleet.worker(double)
    for run_id in fleet.enqueue_many(double, [{"x": 1}] * 3):
        fleet.ends(run_id)
    stats = metadata.tables["stats"]
    query = sqlalchemy.select(stats.c.task, sqlalchemy.func.sum(stats.c.succeeded)).group_by(stats.c.task)
    assert fleet.database.read(lambda tx: [tuple(row) for row in tx.core(query)]) == [("double", 3)]


def test_nothing_is_claimed_while_the_installation_stands_still(fleet: Fleet) -> None:
    mode = MaintenanceMode(fleet.database, fleet.clock)
    mode.begin("ana", until=fleet.clock.now() + 10 * SECOND)
    fleet.worker(double)
    before = fleet.enqueue(double, parameters={"x": 1})
    fleet.passes(5)
    assert fleet.run(before).state is RunState.READY
    fleet.passes(6)
    assert fleet.ends(before).state is RunState.SUCCEEDED
