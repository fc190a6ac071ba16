"""Say what an error that a task raised tells about the resources that its run uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from mainspring.domain.control import (
    CpuLimitExceeded,
    Fail,
    MemoryLimitExceeded,
    ProcessLimitExceeded,
    ResourceFailed,
    ResourceRefused,
    RunCancelled,
    Snooze,
)
from mainspring.domain.resources import Report
from mainspring.errors import ParametersInvalid

_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_REQUEST_TIMEOUT: Final = 408
_DEEPEST: Final = 10
_NEUTRAL: Final = (
    Fail, Snooze, RunCancelled, ParametersInvalid, CpuLimitExceeded, MemoryLimitExceeded, ProcessLimitExceeded,
)  # fmt: skip


def refusal_of(error: BaseException, now: datetime | None = None) -> tuple[str | None, timedelta | None] | None:
    """Return the resource that refused, None for each that the run uses, and the pause asked for; None for no refusal.

    A refusal is `ResourceRefused`, or an error of an HTTP library with status 429, or 503 with a time to come back. An
    error raised ``from`` one is one too. *now* is needed to read a ``Retry-After`` that is a date.
    """
    for one in _chain(error):
        if isinstance(one, ResourceRefused):
            return one.resource, one.retry_after
        if isinstance(one, (*_NEUTRAL, ResourceFailed)):
            return None
        status, pause = _status(one), _pause(one, now)
        if status == _TOO_MANY or (status == _UNAVAILABLE and pause is not None):
            return None, pause
    return None


def blames(error: BaseException) -> tuple[Report, str | None]:
    """Return what *error* says about resources, refusals aside, and of which one; None for each that the run uses.

    Everything is their failure but what a task raises to say something else, an answer of status 4xx (they answered),
    and errors whose ``resource_at_fault`` is False.
    """
    if not isinstance(error, Exception):
        return Report.NEUTRAL, None
    for one in _chain(error):
        if isinstance(one, ResourceFailed):
            return Report.FAILED, one.resource
        if isinstance(one, _NEUTRAL):
            return Report.NEUTRAL, None
        at_fault = _read(one, "resource_at_fault")
        if isinstance(at_fault, bool):
            return (Report.FAILED if at_fault else Report.NEUTRAL), None
        status = _status(one)
        if status is not None and 400 <= status < 500 and status != _REQUEST_TIMEOUT:
            return Report.NEUTRAL, None
    return Report.FAILED, None


def retry_after(value: str | None, now: datetime | None) -> timedelta | None:
    """Return the wait that a Retry-After header asks for, from seconds or an HTTP date; None when it names none."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return timedelta(seconds=int(text))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if now is None:
        return None
    return max((at if at.tzinfo else at.replace(tzinfo=UTC)) - now, timedelta())


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give *error* and what it was raised ``from``, the outermost first."""
    one: BaseException | None = error
    for _ in range(_DEEPEST):
        if one is None:
            return
        yield one
        one = one.__cause__


def _status(error: BaseException) -> int | None:
    """Return the status of an HTTP answer that *error* is about, in the shapes that HTTP libraries give it."""
    for owner in (error, _read(error, "response")):
        for name in ("status", "status_code", "code"):
            value = _read(owner, name)
            if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
                return value
    return None


def _pause(error: BaseException, now: datetime | None) -> timedelta | None:
    asked = _read(error, "retry_after")
    if isinstance(asked, timedelta):
        return asked
    for owner in (error, _read(error, "response")):
        headers = _read(owner, "headers")
        if isinstance(headers, Mapping) or hasattr(headers, "get"):
            try:
                said = headers.get("Retry-After") or headers.get("retry-after")
            except Exception:  # the headers are somebody else's code
                said = None
            if isinstance(said, str):
                return retry_after(said, now)
    return None


def _read(owner: Any, name: str) -> Any:
    # An attribute may be a property, and a property of a foreign error may fail as well.
    try:
        return getattr(owner, name, None)
    except Exception:
        return None
