"""Long work in a child process goes on from its checkpoint, is missed when silent, and is not done twice."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mainspring.domain.states import FailureKind, RunState
from mainspring.services.maintenance import Stager
from tests.isolation import tasks
from tests.isolation.arrange import CLOCK, House, until


def test_a_run_whose_child_died_goes_on_from_its_checkpoint(house: House) -> None:
    view = house.does(tasks.pages)
    assert view.result == {"began": {"page": 3}, "attempt": 2}
    assert (view.checkpoint, [attempt.outcome for attempt in view.attempts]) == (None, ["lost", "succeeded"])


def test_a_coroutine_saves_where_it_stands(house: House) -> None:
    view = house.does(tasks.apages)
    assert (view.result, view.checkpoint) == ([1], None)


def test_a_checkpoint_that_is_too_large_is_refused_in_the_task(house: House) -> None:
    run = house.does(tasks.large_checkpoint).run
    assert "the checkpoint has 70002 bytes of JSON, more than 65536" in (run.failure_message or "")


@pytest.mark.parametrize("how", ["beats", "reports", "saves"])
def test_a_task_that_is_heard_of_outlives_its_silence_limit(house: House, how: str) -> None:
    view = house.does(tasks.quiet, how=how)
    assert (view.result, view.run.failure_message) == (how, None)


@pytest.mark.parametrize("obeys", [True, False])
def test_a_silent_task_is_told_to_stop(house: House, obeys: bool) -> None:
    view = house.does(tasks.quiet, how="obeys") if obeys else house.does(tasks.aquiet)
    assert (view.run.failure_kind, view.run.failure_message) == (FailureKind.TIMED_OUT, "silent for 1 second")
    assert view.attempts[0].error_type == "SilenceLimit"


def test_a_silent_task_that_goes_on_is_killed(house: House) -> None:
    view = house.does(tasks.quiet, how="deaf")
    assert view.run.failure_kind is FailureKind.TIMED_OUT
    assert view.run.failure_message == ("silent for 1 second; it went on when it was told to stop and was killed")


def test_a_snooze_until_an_instant_keeps_the_checkpoint(house: House) -> None:
    then = CLOCK.now() + timedelta(seconds=0.5)
    run_id = house.enqueue(tasks.sleeper, until=then.isoformat())
    until(lambda: house.view(run_id).run.state is RunState.SCHEDULED)
    view = house.view(run_id)
    assert (view.run.due_at, view.snoozes) == (then, 1)
    assert view.checkpoint is not None
    until(lambda: CLOCK.now() > then)
    Stager(house.database, CLOCK).run_once()
    assert house.ends(run_id).result == "kept"


def test_a_result_is_taken_over_without_a_child(house: House) -> None:
    first, second = house.does(tasks.cached, x=1), house.does(tasks.cached, x=1)
    assert first.result == second.result
    assert (second.run.state_reason or "").startswith(f"result of run {first.run.id}, ")


def test_a_file_that_is_open_is_saved(house: House, tmp_path: Path) -> None:
    view = house.does(tasks.large_file, folder=str(tmp_path))
    (artifact,) = view.artifacts
    assert (artifact["id"], artifact["size"]) == (view.result, 3_000_000)
