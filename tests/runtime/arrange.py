"""Run workers and schedulers on real threads by a clock that stands still until a test moves it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mainspring.clock import ManualClock, SystemClock
from mainspring.domain.queue_order import QueueOrder
from mainspring.domain.states import RunState
from mainspring.domain.tasks import Task
from mainspring.ids import RunId
from mainspring.runtime.scheduler import Maintenance, Scheduler
from mainspring.runtime.worker.logs import capture_logs, release_logs
from mainspring.runtime.worker.worker import Worker, WorkerOptions
from mainspring.services.catalog import Catalog
from mainspring.services.enqueue import Enqueuer, Request
from mainspring.services.reading import AttemptView, Reading, RunView
from mainspring.services.runs import Steering
from mainspring.store.database import Database
from mainspring.store.runs import StoredRun

PATIENCE = 20.0
"""Real seconds until a condition that does not come true fails its test."""
_MACHINE = SystemClock()


def until(condition: Callable[[], object], what: str = "") -> None:
    """Return as soon as *condition* holds; fail the test if it does not in time."""
    deadline, pause = _MACHINE.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert _MACHINE.monotonic() < deadline, f"did not happen in {PATIENCE:g} s: {what or condition}"
        _MACHINE.wait(pause, 0.004)


def happens(event: threading.Event) -> None:
    """Wait for *event*; fail the test if it does not come in time."""
    assert event.wait(PATIENCE), "the event did not happen in time"


class PatientClock(ManualClock):
    """A manual clock on which waiting really waits: for the signal, or for the test to move the time that far."""

    def __init__(self, start: datetime) -> None:
        super().__init__(start)
        self._moved = threading.Condition()
        self._waiting: dict[int, float] = {}
        self._waits = 0
        self.useless_waits = 0
        """Waits for no time at all: a loop that makes many of them spins."""

    @property
    def waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)

    def wait(self, signal: threading.Event, timeout: float) -> bool:
        """Return whether *signal* came before the time was moved by *timeout* seconds."""
        if timeout <= 0:
            self.useless_waits += 1
            return signal.is_set()
        with self._moved:
            self._waits += 1
            number, due = self._waits, self._monotonic + timeout
            self._waiting[number] = due
            self._moved.notify_all()
        try:
            while not signal.wait(0.002):
                if self._monotonic >= due:
                    return signal.is_set()
            return True
        finally:
            with self._moved:
                del self._waiting[number]
                self._moved.notify_all()

    def advance(self, by: timedelta) -> None:
        """Move the time in steps of a second at most, each when those that waited for the last one wait again."""
        while by > timedelta(0):
            step = min(by, timedelta(seconds=1))
            with self._moved:
                before = len(self._waiting)
                super().advance(step)
                self._moved.wait_for(lambda: self._settled(before), 3.0)  # noqa: B023
            by -= step

    def _settled(self, before: int) -> bool:
        return len(self._waiting) >= before and all(due > self._monotonic for due in self._waiting.values())


@dataclass
class Fleet:
    """Workers and schedulers of a test on one database; all are stopped after it."""

    database: Database
    clock: PatientClock
    folder: Path
    workers: list[Worker] = field(default_factory=list)
    schedulers: list[Scheduler] = field(default_factory=list)
    gates: list[threading.Event] = field(default_factory=list)
    upkeep: Maintenance | None = None

    def __post_init__(self) -> None:
        self.enqueuer, self.reading = Enqueuer(self.database, self.clock), Reading(self.database, self.clock)
        self.steering = Steering(self.database, self.clock)

    def worker(self, *tasks: Task[..., Any], database: Database | None = None, **options: Any) -> Worker:
        """Start a worker that knows *tasks*."""
        if isinstance(options.get("queues"), str):
            options["queues"] = QueueOrder.parse(options["queues"])
        given = {"name": f"w{len(self.workers) + 1}", "artifacts": self.folder / "artifacts"} | options
        further = {name: given.pop(name) for name in ("redact", "enter", "on_hint") if name in given}
        worker = Worker(database or self.database, self.clock, Catalog(tasks), WorkerOptions(**given), **further)
        self._starts(worker.start, 2)
        self.workers.append(worker)
        return worker

    def maintenance(self) -> None:
        """Start what stages and rescues."""
        self.upkeep = Maintenance(self.database, self.clock)
        self._starts(self.upkeep.start, 4)

    def scheduler(self, database: Database | None = None) -> Scheduler:
        """Start a scheduler."""
        scheduler = Scheduler(database or self.database, self.clock, "s1")
        self._starts(scheduler.start, 6)
        self.schedulers.append(scheduler)
        return scheduler

    def _starts(self, start: Callable[[], None], loops: int) -> None:
        """Start something and wait until its loops have gone round once: from then on they follow the clock."""
        before = self.clock.waiting
        start()
        until(lambda: self.clock.waiting >= before + loops, "all loops wait")

    def gate(self) -> threading.Event:
        """Return an event for tasks to wait on; it is set when the test ends, however it does."""
        self.gates.append(threading.Event())
        return self.gates[-1]

    def enqueue(self, task: Task[..., Any], **options: Any) -> RunId:
        """Enqueue a run; `parameters` and the other fields of a request by name."""
        return self.enqueuer.enqueue(Request(task, **options))

    def enqueue_many(self, task: Task[..., Any], each: Sequence[dict[str, Any]], **options: Any) -> list[RunId]:
        """Enqueue a run for each of the parameters, in one transaction."""
        return self.enqueuer.enqueue_many([Request(task, parameters, **options) for parameters in each])

    def run(self, run_id: RunId) -> StoredRun:
        """Return a run."""
        return self.steering.require(run_id)

    def view(self, run_id: RunId) -> RunView:
        """Return a run with all that belongs to it."""
        return self.reading.run(run_id)

    def attempt(self, run_id: RunId, number: int = 1) -> AttemptView:
        """Return an ended attempt of a run."""
        return next(a for a in self.view(run_id).attempts if a.attempt == number)

    def log(self, run_id: RunId, attempt: int = 1) -> str:
        """Return the log of an attempt."""
        return self.reading.log(run_id, attempt)

    def becomes(self, run_id: RunId, *states: RunState) -> StoredRun:
        """Wait until a run is in one of *states* and return it."""
        until(lambda: self.run(run_id).state in states, f"run becomes {states}")
        return self.run(run_id)

    def ends(self, run_id: RunId) -> StoredRun:
        """Wait until a run has ended and return it."""
        return self.becomes(run_id, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(timedelta(seconds=seconds))

    def stop(self, worker: Worker) -> None:
        """Stop a worker while time passes, as it does outside of tests."""
        self.workers.remove(worker)
        _stop(worker.stop, self.clock)

    def close(self) -> None:
        """Let every task go on and stop everything."""
        for gate in self.gates:
            gate.set()
        for worker in self.workers:
            worker.interrupt()
            _stop(worker.stop, self.clock)
        for scheduler in self.schedulers:
            _stop(scheduler.stop, self.clock)
        if self.upkeep is not None:
            self.upkeep.stop()


def _stop(stop: Callable[[], None], clock: PatientClock) -> None:
    with going_on(stop) as thread:
        deadline = _MACHINE.monotonic() + PATIENCE
        while thread.is_alive():
            thread.join(0.01)
            if thread.is_alive():
                clock.advance(timedelta(seconds=1))
            assert _MACHINE.monotonic() < deadline, "does not stop"


@contextmanager
def captured() -> Iterator[None]:
    """Catch attempts' logs and log INFO, as a worker process does; for the test itself: pytest sets streams anew."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    capture_logs()
    try:
        yield
    finally:
        release_logs()
        root.setLevel(before)


@contextmanager
def going_on(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """Do *work* on a thread; it has ended when the block ends."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE)
    assert not thread.is_alive(), "a thread hangs"
