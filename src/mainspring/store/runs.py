"""Read runs, their attempts, logs and results; and keep what a running attempt reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, func, insert, or_, select, update
from sqlalchemy.engine import Row

from mainspring.domain.progress import Progress
from mainspring.domain.runs import RunKind
from mainspring.domain.states import FailureKind, RunState
from mainspring.encoding import encode
from mainspring.ids import RunId, ScheduleId, SessionId, is_id
from mainspring.store import dependants
from mainspring.store.database import Tx
from mainspring.store.queueing import log_key, parameters_key, result_key, stage
from mainspring.store.schema import attempts, blobs, run_payloads, run_progress, runs, schedules, snapshots
from mainspring.store.turns import turns_of
from mainspring.store.types import storable

_LOWEST, _HIGHEST = (f"{8 * c}-{4 * c}-{4 * c}-{4 * c}-{12 * c}" for c in "0f")


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as the database has it, without parameters and result."""

    id: RunId
    task: str
    queue: str
    priority: int
    state: RunState
    state_reason: str | None
    failure_kind: FailureKind | None
    failure_message: str | None
    kind: RunKind
    attempt: int
    tries: int
    losses: int
    isolated_losses: int
    max_tries: int
    at_most_once: bool
    schedule_id: ScheduleId | None
    schedule: str | None
    """The schedule's name."""
    fire_at: datetime | None
    member: str
    due_at: datetime
    expires_at: datetime | None
    cancel_requested_at: datetime | None
    labels: Mapping[str, str]
    session_id: str | None
    snapshot_hash: str | None
    root_id: str | None
    """The graph that it belongs to."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    decided_at: datetime | None
    """When somebody decided what becomes of it after its failure; its state's reason says what."""
    failure_signature: str | None
    replay_of: RunId | None
    owner_id: str
    """The account that it belongs to; empty for what nobody owns."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; every given condition must hold."""

    states: Sequence[RunState] = ()
    task: str | None = None
    queue: str | None = None
    schedule: str | None = None
    labels: Mapping[str, str] | None = None
    owner_id: str | None = None
    """Whose runs; None means everybody's."""
    graph: str | None = None


_LISTED = [column for column in runs.c if column.name in StoredRun.__slots__]


def run_query() -> Select[Any]:
    """Return the query for runs with the names of their schedules."""
    joined = runs.outerjoin(schedules, schedules.c.id == runs.c.schedule_id)
    return select(*_LISTED, schedules.c.name.label("schedule")).select_from(joined)


def find_run(tx: Tx, run_id: RunId) -> StoredRun | None:
    """Return the run of this id, or None."""
    if not is_id(run_id):
        return None
    row = tx.core(run_query().where(runs.c.id == run_id)).one_or_none()
    return None if row is None else stored_run(row)


def find_runs(tx: Tx, ids: Sequence[RunId]) -> list[StoredRun]:
    """Return those of these runs that exist."""
    return [stored_run(row) for row in tx.core(run_query().where(runs.c.id.in_(ids)))]


def find_by_prefix(tx: Tx, prefix: str, most: int = 3) -> list[RunId]:
    """Return ids of runs that begin with *prefix*, at most *most*: people copy the start of an id."""
    prefix = prefix.lower()
    low, high = prefix + _LOWEST[len(prefix) :], prefix + _HIGHEST[len(prefix) :]
    if not is_id(low):
        return []
    query = select(runs.c.id).where(runs.c.id.between(low, high)).order_by(runs.c.id).limit(most)
    return [RunId(row.id) for row in tx.core(query)]


def find_by_ending(tx: Tx, ending: str, most: int = 3, within: int = 100_000) -> list[RunId]:
    """Return ids that end with *ending* among the newest *within* runs: ends have no index to search all by."""
    newest = select(runs.c.id).order_by(runs.c.id.desc()).limit(within).subquery()
    query = select(newest.c.id).where(func.right(cast(newest.c.id, Text), len(ending)) == ending.lower())
    if tx.dialect == "sqlite":
        query = select(newest.c.id).where(func.substr(newest.c.id, -len(ending)) == ending.lower())
    return [RunId(row.id) for row in tx.core(query.limit(most))]


def list_runs(tx: Tx, wanted: RunFilter, most: int = 50, before: RunId | None = None) -> list[StoredRun]:
    """Return runs that *wanted* lets through, newest first, at most *most*, older than *before*."""
    query = filtered(run_query(), wanted).order_by(runs.c.id.desc()).limit(most)
    if before is not None:
        query = query.where(runs.c.id < before)
    return [stored_run(row) for row in tx.core(query)]


def count_by_state(tx: Tx, wanted: RunFilter | None = None) -> dict[RunState, int]:
    """Return how many runs *wanted* lets through, by state; states without any are left out."""
    joined = runs.outerjoin(schedules, schedules.c.id == runs.c.schedule_id)
    query = select(runs.c.state, func.count().label("n")).select_from(joined).group_by(runs.c.state)
    rows = tx.core(filtered(query, wanted or RunFilter())).all()
    return {RunState(row.state): row.n for row in rows}


def filtered(query: Select[Any], wanted: RunFilter) -> Select[Any]:
    """Return *query*, which joins schedules, for those runs alone that *wanted* lets through."""
    if wanted.states:
        query = query.where(runs.c.state.in_([state.value for state in wanted.states]))
    if wanted.task is not None:
        query = query.where(runs.c.task == wanted.task)
    if wanted.queue is not None:
        query = query.where(runs.c.queue == wanted.queue)
    if wanted.schedule is not None:
        query = query.where(schedules.c.name == wanted.schedule)
    if wanted.owner_id is not None:
        query = query.where(runs.c.owner_id == wanted.owner_id)
    if wanted.graph is not None:
        query = query.where(runs.c.root_id == wanted.graph)
    for name, value in (wanted.labels or {}).items():
        query = query.where(_has_label(name, value))
    return query


def _has_label(name: str, value: str) -> ColumnElement[bool]:
    # Labels are compact JSON: a label follows a brace or a comma and inside a text every quote is escaped, so no
    # other label looks like it. replace() minds upper and lower case on both databases; LIKE does not.
    pair = labels_text({name: value})[1:-1]
    return or_(*(func.replace(runs.c.labels, before + pair, "") != runs.c.labels for before in "{,"))


def stored_run(row: Row[Any]) -> StoredRun:
    """Return the run in a row of `run_query`."""
    values = dict(row._mapping)
    values["state"] = RunState(values["state"])
    values["kind"] = RunKind(values["kind"])
    values["failure_kind"] = None if values["failure_kind"] is None else FailureKind(values["failure_kind"])
    values["labels"] = json.loads(values["labels"])
    return StoredRun(**values)


def list_attempts(tx: Tx, run_id: RunId) -> Sequence[Row[Any]]:
    """Return the ended attempts of a run, in order."""
    return tx.core(select(attempts).where(attempts.c.run_id == run_id).order_by(attempts.c.attempt)).all()


def parameters_of(tx: Tx, run_id: RunId) -> str | None:
    """Return the parameters of a run as JSON text, wherever they are kept; None when the run does not exist."""
    return _payload(tx, run_id, run_payloads.c.parameters, parameters_key(run_id))


def result_of(tx: Tx, run_id: RunId) -> str | None:
    """Return the result of a run as JSON text, or None when it has none."""
    return _payload(tx, run_id, run_payloads.c.result, result_key(run_id))


def _payload(tx: Tx, run_id: RunId, column: Any, key: str) -> str | None:
    inline = tx.core(select(column).where(run_payloads.c.run_id == run_id)).scalar()
    if inline is not None:
        return str(inline)
    body = tx.core(select(blobs.c.body).where(blobs.c.key == key)).scalar()
    return None if body is None else bytes(body).decode("utf-8")


def snapshot_of(tx: Tx, run: StoredRun) -> str | None:
    """Return what decided the run, as JSON text."""
    found = tx.core(select(snapshots.c.body).where(snapshots.c.hash == run.snapshot_hash)).scalar()
    return None if found is None else str(found)


def log_of(tx: Tx, run_id: RunId, attempt: int) -> bytes:
    """Return the log of an attempt; empty where nothing was logged."""
    body = tx.core(select(blobs.c.body).where(blobs.c.key == log_key(run_id, attempt))).scalar()
    return b"" if body is None else bytes(body)


def still_running(tx: Tx, keys: Sequence[tuple[RunId, int]]) -> set[tuple[RunId, int]]:
    """Return those of these attempts that have not ended: a late report must not replace a final one."""
    rows = tx.rows("attempt_states", {"ids": tx.ids([run_id for run_id, _ in keys])})
    running = {(run_id, attempt) for run_id, state, attempt, _ in rows if state == RunState.RUNNING}
    return running & set(keys)


def save_progress(tx: Tx, rows: Sequence[tuple[RunId, int, Progress]], now: datetime) -> None:
    """Keep the latest progress of running attempts: run, attempt and what it said."""
    for run_id, attempt, said in rows:
        values = {
            "attempt": attempt, "done": said.done, "total": said.total, "note": storable(said.note),
            "gained": said.gained, "span": said.span, "updated_at": now,
        }  # fmt: skip
        if tx.core(update(run_progress).where(run_progress.c.run_id == run_id).values(**values)).rowcount == 0:
            tx.core(insert(run_progress).values(run_id=run_id, **values))


def save_checkpoint(tx: Tx, session: SessionId, run_id: RunId, attempt: int, value: str, now: datetime) -> bool:
    """Keep where a running attempt stands, in JSON; False when it does not hold its run (any more)."""
    given = {"id": run_id, "attempt": attempt, "session": session, "value": value, "now": tx.at(now)}
    return tx.run("save_checkpoint", given) == 1


def checkpoint_of(tx: Tx, run_id: RunId) -> str | None:
    """Return where a run stands, as JSON text, or None."""
    found = tx.core(select(run_progress.c.checkpoint).where(run_progress.c.run_id == run_id)).scalar()
    return None if found is None else str(found)


def forget_checkpoint(tx: Tx, run_id: RunId) -> None:
    """Make a run begin from its start; the caller holds its row."""
    values = {"checkpoint": None, "checkpoint_attempt": None, "checkpoint_at": None}
    tx.core(update(run_progress).where(run_progress.c.run_id == run_id).values(**values))


def progress_of(tx: Tx, ids: Sequence[RunId]) -> dict[RunId, Row[Any]]:
    """Return the latest progress of these runs, of those that reported any."""
    return {row.run_id: row for row in tx.core(select(run_progress).where(run_progress.c.run_id.in_(ids)))}


def reopen(tx: Tx, run: StoredRun, place: int, now: datetime, more_tries: int) -> bool:
    """Make a failed run ready again with *more_tries* tries added; False when it is no longer failed.

    What was cancelled because it failed waits for it again.
    """
    turns = turns_of(tx, [run.id])
    changed = tx.core(
        update(runs)
        .where(runs.c.id == run.id, runs.c.state == RunState.FAILED.value, runs.c.attempt == run.attempt)
        .values(
            state=RunState.READY.value, state_reason="retried by hand", failure_kind=None, failure_message=None,
            failure_signature=None, finished_at=None, decided_at=None, isolated_losses=0, due_at=now, expires_at=None,
            seq=place, cancel_requested_at=None, cancel_reason=None, max_tries=run.tries + more_tries,
            turn=turns.get(run.id, runs.c.turn),
        )
    )  # fmt: skip
    if changed.rowcount:
        tx.many("insert_ready", [(run.id,)])
        dependants.put_back(tx, run.id, run.task, now, stage)
    return changed.rowcount == 1 or (tx.repeated and _reopened(tx, run, now))


def _reopened(tx: Tx, run: StoredRun, now: datetime) -> bool:
    """Return whether an earlier try of this transaction has reopened the run; nothing but time changes its due time."""
    due_at = tx.core(select(runs.c.due_at).where(runs.c.id == run.id, runs.c.attempt >= run.attempt)).scalar()
    return bool(due_at == now)


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels in the form in which they are stored and searched."""
    return encode(dict(labels))
