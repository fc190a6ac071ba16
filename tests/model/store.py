"""Real databases for the model: opened once, emptied for each example, read whole after each step by other means."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from pysqlite3 import dbapi2 as driver

from mainspring.clock import EPOCH, ManualClock
from mainspring.domain.tasks import Task
from mainspring.services.catalog import Catalog
from mainspring.store import tables
from mainspring.store.database import Database
from mainspring.store.migrate import upgrade
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite.database import SqliteDatabase
from tests.promises.evidence import begin_history
from tests.servers import postgres_cluster

NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
QUEUES: Final = ("high", "low", "bulk")
_MEMORY: Final = Path("/dev/shm")


def nothing() -> None:
    """Do nothing, as a task."""


TASK: Final = Task(nothing, "model.task")
ONCE: Final = Task(nothing, "model.once", at_most_once=True)

# "@" marks instants, "#" ids.
READ: Final = {
    "runs": "#id task queue priority state kind attempt tries losses isolated_losses returns max_tries at_most_once "
    "#schedule_id @fire_at member seq @due_at @expires_at @cancel_requested_at #session_id @created_at @started_at "
    "@finished_at failure_kind state_reason",
    "ready": "queue rank turn seq #run_id",
    "worker_sessions": "#id boot_id @started_at @seen_at @lease_until state state_reason @ended_at",
    "schedules": "#id name version enabled @next_at @last_at @effective_at @catch_up_until @paused_at @paused_until "
    "@deleted_at",
    "occurrences": "#schedule_id @fire_at @until_at n outcome cause reason spec_version",
    "attempts": "#run_id attempt #session_id outcome charged result_hash",
    "run_payloads": "#run_id result_hash result_attempt",
    "queues": "name @paused_at",
}
_KEPT: Final = ("meta", "tasks", "queues", "schema_versions", "sqlite_sequence")
Rows = dict[str, list[tuple[Any, ...]]]


class NoHints:
    """Sends nothing: nobody sleeps in these tests."""

    def send(self, topic: str) -> None:
        """Drop the hint."""

    def flush(self) -> None:
        """Have nothing to flush."""

    def close(self) -> None:
        """Have nothing to close."""


class Store:
    """A migrated database with the clocks that it is judged by."""

    database: Database
    postgres = False

    def __init__(self) -> None:
        self.clock = ManualClock(NOON)
        self.boot = 0

    def lease_now(self) -> datetime:
        """Return the clock of leases."""
        return EPOCH + timedelta(microseconds=self.boot)

    def _prepare(self) -> None:
        self.database.sender.close()
        self.database.sender = NoHints()  # type: ignore[misc]
        upgrade(self.database)
        begin_history(self.database)

        def work(tx: Any) -> None:
            tables.put_tasks(tx, Catalog([TASK, ONCE]).describe(), NOON)
            tables.put_queues(tx, dict.fromkeys(QUEUES, ""))

        self.database.write(work)

    def start_over(self) -> None:
        """Leave no row, and set the clocks to where they began."""
        self.clock = ManualClock(NOON)
        # A server judges leases by its wall clock, a file by the time since boot.
        self.boot = (NOON - EPOCH) // timedelta(microseconds=1) if self.postgres else 1_000_000_000
        self._empty()

    def _empty(self) -> None:
        raise NotImplementedError

    def read(self) -> Rows:
        """Return all that is compared."""
        raise NotImplementedError


class SqliteStore(Store):
    """A SQLite file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.database = SqliteDatabase(path, lease_clock=self.lease_now)
        self._prepare()
        self._own = driver.connect(str(path), isolation_level=None)
        self._own.execute("PRAGMA synchronous = OFF")
        names = self._own.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self._emptied = [f"DELETE FROM {name}" for (name,) in names if name not in _KEPT]
        self._texts = {table: f"SELECT {_plain(columns)} FROM {table}" for table, columns in READ.items()}

    def _empty(self) -> None:
        self._own.execute("BEGIN IMMEDIATE")
        for statement in self._emptied:
            self._own.execute(statement)
        self._own.execute("UPDATE queues SET paused_at = NULL, paused_by = NULL, pause_reason = NULL")
        self._own.execute("COMMIT")

    def read(self) -> Rows:
        """Return all that is compared."""
        return {table: self._own.execute(text).fetchall() for table, text in self._texts.items()}

    def close(self) -> None:
        """Close the file."""
        self._own.close()
        self.database.close()


class PostgresStore(Store):
    """A PostgreSQL database."""

    postgres = True

    def __init__(self, url: str) -> None:
        super().__init__()
        self.database = PostgresDatabase(url, lease_clock=self.lease_now)
        self._prepare()
        self._own = psycopg.connect(url, autocommit=True)
        self._own.execute("SET search_path = mainspring, public")
        names = self._own.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname IN ('mainspring', 'public')"
        ).fetchall()
        self._tables = [name for (name,) in names if name not in _KEPT]
        self._emptied = "; ".join(f"DELETE FROM {name}" for name in self._tables)
        self._examples = 0
        # One answer for all tables: a trip for each would take longer than the step itself.
        parts = ", ".join(
            f"'{table}', (SELECT coalesce(json_agg(json_build_array({_postgres(columns)})), '[]') FROM {table})"
            for table, columns in READ.items()
        )
        self._text = f"SELECT json_build_object({parts})::text"

    def _empty(self) -> None:
        self._examples += 1
        if self._examples % 100 == 0:
            self._own.execute(f"TRUNCATE {', '.join(self._tables)}")
        self._own.execute(self._emptied)
        self._own.execute("UPDATE queues SET paused_at = NULL, paused_by = NULL, pause_reason = NULL")

    def read(self) -> Rows:
        """Return all that is compared."""
        found = self._own.execute(self._text, prepare=True).fetchone()
        assert found is not None
        return {table: [tuple(row) for row in rows] for table, rows in json.loads(found[0]).items()}

    def close(self) -> None:
        """Close the connections."""
        self._own.close()
        self.database.close()


def _plain(columns: str) -> str:
    return ", ".join(column.lstrip("@#") for column in columns.split())


def _postgres(columns: str) -> str:
    def one(column: str) -> str:
        return f"(extract(epoch FROM {column[1:]}) * 1000000)::bigint" if column[0] == "@" else column.lstrip("#")

    return ", ".join(one(column) for column in columns.split())


@contextmanager
def sqlite_store() -> Iterator[SqliteStore]:
    """Give a file in memory where there is one: durability is tested elsewhere, and a sync takes longer than a step."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        store = SqliteStore(Path(folder) / "model.db")
        try:
            yield store
        finally:
            store.close()


@contextmanager
def postgres_store(url: str | None = None) -> Iterator[PostgresStore]:
    """Give an empty database at *url*, or one of a server of its own."""
    with ExitStack() as stack:
        if url is None:
            cluster = stack.enter_context(postgres_cluster())
            url = cluster.url(cluster.create_database())
        store = PostgresStore(url)
        stack.callback(store.close)
        yield store
