"""Whatever a task does, its run ends in time as it must, nothing of it stays, and its neighbours notice nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.isolation.arrange import House, how_it_ended
from tests.isolation.hostile import HOSTILE, KINDS, LIMIT, bystander, innocent, left_alive, zombies_below

# `python -m tests.isolation` does all of them, each in three variants.
SHORT = [
    ("double_fork", "def"), ("ignore_signals", "def"), ("close_everything", "async"), ("fill_output", "thread"),
    ("fork_bomb", "def"), ("hydra", "thread"), ("stop_itself", "async"), ("stop_keeper", "def"),
    ("kill_keeper", "thread"), ("exit_at_exit", "def"), ("crash", "async"), ("hold_the_lock", "def"),
    ("children_take_memory", "def"), ("burn", "def"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "variant"), SHORT)
def test_a_hostile_task_harms_only_itself(hostile_house: House, tmp_path: Path, kind: str, variant: str) -> None:
    task = HOSTILE[kind, variant]
    others = [hostile_house.enqueue(which, n=n) for n in range(3) for which in (innocent, bystander)]
    view = hostile_house.ends(hostile_house.enqueue(task, mark=str(tmp_path.resolve())))
    attempt = view.attempts[0]
    assert how_it_ended(view) in KINDS[kind].end.split("|")
    limit = task.limits.time_limit
    assert (
        (attempt.finished_at - attempt.started_at).total_seconds() < LIMIT + 2
        if limit is None
        else (limit.total_seconds() + 2)
    )
    assert left_alive(tmp_path.resolve()) == []
    assert zombies_below(os.getpid()) == []
    assert [hostile_house.ends(other).run.attempt for other in others] == [1] * 6
