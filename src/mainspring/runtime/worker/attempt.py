"""One attempt while it runs: its context, its log, and how it came to be asked to stop."""

from __future__ import annotations

import logging
import math
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from mainspring.domain.control import RunCancelled, SoftTimeLimit
from mainspring.domain.runs import ClaimedRun
from mainspring.domain.tasks import Task
from mainspring.errors import InvalidInput
from mainspring.ids import RunId
from mainspring.runtime.worker.logs import AttemptLog

_log = logging.getLogger("mainspring.worker")


class StopCause(StrEnum):
    """Why a running attempt was told to stop."""

    SOFT_LIMIT = "soft_time_limit"
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
    """Stops the coroutine or the child process; a thread can only be asked."""
    asked_at: float | None = None
    """When it was first asked to stop, by the monotonic clock of whoever asked."""
    said_so: bool = False
    """Its log says that it goes on although it was asked to stop."""
    isolated: bool = False
    _callbacks: list[Callable[[str], object]] = field(default_factory=list)
    progress: tuple[float, float | None, str] | None = None
    progress_changed: bool = False
    done: bool = False
    """Its outcome has been decided; a later one is dropped."""
    # Reentrant: in a child process a signal may tell the attempt to stop while its own thread is in here.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def key(self) -> tuple[str, int]:
        """Return what tells this attempt from all others."""
        return self.run.id, self.run.attempt

    def ask_to_stop(self, cause: StopCause) -> None:
        """Tell the attempt to stop; the first cause stands, but a lost lease overrides all, and a soft limit none."""
        if self.stop in (None, StopCause.SOFT_LIMIT) or cause is StopCause.LOST:
            if self.stop is cause:
                return
            with self._lock:
                self.stop = cause
                callbacks, self._callbacks = self._callbacks, []
            if self.cancel_task is not None:
                self.cancel_task()
            for callback in callbacks:
                self._tell(callback)

    def on_stop(self, callback: Callable[[str], object]) -> None:
        """Call *callback* with the cause when the attempt is told to stop, or at once when it was."""
        with self._lock:
            if self.stop is None:
                self._callbacks.append(callback)
                return
        self._tell(callback)

    def _tell(self, callback: Callable[[str], object]) -> None:
        try:
            callback(str(self.stop))
        except Exception:  # it is the task's code, and whoever asks the task to stop must go on
            _log.exception("on_stop_failed run_id=%s attempt=%d", *self.key)
            self.log.write(f"the on_stop callback failed:\n{traceback.format_exc()}")

    def note(self, now: datetime, text: str) -> None:
        """Say something about the attempt in its own log."""
        at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.log.write(f"{at} WARNING mainspring.worker: {text}\n")

    def settle(self) -> bool:
        """Return True for the first caller only: the one whose outcome counts."""
        with self._lock:
            first, self.done = not self.done, True
            return first


class ArtifactSaver(Protocol):
    """Keeps artifacts: an `ArtifactStore`, or what stands for it in a child process."""

    def save(self, run_id: RunId, attempt: int, name: str, data: bytes | str | Path, media_type: str | None) -> str:
        """Keep *data*; return the new artifact's id."""


class AttemptContext:
    """The context that a task receives."""

    def __init__(self, attempt: Attempt, artifacts: ArtifactSaver) -> None:
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

    def on_stop(self, callback: Callable[[str], object]) -> None:
        """Call *callback* with the cause when the run is told to stop, or at once when it was."""
        self._attempt.on_stop(callback)

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report how far the work is.

        Raises:
            InvalidInput: a number is not finite.
            RunCancelled: the run was asked to stop; let it pass, and the attempt ends here.
            SoftTimeLimit: it has run for its soft time limit.
        """
        if not (math.isfinite(done) and (total is None or math.isfinite(total))):
            raise InvalidInput(f"progress {done} of {total} is not a finite number")
        self._attempt.progress = (float(done), None if total is None else float(total), note)
        self._attempt.progress_changed = True
        if self.cancelled:
            raise stop_error(self._attempt)

    def artifact(self, name: str, data: Any, media_type: str | None = None) -> str:
        """Save *data* under *name* with this run; return the artifact's id."""
        return self._artifacts.save(self._attempt.run.id, self._attempt.run.attempt, name, data, media_type)


def stop_error(attempt: Attempt) -> RunCancelled | SoftTimeLimit:
    """Return what is raised in an attempt that was told to stop."""
    if attempt.stop is StopCause.SOFT_LIMIT:
        limit = attempt.task.limits.soft_time_limit if attempt.task is not None else None
        after = f" of {limit.total_seconds():g} s" if limit is not None else ""
        return SoftTimeLimit(f"run {attempt.run.id} has run for its soft time limit{after}")
    return RunCancelled(f"run {attempt.run.id} was asked to stop")
