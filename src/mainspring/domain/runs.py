"""Describe runs as they pass between services and the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mainspring.domain.states import FailureKind, RunState
from mainspring.ids import RunId, ScheduleId


class RunKind(StrEnum):
    """Where a run came from; each kind has its own key space."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    BACKFILL = "backfill"
    ENQUEUED = "enqueued"


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be inserted; `parameters` is JSON text. Due now or before means it becomes ready at once."""

    id: RunId
    task: str
    queue: str
    priority: int
    max_tries: int
    parameters: str
    due_at: datetime
    kind: RunKind = RunKind.ENQUEUED
    at_most_once: bool = False
    expires_at: datetime | None = None
    schedule_id: ScheduleId | None = None
    fire_at: datetime | None = None
    member: str = ""
    labels: str = "{}"
    owner_id: str = ""
    params_version: int = 1
    snapshot: str = "{}"
    needs: tuple[RunId, ...] = ()
    """Runs that must end before this one may start; not empty puts it in state `waiting`."""


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """What a worker needs to start an attempt."""

    id: RunId
    attempt: int
    task: str
    queue: str
    rank: int
    turn: int
    seq: int
    tries: int
    losses: int
    max_tries: int
    at_most_once: bool
    due_at: datetime
    created_at: datetime
    schedule_id: ScheduleId | None
    fire_at: datetime | None
    parameters: str | None
    """JSON text; None when it is too long for the row and must be read from the blobs."""
    returns: int = 0
    expires_at: datetime | None = None
    cancel_requested: bool = False


class Ended(StrEnum):
    """How an attempt ended, as the worker saw it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"
    SNOOZED = "snoozed"
    HELD = "held"
    INTERRUPTED = "interrupted"
    RETURNED = "returned"
    LOST = "lost"
    CANCELLED = "cancelled"


STATE_AFTER: Mapping[Ended, RunState] = {
    Ended.SUCCEEDED: RunState.SUCCEEDED,
    Ended.FAILED: RunState.FAILED,
    Ended.RETRIED: RunState.SCHEDULED,
    Ended.SNOOZED: RunState.SCHEDULED,
    Ended.HELD: RunState.HELD,
    Ended.INTERRUPTED: RunState.READY,
    Ended.RETURNED: RunState.SCHEDULED,
    Ended.LOST: RunState.READY,
    Ended.CANCELLED: RunState.CANCELLED,
}

CHARGED = frozenset({Ended.SUCCEEDED, Ended.FAILED, Ended.RETRIED})
"""Endings that count as a try; holds, snoozes, interruptions, returns and losses do not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt, to be recorded by `finish`."""

    run: ClaimedRun
    ended: Ended
    started_at: datetime
    finished_at: datetime
    result: str | None = None
    """JSON text of the result, for `Ended.SUCCEEDED`."""
    result_hash: str | None = None
    failure_kind: FailureKind | None = None
    reason: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    due_at: datetime | None = None
    log: bytes | None = None


@dataclass(frozen=True, slots=True)
class FinishResult:
    """What became of a batch of outcomes: the ids whose lease was lost, and when anything new comes due."""

    fenced: frozenset[RunId] = frozenset()
    earliest_due_at: datetime | None = None
