"""Notice that a deadline has passed, whatever the threads that should have moved it are doing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from mainspring.clock import Clock

_log = logging.getLogger("mainspring.watchdog")
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks: waiting does not go on while the machine sleeps, the deadline does."""


class Watchdog:
    """Calls *on_late* on a thread of its own when *until* is not later than the clock, and again after each `feed`."""

    def __init__(self, name: str, clock: Clock, until: Callable[[], float], on_late: Callable[[], None]) -> None:
        """Watch the deadline that *until* returns, in seconds of the clock's `monotonic`; both never raise."""
        self._clock, self._until, self._on_late = clock, until, on_late
        self._fed, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"mainspring-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def feed(self) -> None:
        """Say that there is a new deadline, after one has passed."""
        self._fed.set()

    def stop(self) -> None:
        """End; returns when `on_late` is not being called any more."""
        self._stopping.set()
        self._fed.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            left = self._until() - self._clock.monotonic()
            if left > 0:
                self._clock.wait(self._stopping, min(left, _LOOK_EVERY))
                continue
            self._fed.clear()
            self._on_late()
            # Cleared before the call: a deadline set meanwhile is looked at.
            if self._until() <= self._clock.monotonic():
                self._fed.wait()
