"""Let processes write in turn: two file locks, so that the last writer cannot barge in again before those who wait.

SQLite's own busy handler polls and starves: under load a process can wait for seconds. Whoever waits here holds the
turnstile; the next in line waits for that.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

from mainspring.clock import Clock, SystemClock
from mainspring.errors import StoreUnavailable
from mainspring.store.sqlite.safety import why_closed

TURN_SECONDS = 10.0
_NEVER = threading.Event()


class Turnstile:
    """The right of one process to write; threads of that process queue elsewhere."""

    def __init__(self, database: Path, deadline: float = TURN_SECONDS, clock: Clock | None = None) -> None:
        """Prepare the lock files beside *database*; *deadline* is how many seconds to wait for a turn."""
        self._database = database
        self._paths = (Path(f"{database}-turn"), Path(f"{database}-lock"))
        self._deadline, self._clock = deadline, clock or SystemClock()
        self._pid = 0
        self._descriptors: list[int] = []
        self._turn = self._lock = -1

    def enter(self) -> None:
        """Wait for this process's turn to write.

        Raises:
            StoreUnavailable: the turn did not come within the deadline.
        """
        if self._pid != os.getpid():
            self._open()
        if not _try(self._turn):
            self._wait(self._turn)
        try:
            if not _try(self._lock):
                self._wait(self._lock)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Let the next process write."""
        if self._pid != os.getpid():
            return
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the lock files."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        self._pid = 0

    def after_fork(self) -> None:
        """Let go of the parent's lock files: a lock is freed only when all who share its descriptor are gone."""
        self.close()

    def _open(self) -> None:
        try:
            for path in self._paths:
                self._descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            self.close()
            why = why_closed(self._database) if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else None
            said = f"cannot write to {error.filename}: {error.strerror}"
            raise StoreUnavailable(f"{said}; {why}" if why else said) from error
        self._turn, self._lock = self._descriptors
        self._pid = os.getpid()

    def _wait(self, descriptor: int) -> None:
        start, pause = self._clock.monotonic(), 0.0001
        while not _try(descriptor):
            if self._clock.monotonic() - start > self._deadline:
                raise StoreUnavailable(
                    f"no turn to write to {self._paths[1].name.removesuffix('-lock')} within {self._deadline:g} s; "
                    "another process holds it (stopped, or on a very slow disk)"
                )
            self._clock.wait(_NEVER, pause)
            pause = min(pause * 1.5, 0.002)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
