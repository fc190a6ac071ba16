"""Exceptions by which a task says how its attempt ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from mainspring.errors import InvalidInput, MainspringError


class Fail(MainspringError):
    """Raised in a task: end the run as failed, without another try."""


class RetryLater(MainspringError):
    """Raised in a task: this try failed; try again after *delay* if any try is left."""

    resource_at_fault = False

    def __init__(self, delay: timedelta | float, reason: str = "asked to be tried again later") -> None:
        super().__init__(reason)
        self.delay = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)


SHORTEST_SNOOZE: Final = timedelta(milliseconds=100)
"""What a snooze lasts at least: one of no length would keep its worker busy with nothing."""


class Snooze(MainspringError):
    """Raised in a task: not now; start again after *delay*, or at *until*. No try is charged, a checkpoint stays.

    It lasts a tenth of a second at least.
    """

    def __init__(
        self, delay: timedelta | float | None = None, reason: str = "snoozed", *, until: datetime | None = None
    ) -> None:
        super().__init__(reason)
        if (delay is None) == (until is None):
            raise InvalidInput("Snooze needs a delay or an instant: write Snooze(60) or Snooze(until=moment)")
        if until is not None and until.tzinfo is None:
            raise InvalidInput(f"Snooze(until={until}) has no time zone; instants are aware")
        self.delay = None if delay is None else delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        self.until = until


class ResourceRefused(MainspringError):
    """Raised in a task: a resource would not serve it now. Its run is held, with all that need it; no try is charged.

    Without a name it is each resource that the run uses. It is left alone for *retry_after*; without one for a pause
    that doubles with each refusal in a row, up to a minute.
    """

    def __init__(
        self, resource: str | None = None, retry_after: timedelta | float | None = None, reason: str = ""
    ) -> None:
        super().__init__(reason or (f"resource {resource!r} refused" if resource else "a resource refused"))
        self.resource = resource
        self.retry_after = timedelta(seconds=retry_after) if isinstance(retry_after, (int, float)) else retry_after


class ResourceFailed(MainspringError):
    """Raised in a task: this try failed because of one *resource*; its breaker counts it, those of others do not."""

    def __init__(self, resource: str, reason: str = "") -> None:
        super().__init__(reason or f"resource {resource!r} failed")
        self.resource = resource


class RunCancelled(MainspringError):
    """Raised by `Context` methods in a run that was asked to cancel, so that a ``def`` task may stop there."""


class LimitReached(MainspringError):
    """Base of what ends an attempt that took more than its task allows."""


class SoftTimeLimit(LimitReached):
    """Raised in a task that has run for its soft time limit: clean up and end; the try counts as timed out."""


class SilenceLimit(SoftTimeLimit):
    """Raised in a task that was not heard of for its silence limit: it hangs, or forgot to beat."""


class TimeLimitExceeded(LimitReached):
    """The error of an attempt that was killed at its hard time limit; never raised in the task."""


class MemoryLimitExceeded(LimitReached):
    """The error of an attempt that took more memory than its task allows."""


class CpuLimitExceeded(LimitReached):
    """Raised in an isolated ``def`` task that has used its processor time; it is killed a second of it later."""


class ProcessLimitExceeded(LimitReached):
    """The error of an isolated attempt that was killed for starting more processes than any task may."""
