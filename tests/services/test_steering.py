"""Runs are cancelled and retried by people, who are told what really happened."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy

from mainspring.domain.runs import Ended
from mainspring.domain.states import FailureKind, RunState
from mainspring.domain.tasks import task
from mainspring.errors import Conflict, InvalidInput, NotFound
from mainspring.ids import uuid7
from mainspring.services.enqueue import Request
from mainspring.services.runs import Steering
from mainspring.store.schema import metadata
from tests.services.arrange import Faulty, Installation, minutely, when
from tests.store.arrange import MINUTE, NOON, SECOND, contents

AUDIT = metadata.tables["audit"]


@task(name="demo.task", max_retries=3)
def demo() -> None: ...


def _run(installation: Installation, **options: Any) -> str:
    return installation.enqueuer.enqueue(Request(demo, **options))


@pytest.mark.parametrize("state", ["ready", "scheduled", "waiting"])
def test_what_has_not_started_is_cancelled_at_once(installation: Installation, state: str) -> None:
    if state == "waiting":
        from mainspring.domain.spec import OverlapPolicy

        installation.put(minutely(overlap=OverlapPolicy.QUEUE_ONE, misfire="all"))
        installation.fire("12:02")
        run_id = str(installation.runs("s1")[1].id)
    else:
        run_id = _run(installation, due_at=NOON + MINUTE if state == "scheduled" else None)
    assert installation.look(run_id).state == state
    answer = installation.steering.cancel(run_id, "ann", "wrong ticker")
    assert (answer.asked, answer.in_words()) == (False, f"run {run_id} is cancelled")
    assert (answer.run.state, answer.run.state_reason) == (RunState.CANCELLED, "cancelled by ann: wrong ticker")
    assert answer.run.finished_at == installation.clock.now()
    assert run_id not in [run.id for run in installation.claim()]


def test_what_runs_is_only_asked_and_the_answer_says_so(installation: Installation) -> None:
    run_id = _run(installation)
    installation.claim()
    faulty = Faulty(installation.database)
    answer = Steering(faulty, installation.clock).cancel(run_id, "ann")
    assert answer.asked
    assert answer.in_words() == f"run {run_id} is under way and was asked to cancel"
    assert (answer.run.state, answer.run.cancel_requested_at) == (RunState.RUNNING, NOON)
    assert faulty.hints == ["cancel"]


def test_a_run_that_ends_while_it_is_asked_is_not_said_to_be_cancelled(installation: Installation) -> None:
    run_id = _run(installation)
    claimed = installation.claim()
    slow = Faulty(installation.database)

    def end() -> None:
        slow.after_write = lambda: None
        installation.finish(*claimed)

    slow.after_write = end
    with pytest.raises(Conflict, match=f"run {run_id} is succeeded and cannot be cancelled"):
        Steering(slow, installation.clock).cancel(run_id, "ann")


@pytest.mark.parametrize("ended", [Ended.SUCCEEDED, Ended.FAILED, Ended.CANCELLED])
def test_what_has_ended_cannot_be_cancelled(installation: Installation, ended: Ended) -> None:
    run_id = _run(installation)
    installation.finish(*installation.claim(), ended=ended)
    state = installation.look(run_id).state
    before = contents(installation.database)
    with pytest.raises(Conflict, match=f"run {run_id} is {state} and cannot be cancelled"):
        installation.steering.cancel(run_id, "ann")
    assert contents(installation.database) == before


def _fail(installation: Installation, run_id: str) -> None:
    (claimed,) = installation.claim()
    assert claimed.id == run_id
    installation.finish(claimed, ended=Ended.FAILED)


def test_a_failed_run_is_retried_as_the_same_run_with_all_its_tries(installation: Installation) -> None:
    run_id = _run(installation)
    _fail(installation, run_id)
    failed = installation.look(run_id)
    assert (failed.state, failed.failure_kind, failed.tries) == (RunState.FAILED, FailureKind.ERROR, 1)
    installation.at("12:10")
    faulty = Faulty(installation.database)
    again = Steering(faulty, installation.clock).retry(run_id, "ann")
    assert (again.id, again.state, again.failure_kind, again.due_at) == (run_id, RunState.READY, None, when("12:10"))
    assert (again.tries, again.max_tries, faulty.hints) == (1, 1 + 4, ["ready"])
    query = sqlalchemy.select(AUDIT.c.actor, AUDIT.c.action, AUDIT.c.subject)
    assert installation.database.read(lambda tx: [tuple(row) for row in tx.core(query)]) == [
        ("ann", "run.retry", run_id)
    ]


def test_each_retry_by_hand_gives_as_many_tries_as_the_run_had_at_first(installation: Installation) -> None:
    run_id = _run(installation)
    allowed = []
    for _ in range(4):
        _fail(installation, run_id)
        run = installation.steering.retry(run_id, "ann")
        allowed.append(run.max_tries - run.tries)
    assert allowed == [4, 4, 4, 4]


@pytest.mark.parametrize("state", ["ready", "running", "succeeded"])
def test_only_a_failed_run_is_retried(installation: Installation, state: str) -> None:
    run_id = _run(installation)
    if state != "ready":
        claimed = installation.claim()
        if state == "succeeded":
            installation.finish(*claimed)
    with pytest.raises(Conflict, match=f"run {run_id} is {state}, and only a failed run can be retried"):
        installation.steering.retry(run_id, "ann")


def test_a_run_is_found_by_the_start_of_its_id(installation: Installation) -> None:
    run_id = _run(installation)
    assert installation.look(run_id[:13]).id == run_id
    assert installation.look(run_id.upper()).id == run_id
    assert installation.look(f" {run_id} ").id == run_id


def test_a_start_that_several_ids_have_is_refused_with_some_of_them(installation: Installation) -> None:
    first, second = _run(installation), _run(installation)
    with pytest.raises(InvalidInput, match="give more of") as caught:
        installation.look(first[:8])
    assert first in str(caught.value)
    assert second in str(caught.value)


@pytest.mark.parametrize("text", ["", "abc", "not-a-run", "0192%", "0192f3a4'--"])
def test_what_is_no_id_is_refused(installation: Installation, text: str) -> None:
    with pytest.raises(InvalidInput, match="is not the id of a run"):
        installation.look(text)


def test_an_id_of_nothing_is_not_found(installation: Installation) -> None:
    missing = uuid7()
    with pytest.raises(NotFound, match=f"there is no run {missing}"):
        installation.look(missing)
    with pytest.raises(NotFound):
        installation.look("ffffffff")


# --- reading


def test_a_run_is_read_with_all_that_belongs_to_it(installation: Installation) -> None:
    run_id = _run(installation, labels={"team": "data"})
    (claimed,) = installation.claim()
    installation.clock.advance(SECOND)
    installation.finish(claimed)
    view = installation.reading.run(claimed.id)
    assert (view.run.id, view.run.labels, view.result, view.has_result) == (
        run_id,
        {"team": "data"},
        {"ok": True},
        True,
    )
    assert [(a.attempt, a.outcome, a.charged) for a in view.attempts] == [(1, "succeeded", True)]
    assert (view.progress, view.artifacts) == (None, ())
    assert installation.reading.log(claimed.id, 1) == ""


def test_a_run_without_a_result_has_none(installation: Installation) -> None:
    run_id = installation.enqueuer.enqueue(Request(demo))
    view = installation.reading.run(run_id)
    assert (view.result, view.has_result) == (None, False)
    with pytest.raises(NotFound):
        installation.reading.run(type(run_id)(uuid7()))


def test_counts_and_queues_add_up(installation: Installation) -> None:
    for queue, priority in (("default", 5), ("default", 8), ("scraping", 5)):
        _run(installation, queue=queue, priority=priority)
    installation.claim(1)
    assert installation.reading.counts() == {RunState.READY: 2, RunState.RUNNING: 1}
    assert [(q.name, dict(q.ready_by_priority), q.running) for q in installation.reading.queues()] == [
        ("default", {5: 1}, 1), ("scraping", {5: 1}, 0),
    ]  # fmt: skip
