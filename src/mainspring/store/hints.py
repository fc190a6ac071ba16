"""Wake sleepers at once: hints that something may have changed. Polling stays the truth; a lost hint costs a poll."""

from __future__ import annotations

import threading
from typing import Protocol

READY = "ready"
"""Runs became ready."""
SCHEDULES = "schedules"
"""A schedule was added, edited, paused or resumed, or something comes due sooner than before."""
CANCEL = "cancel"
"""A running run was asked to cancel."""


class HintSender(Protocol):
    """Sends hints after a commit; never raises, never blocks for long."""

    def send(self, topic: str) -> None:
        """Send a hint about *topic* to everybody who listens; repeats within a moment become one."""

    def flush(self) -> None:
        """Return when all hints given so far have left."""

    def close(self) -> None:
        """Flush and stop."""


class HintReceiver(Protocol):
    """Receives hints for one session."""

    def listen(self, on_hint: threading.Event, seen: set[str], stop: threading.Event) -> None:
        """Until *stop*: add each topic to *seen*, then set *on_hint*. Returns on `close` too."""

    def close(self) -> None:
        """Stop listening and free the address."""
