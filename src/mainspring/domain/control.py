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


class LimitReached(MainspringError):
    """Base of what ends an attempt that took more than its task allows."""


class SoftTimeLimit(LimitReached):
    """Raised in a task that has run for its soft time limit: clean up and end; the try counts as timed out."""


class TimeLimitExceeded(LimitReached):
    """The error of an attempt that was killed at its hard time limit; never raised in the task."""


class MemoryLimitExceeded(LimitReached):
    """The error of an attempt that took more memory than its task allows."""


class CpuLimitExceeded(LimitReached):
    """Raised in an isolated ``def`` task that has used its processor time; it is killed a second of it later."""


class ProcessLimitExceeded(LimitReached):
    """The error of an isolated attempt that was killed for starting more processes than any task may."""
