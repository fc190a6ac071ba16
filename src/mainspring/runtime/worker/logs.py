"""Catch what a running attempt logs and prints, and keep it within a cap."""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO

HEAD: Final = 1_000_000
TAIL: Final = 9_000_000

current_log: ContextVar[AttemptLog | None] = ContextVar("mainspring_attempt_log", default=None)


class AttemptLog:
    """The log of one attempt: its first megabyte and its last nine, or a tenth and nine tenths of another limit."""

    def __init__(self, limit: int = HEAD + TAIL) -> None:
        self._head_limit, self._tail_limit = limit // 10, limit - limit // 10
        self._head: list[bytes] = []
        self._tail: deque[bytes] = deque()
        self._head_size = self._tail_size = self._dropped = 0
        self._lock = threading.Lock()
        self.changed = False

    def write(self, text: str) -> None:
        """Add *text*."""
        self.write_bytes(text.encode("utf-8", "backslashreplace"))

    def write_bytes(self, data: bytes) -> None:
        """Add output as it came from a process."""
        data = data.replace(b"\x00", b"\\x00")
        with self._lock:
            self.changed = True
            if not self._tail and self._head_size + len(data) <= self._head_limit:
                self._head.append(data)
                self._head_size += len(data)
                return
            self._tail.append(data[-self._tail_limit :])
            self._tail_size += len(self._tail[-1])
            self._dropped += len(data) - len(self._tail[-1])
            while self._tail_size > self._tail_limit:
                gone = len(self._tail.popleft())
                self._tail_size -= gone
                self._dropped += gone

    def content(self) -> bytes:
        """Return the whole log; what was dropped in the middle is said."""
        with self._lock:
            self.changed = False
            note = f"\n… {self._dropped} bytes left out …\n".encode() if self._dropped else b""
            return b"".join(self._head) + note + b"".join(self._tail)

    def redacted(self, redact: Callable[[str], str]) -> bytes:
        """Return the whole log without secrets."""
        return redact(self.content().decode("utf-8", "replace")).encode("utf-8")


class AttemptHandler(logging.Handler):
    """Writes log records into the log of the attempt in which they arise."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record* if an attempt is running in this context."""
        log = current_log.get()
        if log is not None:
            try:
                log.write(self.format(record) + "\n")
            except Exception:  # a record that cannot be formatted is the task's mistake, not ours
                self.handleError(record)


class AttemptFormatter(logging.Formatter):
    """Formats a record as one begins in an attempt's log: its instant in UTC, its level, its logger."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the instant of *record*, in UTC to the millisecond."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Tee:
    """Stands for standard output or error: passes all on, and copies what an attempt prints into its log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        log = current_log.get()
        if log is not None:
            log.write(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_installed = threading.Lock()
_handler: AttemptHandler | None = None


def capture_logs() -> None:
    """Catch records of `logging` and whatever is printed, from now on; libraries that print are caught with it.

    Call it before user modules are imported: loguru and structlog remember the streams they find at import.
    """
    global _handler
    with _installed:
        if _handler is None:
            _handler = AttemptHandler()
            _handler.setFormatter(AttemptFormatter())
            logging.getLogger().addHandler(_handler)
            # What a task logs through its context is for its log, however quiet the process is told to be.
            logging.getLogger("task").setLevel(logging.DEBUG)
        if not isinstance(sys.stdout, _Tee):
            sys.stdout, sys.stderr = _Tee(sys.stdout), _Tee(sys.stderr)


def release_logs() -> None:
    """Undo `capture_logs`."""
    global _handler
    with _installed:
        if _handler is not None:
            logging.getLogger().removeHandler(_handler)
            _handler = None
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, _Tee):
                setattr(sys, name, stream._stream)
