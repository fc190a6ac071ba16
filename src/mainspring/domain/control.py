"""Exceptions by which a task says how its attempt ends."""

from __future__ import annotations

from datetime import timedelta

from mainspring.errors import MainspringError


class Fail(MainspringError):
    """Raised in a task: end the run as failed, without another try."""


class RetryLater(MainspringError):
    """Raised in a task: this try failed; try again after *delay* if any try is left."""

    def __init__(self, delay: timedelta | float, reason: str = "asked to be tried again later") -> None:
        super().__init__(reason)
        self.delay = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)


class Snooze(MainspringError):
    """Raised in a task: not now; start again after *delay*. No try is charged."""

    def __init__(self, delay: timedelta | float, reason: str = "snoozed") -> None:
        super().__init__(reason)
        self.delay = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)


class RunCancelled(MainspringError):
    """Raised by `Context` methods in a run that was asked to cancel, so that a ``def`` task may stop there."""
