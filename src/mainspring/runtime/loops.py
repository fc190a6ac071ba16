"""Repeat a duty until stopped: it waits for a signal or its time, and a failure makes it back off, never end."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from mainspring.clock import Clock
from mainspring.errors import MainspringError

_log = logging.getLogger("mainspring.loop")
_LONGEST_BACKOFF = 30.0


class Loop:
    """Calls *run_once* again and again on a thread of its own.

    *run_once* returns after how many seconds it wants to be called again; `wake` calls it at once.
    """

    def __init__(
        self, name: str, run_once: Callable[[], float], clock: Clock, longest_backoff: float = _LONGEST_BACKOFF
    ) -> None:
        """Prepare the duty; after failures it is called again after *longest_backoff* seconds at most."""
        self.name, self._run_once, self._clock = name, run_once, clock
        self._longest_backoff = longest_backoff
        self._signal = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = 0

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._serve, name=f"mainspring-{self.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Call the duty at once, or once more as soon as the present call ends."""
        self._signal.set()

    def stop(self, timeout: float = 10.0) -> None:
        """Let the present call end and return when it has, or after *timeout* seconds."""
        self._stopping.set()
        self._signal.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            # Cleared before the call: what arrives during it causes another.
            self._signal.clear()
            delay = self._call()
            if not self._stopping.is_set():
                self._clock.wait(self._signal, delay)

    def _call(self) -> float:
        try:
            delay = self._run_once()
        except Exception as error:  # a loop outlives whatever its duty raises: the database comes back
            self._failures += 1
            if self._failures in (1, 2, 4, 8) or self._failures % 16 == 0:
                _log.warning(
                    "duty_failed duty=%s times=%d error=%s", self.name, self._failures, error, exc_info=_unusual(error)
                )
            return backoff(self._failures, 0.2, self._longest_backoff)
        if self._failures:
            _log.info("duty_recovered duty=%s after=%d", self.name, self._failures)
            self._failures = 0
        return delay


def backoff(failures: int, first: float, longest: float) -> float:
    """Return how many seconds to wait after so many failures in a row, with jitter, never more than *longest*."""
    # The exponent is bounded before the float overflows: an outage may last for days.
    return min(first * 2.0 ** min(failures, 30), longest) * (0.5 + random.random() / 2)


def _unusual(error: Exception) -> bool:
    return not isinstance(error, MainspringError)
