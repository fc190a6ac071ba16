"""Keep results for later runs of the same task with the same parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select

from mainspring.encoding import decode
from mainspring.ids import RunId
from mainspring.store.database import Tx
from mainspring.store.schema import result_cache, runs, snapshots


@dataclass(frozen=True, slots=True)
class CachedResult:
    """A result that a run gave; it outlives the run."""

    run_id: RunId
    result: str
    """In JSON."""
    result_hash: str
    created_at: datetime


def find_results(tx: Tx, keys: Sequence[str], now: datetime) -> dict[str, CachedResult]:
    """Return the results under these keys that have not expired, by key."""
    rows = tx.rows("find_cached", {"keys": tx.ids(keys), "now": tx.at(now)})
    return {
        key: CachedResult(run_id, result, mark, tx.instant(created_at))
        for key, run_id, result, mark, created_at in rows
    }


def want_fresh(tx: Tx, ids: Sequence[RunId]) -> set[RunId]:
    """Return those of these runs that were enqueued to compute their result whatever is kept."""
    joined = runs.join(snapshots, snapshots.c.hash == runs.c.snapshot_hash)
    query = select(runs.c.id, snapshots.c.body).select_from(joined).where(runs.c.id.in_(ids))
    return {RunId(row.id) for row in tx.core(query) if decode(row.body).get("fresh")}


def count_results(tx: Tx, task: str) -> int:
    """Return how many results of a task are kept."""
    query = select(func.count()).select_from(result_cache).where(result_cache.c.task == task)
    return int(tx.core(query).scalar_one())


def forget_results(tx: Tx, task: str) -> int:
    """Delete all results that are kept of a task; return how many there were."""
    return tx.core(delete(result_cache).where(result_cache.c.task == task)).rowcount


def has_expired(tx: Tx, now: datetime) -> bool:
    """Return whether any result has expired."""
    query = select(result_cache.c.key).where(result_cache.c.expires_at <= now).limit(1)
    return tx.core(query).first() is not None


def forget_expired(tx: Tx, now: datetime, most: int = 500) -> int:
    """Delete results that have expired, at most *most*; return how many."""
    # Locked by ascending key, as those lock them that keep results.
    ids = (
        select(result_cache.c.key)
        .where(result_cache.c.expires_at <= now)
        .order_by(result_cache.c.key)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    found = [row.key for row in tx.core(ids)]
    gone = result_cache.c.key.in_(found) & (result_cache.c.expires_at <= now)
    return tx.core(delete(result_cache).where(gone)).rowcount if found else 0
