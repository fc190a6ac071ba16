"""Tell attempts that run in this process when their soft time limit has come, or that they are silent for too long."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Sequence
from itertools import count
from typing import Final

from mainspring.clock import Clock
from mainspring.domain.tasks import Limits
from mainspring.runtime.worker.attempt import Attempt, StopCause

_LONGEST_WAIT: Final = 3600.0
_SWEEP_AT: Final = 100


class SoftLimits:
    """An alarm for each attempt that has a soft or a silence limit; its thread begins with the first."""

    def __init__(self, clock: Clock) -> None:
        """Tell the time by *clock*."""
        self._clock = clock
        self._alarms: list[tuple[float, int, Attempt, StopCause]] = []
        self._numbers = count()
        self._lock, self._signal = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._sweep_at = _SWEEP_AT

    def watch(self, attempts: Sequence[Attempt]) -> None:
        """Set an alarm for those of *attempts* that have such a limit; they begin now."""
        now = self._clock.monotonic()
        for attempt in attempts:
            attempt.beat_at = now
            limits = attempt.task.limits if attempt.task is not None else Limits()
            alarms = ((limits.soft_time_limit, StopCause.SOFT_LIMIT), (limits.silence_limit, StopCause.SILENT))
            for limit, cause in alarms:
                if limit is not None:
                    self._set(now + limit.total_seconds(), attempt, cause)

    def _set(self, at: float, attempt: Attempt, cause: StopCause) -> None:
        with self._lock:
            heapq.heappush(self._alarms, (at, next(self._numbers), attempt, cause))
            if len(self._alarms) > self._sweep_at:
                self._sweep()
        self._begin()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._signal.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _sweep(self) -> None:
        """Forget attempts that have ended: a long limit on short runs would keep very many."""
        self._alarms = [alarm for alarm in self._alarms if not alarm[2].done]
        heapq.heapify(self._alarms)
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._alarms))

    def _begin(self) -> None:
        self._signal.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="mainspring-soft-limits", daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        while not self._stopping:
            self._signal.clear()
            for attempt, cause in self._due():
                if not attempt.done:
                    self._ring(attempt, cause)
            with self._lock:
                due = self._alarms[0][0] if self._alarms else None
            left = _LONGEST_WAIT if due is None else due - self._clock.monotonic()
            if left > 0 and not self._stopping:
                self._clock.wait(self._signal, min(left, _LONGEST_WAIT))

    def _ring(self, attempt: Attempt, cause: StopCause) -> None:
        limit = attempt.task.limits.silence_limit if attempt.task is not None else None
        if cause is StopCause.SILENT and limit is not None:
            # It may have been heard of since the alarm was set.
            again = attempt.beat_at + limit.total_seconds()
            if again > self._clock.monotonic():
                self._set(again, attempt, cause)
                return
        attempt.ask_to_stop(cause)

    def _due(self) -> list[tuple[Attempt, StopCause]]:
        now = self._clock.monotonic()
        with self._lock:
            found: list[tuple[Attempt, StopCause]] = []
            while self._alarms and self._alarms[0][0] <= now:
                found.append(heapq.heappop(self._alarms)[2:])
            return found
