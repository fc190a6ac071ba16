"""Read how long attempts took."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import select

from mainspring.store.database import Tx
from mainspring.store.schema import attempts, runs


def recent_durations(tx: Tx, most: int) -> Iterator[tuple[str, timedelta]]:
    """Yield task and duration of the succeeded attempts of the newest runs, at most *most* of them."""
    query = (
        select(runs.c.task, attempts.c.started_at, attempts.c.finished_at)
        .join(runs, runs.c.id == attempts.c.run_id)
        .where(attempts.c.outcome == "succeeded")
        .order_by(attempts.c.run_id.desc(), attempts.c.attempt.desc())
        .limit(most)
    )
    for row in tx.core(query):
        # A clock may have been set back in between.
        yield row.task, max(row.finished_at - row.started_at, timedelta(0))
