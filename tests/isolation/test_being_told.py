"""Soft limits, cancels and stops: the task is told, and what does not listen is killed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring.domain.states import FailureKind, RunState
from mainspring.runtime.isolation import executor
from tests.isolation import tasks
from tests.isolation.arrange import House, until
from tests.isolation.hostile import left_alive


@pytest.mark.parametrize("function", [tasks.patient, tasks.apatient])
def test_a_task_that_lets_the_soft_limit_pass_has_timed_out(house: House, function: Any) -> None:
    view = house.does(function, how="passes")
    assert (view.run.state, view.run.failure_kind, view.run.tries) == (RunState.FAILED, FailureKind.TIMED_OUT, 1)
    assert view.attempts[0].error_type == "SoftTimeLimit"
    assert view.run.failure_message == f"run {view.run.id} has run for its soft time limit of 0.25 s"


@pytest.mark.parametrize("function", [tasks.patient, tasks.apatient])
def test_a_task_that_cleans_up_at_the_soft_limit_and_returns_has_succeeded(house: House, function: Any) -> None:
    assert house.does(function, how="cleans").result == "saved what there was"


def _started(house: House, function: Any, **parameters: Any) -> Any:
    run_id = house.enqueue(function, **parameters)
    until(lambda: house.view(run_id).progress is not None, "the task begins")
    return run_id


@pytest.mark.parametrize("function", [tasks.waits, tasks.awaits])
def test_a_cancel_is_obeyed_at_once(house: House, function: Any) -> None:
    run_id = _started(house, function)
    assert house.steering.cancel(run_id, "ann").asked
    run = house.ends(run_id, patience=3.0).run
    assert (run.state, run.state_reason, run.tries) == (RunState.CANCELLED, "cancelled while it ran", 0)


def test_a_callback_hears_why(house: House) -> None:
    run_id = _started(house, tasks.listener)
    house.steering.cancel(run_id, "ann")
    assert house.ends(run_id).result == ["cancelled", "raised"]


def test_a_task_that_does_not_listen_is_killed_after_a_grace(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "CANCEL_GRACE", 0.3)
    run_id = _started(house, tasks.deaf)
    house.steering.cancel(run_id, "ann")
    run = house.ends(run_id, patience=3.0).run
    assert (run.state, run.state_reason) == (RunState.CANCELLED, "cancelled while it ran")


def test_a_stop_tells_then_kills_and_gives_back_uncharged(tmp_path: Path) -> None:
    house = House(tmp_path, tasks.ALL, "tests.isolation.tasks:load", drain=timedelta(0))
    house.worker.start()
    try:
        mark = tasks.marks(tmp_path / "mark")
        ids = [_started(house, tasks.deaf), _started(house, tasks.awaits), _started(house, tasks.waits, mark=mark)]
    finally:
        house.worker.stop()
    for run_id in ids:
        run = house.view(run_id).run
        assert (run.state, run.tries, run.losses) == (RunState.READY, 0, 0)
        assert run.state_reason == "interrupted: the worker stopped"
    assert left_alive(tmp_path / "mark") == []
    house.database.close()
