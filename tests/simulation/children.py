"""Stand for a worker's child processes: each run has a fiber that dies with its worker, but does not freeze with it.

Orders, ends and deaths go through the product's own `IsolatedExecution`; forks, pipes and signals are not simulated.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from mainspring.domain.control import RunCancelled
from mainspring.encoding import encode
from mainspring.runtime.isolation import wire
from mainspring.runtime.isolation.execution import IsolatedExecution
from mainspring.runtime.worker.attempt import StopCause
from mainspring.runtime.worker.outcomes import describe
from tests.simulation.kernel import Crashed, Event, Queue, Thread
from tests.simulation.tasks import FragileContext, Pause
from tests.simulation.world import Process, World

_LOOK: Final = 0.5
"""Seconds between two looks of a keeper at the lease."""
_GRACE: Final = 5.0


class Died(BaseException):
    """The child is no more."""


class Child:
    """What runs beside a worker: dead when the worker is, never frozen."""

    frozen_until = 0

    def __init__(self, process: Process) -> None:
        self._process = process
        self.pid = process.pid + 1_000

    @property
    def dead(self) -> bool:
        return self._process.dead

    def __str__(self) -> str:
        return f"{self._process}'s child"


class Context(FragileContext):
    """What a task in a child is given."""

    def __init__(self, run_id: str, attempt: int) -> None:
        self.run_id, self.attempt = run_id, attempt
        self.cancelled = False

    def die(self) -> None:
        """End the child as a segmentation fault does."""
        raise Died

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report nothing, but end when told to."""
        if self.cancelled:
            raise RunCancelled(f"run {self.run_id} was asked to stop")


class SimulatedChildren:
    """Runs isolated attempts."""

    def __init__(self, world: World, trusted_for: Callable[[], float]) -> None:
        self._world, self._trusted_for = world, trusted_for
        self._owner = Child(world.kernel._me().owner)
        world.kernel._me().owner.children.append(self._owner)
        self._said: Any = Queue(world.kernel)
        self._thread: Thread | None = None
        self._running: set[IsolatedExecution] = set()
        self._ended = Event(world.kernel)
        # A keeper knows the deadline that its worker told it last.
        self._deadline = 0.0

    def submit(self, executions: Sequence[IsolatedExecution]) -> None:
        """Start *executions*."""
        if self._thread is None:
            self._thread = Thread(self._world.kernel, self._hear, name="isolation")
            self._thread.start()
        self.trust()
        for execution in executions:
            if execution.order(_nowhere()) is None:
                continue
            self._running.add(execution)
            context = Context(execution.attempt.run.id, execution.attempt.run.attempt)
            told = Event(self._world.kernel)
            execution.started_as(told.set)
            self._world.kernel.spawn(self._owner, "child", lambda e=execution, c=context, t=told: self._live(e, c, t))

    def warm(self) -> None:
        """Have nothing to prepare: a child is made in no time, whenever a run needs one."""

    def trust(self) -> None:
        """Pass on for how long the lease holds."""
        self._deadline = self._world.boot_seconds + self._trusted_for()

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait until no run is left, for so many seconds at most."""
        until = self._world.boot_seconds + seconds
        while self._running and self._world.boot_seconds < until:
            self._ended.clear()
            self._ended.wait(until - self._world.boot_seconds)
        return not self._running

    def stop(self) -> None:
        """End the thread; children end with their worker."""
        self._said.put(None)

    def _hear(self) -> None:
        while (said := self._said.get()) is not None:
            execution, what, body = said
            self._running.discard(execution)
            getattr(execution, what)(body)
            self._ended.set()

    def _live(self, execution: IsolatedExecution, context: Context, told: Event) -> None:
        over = Event(self._world.kernel)
        fate = {"why": ""}
        worker = self._world.kernel.spawn(self._owner, "runner", lambda: self._work(execution, context, over, fate))
        asked_at: float | None = None
        while not over.wait(_LOOK):
            if told.is_set() and execution.attempt.stop is not StopCause.LOST:
                context.cancelled = True
                asked_at = asked_at or self._world.boot_seconds
            lost = self._world.boot_seconds >= self._deadline or execution.attempt.stop is StopCause.LOST
            if lost or (asked_at is not None and self._world.boot_seconds - asked_at > _GRACE):
                fate["why"] = "lease" if lost else "stop"
                worker.doomed = True
                self._world.kernel.wake(worker, 0)
                self._said.put((execution, "gone", {"why": fate["why"], "code": -9}))
                return

    def _work(self, execution: IsolatedExecution, context: Context, over: Event, fate: dict[str, str]) -> None:
        attempt = execution.attempt
        task = attempt.task
        assert task is not None
        try:
            arguments = task.bind(_parameters(execution)) | {str(task.context_parameter): context}
            result = task.function(**arguments)
            if asyncio.iscoroutine(result):
                result = self._drive(result, context)
            said: tuple[str, dict[str, Any]] = ("ended", {"how": "returned", "result": encode(result)})
        except Died:
            said = ("gone", {"why": "died", "code": -11})
        except Crashed:
            raise
        except BaseException as error:
            if context.cancelled and isinstance(error, RunCancelled | asyncio.CancelledError):
                said = ("gone", {"why": "stop", "code": 0})
            else:
                raised = wire.raised_to_json(describe(error, attempt.run.task, attempt.started_at))
                said = ("ended", {"how": "raised", "error": raised})
        over.set()
        self._said.put((execution, *said))

    def _drive(self, running: Any, context: Context) -> Any:
        try:
            pause = running.send(None)
            while True:
                assert isinstance(pause, Pause)
                self._world.spend(pause.seconds)
                pause = running.throw(asyncio.CancelledError()) if context.cancelled else running.send(None)
        except StopIteration as end:
            return end.value
        finally:
            running.close()


def _parameters(execution: IsolatedExecution) -> dict[str, Any]:
    text = execution.attempt.run.parameters
    assert text is not None
    parameters: dict[str, Any] = json.loads(text)
    return parameters


def _nowhere() -> Path:
    return Path("/nowhere")
