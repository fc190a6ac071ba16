"""A run in a child process is a run like any other: parameters, results, errors, logs, artifacts, progress."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest

from mainspring.domain.states import FailureKind, RunState
from mainspring.encoding import INLINE_LIMIT
from tests.isolation import tasks
from tests.isolation.arrange import House, until


@pytest.mark.parametrize("function", [tasks.double, tasks.adouble])
def test_it_runs_in_another_process_which_is_used_again(house: House, function: Any) -> None:
    results = [house.does(function, x=n).result for n in range(3)]
    assert [result["doubled"] for result in results] == [0, 2, 4]
    (pid,) = {result["pid"] for result in results}
    assert pid != os.getpid()


def test_long_parameters_and_results_arrive_whole(house: House) -> None:
    long = "é" * INLINE_LIMIT * 4
    assert house.does(tasks.echo, text=long).result == long + "!"


def test_the_context_and_what_a_pack_gives_are_there(house: House) -> None:
    run_id = house.enqueue(tasks.curious)
    assert house.ends(run_id).result == [run_id, 1, "curious", "q", None, False, "hammer", 1]


def test_what_it_says_lands_in_its_log_in_order_and_without_secrets(house: House) -> None:
    run_id = house.enqueue(tasks.chatty)
    house.ends(run_id)
    assert [line.split("Z ", 1)[-1] for line in house.log(run_id).splitlines()] == [
        "INFO task.chatty: from the context 1",
        "WARNING some.library: from a library",
        "printed and from a program",
        "to stderr",
        "the key is ***",
        "bytes \ufffd\\x00",
    ]


@pytest.mark.parametrize("function", [tasks.saver, tasks.asaver])
def test_an_artifact_is_kept_and_nothing_else_of_it(house: House, function: Any) -> None:
    view = house.does(function)
    (artifact,) = view.artifacts
    assert (view.result, artifact["name"], artifact["size"]) == (artifact["id"], "quotes.csv", 13)
    assert [list(folder.iterdir()) for folder in house.folder.glob("artifacts/spool-*")] == [[]]


def test_an_artifact_that_is_refused_raises_in_the_task(house: House) -> None:
    view = house.does(tasks.saver, name="a\nb")
    assert (view.run.state, view.attempts[0].error_type) == (RunState.FAILED, "mainspring.errors.ArtifactRefused")
    assert "is not usable; write 1 to 200 printable characters" in (view.run.failure_message or "")


def test_the_last_progress_counts(house: House) -> None:
    run_id = house.enqueue(tasks.reporter)
    house.ends(run_id)
    until(lambda: house.view(run_id).progress == (5000.0, 5000.0, "reading"))


@pytest.mark.parametrize(
    ("what", "state", "kind", "error_type", "said"),
    [
        ("fail", RunState.FAILED, FailureKind.ERROR, "mainspring.domain.control.Fail", "the ticker does not exist"),
        ("exit", RunState.SCHEDULED, None, "SystemExit", "bye"),
        ("error", RunState.SCHEDULED, None, "LookupError", "gone: ***"),
        ("later", RunState.SCHEDULED, None, "mainspring.domain.control.RetryLater", "busy"),
        ("evasive", RunState.SCHEDULED, None, "RuntimeError", "not now"),
        ("value", RunState.FAILED, FailureKind.NOT_SERIALISABLE, "NotSerialisable", "value is of type object"),
        ("snooze", RunState.SCHEDULED, None, None, None),
    ],
)
def test_it_ends_as_it_would_anywhere(
    house: House, what: str, state: RunState, kind: FailureKind | None, error_type: str | None, said: str | None
) -> None:
    run_id = house.enqueue(tasks.raises, what=what)
    until(lambda: house.view(run_id).attempts)
    view = house.view(run_id)
    attempt = view.attempts[0]
    assert (view.run.state, view.run.failure_kind, attempt.error_type) == (state, kind, error_type)
    assert attempt.error_message is None if said is None else said in (attempt.error_message or "")
    if what == "later":
        assert view.run.due_at - attempt.finished_at == timedelta(minutes=7)
    if what == "snooze":
        assert (view.run.tries, view.run.due_at.year, view.run.state_reason) == (0, 9999, "closed")


def test_a_traceback_begins_in_the_task(house: House) -> None:
    run_id = house.enqueue(tasks.raises, what="error")
    until(lambda: house.view(run_id).attempts)
    lines = (house.view(run_id).attempts[0].traceback or "").splitlines()
    assert "in raises" in lines[1]
    assert lines[-1] == "LookupError: gone: ***"


def test_a_child_is_replaced_after_as_many_runs_as_the_task_says(house: House) -> None:
    pids = [house.does(tasks.other).result for _ in range(7)]
    assert len(set(pids[-6:])) >= 2
    assert max(pids.count(pid) for pid in pids) <= 3


@pytest.mark.parametrize(
    "what", ["folder", "limit", "timer", "thread", "process", "zombie", "umask", "output", "stream", "signals"]
)
def test_a_child_in_which_a_run_left_something_is_not_used_again(house: House, what: str) -> None:
    pid = house.does(tasks.untidy, what=what).result
    assert house.does(tasks.untidy, what="nothing").result != pid
    until(lambda: pid not in house.runners())


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_coroutine_that_is_left_behind_is_ended_with_its_run(house: House, stubborn: bool) -> None:
    pid = house.does(tasks.auntidy, stubborn=stubborn).result
    assert (house.does(tasks.double, x=1).result["pid"] == pid) is not stubborn


def test_runs_end_even_if_the_child_dies_again_and_again_and_then_they_are_poison(house: House) -> None:
    view = house.does(tasks.dies)
    assert (view.run.state, view.run.failure_kind, view.run.attempt, view.run.tries) == (
        RunState.FAILED, FailureKind.POISON, 3, 0,
    )  # fmt: skip
    assert view.run.failure_message == (
        "it was lost 3 times while it ran alone in a process of its own, the last time: "
        "killed by signal 9 (SIGKILL); it is not started again by itself"
    )
    assert [a.charged for a in view.attempts] == [False] * 3


def test_a_child_that_was_made_ready_takes_the_next_run(house: House) -> None:
    house.worker.warm()
    house.worker.warm()
    assert house.worker.children is not None
    until(lambda: len(house.worker.children.pids) > 1, "a child is ready")  # type: ignore[union-attr]
    before = house.worker.children.pids
    house.does(tasks.double, x=1)
    assert house.worker.children.pids == before
