"""Answer questions about runs, queues, sessions and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mainspring.clock import Clock
from mainspring.domain.needs import need_in_words
from mainspring.domain.progress import Progress, is_stalled, time_left
from mainspring.domain.states import RunState
from mainspring.encoding import decode
from mainspring.errors import NotFound
from mainspring.ids import RunId, ScheduleId
from mainspring.store import artifacts, dead_letters, ledger, limiting, needs, tables
from mainspring.store import runs as stored
from mainspring.store.database import Database, Tx
from mainspring.store.ledger import LedgerRow
from mainspring.store.needs import Neighbour
from mainspring.store.runs import RunFilter, StoredRun
from mainspring.store.schedules import StoredSchedule
from mainspring.store.tables import QueueDepth

NEEDS_SHOWN: Final = 20

__all__ = [
    "AttemptView",
    "Checkpoint",
    "HoldView",
    "LedgerRow",
    "Neighbour",
    "QueueDepth",
    "Reading",
    "RunFilter",
    "RunView",
    "SessionView",
    "Step",
    "StoredRun",
    "StoredSchedule",
]

_COUNTED: Final = limiting.COUNTED - 1


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
class Step:
    """How far a run is, and how long it will still take."""

    done: float
    total: float | None
    note: str
    left: timedelta | None
    """None where nobody can tell: no total, too few reports, or it stalls."""
    stalled_for: timedelta | None
    """How long ago it reported last, where that is so long that it seems to stall."""
    reported_at: datetime


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run stands: its next attempt goes on from there."""

    value: Any
    attempt: int
    """The attempt that saved it; 0 where it is that of a run which this one repeats."""
    saved_at: datetime


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with all that belongs to it."""

    run: StoredRun
    parameters: Any
    result: Any
    has_result: bool
    snapshot: Any
    attempts: tuple[AttemptView, ...]
    step: Step | None
    """The latest progress of its latest attempt."""
    checkpoint: Checkpoint | None
    artifacts: tuple[dict[str, Any], ...]
    replays: tuple[RunId, ...]
    """Runs that do its work again, oldest first."""
    hold: HoldView | None = None
    needs: tuple[Neighbour, ...] = ()
    """Runs that it needs, at most 20: those that have not ended first."""
    needs_count: int = 0
    """How many it needs in all."""
    needs_left: int = 0
    """How many of them have not ended."""

    @property
    def progress(self) -> tuple[float, float | None, str] | None:
        """Return the latest progress of its latest attempt: done, total, note."""
        return None if self.step is None else (self.step.done, self.step.total, self.step.note)

    @property
    def snoozes(self) -> int:
        """Return how often it was put off by its own wish."""
        return sum(attempt.outcome == "snoozed" for attempt in self.attempts)


@dataclass(frozen=True, slots=True)
class HoldView:
    """What holds a run back, and how many go before it."""

    by: str
    reason: str
    until: datetime | None
    place: int
    """1 is the next to go."""
    count: int
    """Runs that it holds back; above 1,000 they are not counted."""

    def in_words(self) -> str:
        """Return it in one line: `held by brapi until 14:05 (rate 5/s), third of 312`."""
        if self.place > _COUNTED:
            return f"{self.reason}, behind more than {_COUNTED:,}"
        of = f"more than {_COUNTED:,}" if self.count > _COUNTED else f"{self.count:,}"
        return f"{self.reason}, {_ordinal(self.place)} of {of}"


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
            kept = stored.progress_of(tx, [run_id]).get(run_id)
            count, left = needs.count_needs(tx, run_id)
            return RunView(
                run=run,
                parameters=decode(stored.parameters_of(tx, run_id)),
                result=decode(result),
                has_result=result is not None,
                snapshot=decode(stored.snapshot_of(tx, run)),
                attempts=tuple(_attempt(row) for row in stored.list_attempts(tx, run_id)),
                step=None if kept is None or kept.attempt != run.attempt else _step(kept, run, self._clock.now()),
                checkpoint=None if kept is None else _checkpoint(kept),
                artifacts=tuple(dict(row._mapping) for row in artifacts.list_artifacts(tx, run_id)),
                replays=tuple(dead_letters.replays_of(tx, run_id)),
                hold=self._hold(tx, run) if run.state is RunState.HELD else None,
                needs=tuple(needs.needs_of_run(tx, run_id, NEEDS_SHOWN)),
                needs_count=count,
                needs_left=left,
            )

        return self._database.read(look)

    def steps(self, ids: Sequence[RunId]) -> dict[RunId, Step]:
        """Return how far these runs are, of those whose latest attempt has reported it."""

        def look(tx: Tx) -> dict[RunId, Step]:
            now, kept = self._clock.now(), stored.progress_of(tx, ids)
            found = stored.find_runs(tx, list(kept))
            return {
                run.id: _step(kept[run.id], run, now) for run in found if kept[run.id].attempt == run.attempt
            }  # fmt: skip

        return self._database.read(look) if ids else {}

    def _hold(self, tx: Tx, run: StoredRun) -> HoldView | None:
        hold = limiting.hold_of(tx, run.id, self._clock.now())
        if hold is None:
            return None
        return HoldView(need_in_words(hold.name), hold.reason, hold.until, hold.before + 1, hold.count)

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
        return self._database.read(lambda tx: [dict(row._mapping) for row in artifacts.list_artifacts(tx, None, most)])

    def queues(self) -> list[QueueDepth]:
        """Return all queues with what waits in them."""
        return self._database.read(tables.list_queues)

    def sessions(self, *, live_only: bool = True) -> list[SessionView]:
        """Return worker and scheduler processes, newest first."""
        rows = self._database.read(lambda tx: tables.list_sessions(tx, live_only=live_only))
        return [SessionView(**{name: getattr(row, name) for name in SessionView.__slots__}) for row in rows]

    def ledger(self, schedule_id: ScheduleId, most: int = 50, before: datetime | None = None) -> Sequence[LedgerRow]:
        """Return what became of a schedule's fire times, newest first."""
        return self._database.read(lambda tx: ledger.rows_of(tx, schedule_id, most, before))

    def tasks(self) -> dict[str, tables.StoredTask]:
        """Return all tasks that workers have described, by name."""
        return self._database.read(tables.list_tasks)


def _step(row: Any, run: StoredRun, now: datetime) -> Step:
    progress = Progress(row.done, row.total, row.note, row.gained, row.span)
    silent, left, stalled = max(now - row.updated_at, timedelta(0)), None, None
    if run.state is RunState.RUNNING:
        left = time_left(progress, silent)
        stalled = silent if is_stalled(progress, silent) else None
    return Step(row.done, row.total, row.note, left, stalled, row.updated_at)


def _checkpoint(row: Any) -> Checkpoint | None:
    if row.checkpoint is None:
        return None
    return Checkpoint(decode(row.checkpoint), row.checkpoint_attempt, row.checkpoint_at)


def _ordinal(place: int) -> str:
    words = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
    if place <= len(words):
        return words[place - 1]
    teen = 10 < place % 100 < 14
    return f"{place:,}" + ("th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th"))


def _attempt(row: Any) -> AttemptView:
    return AttemptView(**{name: getattr(row, name) for name in AttemptView.__slots__})
