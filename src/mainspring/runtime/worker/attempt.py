"""One attempt while it runs: its context, its log, and how it came to be asked to stop."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from mainspring.domain.control import RunCancelled
from mainspring.domain.runs import ClaimedRun
from mainspring.domain.tasks import Task
from mainspring.errors import InvalidInput
from mainspring.runtime.worker.artifacts import ArtifactStore
from mainspring.runtime.worker.logs import AttemptLog


class StopCause(StrEnum):
    """Why a running attempt was told to stop."""

    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LOST = "lost"


@dataclass(eq=False)
class Attempt:
    """A claimed run in this process."""

    run: ClaimedRun
    started_at: datetime
    task: Task[..., Any] | None = None
    log: AttemptLog = field(default_factory=AttemptLog)
    stop: StopCause | None = None
    cancel_task: Callable[[], None] | None = None
    """Stops the coroutine, for `async def`; a thread can only be asked."""
    progress: tuple[float, float | None, str] | None = None
    progress_changed: bool = False
    done: bool = False
    """Its outcome has been decided; a later one is dropped."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> tuple[str, int]:
        """Return what tells this attempt from all others."""
        return self.run.id, self.run.attempt

    def ask_to_stop(self, cause: StopCause) -> None:
        """Tell the attempt to stop; the first cause stands, but a lost lease overrides all."""
        if self.stop is None or cause is StopCause.LOST:
            self.stop = cause
            if self.cancel_task is not None:
                self.cancel_task()

    def settle(self) -> bool:
        """Return True for the first caller only: the one whose outcome counts."""
        with self._lock:
            first, self.done = not self.done, True
            return first


class AttemptContext:
    """The context that a task receives."""

    def __init__(self, attempt: Attempt, artifacts: ArtifactStore) -> None:
        self._attempt, self._artifacts = attempt, artifacts
        self.run_id: str = attempt.run.id
        self.attempt: int = attempt.run.attempt
        self.task: str = attempt.run.task
        self.queue: str = attempt.run.queue
        self.schedule_id: str | None = attempt.run.schedule_id
        self.fire_at = attempt.run.fire_at
        self.log: logging.Logger = logging.getLogger(f"task.{attempt.run.task}")

    @property
    def cancelled(self) -> bool:
        """Return whether this attempt was asked to stop."""
        return self._attempt.stop is not None

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report how far the work is.

        Raises:
            InvalidInput: a number is not finite.
            RunCancelled: the run was asked to stop; let it pass, and the attempt ends here.
        """
        if not (math.isfinite(done) and (total is None or math.isfinite(total))):
            raise InvalidInput(f"progress {done} of {total} is not a finite number")
        self._attempt.progress = (float(done), None if total is None else float(total), note)
        self._attempt.progress_changed = True
        if self.cancelled:
            raise RunCancelled(f"run {self.run_id} was asked to stop")

    def artifact(self, name: str, data: Any, media_type: str | None = None) -> str:
        """Save *data* under *name* with this run; return the artifact's id."""
        return self._artifacts.save(self._attempt.run.id, self._attempt.run.attempt, name, data, media_type)
