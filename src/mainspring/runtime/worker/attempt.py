"""One attempt while it runs: its context, its log, and how it came to be asked to stop."""

from __future__ import annotations

import logging
import math
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

from mainspring.domain.control import RunCancelled, SilenceLimit, SoftTimeLimit
from mainspring.domain.duration import duration_in_words
from mainspring.domain.progress import Pace, length_of
from mainspring.domain.runs import ClaimedRun
from mainspring.domain.tasks import Limits, Task
from mainspring.encoding import INLINE_LIMIT, decode, encode
from mainspring.errors import InvalidInput
from mainspring.ids import SessionId
from mainspring.runtime.worker.logs import AttemptLog

T = TypeVar("T")
_log = logging.getLogger("mainspring.worker")


class StopCause(StrEnum):
    """Why a running attempt was told to stop."""

    SOFT_LIMIT = "soft_time_limit"
    SILENT = "silence_limit"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LOST = "lost"


_LIMITS: Final = (StopCause.SOFT_LIMIT, StopCause.SILENT)


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
    pace: Pace = field(default_factory=Pace)
    session: SessionId | None = None
    """The session that holds the run; None in a child process, which writes nothing itself."""
    beat_at: float = 0.0
    """When it was last heard of, by the monotonic clock."""
    checkpoint_saved: bool = False
    cache_key: str | None = None
    """Under which its result is kept for runs with the same parameters, if at all."""
    done: bool = False
    """Its outcome has been decided; a later one is dropped."""
    # Reentrant: in a child process a signal may tell the attempt to stop while its own thread is in here.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def key(self) -> tuple[str, int]:
        """Return what tells this attempt from all others."""
        return self.run.id, self.run.attempt

    @property
    def may_have_checkpoint(self) -> bool:
        """Return whether this run may have saved where it stands; only a task with a context can."""
        earlier = self.run.attempt > 1 and self.task is not None and self.task.context_parameter is not None
        return self.checkpoint_saved or earlier

    def ask_to_stop(self, cause: StopCause) -> None:
        """Tell the attempt to stop; the first cause stands, but a lost lease overrides all, and a soft limit none."""
        if self.stop is None or self.stop in _LIMITS or cause is StopCause.LOST:
            if self.stop is cause or (self.stop is not None and cause in _LIMITS):
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
            self.log.write(f"the on_stop callback failed:\n{traceback.format_exc()}")
            _log.exception("on_stop_failed run_id=%s attempt=%d", *self.key)

    def note(self, now: datetime, text: str) -> None:
        """Say something about the attempt in its own log."""
        at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.log.write(f"{at} WARNING mainspring.worker: {text}\n")

    def settle(self) -> bool:
        """Return True for the first caller only: the one whose outcome counts."""
        with self._lock:
            first, self.done = not self.done, True
            return first


class Host(Protocol):
    """What does for an attempt what it asks of its context: its worker, or what stands for that in a child process."""

    def save_artifact(self, attempt: Attempt, name: str, data: Any, media_type: str | None) -> str:
        """Keep *data*; return the new artifact's id."""

    def read_checkpoint(self, attempt: Attempt) -> str | None:
        """Return what was saved last, as JSON text, or None."""

    def save_checkpoint(self, attempt: Attempt, text: str) -> None:
        """Keep *text* durably, or raise."""

    def monotonic(self) -> float:
        """Return the time by which attempts are heard of."""


class AttemptContext:
    """The context that a task receives."""

    def __init__(self, attempt: Attempt, host: Host) -> None:
        self._attempt, self._host = attempt, host
        self._stands_at: str | None = None
        self._looked = False
        self._saved_at: float | None = None
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
            SilenceLimit: it was not heard of for its silence limit.
        """
        if not (math.isfinite(done) and (total is None or math.isfinite(total))):
            raise InvalidInput(f"progress {done} of {total} is not a finite number")
        self._attempt.progress = (float(done), None if total is None else float(total), note)
        self._attempt.progress_changed = True
        self.beat()

    def track(self, items: Iterable[T], total: float | None = None, note: str = "", start: float = 0) -> Iterator[T]:
        """Give *items* one by one and report each as done; raises what `progress` raises."""
        known = length_of(items)
        if total is None and known is not None:
            total = start + known
        done = start
        self.progress(done, total, note)
        for item in items:
            yield item
            done += 1
            self.progress(done, total, note)

    def beat(self) -> None:
        """Say that the work goes on.

        Raises:
            RunCancelled: the run was asked to stop.
            SoftTimeLimit: it has run for its soft time limit.
            SilenceLimit: it was not heard of for its silence limit.
        """
        self._hear()
        if self.cancelled:
            raise stop_error(self._attempt)

    def _hear(self) -> float:
        """Note that the attempt was heard of now; return when that is."""
        now = self._attempt.beat_at = self._host.monotonic()
        return now

    @property
    def checkpoint(self) -> Any:
        """Return what was saved last, by this attempt or an earlier one; None at first."""
        if not self._looked:
            self._stands_at = self._host.read_checkpoint(self._attempt)
            self._looked = True
        return decode(self._stands_at)

    def save_checkpoint(self, value: Any, every: timedelta | None = None) -> bool:
        """Save where the work stands; return whether it was time to, which *every* says.

        Raises:
            NotSerialisable: JSON cannot hold it.
            InvalidInput: it is longer than 64 KiB.
            LeaseLost: the run belongs to another worker by now; nothing was written.
        """
        now = self._hear()
        if every is not None and self._saved_at is not None and now - self._saved_at < every.total_seconds():
            return False
        text = encode(value)
        if (size := len(text.encode("utf-8"))) > INLINE_LIMIT:
            raise InvalidInput(
                f"the checkpoint has {size} bytes of JSON, more than {INLINE_LIMIT}; save what is large as an artifact "
                "and its id in the checkpoint"
            )
        self._host.save_checkpoint(self._attempt, text)
        self._stands_at, self._looked, self._saved_at = text, True, now
        return True

    def artifact(self, name: str, data: Any, media_type: str | None = None) -> str:
        """Save *data* under *name* with this run; return the artifact's id.

        Raises:
            ArtifactRefused: it is not kept; the run may go on without.
        """
        self._hear()
        artifact_id = self._host.save_artifact(self._attempt, name, data, media_type)
        self._hear()
        return artifact_id


def stop_error(attempt: Attempt) -> RunCancelled | SoftTimeLimit:
    """Return what is raised in an attempt that was told to stop."""
    limits = attempt.task.limits if attempt.task is not None else Limits()
    if attempt.stop is StopCause.SILENT:
        return SilenceLimit(silence_in_words(limits))
    if attempt.stop is StopCause.SOFT_LIMIT:
        limit = limits.soft_time_limit
        after = f" of {limit.total_seconds():g} s" if limit is not None else ""
        return SoftTimeLimit(f"run {attempt.run.id} has run for its soft time limit{after}")
    return RunCancelled(f"run {attempt.run.id} was asked to stop")


def silence_in_words(limits: Limits) -> str:
    """Return for how long a task with these limits was not heard of when that was too long."""
    return f"silent for {duration_in_words(limits.silence_limit or timedelta(0))}"
