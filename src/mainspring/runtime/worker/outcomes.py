"""Decide how an attempt ended from what its function returned or raised."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from mainspring.domain.blame import blames, refusal_of
from mainspring.domain.control import (
    SHORTEST_SNOOZE,
    CpuLimitExceeded,
    Fail,
    LimitReached,
    MemoryLimitExceeded,
    ProcessLimitExceeded,
    RetryLater,
    RunCancelled,
    SilenceLimit,
    Snooze,
    SoftTimeLimit,
    TimeLimitExceeded,
)
from mainspring.domain.duration import duration_in_words
from mainspring.domain.needs import RunNeeds
from mainspring.domain.progress import rounded
from mainspring.domain.resources import Report
from mainspring.domain.retry import Backoff, GiveUp, after_failure
from mainspring.domain.runs import POISON_AFTER, Blame, Cached, ClaimedRun, Ended, Outcome, poison_message
from mainspring.domain.states import FailureKind
from mainspring.encoding import encode, fingerprint
from mainspring.errors import ParametersInvalid
from mainspring.runtime.worker.attempt import Attempt, StopCause, stop_error
from mainspring.store.result_cache import CachedResult

_TRACEBACK_LIMIT: Final = 64_000
_OWN_FRAMES: Final = ("/mainspring/runtime/worker/", "/mainspring/runtime/isolation/")
Redact = Callable[[str], str]


class Why(StrEnum):
    """What an error that a task raised means for its run."""

    ERROR = "error"
    FAIL = "fail"
    SNOOZE = "snooze"
    PARAMETERS = "parameters"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class Raised:
    """An error as it is recorded; a child process sends it in this form."""

    why: Why
    error_type: str
    error_message: str
    traceback: str = ""
    delay: timedelta | None = None
    """The wait that the task asked for."""
    until: datetime | None = None
    """The instant that it asked for instead."""
    blame: Blame | None = None
    """What it says about resources."""


def describe(error: BaseException, task: str, now: datetime) -> Raised:
    """Return what *error*, raised by the task of this name, means."""
    why, delay, until = Why.ERROR, _asked_delay(error), None
    if isinstance(error, Snooze):
        why, delay, until = Why.SNOOZE, error.delay, error.until
    elif isinstance(error, RetryLater):
        delay = error.delay
    elif isinstance(error, RunCancelled):
        why = Why.STOPPED
    elif isinstance(error, SoftTimeLimit):
        why = Why.TIMED_OUT
    elif isinstance(error, Fail):
        why = Why.FAIL
    elif isinstance(error, ParametersInvalid) and error.task == task:
        why = Why.PARAMETERS
    blame = _blame(error, now)
    return Raised(why, _type_name(error), _message(error), _traceback(error), delay, until, blame)


def succeeded(attempt: Attempt, result: Any, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of a function that returned *result*."""
    try:
        text = encode(result)
    except Exception as error:  # whatever a value raises when it is read, it cannot be stored
        return not_serialisable(attempt, type(error).__name__, _message(error), now, redact)
    return returned(attempt, text, now, redact)


def returned(attempt: Attempt, text: str, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of a function whose result is *text* in JSON."""
    cache, cached = attempt.task.cache if attempt.task is not None else None, None
    if cache is not None and attempt.cache_key is not None:
        cached = Cached(attempt.cache_key, _later(now, cache.ttl))
    return _outcome(
        attempt, Ended.SUCCEEDED, now, redact, result=text, result_hash=fingerprint(text), cached=cached,
        checkpoint=attempt.may_have_checkpoint,
    )  # fmt: skip


def taken_over(run: ClaimedRun, found: CachedResult, now: datetime) -> Outcome:
    """Return the outcome of a run whose result an earlier run has given: its function is not called."""
    age = duration_in_words(rounded(now - found.created_at))
    return Outcome(
        run, Ended.SUCCEEDED, now, now, result=found.result, result_hash=found.result_hash,
        reason=f"result of run {found.run_id}, {age} old", taken_from=found.run_id, checkpoint=run.attempt > 1,
    )  # fmt: skip


def not_serialisable(attempt: Attempt, error_type: str, error_message: str, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of a function whose result cannot be stored."""
    # The effect has happened; trying again would repeat it.
    kind, reason = FailureKind.NOT_SERIALISABLE, "the result cannot be stored as JSON"
    detail = {"error_type": error_type, "error_message": error_message}
    return _outcome(attempt, Ended.FAILED, now, redact, failure_kind=kind, reason=reason, **detail)


def raised(attempt: Attempt, error: BaseException, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of a function that raised *error*."""
    return ended_by(attempt, describe(error, attempt.run.task, now), now, redact)


def ended_by(attempt: Attempt, error: Raised, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of a function that raised what *error* describes."""
    if error.why is Why.SNOOZE:
        if attempt.stop is StopCause.CANCELLED:
            return stopped(attempt, now, redact)
        asked = error.until or _later(now, error.delay or timedelta(0))
        due_at = max(asked, now + SHORTEST_SNOOZE)
        return _outcome(attempt, Ended.SNOOZED, now, redact, due_at=due_at, reason=error.error_message)
    if error.why is Why.STOPPED and attempt.stop in (StopCause.CANCELLED, StopCause.INTERRUPTED, StopCause.LOST):
        return stopped(attempt, now, redact)
    detail = {
        "error_type": error.error_type,
        "error_message": error.error_message,
        "traceback": error.traceback or None,
    }
    if error.why is Why.PARAMETERS:
        kind = FailureKind.PARAMETERS
        return _outcome(
            attempt, Ended.FAILED, now, redact, failure_kind=kind, reason="its parameters do not fit", **detail
        )
    if error.why is Why.FAIL:
        kind = FailureKind.ERROR
        return _outcome(
            attempt, Ended.FAILED, now, redact, failure_kind=kind, reason="the task said not to try again", **detail
        )
    kind = FailureKind.TIMED_OUT if error.why is Why.TIMED_OUT else FailureKind.ERROR
    return _tried(attempt, kind, error.delay, now, redact, detail, error.blame)


def _tried(
    attempt: Attempt,
    kind: FailureKind,
    asked: timedelta | None,
    now: datetime,
    redact: Redact,
    detail: dict[str, Any],
    blame: Blame | None = None,
) -> Outcome:
    """Return the outcome of a try that failed: another one follows, or it was the last."""
    run = attempt.run
    backoff = attempt.task.backoff if attempt.task is not None else Backoff()
    verdict = after_failure(backoff, tries=run.tries + 1, max_tries=run.max_tries, seed=run.id, asked=asked)
    if isinstance(verdict, GiveUp):
        reason = verdict.reason
        return _outcome(attempt, Ended.FAILED, now, redact, failure_kind=kind, reason=reason, blame=blame, **detail)
    if attempt.stop is StopCause.CANCELLED:
        return _outcome(attempt, Ended.CANCELLED, now, redact, reason="cancelled while it ran", **detail)
    reason = f"try {run.tries + 1} of {run.max_tries} failed ({detail['error_type']}); the next one follows"
    return _outcome(
        attempt, Ended.RETRIED, now, redact, due_at=now + verdict.delay, reason=reason, blame=blame, **detail
    )


def limit_exceeded(attempt: Attempt, limit: str, said: str, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of an attempt that was killed at *limit*: time, silent, memory, cpu or processes."""
    error = {
        "time": TimeLimitExceeded, "silent": SilenceLimit, "memory": MemoryLimitExceeded, "cpu": CpuLimitExceeded,
    }  # fmt: skip
    kind = FailureKind.TIMED_OUT if limit in ("time", "silent") else FailureKind.ERROR
    detail = {"error_type": error.get(limit, ProcessLimitExceeded).__name__, "error_message": said}
    blame = Blame(Report.FAILED if limit in ("time", "silent") else Report.NEUTRAL)
    return _tried(attempt, kind, None, now, redact, detail, blame)


def child_died(attempt: Attempt, how: str, now: datetime, redact: Redact, *, alone: bool = True) -> Outcome:
    """Return the outcome of an attempt whose process died under it; *how* says it.

    Unless it was *alone* in what died, it is not counted: another run may have been the cause.
    """
    run, message = attempt.run, f"its process died: {how}"
    if attempt.stop is StopCause.INTERRUPTED:
        return stopped(attempt, now, redact)
    if attempt.stop is StopCause.CANCELLED:
        return _outcome(attempt, Ended.CANCELLED, now, redact, reason="cancelled while it ran", error_message=message)
    if run.at_most_once:
        message += "; it may or may not have happened and is not repeated (at_most_once)"
        return _lost(attempt, FailureKind.LOST, message, now, redact, alone)
    losses = run.isolated_losses + 1
    if alone and losses >= POISON_AFTER:
        return _lost(attempt, FailureKind.POISON, poison_message(losses, run.losses + 1, how), now, redact, alone)
    if alone:
        return _lost(attempt, None, message, now, redact, alone)
    return _outcome(attempt, Ended.INTERRUPTED, now, redact, reason=f"interrupted: {message}", error_message=message)


def _lost(
    attempt: Attempt, kind: FailureKind | None, message: str, now: datetime, redact: Redact, alone: bool
) -> Outcome:
    detail = {"error_type": "ProcessDied", "error_message": message, "reason": message}
    return _outcome(attempt, Ended.LOST, now, redact, failure_kind=kind, lost_in_isolation=alone, **detail)


def stopped(attempt: Attempt, now: datetime, redact: Redact) -> Outcome:
    """Return the outcome of an attempt that was told to stop and did."""
    if attempt.stop in (StopCause.SOFT_LIMIT, StopCause.SILENT):
        return raised(attempt, stop_error(attempt), now, redact)
    if attempt.stop is StopCause.CANCELLED:
        return _outcome(attempt, Ended.CANCELLED, now, redact, reason="cancelled while it ran")
    return interrupted(attempt, now, redact)


def interrupted(attempt: Attempt, now: datetime, redact: Redact, why: str = "the worker stopped") -> Outcome:
    """Return the outcome of an attempt that its worker gave up in order to stop; no try is charged.

    A run that must not be repeated may have happened in part: it ends as failed (lost).
    """
    if attempt.run.at_most_once:
        message = f"interrupted: {why}; it may or may not have happened and is not repeated (at_most_once)"
        return _outcome(attempt, Ended.LOST, now, redact, failure_kind=FailureKind.LOST, error_message=message)
    return _outcome(attempt, Ended.INTERRUPTED, now, redact, reason=f"interrupted: {why}")


def given_back(run: ClaimedRun, now: datetime, reason: str) -> Outcome:
    """Return the outcome of a claim that this worker cannot serve: back to the queue after a pause, not charged."""
    delay = timedelta(seconds=min(5.0 * 2 ** min(run.returns, 6), 300.0))
    return Outcome(run, Ended.RETURNED, now, now, due_at=now + delay, reason=reason)


def not_begun(run: ClaimedRun, now: datetime) -> Outcome:
    """Return the outcome of a claim that came too late to be started, because the worker stops."""
    return Outcome(run, Ended.INTERRUPTED, now, now, reason="not begun: the worker stopped")


def not_asked(run: ClaimedRun, needs: RunNeeds, now: datetime) -> Outcome:
    """Return the outcome of a claim made before anybody could say what the run needs: back, with these needs."""
    return Outcome(run, Ended.INTERRUPTED, now, now, reason="not begun: its limits are to be asked first", needs=needs)


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


def _blame(error: BaseException, now: datetime) -> Blame:
    refused = refusal_of(error, now)
    return Blame(*blames(error)) if refused is None else Blame(Report.REFUSED, *refused)


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
    if isinstance(error, LimitReached):
        return kind.__name__
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
