"""Notice what a run left behind in its process, so that the next run does not find it."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from typing import Any, Final

from mainspring.clock import SystemClock
from mainspring.runtime.isolation import system

_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_RLIMITS: Final = [
    getattr(resource, f"RLIMIT_{name}")
    for name in ("AS", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK")
    if hasattr(resource, f"RLIMIT_{name}")
]
_PATIENCE: Final = 0.05
_CLOCK: Final = SystemClock()


class Surface:
    """What a fresh runner looks like."""

    def __init__(self, handled: frozenset[int]) -> None:
        """Remember the present state; *handled* are the signals whose handlers must stay ours."""
        self._handled = handled
        self._state = self._look()
        self._threads = system.tasks_of("self")

    def left_behind(self) -> str | None:
        """Return in words what a run changed or left, or None."""
        if system.has_children():
            return "processes"
        if system.tasks_of("self") > self._threads and not self._threads_end():
            return "threads"
        now = self._look()
        return next((name for name, value in now.items() if value != self._state[name]), None)

    def _threads_end(self) -> bool:
        """Wait a moment for threads that were told to end: the system has them a little longer than Python."""
        until, pause = _CLOCK.monotonic() + _PATIENCE, threading.Event()
        while system.tasks_of("self") > self._threads:
            if _CLOCK.monotonic() >= until:
                return False
            _CLOCK.wait(pause, 0.001)
        return True

    def _look(self) -> dict[str, Any]:
        mask = os.umask(0o077)
        os.umask(mask)
        return {
            "another folder": _folder(),
            "changed limits": [resource.getrlimit(kind) for kind in _RLIMITS],
            "a timer": [signal.getitimer(which) for which in _TIMERS],
            "changed signals": [signal.getsignal(which) for which in self._handled],
            "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, []),
            "closed output": [_identity(1), _identity(2), _closed(sys.__stdout__), _closed(sys.__stderr__)],
            "another umask": mask,
        }


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _closed(stream: Any) -> bool:
    return stream is None or bool(stream.closed)


def _identity(descriptor: int) -> tuple[int, int]:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
