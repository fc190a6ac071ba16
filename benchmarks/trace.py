"""What ran and when: each task says so as its first deed. Standard library alone, for peers import it too."""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

VARIABLE: Final = "BENCHMARK_TRACE"
_INSTANT: Final = struct.Struct("<d")
_EACH: Final = 1 + _INSTANT.size
_NEVER: Final = threading.Event()
_memory: mmap.mmap | None = None


def now() -> float:
    """Return seconds on the clock that all processes of this machine share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def pause(seconds: float) -> None:
    """Let real time pass."""
    _NEVER.wait(seconds)


def wait_for(condition: Callable[[], bool], within: float, what: str, look_every: float = 0.002) -> float:
    """Wait until *condition* holds; return when that was.

    Raises:
        TimeoutError: it does not hold *within* so many seconds.
    """
    until = now() + within
    while not condition():
        if now() > until:
            raise TimeoutError(f"not within {within:g} s: {what}")
        pause(look_every)
    return now()


def hit(number: int) -> None:
    """Record that the run of this *number* has started; below 0 nobody asks.

    It writes to memory alone: a call of the system would let another thread in, which costs more than a no-op.
    """
    if number < 0:
        return
    memory = _memory or _open()
    memory[number] += 1
    _INSTANT.pack_into(memory, len(memory) // _EACH + _INSTANT.size * number, now())


def _open() -> mmap.mmap:
    global _memory
    with open(os.environ[VARIABLE], "r+b") as file:
        _memory = mmap.mmap(file.fileno(), 0)
    return _memory


class Trace:
    """A file that all processes share: how often each run has started, then when each did last."""

    def __init__(self, path: Path) -> None:
        """Use *path*; processes are told of it by the environment."""
        self.path, self._runs = path, 0

    def clear(self, runs: int) -> None:
        """Begin anew for so many *runs*, numbered from 0; a process that is there already keeps the old file."""
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(bytes(runs * _EACH))
        self._runs = runs

    def starts(self) -> bytes:
        """Return how often each run has started."""
        with self.path.open("rb") as file:
            return file.read(self._runs)

    def count(self) -> int:
        """Return how many runs have started."""
        return self._runs - self.starts().count(0)

    def instants(self) -> dict[int, float]:
        """Return when each run started, for those that have."""
        found = self.path.read_bytes()
        return {
            n: _INSTANT.unpack_from(found, self._runs + _INSTANT.size * n)[0] for n in range(self._runs) if found[n]
        }

    def first(self) -> float:
        """Return the instant of the first start."""
        return min(self.instants().values())

    def require_each_once(self) -> None:
        """Make sure that each run has started once.

        Raises:
            AssertionError: otherwise; what was measured is worth nothing then.
        """
        starts = self.starts()
        if starts.count(1) != self._runs:
            raise AssertionError(f"{sum(starts)} starts of {self.count()} runs; {self._runs} were to start once each")
