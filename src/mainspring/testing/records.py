"""What tests read of runs and of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mainspring.domain.states import RunState
from mainspring.services.reading import RunView
from mainspring.store.ledger import LedgerRow


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as it stands."""

    id: str
    task: str
    state: RunState
    queue: str
    priority: int
    parameters: Any
    result: Any
    error: str | None
    """Why it failed or was cancelled, in words."""
    traceback: str | None
    """Of its last attempt."""
    attempts: int
    due_at: datetime
    fire_at: datetime | None
    member: str
    progress: tuple[float, float | None, str] | None
    log: str


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What became of a fire time, or of a stretch of *n* with the same outcome."""

    fire_at: datetime
    until_at: datetime
    n: int
    outcome: str
    """fired, coalesced, overlap, calendar, paused or missed."""
    reason: str


def record_of(view: RunView, log: str) -> RunRecord:
    """Return what tests read of a run."""
    run = view.run
    return RunRecord(
        id=run.id,
        task=run.task,
        state=run.state,
        queue=run.queue,
        priority=run.priority,
        parameters=view.parameters,
        result=view.result,
        error=None if run.state is RunState.SUCCEEDED else run.failure_message or run.state_reason,
        traceback=view.attempts[-1].traceback if view.attempts else None,
        attempts=len(view.attempts),
        due_at=run.due_at,
        fire_at=run.fire_at,
        member=run.member,
        progress=view.progress,
        log=log,
    )


def entry_of(row: LedgerRow) -> LedgerEntry:
    """Return what tests read of a ledger row."""
    outcome = row.outcome.value if row.cause is None else row.cause.value
    return LedgerEntry(row.fire_at, row.until_at, row.n, outcome, row.reason)
