"""Decide how an attempt ended from what its function returned or raised."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from mainspring.domain.control import Fail, RetryLater, RunCancelled, Snooze
from mainspring.domain.retry import Backoff, GiveUp, after_failure
from mainspring.domain.runs import ClaimedRun, Ended, Outcome
from mainspring.domain.states import FailureKind
from mainspring.encoding import encode, fingerprint
from mainspring.errors import ParametersInvalid
from mainspring.runtime.worker.attempt import Attempt, StopCause

_TRACEBACK_LIMIT: Final = 64_000
_OWN_FRAMES: Final = ("/mainspring/runtime/worker/",)
Redact = Callable[[str], str]


def succeeded(attempt: Attempt, result: Any, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of a function that returned *result*."""
    try:
        text = encode(result)
    except Exception as error:  # whatever a value raises when it is read, it cannot be stored
        # The effect has happened; trying again would repeat it.
        kind, reason = FailureKind.NOT_SERIALISABLE, "the result cannot be stored as JSON"
        detail = {"error_type": type(error).__name__, "error_message": _message(error)}
        return _outcome(attempt, Ended.FAILED, now, redact, failure_kind=kind, reason=reason, **detail)
    return _outcome(attempt, Ended.SUCCEEDED, now, redact, result=text, result_hash=fingerprint(text))


def raised(attempt: Attempt, error: BaseException, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of a function that raised *error*."""
    run = attempt.run
    if attempt.stop is StopCause.CANCELLED and isinstance(error, Snooze):
        return stopped(attempt, now, redact)
    if isinstance(error, Snooze):
        return _outcome(attempt, Ended.SNOOZED, now, redact, due_at=_later(now, error.delay), reason=_message(error))
    if isinstance(error, RunCancelled) and attempt.stop is not None:
        return stopped(attempt, now, redact)
    detail = {
        "error_type": _type_name(error),
        "error_message": _message(error),
        "traceback": _traceback(error),
    }
    if isinstance(error, ParametersInvalid) and attempt.task is not None and error.task == attempt.task.name:
        kind = FailureKind.PARAMETERS
        return _outcome(
            attempt, Ended.FAILED, now, redact, failure_kind=kind, reason="its parameters do not fit", **detail
        )
    if isinstance(error, Fail):
        kind = FailureKind.ERROR
        return _outcome(
            attempt, Ended.FAILED, now, redact, failure_kind=kind, reason="the task said not to try again", **detail
        )
    backoff = attempt.task.backoff if attempt.task is not None else Backoff()
    asked = error.delay if isinstance(error, RetryLater) else _asked_delay(error)
    verdict = after_failure(backoff, tries=run.tries + 1, max_tries=run.max_tries, seed=run.id, asked=asked)
    if isinstance(verdict, GiveUp):
        kind = FailureKind.ERROR
        return _outcome(attempt, Ended.FAILED, now, redact, failure_kind=kind, reason=verdict.reason, **detail)
    if attempt.stop is StopCause.CANCELLED:
        return _outcome(attempt, Ended.CANCELLED, now, redact, reason="cancelled while it ran", **detail)
    reason = f"try {run.tries + 1} of {run.max_tries} failed ({detail['error_type']}); the next one follows"
    return _outcome(attempt, Ended.RETRIED, now, redact, due_at=now + verdict.delay, reason=reason, **detail)


def stopped(attempt: Attempt, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of an attempt that was told to stop and did."""
    if attempt.stop is StopCause.CANCELLED:
        return _outcome(attempt, Ended.CANCELLED, now, redact, reason="cancelled while it ran")
    return interrupted(attempt, now, redact)


def interrupted(attempt: Attempt, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of an attempt that its worker gave up in order to stop; no try is charged.

    A run that must not be repeated may have happened in part: it ends as failed (lost).
    """
    if attempt.run.at_most_once:
        message = "interrupted: the worker stopped; it may or may not have happened and is not repeated (at_most_once)"
        return _outcome(attempt, Ended.FAILED, now, redact, failure_kind=FailureKind.LOST, error_message=message)
    return _outcome(attempt, Ended.INTERRUPTED, now, redact, reason="interrupted: the worker stopped")


def given_back(run: ClaimedRun, now: datetime, reason: str) -> Outcome:
    """Return the outcome of a claim that this worker cannot serve: back to the queue after a pause, not charged."""
    delay = timedelta(seconds=min(5.0 * 2 ** min(run.returns, 6), 300.0))
    return Outcome(run, Ended.RETURNED, now, now, due_at=now + delay, reason=reason)


def not_begun(run: ClaimedRun, now: datetime) -> Outcome:
    """Return the outcome of a claim that came too late to be started, because the worker stops."""
    return Outcome(run, Ended.INTERRUPTED, now, now, reason="not begun: the worker stopped")


def expired(run: ClaimedRun, now: datetime) -> Outcome:
    """Return the outcome of a run that was claimed after the time by which it had to start."""
    return Outcome(run, Ended.CANCELLED, now, now, reason="expired: not started in time")


def _outcome(attempt: Attempt, ended: Ended, now: datetime, redact: Redact, **fields: Any) -> Outcome:
    for name in ("error_message", "traceback", "reason"):
        if fields.get(name):
            fields[name] = (
                redact(fields[name]).replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
            )
    log = attempt.log.redacted(redact)
    return Outcome(attempt.run, ended, attempt.started_at, now, log=log or None, **fields)


def _asked_delay(error: BaseException) -> timedelta | None:
    """Return the wait that a service asked for (``Retry-After``), from any error that carries one."""
    asked = getattr(error, "retry_after", None)
    return asked if isinstance(asked, timedelta) else None


def _later(now: datetime, delay: timedelta) -> datetime:
    try:
        return now + delay
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo) - timedelta(days=1)


def _message(error: BaseException) -> str:
    # The text of a user's error is the user's code, and may fail as well.
    try:
        return str(error) or type(error).__name__
    except Exception as broken:
        return f"{type(error).__name__} (its text cannot be made: {type(broken).__name__})"


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _traceback(error: BaseException) -> str:
    start = error.__traceback__
    while (
        start is not None
        and start.tb_next is not None
        and any(p in start.tb_frame.f_code.co_filename for p in _OWN_FRAMES)
    ):
        start = start.tb_next
    text = "".join(tracebacks.format_exception(type(error), error, start))
    if len(text) <= _TRACEBACK_LIMIT:
        return text
    half = _TRACEBACK_LIMIT // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
