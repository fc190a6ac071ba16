"""Verify what belongs to no single run or schedule: orphans, sessions, snapshots, the order of arrival."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from mainspring.store.database import Database
from mainspring.verify.look import Look, look
from mainspring.verify.runs import FIRST
from mainspring.verify.verdict import Verdict

_SNAPSHOTS_AT_ONCE: Final = 500


def verify_small_tables(seen: Look) -> Verdict:
    """Compare the small tables with the large ones."""
    verdict = Verdict()
    schedules = {row[0] for row in seen.rows("SELECT key(id) FROM schedules")}
    for table in ("occurrences", "schedule_versions"):
        for schedule_id in sorted(set(_owners(seen, table)) - schedules):
            verdict.error(f"{table}_without_schedule", schedule_id, f"has rows in {table}, but does not exist")
    for table in ("run_progress", "artifacts"):
        for run_id in sorted({row[0] for row in seen.rows(_ORPHANS[table])}):
            verdict.error(f"{table}_without_run", f"run {run_id}", f"has rows in {table}, but does not exist")
    for run_id, by, attempt in seen.rows(_CHECKPOINTS):
        sentence = f"its checkpoint is of attempt {by}, and it has had {attempt}"
        verdict.error("checkpoint_unexpected", f"run {run_id}", sentence)
    _check_sessions(seen, verdict)
    _check_places(seen, verdict)
    _check_circles(seen, verdict)
    return verdict


def verify_snapshots(database: Database) -> Verdict:
    """Compare each snapshot with the hash under which runs find it."""
    verdict = Verdict()
    after = ""
    while True:
        rows = look(database, lambda seen, after=after: seen.rows(_SNAPSHOTS, after=after, most=_SNAPSHOTS_AT_ONCE))  # type: ignore[misc]
        for mark, body in rows:
            if sha256(body.encode()).hexdigest() != mark:
                verdict.error("snapshot_altered", f"snapshot {mark}", "its body is not the one that was hashed")
        if len(rows) < _SNAPSHOTS_AT_ONCE:
            return verdict
        after = rows[-1][0]


_SNAPSHOTS: Final = "SELECT hash, body FROM snapshots WHERE hash > :after ORDER BY hash LIMIT :most"
_ORPHANS: Final = {
    table: f"SELECT key(o.run_id) FROM {table} o WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = o.run_id)"  # noqa: S608 - two fixed names
    for table in ("run_progress", "artifacts")
}
_CHECKPOINTS: Final = (
    "SELECT key(r.id), p.checkpoint_attempt, r.attempt FROM run_progress p JOIN runs r ON r.id = p.run_id "
    "WHERE (p.checkpoint IS NULL) <> (p.checkpoint_attempt IS NULL) OR p.checkpoint_attempt > r.attempt"
)
_NEXT_OWNER: Final = {
    table: f"SELECT key(schedule_id) FROM {table} WHERE schedule_id > :after ORDER BY schedule_id LIMIT 1"  # noqa: S608 - two fixed names
    for table in ("occurrences", "schedule_versions")
}
_WAITING: Final = (
    "SELECT key(d.run_id), key(d.needs_run_id) FROM dependencies d JOIN runs w ON w.id = d.run_id "
    "JOIN runs n ON n.id = d.needs_run_id WHERE w.state = 'waiting' AND n.state = 'waiting'"
)


def _owners(seen: Look, table: str) -> Iterator[str]:
    """Yield the ids of the schedules that have rows in *table*, one look into its index each."""
    after = FIRST
    while rows := seen.rows(_NEXT_OWNER[table], after=after):
        after = rows[0][0]
        yield after


def _check_sessions(seen: Look, verdict: Verdict) -> None:
    for session_id, name, count in seen.rows(
        "SELECT key(id), min(name), count(*) FROM worker_sessions WHERE state = 'live' GROUP BY id HAVING count(*) > 1"
    ):
        verdict.error("session_doubled", f"session {session_id} ({name})", f"lives {count} times under one id")
    for session_id, name, state in seen.rows(
        "SELECT key(id), name, state FROM worker_sessions WHERE (state = 'live') <> (ended_at IS NULL)"
    ):
        ended = "has an end" if state == "live" else "has no end"
        verdict.error("session_unsound", f"session {session_id} ({name})", f"is {state}, but {ended}")


def _check_places(seen: Look, verdict: Verdict) -> None:
    last = seen.last_place()
    highest = seen.rows("SELECT max(seq) FROM ready")[0][0]
    if highest is not None and highest > last:
        verdict.error(
            "places_run_out", "queue order", f"place {highest} is taken, but the last one given out is {last}"
        )


def _check_circles(seen: Look, verdict: Verdict) -> None:
    """Find runs that wait for each other: take away those that wait for none that waits, as long as there are any."""
    needs: dict[str, set[str]] = defaultdict(set)
    needed_by: dict[str, set[str]] = defaultdict(set)
    for run_id, needed in seen.rows(_WAITING):
        if run_id != needed:
            needs[run_id].add(needed)
            needed_by[needed].add(run_id)
    free = [run_id for run_id in needed_by if not needs.get(run_id)]
    while free:
        done = free.pop()
        for run_id in needed_by.pop(done, ()):
            needs[run_id].discard(done)
            if not needs[run_id]:
                free.append(run_id)
    stuck = sorted(run_id for run_id, left in needs.items() if left)
    if stuck:
        verdict.error("wait_in_circle", f"run {stuck[0]}", f"waits in a circle; {len(stuck)} runs will never start")
