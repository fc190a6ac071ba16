"""Verify a whole database, a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from mainspring.store.database import Database
from mainspring.store.migrate import require_current
from mainspring.verify.look import Look, look, micros
from mainspring.verify.runs import FIRST, verify_page
from mainspring.verify.schedules import Frame, Place, verify_step
from mainspring.verify.tables import verify_small_tables, verify_snapshots
from mainspring.verify.verdict import Verdict

Progress = Callable[[str, int, int], None]
"""Told what is being compared, how many of it are done and how many there are."""
_AT_ONCE: Final = 1_000


def verify(
    database: Database, now: datetime, *, since: datetime | None = None, progress: Progress | None = None
) -> Verdict:
    """Compare the ledger with brute force and the tables with each other; nothing is written.

    *since* leaves out fire times up to it, and runs that were made before it and have ended.

    Raises:
        SchemaOutdated: the database has not the schema of this release.
        StoreUnavailable: the database did not answer.
    """
    require_current(database)
    verdict = Verdict()
    frame = look(database, lambda seen: _frame(seen, now, since))
    ids = list(_schedule_ids(database))
    for done, schedule_id in enumerate(ids):
        if progress is not None:
            progress("schedules", done, len(ids))
        _verify_schedule(database, schedule_id, frame, verdict)
    _verify_runs(database, frame, verdict, progress)
    verdict.add(look(database, verify_small_tables))
    verdict.add(verify_snapshots(database))
    return verdict


def _verify_schedule(database: Database, schedule_id: str, frame: Frame, verdict: Verdict) -> None:
    place: Place | None = None
    while True:
        begin = place
        part, place = look(database, lambda seen, begin=begin: verify_step(seen, schedule_id, begin, frame))  # type: ignore[misc]
        verdict.add(part)
        if place is None:
            return


def _verify_runs(database: Database, frame: Frame, verdict: Verdict, progress: Progress | None) -> None:
    total = look(database, lambda seen: seen.rows("SELECT count(*) FROM runs"))[0][0]
    after: str | None = FIRST
    while after is not None:
        if progress is not None:
            progress("runs", verdict.runs, total)
        begin = after
        part, after = look(database, lambda seen, begin=begin: verify_page(seen, begin, frame))  # type: ignore[misc]
        verdict.add(part)


def _frame(seen: Look, now: datetime, since: datetime | None) -> Frame:
    kinds = {kind for (kind,) in seen.rows("SELECT DISTINCT kind FROM worker_sessions WHERE state = 'live'")}
    return Frame(micros(now), None if since is None else micros(since), "scheduler" in kinds, "worker" in kinds)


def _schedule_ids(database: Database) -> Iterator[str]:
    after = FIRST
    statement = "SELECT key(id) FROM schedules WHERE id > :after ORDER BY id LIMIT :most"
    while True:
        rows = look(database, lambda seen, after=after: seen.rows(statement, after=after, most=_AT_ONCE))  # type: ignore[misc]
        yield from (row[0] for row in rows)
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1][0]
