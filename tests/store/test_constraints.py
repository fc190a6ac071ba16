"""The database itself refuses rows that make no sense."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from mainspring.ids import uuid7
from mainspring.store.database import Database
from mainspring.store.schema import metadata
from tests.store.arrange import MINUTE, NOON, count

ID, OTHER = uuid7(), uuid7()
RUN = {
    "id": ID, "task": "t", "queue": "q", "priority": 5, "state": "ready", "kind": "enqueued", "max_tries": 1,
    "at_most_once": False, "due_at": NOON, "created_at": NOON,
}  # fmt: skip
OCCURRENCE = {
    "schedule_id": ID, "fire_at": NOON, "until_at": NOON, "n": 1, "spec_version": 1, "outcome": "fired",
    "reason": "due", "recorded_at": NOON,
}  # fmt: skip
SESSION = {
    "id": ID, "kind": "worker", "name": "w", "host": "h", "pid": 1, "boot_id": "b", "version": "v", "tasks": "[]",
    "queues": "q", "slots": 1, "state": "live", "started_at": NOON, "seen_at": NOON, "lease_until": NOON,
}  # fmt: skip
SCHEDULE = {
    "id": ID, "name": "s", "task": "t", "version": 1, "spec": "{}", "enabled": True, "source": "x", "zone": "UTC",
    "effective_at": NOON, "computed_with": "2026a", "created_at": NOON, "updated_at": NOON,
}  # fmt: skip
ATTEMPT = {
    "run_id": ID, "attempt": 1, "session_id": OTHER, "started_at": NOON, "finished_at": NOON, "outcome": "failed",
    "charged": True,
}  # fmt: skip
USER = {"id": ID, "name": "ann", "role": "admin", "created_at": NOON}
SOUND = {
    "runs": RUN, "occurrences": OCCURRENCE, "worker_sessions": SESSION, "schedules": SCHEDULE, "attempts": ATTEMPT,
    "users": USER,
}  # fmt: skip

NONSENSE: list[tuple[str, dict[str, Any], str]] = [
    ("runs", {"state": "asleep"}, "state"),
    ("runs", {"kind": "other"}, "kind"),
    ("runs", {"priority": 10}, "priority"),
    ("runs", {"priority": -1}, "priority"),
    ("runs", {"max_tries": 0}, "max_tries"),
    ("runs", {"attempt": -1}, "counts"),
    ("runs", {"tries": 1}, "counts"),
    ("runs", {"losses": -1}, "counts"),
    ("runs", {"state": "failed", "finished_at": NOON}, "failed_has_kind"),
    ("runs", {"failure_kind": "error"}, "failed_has_kind"),
    ("runs", {"state": "failed", "finished_at": NOON, "failure_kind": "bad luck"}, "failure_kind"),
    ("runs", {"state": "running", "started_at": NOON}, "running_has_owner"),
    ("runs", {"state": "running", "session_id": OTHER}, "running_has_owner"),
    ("runs", {"state": "succeeded"}, "final_has_end"),
    ("runs", {"finished_at": NOON}, "final_has_end"),
    ("runs", {"task": None}, "task"),
    ("runs", {"due_at": None}, "due_at"),
    ("occurrences", {"outcome": "lost"}, "outcome"),
    ("occurrences", {"outcome": "skipped"}, "cause"),
    ("occurrences", {"cause": "paused"}, "cause"),
    ("occurrences", {"outcome": "skipped", "cause": "weather"}, "cause"),
    ("occurrences", {"n": 0, "outcome": "coalesced"}, "stretch"),
    ("occurrences", {"n": 2, "outcome": "coalesced"}, "stretch"),
    ("occurrences", {"until_at": NOON + MINUTE, "outcome": "coalesced"}, "stretch"),
    ("occurrences", {"until_at": NOON - MINUTE, "n": 2, "outcome": "coalesced"}, "stretch"),
    ("occurrences", {"until_at": NOON + MINUTE, "n": 2}, "fired_alone"),
    ("worker_sessions", {"state": "undead"}, "state"),
    ("worker_sessions", {"kind": "manager"}, "kind"),
    ("schedules", {"version": 0}, "version"),
    ("attempts", {"outcome": "maybe"}, "outcome"),
    ("users", {"role": "god"}, "role"),
]


@pytest.mark.parametrize("table", sorted(SOUND))
def test_a_sound_row_goes_in_once(database: Database, table: str) -> None:
    put = insert(metadata.tables[table])
    database.write(lambda tx: tx.core(put.values(**SOUND[table])))
    with pytest.raises(IntegrityError):
        database.write(lambda tx: tx.core(put.values(**SOUND[table])))
    assert count(database, table) == 1


@pytest.mark.parametrize(("table", "changes", "constraint"), NONSENSE)
def test_a_row_that_makes_no_sense_is_refused(
    database: Database, table: str, changes: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        database.write(lambda tx: tx.core(insert(metadata.tables[table]).values(**(SOUND[table] | changes))))
    assert count(database, table) == 0


def test_a_run_stands_in_a_queue_once(database: Database) -> None:
    place = {"queue": "q", "rank": 4, "turn": 0, "run_id": ID}
    put = insert(metadata.tables["ready"])
    database.write(lambda tx: tx.core(put.values(seq=1, **place)))
    with pytest.raises(IntegrityError):
        database.write(lambda tx: tx.core(put.values(seq=2, **place)))
