"""Pass on what a run writes: at once while it is little, its end when it is a flood."""

from __future__ import annotations

from collections import deque
from typing import Final

LIVE_AT_ONCE: Final = 1_000_000
LIVE_PER_SECOND: Final = 1_000_000


class Funnel:
    """Takes all that a run writes and gives what its log can use: the task never waits, and nothing grows for ever.

    What it gives at once is a first megabyte and one more each second; of the rest it keeps the end.
    """

    def __init__(self, limit: int) -> None:
        """Keep at most *limit* bytes back, or a few pieces: what is cut finely is the log."""
        self._limit = max(limit, LIVE_AT_ONCE)
        self._kept: deque[bytes] = deque()
        self._size = self._dropped = self._given = 0

    def take(self, data: bytes) -> None:
        """Take what was written."""
        self._kept.append(data)
        self._size += len(data)
        while self._size > self._limit:
            gone = self._kept.popleft()
            self._size -= len(gone)
            self._dropped += len(gone)

    def give(self, seconds: float) -> bytes:
        """Return what may be passed on *seconds* after the run began."""
        allowed = LIVE_AT_ONCE + int(LIVE_PER_SECOND * seconds) - self._given
        if not self._kept or allowed <= 0:
            return b""
        given = [self._note()] if self._dropped else []
        while self._kept and allowed > 0:
            piece = self._kept.popleft()
            given.append(piece)
            allowed -= len(piece)
            self._size -= len(piece)
            self._given += len(piece)
        return b"".join(given)

    def rest(self) -> bytes:
        """Return all that is left, for the end of the run."""
        rest = b"".join([self._note() if self._dropped else b"", *self._kept])
        self._kept.clear()
        self._size = self._given = 0
        return rest

    @property
    def waiting(self) -> bool:
        """Return whether anything is kept back."""
        return bool(self._kept)

    def _note(self) -> bytes:
        said, self._dropped = self._dropped, 0
        return f"\n… {said} bytes left out …\n".encode()
