"""Run a worker with child processes for real: on the machine's clock, on SQLite."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mainspring.app import open_database
from mainspring.clock import SystemClock
from mainspring.domain.runs import ClaimedRun, Outcome
from mainspring.domain.states import FINAL
from mainspring.domain.tasks import Task
from mainspring.ids import RunId, new_run_id
from mainspring.runtime.isolation import system
from mainspring.runtime.isolation.code import IsolatedCode
from mainspring.runtime.isolation.execution import IsolatedExecution
from mainspring.runtime.isolation.executor import IsolatedExecutor
from mainspring.runtime.worker.attempt import Attempt
from mainspring.runtime.worker.execution import Surroundings
from mainspring.runtime.worker.worker import Worker, WorkerOptions
from mainspring.services.artifacts import ArtifactStore
from mainspring.services.catalog import Catalog
from mainspring.services.enqueue import Enqueuer, Request
from mainspring.services.reading import Reading, RunView
from mainspring.services.runs import Steering
from mainspring.store import migrate

CLOCK = SystemClock()
PATIENCE = 30.0


def until(condition: Callable[[], object], what: str = "", patience: float = PATIENCE) -> None:
    """Return as soon as *condition* holds; fail if it does not in time."""
    deadline, pause = CLOCK.monotonic() + patience, threading.Event()
    while not condition():
        assert CLOCK.monotonic() < deadline, f"did not happen in {patience:g} s: {what or condition}"
        CLOCK.wait(pause, 0.005)


class House:
    """A database and a worker on it."""

    def __init__(self, folder: Path, tasks: Sequence[Task[..., Any]], source: str, **options: Any) -> None:
        self.folder = folder
        self.database = open_database(f"sqlite:///{folder}/mainspring.db")
        migrate.upgrade(self.database)
        given = {"slots": 8, "artifacts": folder / "artifacts"} | options
        self.worker = Worker(
            self.database,
            CLOCK,
            Catalog(tasks),
            WorkerOptions("w", code=IsolatedCode(source), **given),
            redact=lambda text: text.replace("hunter2", "***"),
        )
        self.enqueuer, self.reading = Enqueuer(self.database, CLOCK), Reading(self.database, CLOCK)
        self.steering = Steering(self.database, CLOCK)

    @property
    def server(self) -> int | None:
        """The id of the worker's fork server, if it has one at present."""
        children = self.worker.children
        return children.pids[0] if children is not None and children.pids else None

    def enqueue(self, task: Task[..., Any], **parameters: Any) -> RunId:
        """Enqueue a run."""
        return self.enqueuer.enqueue(Request(task, parameters))

    def view(self, run_id: RunId) -> RunView:
        """Return a run with all that belongs to it."""
        return self.reading.run(run_id)

    def ends(self, run_id: RunId, patience: float = PATIENCE) -> RunView:
        """Wait until a run has ended and return it."""
        until(lambda: self.steering.require(run_id).state in FINAL, f"run {run_id} ends", patience)
        return self.view(run_id)

    def does(self, task: Task[..., Any], **parameters: Any) -> RunView:
        """Enqueue a run, wait for its end and return it."""
        return self.ends(self.enqueue(task, **parameters))

    def log(self, run_id: RunId, attempt: int = 1) -> str:
        """Return the log of an attempt."""
        return self.reading.log(run_id, attempt)

    def runners(self) -> list[int]:
        """Return the processes in which tasks run, those of the fork server and of keepers left out."""
        assert self.worker.children is not None
        server, *keepers = self.worker.children.pids
        return sorted(system.Tree(server).members() - set(keepers))

    def close(self) -> None:
        """Stop the worker and close the database."""
        self.worker.interrupt()
        self.worker.stop()
        self.database.close()


def how_it_ended(view: RunView) -> str:
    """Return failure kind and error type of a run; empty when it succeeded."""
    if view.run.failure_kind is None:
        return ""
    return f"{view.run.failure_kind} {view.attempts[-1].error_type}"


class Bench:
    """The executor of children alone, without a database: for what is measured."""

    def __init__(self, folder: Path, source: str, trusted_for: float = 10.0) -> None:
        self.ends: list[tuple[float, Outcome]] = []
        self._done = threading.Semaphore(0)
        self.executor = IsolatedExecutor(IsolatedCode(source), folder, lambda: trusted_for)
        # Nothing that it runs needs a database.
        database: Any = None
        artifacts = ArtifactStore(database, CLOCK, folder)
        self._around = Surroundings(database, CLOCK, artifacts, lambda text: text, None, self._on_done)

    def start(self, task: Task[..., Any], parameters: str = "{}") -> Attempt:
        """Start an attempt."""
        now = CLOCK.now()
        run = ClaimedRun(
            new_run_id(), 1, task.name, "q", 0, 0, 0, 0, 0, 1, task.at_most_once, now, now, None, None, parameters
        )
        attempt = Attempt(run, now, task)
        self.executor.submit([IsolatedExecution(attempt, task, self._around)])
        return attempt

    def wait(self, patience: float = PATIENCE) -> Outcome:
        """Wait for the next end."""
        assert self._done.acquire(timeout=patience)
        return self.ends[-1][1]

    def rate(self, task: Task[..., Any], runs: int, at_once: int, parameters: str = "{}") -> float:
        """Return how many runs a second *at_once* children do."""
        began = CLOCK.monotonic()
        for _ in range(at_once):
            self.start(task, parameters)
        for _ in range(runs - at_once):
            self.wait()
            self.start(task, parameters)
        for _ in range(at_once):
            self.wait()
        return runs / (CLOCK.monotonic() - began)

    def _on_done(self, attempt: Attempt, outcome: Outcome) -> None:
        self.ends.append((CLOCK.monotonic(), outcome))
        self._done.release()
