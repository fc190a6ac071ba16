"""Whoever of worker, fork server, keeper and child dies or stands still: no run goes on without its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.domain.runs import Ended
from mainspring.domain.states import FailureKind
from mainspring.runtime.isolation import executor, system
from mainspring.store.schema import runs
from tests.isolation import tasks
from tests.isolation.arrange import CLOCK, Bench, House, until
from tests.isolation.hostile import left_alive


@pytest.fixture
def worker_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker with two runs under way, each with a child in a session of its own."""
    (tmp_path / "mark").mkdir()
    command = [sys.executable, "-m", "tests.isolation.worker_process", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "begun\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _gone(pids: set[int]) -> bool:
    return not any(system.tasks_of(pid) for pid in pids)


def test_a_worker_that_is_killed_takes_all_its_processes_along(
    worker_process: subprocess.Popen[str], tmp_path: Path
) -> None:
    below = system.Tree(worker_process.pid).members()
    # The fork server, and for each run a keeper, a child and the program that this started.
    assert len(below) == 7
    worker_process.kill()
    until(lambda: _gone(below), "all processes end", patience=5.0)
    assert left_alive(tmp_path / "mark") == []


_LOADING = """
import sys, threading
from pathlib import Path
from mainspring.runtime.isolation.code import IsolatedCode
from mainspring.runtime.isolation.executor import IsolatedExecutor
executor = IsolatedExecutor(IsolatedCode("tests.isolation.tasks:never_loads"), Path(sys.argv[1]), lambda: 10.0)
executor.warm()
print(executor.pids[0], flush=True)
threading.Event().wait()
"""


def test_a_fork_server_that_is_still_loading_ends_with_its_worker(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", _LOADING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        name = Path(f"/proc/{server}/comm")
        until(lambda: name.read_text(encoding="ascii") == "mainspring-fork\n", "it loads")
        process.kill()
    until(lambda: _gone({server}), "it ends", patience=2.0)


def test_the_runs_of_a_frozen_worker_end_when_its_lease_may(
    worker_process: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert len(left_alive(tmp_path / "mark")) == 2
    began = CLOCK.monotonic()
    os.kill(worker_process.pid, signal.SIGSTOP)
    until(lambda: not left_alive(tmp_path / "mark"), "the runs end", patience=5.0)
    # The lease is of 4 s, of which the last two are not trusted.
    assert CLOCK.monotonic() - began < 3.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A worker of this test's own."""
    house = House(tmp_path, tasks.ALL, "tests.isolation.tasks:load")
    house.worker.start()
    try:
        house.does(tasks.double, x=1)
        yield house
    finally:
        house.close()


def test_a_fork_server_that_dies_is_replaced_and_only_its_runs_are_interrupted(house: House, tmp_path: Path) -> None:
    mark = tasks.marks(tmp_path / "mark")
    ids = [house.enqueue(tasks.waits, mark=mark) for _ in range(2)]
    until(lambda: all(house.view(run_id).progress for run_id in ids))
    assert house.worker.children is not None
    server = house.worker.children.pids[0]
    before = set(left_alive(tmp_path / "mark"))
    os.kill(server, signal.SIGKILL)
    until(lambda: all(house.view(run_id).attempts for run_id in ids))
    assert _gone(before)
    for run_id in ids:
        attempt = house.view(run_id).attempts[0]
        assert (attempt.outcome, attempt.charged) == ("interrupted", False)
        assert attempt.reason == "interrupted: its process died: the fork server died"
        # Nobody knows which of them it was, if any: none is a suspect.
        assert house.view(run_id).run.losses == 0
    assert house.does(tasks.double, x=4).result["doubled"] == 8
    assert house.worker.children.pids[0] != server


def test_a_single_run_whose_fork_server_dies_is_a_suspect(house: House) -> None:
    run_id = house.enqueue(tasks.waits)
    until(lambda: house.view(run_id).progress)
    assert house.worker.children is not None
    os.kill(house.worker.children.pids[0], signal.SIGKILL)
    until(lambda: house.view(run_id).attempts)
    assert (house.view(run_id).attempts[0].outcome, house.view(run_id).run.losses) == ("lost", 1)


def test_a_run_that_begins_after_a_rest_is_kept_alive_by_a_worker_that_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "_TICK", 0.1)
    bench = Bench(tmp_path, "tests.isolation.tasks:load", trusted_for=1.0)
    try:
        bench.start(tasks.double, '{"x": 1}')
        bench.wait()
        until(lambda: bench.executor._resting)
        # Longer than it is trusted for at its start.
        attempt = bench.start(tasks.pause, '{"seconds": 2}')
        assert bench.wait().result == "2.0"
        assert attempt.done
    finally:
        bench.executor.stop()


def test_children_that_have_nothing_to_do_for_long_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert house.worker.children is not None
    below = {*house.worker.children.pids, *house.runners()}
    assert len(below) == 3
    monkeypatch.setattr(executor, "IDLE_SECONDS", 0.2)
    house.does(tasks.double, x=1)
    until(lambda: _gone(below), "all children end")
    assert house.worker.children.pids == []
    assert house.does(tasks.double, x=2).result["doubled"] == 4


def test_code_that_starts_threads_is_loaded_by_each_child_for_itself(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "tests.isolation.tasks:load_with_threads")
    try:
        bench.start(tasks.double, '{"x": 1}')
        assert (bench.wait().result or "").startswith('{"doubled":2,')
        server = bench.executor.pids[0]
        assert system.tasks_of(server) == 1
    finally:
        bench.executor.stop()


def test_code_that_cannot_be_loaded_gives_its_runs_back_and_says_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "tests.isolation.tasks:load_broken")
    try:
        bench.start(tasks.double, '{"x": 1}')
        outcome = bench.wait()
    finally:
        bench.executor.stop()
    assert outcome.ended is Ended.RETURNED
    assert outcome.reason == "isolated tasks cannot be loaded: ModuleNotFoundError: No module named 'pandas'"


def test_a_suspect_runs_isolated_whatever_its_task_says(tmp_path: Path) -> None:
    house = House(tmp_path, tasks.ALL, "tests.isolation.tasks:load")
    innocent, suspect = house.enqueue(tasks.suspect), house.enqueue(tasks.suspect)
    house.database.write(lambda tx: tx.core(runs.update().where(runs.c.id == suspect).values(losses=1)))
    house.worker.start()
    try:
        assert house.ends(innocent).result == os.getpid()
        assert house.ends(suspect).result != os.getpid()
    finally:
        house.close()


def test_nobody_is_left_of_a_keeper_that_was_killed(house: House, tmp_path: Path) -> None:
    mark = tasks.marks(tmp_path / "mark")
    run_id = house.enqueue(tasks.waits, mark=mark)
    until(lambda: house.view(run_id).progress)
    assert house.worker.children is not None
    for pid in house.worker.children.pids[1:]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: house.view(run_id).attempts)
    assert left_alive(tmp_path / "mark") == []
    assert house.view(run_id).run.failure_kind in (None, FailureKind.POISON)
    assert house.view(run_id).attempts[0].error_message == "its process died: its keeper was killed"
