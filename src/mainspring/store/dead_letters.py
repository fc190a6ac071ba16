"""Find failed runs on which nobody has decided, group them, and decide on each of them once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, cast, func, insert, literal, select, update

from mainspring.domain.states import FailureKind, RunState
from mainspring.encoding import decode, encode
from mainspring.ids import RunId
from mainspring.store.database import Tx
from mainspring.store.needs import filled_parameters
from mainspring.store.queueing import BATCH
from mainspring.store.runs import RunFilter, StoredRun, filtered, run_query, stored_run
from mainspring.store.schema import attempts, audit, run_payloads, run_progress, runs, schedules, snapshots
from mainspring.store.types import storable

UNSIGNED = "unsigned"
"""Stands for the signature of runs that failed under a release that wrote none."""
DISCARDED = "discarded by "
"""How the reason of a discarded run begins; what was replayed is not restored."""
LOOKED_AT = 100_000
"""Dead letters that are grouped at most, the newest: a list must not take minutes."""


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which dead letters are meant; every given condition must hold."""

    like: RunFilter = field(default_factory=RunFilter)
    """Task, queue, schedule and labels; its states are not looked at."""
    signature: str | None = None
    ids: Sequence[RunId] | None = None
    since: datetime | None = None
    """Failed then or later."""
    until: datetime | None = None
    """Failed before."""
    text: str | None = None
    """Part of the message, in any case of letters."""


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """Dead letters of one signature and task, with one of them as an example."""

    signature: str
    task: str
    count: int
    first_at: datetime
    last_at: datetime
    example: RunId
    """The newest of them."""
    kind: FailureKind
    error_type: str | None
    message: str | None
    traceback: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A failed run with what a replay of it is made from."""

    run: StoredRun
    parameters: str
    owner_id: str
    params_version: int
    snapshot: Mapping[str, Any]
    has_checkpoint: bool


def _undecided() -> ColumnElement[bool]:
    return and_(runs.c.state == RunState.FAILED.value, runs.c.decided_at.is_(None))


def _discarded() -> ColumnElement[bool]:
    reason = runs.c.state_reason.startswith(DISCARDED, autoescape=True)
    return and_(runs.c.state == RunState.FAILED.value, runs.c.decided_at.is_not(None), reason)


def _matching(query: Select[Any], wanted: DeadFilter) -> Select[Any]:
    query = filtered(query, wanted.like)
    if wanted.signature is not None:
        unsigned = wanted.signature == UNSIGNED
        column = runs.c.failure_signature
        query = query.where(column.is_(None) if unsigned else column == wanted.signature)
    if wanted.ids is not None:
        query = query.where(runs.c.id.in_(wanted.ids))
    if wanted.since is not None:
        query = query.where(runs.c.finished_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(runs.c.finished_at < wanted.until)
    if wanted.text is not None:
        query = query.where(runs.c.failure_message.icontains(wanted.text, autoescape=True))
    return query


def _dead(*columns: Any) -> Select[Any]:
    joined = runs.outerjoin(schedules, schedules.c.id == runs.c.schedule_id)
    return select(*columns).select_from(joined).where(_undecided())


def count(tx: Tx, most: int = LOOKED_AT) -> int:
    """Return how many dead letters there are, counted up to *most*."""
    some = select(runs.c.id).where(_undecided()).limit(most).subquery()
    return int(tx.core(select(func.count()).select_from(some)).scalar_one())


def count_of(tx: Tx, wanted: DeadFilter) -> int:
    """Return how many dead letters *wanted* lets through."""
    return int(tx.core(_matching(_dead(func.count()), wanted)).scalar_one())


def groups(tx: Tx, wanted: DeadFilter, most: int, offset: int = 0, within: int = LOOKED_AT) -> list[DeadGroup]:
    """Return groups of the newest *within* dead letters that *wanted* lets through, the largest first."""
    # The id as text: PostgreSQL 15 has no greatest uuid.
    columns = (runs.c.id, runs.c.failure_signature, runs.c.task, runs.c.finished_at)
    newest = _matching(_dead(*columns), wanted).order_by(runs.c.id.desc()).limit(within).subquery()
    example = func.max(cast(newest.c.id, Text)).label("example")
    n, last_at = func.count().label("n"), func.max(newest.c.finished_at).label("last_at")
    first_at = func.min(newest.c.finished_at).label("first_at")
    query = (
        select(newest.c.failure_signature, newest.c.task, n, first_at, last_at, example)
        .group_by(newest.c.failure_signature, newest.c.task)
        .order_by(n.desc(), last_at.desc(), example)
        .limit(most)
        .offset(offset)
    )
    rows = tx.core(query).all()
    ends = _last_ends(tx, [row.example for row in rows])
    return [
        DeadGroup(
            row.failure_signature or UNSIGNED, row.task, row.n, row.first_at, row.last_at, RunId(row.example),
            *ends[row.example],
        )
        for row in rows
    ]  # fmt: skip


def _last_ends(tx: Tx, ids: Sequence[str]) -> dict[str, tuple[FailureKind, str | None, str | None, str | None]]:
    """Return failure kind, error type, message and traceback of the last attempt of each of these failed runs."""
    last = and_(attempts.c.run_id == runs.c.id, attempts.c.attempt == runs.c.attempt)
    query = select(
        runs.c.id, runs.c.failure_kind, runs.c.failure_message,
        attempts.c.error_type, attempts.c.error_message, attempts.c.traceback,
    ).select_from(runs.outerjoin(attempts, last)).where(runs.c.id.in_(ids))  # fmt: skip
    return {
        row.id: (
            FailureKind(row.failure_kind), row.error_type, row.error_message or row.failure_message, row.traceback,
        )
        for row in tx.core(query)
    }  # fmt: skip


def list_dead(tx: Tx, wanted: DeadFilter, most: int = 50, before: RunId | None = None) -> list[StoredRun]:
    """Return dead letters that *wanted* lets through, newest first, older than *before*."""
    query = _matching(run_query(), wanted).where(_undecided()).order_by(runs.c.id.desc()).limit(most)
    if before is not None:
        query = query.where(runs.c.id < before)
    return [stored_run(row) for row in tx.core(query)]


def last_id(tx: Tx, wanted: DeadFilter, *, discarded: bool = False) -> RunId | None:
    """Return the highest id among those meant: what fails from now on is not of them."""
    found = tx.core(_chosen(wanted, discarded).order_by(runs.c.id.desc()).limit(1)).first()
    return None if found is None else RunId(found.id)


def page(
    tx: Tx, wanted: DeadFilter, after: RunId | None, until: RunId, *, discarded: bool = False, most: int = BATCH
) -> list[tuple[RunId, int]]:
    """Return the next of those meant by ascending id, each with its attempt, up to *until*."""
    query = _chosen(wanted, discarded).where(runs.c.id <= until).order_by(runs.c.id).limit(most)
    if after is not None:
        query = query.where(runs.c.id > after)
    return [(RunId(row.id), row.attempt) for row in tx.core(query)]


def _chosen(wanted: DeadFilter, discarded: bool) -> Select[Any]:
    joined = runs.outerjoin(schedules, schedules.c.id == runs.c.schedule_id)
    query = select(runs.c.id, runs.c.attempt).select_from(joined)
    return _matching(query.where(_discarded() if discarded else _undecided()), wanted)


def letters(tx: Tx, ids: Sequence[RunId]) -> list[DeadLetter]:
    """Return these runs with parameters, snapshot and whether they left a checkpoint, by ascending id."""
    found = {row.id: stored_run(row) for row in tx.core(run_query().where(runs.c.id.in_(ids)))}
    more = (
        select(
            runs.c.id, runs.c.owner_id, runs.c.params_version, run_payloads.c.parameters, snapshots.c.body,
            run_progress.c.checkpoint.is_not(None).label("has_checkpoint"),
        )
        .select_from(
            runs.outerjoin(run_payloads, run_payloads.c.run_id == runs.c.id)
            .outerjoin(snapshots, snapshots.c.hash == runs.c.snapshot_hash)
            .outerjoin(run_progress, run_progress.c.run_id == runs.c.id)
        )
        .where(runs.c.id.in_(ids))
        .order_by(runs.c.id)
    )  # fmt: skip
    rows = tx.core(more).all()
    # Whoever is replayed waits for nobody: it is given the results that the run was given.
    apart = {row.id: filled_parameters(tx, row.id) for row in rows if row.parameters is None}
    return [
        DeadLetter(
            found[row.id], row.parameters or apart[row.id] or "{}", row.owner_id, row.params_version,
            decode(row.body) or {}, bool(row.has_checkpoint),
        )
        for row in rows
        if row.id in found
    ]  # fmt: skip


def attempts_of(tx: Tx, ids: Sequence[RunId]) -> dict[RunId, list[Any]]:
    """Return the ended attempts of these runs, in order."""
    found: dict[RunId, list[Any]] = {run_id: [] for run_id in ids}
    query = select(attempts).where(attempts.c.run_id.in_(ids)).order_by(attempts.c.run_id, attempts.c.attempt)
    for row in tx.core(query):
        found[row.run_id].append(row)
    return found


def lock_dead(tx: Tx, expected: Iterable[tuple[RunId, int]], *, discarded: bool = False) -> list[RunId]:
    """Lock those of these runs that are still undecided (or *discarded*) at this attempt; return them by ascending id.

    Of two who decide on the same runs at once, the later one waits here and then finds them decided.
    """
    wanted = dict(expected)
    condition = _discarded() if discarded else _undecided()
    query = select(runs.c.id, runs.c.attempt).where(runs.c.id.in_(list(wanted)), condition).order_by(runs.c.id)
    return [RunId(row.id) for row in tx.core(query.with_for_update()) if wanted[row.id] == row.attempt]


def decide(tx: Tx, ids: Sequence[RunId], now: datetime, reason: str) -> int:
    """Decide on these locked dead letters: *reason* says what; return how many there were."""
    values = {"decided_at": now, "state_reason": storable(reason)}
    return tx.core(update(runs).where(runs.c.id.in_(ids), _undecided()).values(**values)).rowcount


def restore(tx: Tx, ids: Sequence[RunId]) -> int:
    """Make these locked discarded runs dead letters again; return how many there were."""
    values = {"decided_at": None, "state_reason": None}
    return tx.core(update(runs).where(runs.c.id.in_(ids), _discarded()).values(**values)).rowcount


def copy_checkpoints(tx: Tx, pairs: Sequence[tuple[RunId, RunId]], now: datetime) -> None:
    """Give new runs the checkpoints of old ones: (old, new) each; attempt 0 left them, as far as they know."""
    new_of = dict(pairs)
    kept = [column for column in run_progress.c if column.name.startswith("checkpoint")]
    left = run_progress.c.run_id.in_(list(new_of)) & run_progress.c.checkpoint.is_not(None)
    rows = [
        {"run_id": new_of[row.run_id], "attempt": 0, "done": 0.0, "note": "", "updated_at": now}
        | {column.name: getattr(row, column.name) for column in kept}
        | {"checkpoint_attempt": 0}
        for row in tx.core(select(run_progress.c.run_id, *kept).where(left)).all()
    ]
    if rows:
        tx.core(insert(run_progress), rows)


def replays_of(tx: Tx, run_id: RunId, most: int = 20) -> list[RunId]:
    """Return the runs that do the work of this one again, oldest first."""
    query = select(runs.c.id).where(runs.c.replay_of == run_id).order_by(runs.c.id).limit(most)
    return [RunId(row.id) for row in tx.core(query)]


def landed(tx: Tx, mark: str) -> Mapping[str, Any] | None:
    """Return what an earlier try of this transaction recorded under *mark*; None where none was committed."""
    if not tx.repeated:
        return None
    found: Mapping[str, Any] | None = decode(tx.core(select(audit.c.body).where(audit.c.id == mark)).scalar())
    return found


def record(tx: Tx, mark: str, now: datetime, actor: str, action: str, subject: str, body: Mapping[str, Any]) -> None:
    """Write into the audit, under the id *mark*, what this transaction did."""
    row = {"id": mark, "at": now, "actor": actor, "action": action, "subject": subject, "body": encode(body)}
    tx.core(insert(audit).values(**row))


def last_record(tx: Tx, action: str, subject: str) -> Mapping[str, Any] | None:
    """Return what was last recorded of this action on *subject*."""
    query = select(audit.c.body).where(audit.c.subject == subject, audit.c.action == literal(action))
    found: Mapping[str, Any] | None = decode(tx.core(query.order_by(audit.c.id.desc()).limit(1)).scalar())
    return found
