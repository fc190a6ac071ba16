"""Tell the time: the only module that reads the machine's clocks."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """A source of time; everything that needs the time is given one."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back and go on while the machine sleeps."""

    def wait(self, signal: threading.Event, timeout: float) -> bool:
        """Wait until *signal* is set or *timeout* seconds have passed; return whether it is set."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since boot, sleep included where the system can tell."""
        return time.clock_gettime(_BOOT_CLOCK)

    def wait(self, signal: threading.Event, timeout: float) -> bool:
        """Wait until *signal* is set or *timeout* seconds have passed; return whether it is set."""
        return signal.wait(max(timeout, 0.0))


class ManualClock:
    """A clock that moves only when told: for tests and simulation."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 1_000.0

    def now(self) -> datetime:
        """Return the time the clock was last set to."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds that only `advance` moves."""
        return self._monotonic

    def advance(self, by: timedelta) -> None:
        """Move both clocks forward by *by*."""
        self._now += by
        self._monotonic += by.total_seconds()

    def step_wall(self, to: datetime) -> None:
        """Set the wall clock alone, as an operator or NTP would."""
        self._now = to

    def wait(self, signal: threading.Event, timeout: float) -> bool:
        """Return at once: with a manual clock nobody waits."""
        return signal.is_set()


def boot_id() -> str:
    """Return a text that changes with each boot of this machine."""
    path = Path("/proc/sys/kernel/random/boot_id")
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    return str(int(time.time() - time.monotonic()) // 60)


def lease_clock_now() -> datetime:
    """Return the boot clock as an instant after `EPOCH`: for leases on SQLite, where no server keeps time.

    Only differences mean anything, and only between processes that share a `boot_id`.
    """
    return EPOCH + timedelta(microseconds=time.clock_gettime_ns(_BOOT_CLOCK) // 1000)
