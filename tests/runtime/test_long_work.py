"""Long work says how long it takes, goes on from where it stood, is missed when silent, and is not done twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from mainspring.domain.cache import Cache
from mainspring.domain.control import RunCancelled, Snooze
from mainspring.domain.retry import Backoff
from mainspring.domain.states import FailureKind, RunState
from mainspring.domain.tasks import Context, task
from mainspring.errors import InvalidInput, LeaseLost
from mainspring.store import sessions
from mainspring.store.result_cache import forget_results
from tests.runtime.arrange import Fleet, happens, until
from tests.store.arrange import HOUR, MINUTE, NOON, count

AT_ONCE = Backoff(timedelta(milliseconds=1), jitter="none")


# --- progress


def test_a_tracked_loop_is_reported_with_the_time_it_still_takes(small_fleet: Fleet) -> None:
    steps, go_on = [threading.Event() for _ in range(4)], [small_fleet.gate() for _ in range(4)]

    @task(name="walk")
    def walk(ctx: Context) -> int:
        for n in ctx.track([0, 1, 2, 3], note="reading"):
            steps[n].set()
            go_on[n].wait()
        return 4

    small_fleet.worker(walk)
    run_id = small_fleet.enqueue(walk)
    for n in range(3):
        happens(steps[n])
        until(lambda: small_fleet.clock.waiting >= 2)
        small_fleet.passes(10)
        until(lambda n=n: (small_fleet.view(run_id).progress or (-1,))[0] == n)  # type: ignore[misc]
        step = small_fleet.view(run_id).step
        if n < 2:
            go_on[n].set()
    assert step is not None
    assert (step.done, step.total, step.note) == (2.0, 4.0, "reading")
    assert step.left is not None
    assert timedelta(seconds=5) < step.left < timedelta(seconds=30)
    assert small_fleet.reading.steps([run_id]) == {run_id: small_fleet.view(run_id).step}
    small_fleet.passes(70)
    stalled = small_fleet.view(run_id).step
    assert stalled is not None
    assert (stalled.left, stalled.stalled_for is not None) == (None, True)
    for gate in go_on:
        gate.set()
    small_fleet.ends(run_id)
    small_fleet.passes(2)
    until(lambda: small_fleet.view(run_id).progress == (4.0, 4.0, "reading"))
    assert small_fleet.view(run_id).step.left is None  # type: ignore[union-attr]


def test_a_tracked_loop_of_unknown_length_counts_and_may_begin_later(small_fleet: Fleet) -> None:
    @task(name="counted")
    def counted(ctx: Context) -> list[int]:
        return list(ctx.track(iter([7, 8]), start=5))

    small_fleet.worker(counted)
    run_id = small_fleet.enqueue(counted)
    assert small_fleet.ends(run_id).state is RunState.SUCCEEDED
    small_fleet.passes(2)
    until(lambda: small_fleet.view(run_id).progress == (7.0, None, ""))
    assert small_fleet.view(run_id).result == [7, 8]


def test_a_tracked_loop_ends_where_the_run_is_cancelled(small_fleet: Fleet) -> None:
    begun, told, seen = threading.Event(), small_fleet.gate(), list[Any]()

    @task(name="endless")
    def endless(ctx: Context) -> None:
        try:
            for n in ctx.track(range(1_000)):
                seen.append(n)
                begun.set()
                told.wait()
        except RunCancelled:
            seen.append("stopped")
            raise

    small_fleet.worker(endless)
    run_id = small_fleet.enqueue(endless)
    happens(begun)
    small_fleet.steering.cancel(run_id, "ann")
    small_fleet.passes(4)
    until(lambda: small_fleet.run(run_id).cancel_requested_at is not None)
    until(lambda: small_fleet.workers[0]._attempts()[0].stop is not None)
    told.set()
    assert small_fleet.ends(run_id).state is RunState.CANCELLED
    assert seen == [0, "stopped"]


# --- checkpoints


def _pages(fleet: Fleet, is_async: bool) -> tuple[Any, list[Any]]:
    """Return a task that fails at its third page of its first attempt, and what its attempts began with."""
    began: list[Any] = []

    def work(ctx: Context) -> int:
        began.append(ctx.checkpoint)
        page = (ctx.checkpoint or {"page": 0})["page"]
        while page < 5:
            page += 1
            assert ctx.save_checkpoint({"page": page})
            assert ctx.checkpoint == {"page": page}
            if page == 3 and ctx.attempt == 1:
                raise ConnectionError("gone")
        return page

    @task(name="pages", backoff=AT_ONCE)
    def pages(ctx: Context) -> int:
        return work(ctx)

    @task(name="apages", backoff=AT_ONCE)
    async def apages(ctx: Context) -> int:
        return await asyncio.to_thread(work, ctx)

    return (apages if is_async else pages), began


@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_goes_on_from_the_checkpoint_and_success_forgets_it(fleet: Fleet, is_async: bool) -> None:
    pages, began = _pages(fleet, is_async)
    fleet.worker(pages)
    run_id = fleet.enqueue(pages)
    fleet.becomes(run_id, RunState.SCHEDULED)
    kept = fleet.view(run_id).checkpoint
    assert kept is not None
    assert (kept.value, kept.attempt, kept.saved_at) == ({"page": 3}, 1, NOON)
    fleet.maintenance()
    fleet.passes(2)
    assert fleet.ends(run_id).state is RunState.SUCCEEDED
    assert began == [None, {"page": 3}]
    view = fleet.view(run_id)
    assert (view.result, view.checkpoint) == (5, None)


@pytest.mark.parametrize("from_start", [False, True])
def test_a_retry_by_hand_goes_on_from_the_checkpoint_unless_told_otherwise(
    small_fleet: Fleet, from_start: bool
) -> None:
    began: list[Any] = []

    @task(name="once", max_retries=0)
    def once(ctx: Context) -> None:
        began.append(ctx.checkpoint)
        ctx.save_checkpoint([1, 2])
        if len(began) == 1:
            raise ValueError("no")

    small_fleet.worker(once)
    run_id = small_fleet.enqueue(once)
    assert small_fleet.ends(run_id).state is RunState.FAILED
    small_fleet.steering.retry(run_id, "ann", from_start=from_start)
    small_fleet.becomes(run_id, RunState.SUCCEEDED)
    assert began == [None, None if from_start else [1, 2]]


def test_a_snooze_keeps_the_checkpoint_and_is_counted(small_fleet: Fleet) -> None:
    until_then = datetime(2026, 3, 2, 15, tzinfo=timezone(timedelta(hours=2)))

    @task(name="patient")
    def patient(ctx: Context) -> Any:
        if ctx.attempt < 3:
            ctx.save_checkpoint(ctx.attempt)
            raise Snooze(until=until_then, reason="market closed")
        return ctx.checkpoint

    small_fleet.worker(patient)
    small_fleet.maintenance()
    run_id = small_fleet.enqueue(patient)
    run = small_fleet.becomes(run_id, RunState.SCHEDULED)
    assert (run.due_at, run.tries) == (datetime(2026, 3, 2, 13, tzinfo=UTC), 0)
    small_fleet.passes(3_601)
    small_fleet.becomes(run_id, RunState.SUCCEEDED, RunState.SCHEDULED)
    small_fleet.passes(2)
    small_fleet.ends(run_id)
    view = small_fleet.view(run_id)
    assert (view.result, view.snoozes, view.run.tries) == (2, 2, 1)


@pytest.mark.parametrize("snooze", [Snooze(0), Snooze(-5), Snooze(until=NOON - HOUR)])
def test_a_snooze_of_no_length_lasts_a_tenth_of_a_second(small_fleet: Fleet, snooze: Snooze) -> None:
    @task(name="hasty")
    def hasty() -> None:
        raise snooze

    small_fleet.worker(hasty)
    run = small_fleet.becomes(small_fleet.enqueue(hasty), RunState.SCHEDULED)
    assert run.due_at == NOON + timedelta(milliseconds=100)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs a delay or an instant"),
        ({"delay": 5, "until": NOON}, "needs a delay or an instant"),
        ({"until": datetime(2026, 3, 2)}, "has no time zone"),
    ],
)
def test_a_snooze_without_a_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Snooze(**given)


def test_an_attempt_that_lost_its_run_saves_nothing_and_hears_of_it(fleet: Fleet) -> None:
    begun, gate, heard = threading.Event(), fleet.gate(), list[Any]()

    @task(name="late", max_retries=0)
    def late(ctx: Context) -> None:
        if ctx.attempt > 1:
            ctx.save_checkpoint("new")
            raise ValueError("enough")
        ctx.save_checkpoint("old")
        begun.set()
        gate.wait()
        try:
            ctx.save_checkpoint("too late")
        except LeaseLost as error:
            heard.append(error)

    worker = fleet.worker(late)
    run_id = fleet.enqueue(late)
    happens(begun)
    session = worker._session.id
    fleet.database.write(lambda tx: sessions.end_session(tx, session, "dead", "buried", fleet.clock.now()))
    fleet.maintenance()
    fleet.passes(5)
    until(lambda: fleet.run(run_id).state is RunState.FAILED)
    gate.set()
    until(lambda: heard)
    assert str(heard[0]) == f"attempt 1 of run {run_id} no longer holds its lease"
    assert fleet.view(run_id).checkpoint.value == "new"  # type: ignore[union-attr]


def test_a_throttled_checkpoint_is_written_no_oftener_than_asked(small_fleet: Fleet) -> None:
    said: list[bool] = []

    @task(name="often", max_retries=0)
    def often(ctx: Context) -> None:
        for n in range(3):
            said.append(ctx.save_checkpoint(n, every=timedelta(seconds=5)))
        small_fleet.clock._monotonic += 5
        said.append(ctx.save_checkpoint(3, every=timedelta(seconds=5)))
        said.append(ctx.save_checkpoint(4))
        raise ValueError("no")

    small_fleet.worker(often)
    run_id = small_fleet.enqueue(often)
    small_fleet.ends(run_id)
    assert said == [True, False, False, True, True]
    assert small_fleet.view(run_id).checkpoint.value == 4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "said"),
    [("x" * 65_536, "the checkpoint has 65538 bytes of JSON, more than 65536"), (object(), "is of type object")],
)
def test_a_checkpoint_that_cannot_be_kept_is_refused(small_fleet: Fleet, value: Any, said: str) -> None:
    @task(name="large", max_retries=0)
    def large(ctx: Context) -> None:
        ctx.save_checkpoint("x" * 65_534)
        ctx.save_checkpoint(value)

    small_fleet.worker(large)
    run = small_fleet.ends(small_fleet.enqueue(large))
    assert run.state is RunState.FAILED
    assert said in (run.failure_message or "")


# --- silence


@pytest.mark.parametrize(
    "speak", [lambda ctx: ctx.beat(), lambda ctx: ctx.progress(1), lambda ctx: ctx.save_checkpoint(1)]
)
def test_an_attempt_that_is_heard_of_goes_on_and_one_that_is_silent_times_out(
    small_fleet: Fleet, speak: Callable[[Context], Any]
) -> None:
    steps, heard = [threading.Event() for _ in range(3)], [threading.Event() for _ in range(3)]
    small_fleet.gates += steps
    causes: list[str] = []

    @task(name="quiet", silence_limit=5 * MINUTE, max_retries=0)
    def quiet(ctx: Context) -> None:
        ctx.on_stop(causes.append)
        for step, done in zip(steps, heard, strict=True):
            step.wait()
            speak(ctx)
            done.set()
        ctx.beat()

    small_fleet.worker(quiet)
    run_id = small_fleet.enqueue(quiet)
    small_fleet.becomes(run_id, RunState.RUNNING)
    until(lambda: small_fleet.clock.waiting >= 3)
    for n in range(2):
        small_fleet.passes(200)
        steps[n].set()
        happens(heard[n])
    assert causes == []
    small_fleet.passes(301)
    until(lambda: causes)
    assert causes == ["silence_limit"]
    steps[2].set()
    run = small_fleet.ends(run_id)
    assert (run.failure_kind, run.failure_message) == (FailureKind.TIMED_OUT, "silent for 5 minutes")
    assert small_fleet.attempt(run_id).error_type == "SilenceLimit"


def test_a_silent_coroutine_is_cancelled(small_fleet: Fleet) -> None:
    @task(name="hangs", silence_limit=MINUTE, max_retries=0)
    async def hangs() -> None:
        await asyncio.Event().wait()

    small_fleet.worker(hangs)
    run_id = small_fleet.enqueue(hangs)
    small_fleet.becomes(run_id, RunState.RUNNING)
    until(lambda: small_fleet.clock.waiting >= 3)
    small_fleet.passes(61)
    run = small_fleet.ends(run_id)
    assert (run.failure_kind, run.failure_message) == (FailureKind.TIMED_OUT, "silent for 1 minute")


# --- results that are kept


def _counting(**options: Any) -> tuple[Any, list[Any]]:
    calls: list[Any] = []

    @task(name="counting", cache=Cache(ttl=HOUR), **options)
    def counting(x: int, y: int = 1) -> int:
        calls.append((x, y))
        return len(calls)

    return counting, calls


def test_a_run_with_the_same_parameters_takes_the_result_over_and_calls_nothing(fleet: Fleet) -> None:
    counting, calls = _counting()
    fleet.worker(counting)
    first = fleet.enqueue(counting, parameters={"x": 1})
    fleet.ends(first)
    fleet.passes(180)
    second = fleet.enqueue(counting, parameters={"x": 1, "y": 1})
    other = fleet.enqueue(counting, parameters={"x": 2})
    run = fleet.ends(second)
    fleet.ends(other)
    assert calls == [(1, 1), (2, 1)]
    assert (run.state, run.attempt, run.tries) == (RunState.SUCCEEDED, 1, 1)
    assert run.state_reason == f"result of run {first}, 3 minutes old"
    view = fleet.view(second)
    assert (view.result, view.attempts[0].reason) == (1, run.state_reason)
    assert fleet.run(first).state_reason is None


def test_a_result_answers_until_its_time_is_over_and_a_taken_one_does_not_renew_it(small_fleet: Fleet) -> None:
    counting, calls = _counting()
    small_fleet.worker(counting)
    for wait in (0, 3_599, 1):
        small_fleet.passes(wait)
        small_fleet.ends(small_fleet.enqueue(counting, parameters={"x": 1}))
    assert len(calls) == 2


def test_a_fresh_run_computes_its_result_and_keeps_it_for_others(small_fleet: Fleet) -> None:
    counting, calls = _counting()
    small_fleet.worker(counting)
    ids = []
    for fresh in (False, True, False):
        ids.append(small_fleet.enqueue(counting, parameters={"x": 1}, fresh=fresh))
        small_fleet.ends(ids[-1])
    assert len(calls) == 2
    assert [small_fleet.view(run_id).result for run_id in ids] == [1, 2, 2]


def test_long_parameters_and_results_are_kept_as_well_and_failures_are_not(small_fleet: Fleet) -> None:
    calls: list[int] = []

    @task(name="long", cache=Cache(ttl=HOUR), max_retries=0)
    def long(text: str) -> str:
        calls.append(len(text))
        if len(calls) == 1:
            raise ValueError("no")
        return text + "!"

    small_fleet.worker(long)
    text = "x" * 100_000
    ends = [small_fleet.ends(small_fleet.enqueue(long, parameters={"text": text})) for _ in range(3)]
    assert [run.state.value for run in ends] == ["failed", "succeeded", "succeeded"]
    assert len(calls) == 2
    assert small_fleet.view(ends[2].id).result == text + "!"


def test_a_cache_that_was_cleared_answers_nothing(small_fleet: Fleet) -> None:
    counting, calls = _counting()
    small_fleet.worker(counting)
    small_fleet.ends(small_fleet.enqueue(counting, parameters={"x": 1}))
    assert small_fleet.database.write(lambda tx: forget_results(tx, "counting")) == 1
    small_fleet.ends(small_fleet.enqueue(counting, parameters={"x": 1}))
    assert len(calls) == 2


def test_what_is_kept_of_results_goes_when_it_has_expired(small_fleet: Fleet) -> None:
    counting, _ = _counting()
    small_fleet.worker(counting)
    small_fleet.ends(small_fleet.enqueue(counting, parameters={"x": 1}))
    small_fleet.maintenance()
    assert count(small_fleet.database, "result_cache") == 1
    small_fleet.passes(3_700)
    until(lambda: count(small_fleet.database, "result_cache") == 0)


def test_a_task_without_a_cache_keeps_nothing(small_fleet: Fleet) -> None:
    @task(name="plain")
    def plain() -> int:
        return 1

    small_fleet.worker(plain)
    small_fleet.ends(small_fleet.enqueue(plain))
    assert count(small_fleet.database, "result_cache") == 0
