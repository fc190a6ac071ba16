"""Answer questions about runs, queues, sessions and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mainspring.clock import Clock
from mainspring.domain.states import RunState
from mainspring.encoding import decode
from mainspring.errors import NotFound
from mainspring.ids import RunId, ScheduleId
from mainspring.store import dead_letters, ledger, tables
from mainspring.store import runs as stored
from mainspring.store.database import Database, Tx
from mainspring.store.ledger import LedgerRow
from mainspring.store.runs import RunFilter, StoredRun
from mainspring.store.schedules import StoredSchedule
from mainspring.store.tables import QueueDepth

__all__ = [
    "AttemptView",
    "LedgerRow",
    "QueueDepth",
    "Reading",
    "RunFilter",
    "RunView",
    "SessionView",
    "StoredRun",
    "StoredSchedule",
]


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An ended attempt, as people read it."""

    attempt: int
    outcome: str
    charged: bool
    started_at: datetime
    finished_at: datetime
    reason: str | None
    error_type: str | None
    error_message: str | None
    traceback: str | None


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with all that belongs to it."""

    run: StoredRun
    parameters: Any
    result: Any
    has_result: bool
    snapshot: Any
    attempts: tuple[AttemptView, ...]
    progress: tuple[float, float | None, str] | None
    artifacts: tuple[dict[str, Any], ...]
    replays: tuple[RunId, ...]
    """Runs that do its work again, oldest first."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """A worker or scheduler process."""

    id: str
    kind: str
    name: str
    host: str
    pid: int
    version: str
    queues: str
    slots: int
    state: str
    started_at: datetime
    seen_at: datetime


class Reading:
    """Reads; changes nothing."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def runs(self, wanted: RunFilter, most: int = 50, before: RunId | None = None) -> list[StoredRun]:
        """Return runs that *wanted* lets through, newest first."""
        return self._database.read(lambda tx: stored.list_runs(tx, wanted, most, before))

    def counts(self, wanted: RunFilter | None = None) -> dict[RunState, int]:
        """Return how many runs there are in each state."""
        return self._database.read(lambda tx: stored.count_by_state(tx, wanted))

    def run(self, run_id: RunId) -> RunView:
        """Return a run with its parameters, result, attempts, progress and artifacts.

        Raises:
            NotFound: there is no such run.
        """

        def look(tx: Tx) -> RunView:
            run = stored.find_run(tx, run_id)
            if run is None:
                raise NotFound("run", run_id)
            result = stored.result_of(tx, run_id)
            progress = stored.progress_of(tx, [run_id]).get(run_id)
            if progress is not None and progress.attempt != run.attempt:
                progress = None
            return RunView(
                run=run,
                parameters=decode(stored.parameters_of(tx, run_id)),
                result=decode(result),
                has_result=result is not None,
                snapshot=decode(stored.snapshot_of(tx, run)),
                attempts=tuple(_attempt(row) for row in stored.list_attempts(tx, run_id)),
                progress=None if progress is None else (progress.done, progress.total, progress.note),
                artifacts=tuple(dict(row._mapping) for row in stored.list_artifacts(tx, run_id)),
                replays=tuple(dead_letters.replays_of(tx, run_id)),
            )

        return self._database.read(look)

    def result(self, run_id: RunId) -> tuple[StoredRun, Any]:
        """Return a run and its result, None while it has none."""

        def look(tx: Tx) -> tuple[StoredRun, Any]:
            run = stored.find_run(tx, run_id)
            if run is None:
                raise NotFound("run", run_id)
            return run, decode(stored.result_of(tx, run_id)) if run.state is RunState.SUCCEEDED else None

        return self._database.read(look)

    def log(self, run_id: RunId, attempt: int) -> str:
        """Return the log of an attempt; empty where nothing was logged (yet)."""
        return self._database.read(lambda tx: stored.log_of(tx, run_id, attempt)).decode("utf-8", "replace")

    def artifacts(self, most: int = 100) -> list[dict[str, Any]]:
        """Return artifacts of all runs, newest first."""
        return self._database.read(lambda tx: [dict(row._mapping) for row in stored.list_artifacts(tx, None, most)])

    def artifact(self, artifact_id: str) -> dict[str, Any]:
        """Return an artifact by its id.

        Raises:
            NotFound: there is none.
        """
        row = self._database.read(lambda tx: stored.find_artifact(tx, artifact_id))
        if row is None:
            raise NotFound("artifact", artifact_id)
        return dict(row._mapping)

    def queues(self) -> list[QueueDepth]:
        """Return all queues with what waits in them."""
        return self._database.read(tables.list_queues)

    def sessions(self, *, live_only: bool = True) -> list[SessionView]:
        """Return worker and scheduler processes, newest first."""
        rows = self._database.read(lambda tx: tables.list_sessions(tx, live_only=live_only))
        return [SessionView(**{name: getattr(row, name) for name in SessionView.__slots__}) for row in rows]

    def ledger(self, schedule_id: ScheduleId, most: int = 50) -> Sequence[LedgerRow]:
        """Return what became of a schedule's fire times, newest first."""
        return self._database.read(lambda tx: ledger.rows_of(tx, schedule_id, most))

    def tasks(self) -> dict[str, tables.StoredTask]:
        """Return all tasks that workers have described, by name."""
        return self._database.read(tables.list_tasks)


def _attempt(row: Any) -> AttemptView:
    return AttemptView(**{name: getattr(row, name) for name in AttemptView.__slots__})
