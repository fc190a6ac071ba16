"""Change runs that wait to start: take them out of their queues, and put them back at a place of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from mainspring.domain.needs import RunNeeds
from mainspring.domain.states import RunState
from mainspring.ids import RunId
from mainspring.store.database import Tx, admit
from mainspring.store.queueing import is_long, parameters_key, take_places
from mainspring.store.schema import dependencies, runs
from mainspring.store.turns import join_anew


@dataclass(frozen=True, slots=True)
class Unstarted:
    """A run that waits to start, its row locked."""

    id: RunId
    state: RunState
    attempt: int
    queue: str
    priority: int
    due_at: datetime
    expires_at: datetime | None
    seq: int | None
    state_reason: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """What a run gets instead of what it has; None leaves it as it is."""

    queue: str | None = None
    priority: int | None = None
    due_at: datetime | None = None
    """Its expiry moves along."""
    parameters: str | None = None
    """All of them, as JSON text."""
    needs: RunNeeds | None = None
    """What it needs and its key, where other parameters may have changed that."""


def take_out(tx: Tx, ids: Iterable[RunId]) -> dict[RunId, Unstarted]:
    """Lock those of these runs that have not started, out of their queues; the caller puts each of them back.

    One that is not in the answer is under way, or has ended.
    """
    # The ready row goes first: without one the run has been claimed, and the other order would deadlock with a claim.
    listed = tx.ids(sorted(ids))
    tx.rows("clear_ready", {"ids": listed})
    found = {row[0]: _unstarted(tx, *row) for row in tx.rows("lock_unstarted", {"ids": listed})}
    tx.rows("drop_holds", {"ids": tx.ids(found)})
    # A run that came due between the first two statements has left a row in its queue.
    tx.rows("drop_stale_ready", {"ids": tx.ids(found)})
    return found


def _unstarted(tx: Tx, *row: object) -> Unstarted:
    run_id, state, attempt, queue, priority, due_at, expires_at, seq, reason, created_at = row
    ends = None if expires_at is None else tx.instant(expires_at)
    return Unstarted(
        run_id, RunState(state), attempt, queue, priority, tx.instant(due_at), ends, seq, reason,  # type: ignore[arg-type]
        tx.instant(created_at),
    )  # fmt: skip


def put_back(tx: Tx, changes: Sequence[tuple[Unstarted, Change]], now: datetime) -> bool:
    """Write *changes* of runs that were taken out, and let each wait where it now belongs; return whether one is ready.

    A run keeps its place in the order of arrival within its queue; in another queue it comes last. Its turn is taken
    anew where queue, priority or key are others.
    """
    admit(tx)
    after = [(run, change, _state(run, change, now)) for run, change in changes]
    new_place = [run.id for run, change, state in after if state is RunState.READY and not _keeps_place(run, change)]
    places: Mapping[RunId, int] = dict(zip(new_place, take_places(tx, len(new_place)), strict=True))
    at = tx.at
    rows = [
        (change.queue or run.queue, run.priority if change.priority is None else change.priority,
         at(change.due_at or run.due_at), at(_expiry(run, change)), state.value,
         run.state_reason if state is run.state else None, places.get(run.id, run.seq), run.id, run.attempt,
         run.state.value)
        for run, change, state in after
    ]  # fmt: skip
    if tx.many("edit_runs", rows) != len(rows):
        raise AssertionError(f"{len(rows)} runs were locked, yet not all of them could be changed")
    for run, change, state in after:
        if change.needs is not None:
            own = (runs.c.id == run.id) & (runs.c.attempt == run.attempt) & (runs.c.state == state.value)
            values = {"uses": change.needs.uses, "concurrency_key": change.needs.key}
            tx.core(update(runs).where(own).values(**values))
    moved = [run.id for run, change, state in after if state is RunState.READY and _takes_turn(run, change)]
    join_anew(tx, sorted(moved))
    put_parameters(tx, [(run.id, change.parameters) for run, change, _ in after if change.parameters is not None], now)
    ready = [run.id for run, _, state in after if state is RunState.READY]
    tx.many("insert_ready", [(run_id,) for run_id in ready])
    return bool(ready)


def put_parameters(tx: Tx, given: Sequence[tuple[RunId, str]], now: datetime) -> None:
    """Replace the parameters of runs; what results of others fill stays to be filled."""
    apart = _given_results(tx, [run_id for run_id, _ in given]) | {run_id for run_id, text in given if is_long(text)}
    tx.many("edit_payloads", [(None if run_id in apart else text, run_id) for run_id, text in given])
    # What is in the row goes before what is kept beside it.
    long = [(parameters_key(run_id), text.encode("utf-8"), tx.at(now)) for run_id, text in given if run_id in apart]
    tx.many("save_blobs", long)


def filled_by_results(tx: Tx, run_id: RunId) -> frozenset[str]:
    """Return the parameters of a run that results of others fill when it starts."""
    needed = (dependencies.c.run_id == run_id) & dependencies.c.parameter.is_not(None)
    found = tx.core(select(dependencies.c.parameter).where(needed)).scalars()
    return frozenset(name for text in found for name in json.loads(text))


def _given_results(tx: Tx, ids: Sequence[RunId]) -> frozenset[RunId]:
    return frozenset(run_id for (run_id,) in tx.rows("given_any", {"ids": tx.ids(ids)})) if ids else frozenset()


def _state(run: Unstarted, change: Change, now: datetime) -> RunState:
    if run.state is RunState.WAITING:
        return run.state
    if change.due_at is None and run.state is not RunState.HELD:
        return run.state
    return RunState.READY if (change.due_at or run.due_at) <= now else RunState.SCHEDULED


def _keeps_place(run: Unstarted, change: Change) -> bool:
    here = change.queue in (None, run.queue)
    return here and run.seq is not None and run.state in (RunState.READY, RunState.HELD)


def _takes_turn(run: Unstarted, change: Change) -> bool:
    stays = change.queue in (None, run.queue) and change.priority in (None, run.priority)
    return not stays or change.needs is not None or run.state not in (RunState.READY, RunState.HELD)


def _expiry(run: Unstarted, change: Change) -> datetime | None:
    if run.expires_at is None or change.due_at is None:
        return run.expires_at
    return run.expires_at + (change.due_at - run.due_at)
