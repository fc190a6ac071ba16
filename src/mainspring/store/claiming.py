"""Claim runs for the free slots of a worker session, and record how their attempts ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select

from mainspring.domain.runs import ClaimedRun, Ended, FinishResult, Outcome
from mainspring.domain.states import FINAL, RunState
from mainspring.ids import ClaimId, RunId, SessionId, uuid7
from mainspring.store import limiting
from mainspring.store.database import Database, Row, Tx
from mainspring.store.limiting import Judge
from mainspring.store.queueing import cancel, follow, is_long, log_key, result_key
from mainspring.store.schema import runs
from mainspring.store.types import storable

_MESSAGE_LIMIT = 2_000
_TYPE_LIMIT = 400


def queues_with_work(tx: Tx, queues: Sequence[str]) -> list[str]:
    """Return those of *queues*, in their order, that have ready runs and are not paused."""
    found = {name for (name,) in tx.rows("ready_queues", {"queues": tx.ids(queues)})}
    return [name for name in queues if name in found]


def claim(
    tx: Tx,
    session: SessionId,
    queue: str,
    n: int,
    now: datetime,
    lease_now: datetime | None,
    claim_id: ClaimId,
    judge: Judge | None = None,
) -> list[ClaimedRun]:
    """Take at most *n* of the best ready runs of *queue* and open an attempt of each.

    Returns them in order of claim. Nothing is taken when the session is no longer live, or while the database takes
    no new work. Runs with limits are taken as far as these allow, and held back otherwise; *judge* decides about all
    limits of this transaction.
    """
    if tx.refusal() is not None:
        return []
    parameters: dict[str, Any] = {
        "session": session,
        "queue": queue,
        "n": n,
        "now": tx.at(now),
        "lease_now": tx.at(lease_now),
        "claim": claim_id,
    }
    rows, limited = _take(tx, parameters)
    if limited:
        rows += (judge or Judge(tx, now)).claim(limited, n - len(rows), parameters)
    return _in_order(tx, rows)


def _take(tx: Tx, parameters: dict[str, Any]) -> tuple[list[Row], list[RunId]]:
    """Open attempts of those of the best *n* runs that have no limits; return them, and the ids of the others."""
    if tx.dialect == "sqlite":
        picked = tx.rows("pick_ready", parameters)
        free = [run_id for run_id, limited in picked if not limited]
        listed = {**parameters, "ids": tx.ids(free)}
        if free:
            tx.rows("clear_ready", listed)
        rows = tx.rows("claim_runs", listed) if free else []
        return rows, [run_id for run_id, limited in picked if limited]
    found = tx.rows("claim_runs", parameters)
    limited_ids = [row[0] for row in found if row[1] is None]
    return [row for row in found if row[1] is not None] if limited_ids else found, limited_ids


def adopt(tx: Tx, session: SessionId, claim_id: ClaimId) -> list[ClaimedRun]:
    """Return what a claim took whose reply was lost."""
    return _in_order(tx, tx.rows("adopt_claim", {"session": session, "claim": claim_id}))


def _in_order(tx: Tx, rows: list[Row]) -> list[ClaimedRun]:
    # Neither database promises an order of what RETURNING gives.
    return sorted((_claimed(tx, row) for row in rows), key=lambda run: (run.rank, run.turn, run.seq))


def _claimed(tx: Tx, row: Row) -> ClaimedRun:
    (run_id, attempt, task, queue, rank, turn, seq, tries, losses, max_tries, once, due_at, created_at, schedule_id,
     fire_at, returns, expires_at, isolated_losses, parameters, uses) = row  # fmt: skip
    instant = tx.instant
    return ClaimedRun(
        run_id, attempt, task, queue, rank, turn, seq, tries, losses, max_tries, bool(once), instant(due_at),
        instant(created_at), schedule_id, None if fire_at is None else instant(fire_at), parameters, returns,
        None if expires_at is None else instant(expires_at), isolated_losses=isolated_losses, uses=uses,
    )  # fmt: skip


def finish(tx: Tx, session: SessionId, outcomes: Sequence[Outcome], now: datetime) -> FinishResult:
    """Record how attempts ended, each only if it still holds its lease.

    Missing ones are the fenced: their lease was lost and nothing about them is written; the others stand. An attempt
    that this session recorded before (the reply to that commit was lost) counts as done.
    """
    if not outcomes:
        return FinishResult()
    released = 0
    if any(o.run.limited or o.needs is not None for o in outcomes):
        outcomes, released = limiting.settle(tx, session, outcomes, now)
    changed = tx.returning("finish_runs", [_finish_row(tx, session, outcome) for outcome in outcomes])
    kept, fenced = outcomes, frozenset[RunId]()
    if len(changed) != len(outcomes):
        kept, fenced = _sort_out(tx, session, outcomes)
    if kept:
        awaited = {run_id for run_id, others_wait in changed if others_wait}
        _record(tx, session, kept, now)
        released += _obey_cancels(tx, [o.run.id for o in kept if o.state not in FINAL], now, awaited)
        released += len(follow(tx, [o.run.id for o in kept if o.run.id in awaited and o.state in FINAL], now).released)
    due = [o.due_at for o in kept if o.due_at is not None]
    return FinishResult(fenced, min(due, default=None), released)


def _finish_row(tx: Tx, session: SessionId, outcome: Outcome) -> Sequence[Any]:
    state = outcome.state
    failed = state is RunState.FAILED
    reason = storable(outcome.reason)
    message = storable(outcome.error_message) or reason
    symptom = outcome.symptom
    return (
        state.value,
        None if failed or (outcome.ended is Ended.SUCCEEDED and outcome.taken_from is None) else reason,
        outcome.failure_kind.value if failed and outcome.failure_kind else None,
        message[:_MESSAGE_LIMIT] if failed and message else None,
        None if symptom is None else symptom.signature,
        1 if outcome.charged else 0,
        1 if outcome.lost_in_isolation else 0,
        1 if outcome.lost_in_isolation else 0,
        outcome.ended is Ended.RETURNED,
        tx.at(outcome.due_at),
        tx.at(outcome.finished_at) if state in FINAL else None,
        outcome.run.id,
        outcome.run.attempt,
        session,
    )


def _sort_out(tx: Tx, session: SessionId, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], frozenset[RunId]]:
    """Tell the outcomes just written from those written by an earlier try of this transaction and the fenced ones."""
    ids = tx.ids([o.run.id for o in outcomes])
    landed = {(r, a): (e, h) for r, a, e, h in tx.rows("landed_attempts", {"ids": ids, "session": session})}
    now_at = dict(_states(tx, [o.run.id for o in outcomes]))
    kept, fenced = [], set()
    for outcome in outcomes:
        before = landed.get((outcome.run.id, outcome.run.attempt))
        if before is not None:
            if before not in _ends_of(outcome):
                fenced.add(outcome.run.id)
        elif now_at.get(outcome.run.id) == (outcome.state.value, outcome.run.attempt, session):
            kept.append(outcome)
        else:
            fenced.add(outcome.run.id)
    return kept, frozenset(fenced)


def _ends_of(outcome: Outcome) -> set[tuple[str, str | None]]:
    """Return how this end may have been recorded: what a resource refused, its first recording made a hold."""
    found = {(outcome.ended.value, outcome.result_hash)}
    return found | {(Ended.HELD.value, None)} if outcome.run.limited and outcome.blame else found


def _states(tx: Tx, ids: Sequence[RunId]) -> list[tuple[RunId, tuple[str, int, str]]]:
    rows = tx.rows("attempt_states", {"ids": tx.ids(ids)})
    return [(run_id, (state, attempt, session)) for run_id, state, attempt, session in rows]


def _record(tx: Tx, session: SessionId, outcomes: Sequence[Outcome], now: datetime) -> None:
    at = tx.at
    tx.many("insert_attempts", [
        (o.run.id, o.run.attempt, session, at(o.started_at), at(o.finished_at), o.ended.value, o.charged,
         storable(o.reason), (storable(o.error_type) or "")[:_TYPE_LIMIT] or None, storable(o.error_message),
         storable(o.traceback), o.result_hash)
        for o in outcomes
    ])  # fmt: skip
    results = [o for o in outcomes if o.ended is Ended.SUCCEEDED and o.result is not None]
    long = [o for o in results if o.result is not None and is_long(o.result)]
    apart = {o.run.id for o in long}
    tx.many("save_results", [
        (None if o.run.id in apart else o.result, o.result_hash, o.run.attempt, o.run.id) for o in results
    ])  # fmt: skip
    blobs = [(result_key(o.run.id), o.result.encode("utf-8"), at(now)) for o in long if o.result is not None]
    blobs += [(log_key(o.run.id, o.run.attempt), o.log, at(now)) for o in outcomes if o.log]
    tx.many("save_blobs", blobs)
    tx.many("clear_checkpoints", [(o.run.id,) for o in outcomes if o.checkpoint and o.ended is Ended.SUCCEEDED])
    tx.many("save_cached", _cached(tx, outcomes))
    tx.many("insert_ready", [(o.run.id,) for o in outcomes if o.state is RunState.READY])
    tx.many("add_statistics", _statistics(tx, session, outcomes))


def _cached(tx: Tx, outcomes: Sequence[Outcome]) -> list[Sequence[Any]]:
    """Return the results to be kept for others; of several under one key the last."""
    rows = {
        o.cached.key: (o.cached.key, o.run.task, o.run.id, o.result, o.result_hash, tx.at(o.finished_at),
                       tx.at(o.cached.expires_at))
        for o in outcomes if o.cached is not None and o.ended is Ended.SUCCEEDED
    }  # fmt: skip
    return list(rows.values())


def _obey_cancels(tx: Tx, ids: Sequence[RunId], now: datetime, awaited: Set[RunId]) -> int:
    """Cancel those of these unfinished runs that were asked to while they ran, but ended in another way first.

    Returns how many runs waited for them and are ready now.
    """
    if not ids:
        return 0
    asked = (runs.c.id.in_(ids)) & runs.c.cancel_requested_at.is_not(None)
    found = tx.core(select(runs.c.id, runs.c.cancel_reason).where(asked)).all()
    if found and awaited:
        # Two steps follow that lock those who wait: all of them are locked before either.
        tx.rows("lock_dependants", {"ids": tx.ids(sorted(awaited))})
    return sum(cancel(tx, [RunId(row.id)], row.cancel_reason or "cancelled", now).released for row in found)


def _statistics(tx: Tx, session: SessionId, outcomes: Sequence[Outcome]) -> list[Sequence[Any]]:
    sums: dict[tuple[datetime, str, str], list[float]] = defaultdict(lambda: [0, 0, 0, 0, 0.0, 0.0, 0.0])
    for o in outcomes:
        row = sums[o.finished_at.replace(second=0, microsecond=0), o.run.task, o.run.queue]
        column = {Ended.SUCCEEDED: 0, Ended.FAILED: 1, Ended.RETRIED: 2}.get(o.ended, 3)
        seconds = (o.finished_at - o.started_at).total_seconds()
        row[column] += 1
        row[4] += seconds
        row[5] += max((o.started_at - o.run.due_at).total_seconds(), 0.0)
        row[6] = max(row[6], seconds)
    return [
        (tx.at(minute), task, queue, session, *(int(n) for n in row[:4]), *row[4:])
        for (minute, task, queue), row in sorted(sums.items())
    ]


def cycle(
    database: Database,
    session: SessionId,
    outcomes: Sequence[Outcome],
    choose: Callable[[Sequence[str]], Sequence[str]],
    queues: Sequence[str],
    free: int,
    now: datetime,
    claim_id: ClaimId | None = None,
) -> tuple[FinishResult, list[ClaimedRun]]:
    """Finish what has ended and claim for the free slots, in one transaction.

    *choose* orders those of *queues* that have work (strict order or weights). Without outcomes nothing is written
    unless there is work to claim.

    Raises:
        StoreUnavailable: the database did not answer; the outcomes are to be given again.
    """
    ended = FinishResult()
    if any(o.run.limited for o in outcomes):
        # Alone: a claim locks sessions and runs, and what has locked limits must not wait for these.
        first = outcomes
        ended, outcomes = database.write(lambda tx: finish(tx, session, first, now)), ()
    if not outcomes and not (free > 0 and queues and database.read(lambda tx: queues_with_work(tx, queues))):
        return ended, []
    mark = claim_id or ClaimId(uuid7())
    lease_now = database.lease_now()

    def work(tx: Tx) -> tuple[FinishResult, list[ClaimedRun]]:
        result = finish(tx, session, outcomes, now) if outcomes else ended
        # A repeat after a lost reply adopts what the first try took.
        claimed = adopt(tx, session, mark) if tx.repeated else []
        # What the ends have locked, somebody may want who has locked a limit.
        judge = Judge(tx, now, patient=not outcomes)
        claimed += _fill(tx, session, choose, queues, free - len(claimed), now, lease_now, mark, judge)
        if judge.more or judge.released:
            result = replace(result, more=True)
        return result, claimed

    return database.write(work)


def _fill(
    tx: Tx,
    session: SessionId,
    choose: Callable[[Sequence[str]], Sequence[str]],
    queues: Sequence[str],
    free: int,
    now: datetime,
    lease_now: datetime | None,
    mark: ClaimId,
    judge: Judge,
) -> list[ClaimedRun]:
    claimed: list[ClaimedRun] = []
    if free <= 0 or not queues:
        return claimed
    with_work = list(queues) if len(queues) == 1 else queues_with_work(tx, queues)
    for queue in choose(with_work):
        if len(claimed) >= free:
            break
        claimed += claim(tx, session, queue, free - len(claimed), now, lease_now, mark, judge)
    return claimed


def held_run(tx: Tx, session: SessionId, run_id: RunId) -> ClaimedRun | None:
    """Return a run that *session* holds, as its claim would have given it, or None."""
    rows = tx.rows("held_run", {"session": session, "id": run_id})
    return _claimed(tx, rows[0]) if rows else None


def all_queues_with_work(tx: Tx) -> list[str]:
    """Return the names of all queues that have ready runs, by name."""
    return [name for (name,) in tx.rows("all_ready_queues", {})]
