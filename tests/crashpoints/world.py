"""A world for crash points: a database that returns to where a scenario begins, a clock, and effects outside of it."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

from mainspring.clock import ManualClock
from mainspring.store.database import Database
from mainspring.store.migrate import upgrade
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.sqlite.room import Room
from tests.promises.evidence import begin_history
from tests.servers import PostgresCluster
from tests.store.arrange import NOON

MEMORY = Path("/dev/shm")
"""Where files need no disk: a killed process loses nothing that the kernel has, and nobody pulls the plug here."""


_RESERVE = 256 * 1024
"""Bytes that are kept for a full disk: so small that making them anew takes no time."""


class Silent:
    """Sends no hints: nothing may depend on them."""

    def send(self, topic: str) -> None:
        """Drop it."""

    def flush(self) -> None:
        """Have nothing to send."""

    def close(self) -> None:
        """Have nothing to end."""


class Place(Protocol):
    """A kind of database."""

    name: str

    def blank(self) -> None:
        """Make the database empty."""

    def keep(self) -> None:
        """Remember what is in the database."""

    def restore(self) -> None:
        """Bring back what `keep` saw."""

    def open(self, clock: ManualClock, *, patient: bool = True) -> Database:
        """Open the database as a process does; one that is not *patient* waits for nobody."""

    def done_with(self, database: Database) -> None:
        """Take a database back that `open` gave."""

    def forget_the_dead(self) -> None:
        """Return when nothing of a killed process is left in the database."""

    def close(self) -> None:
        """Leave nothing behind."""


class SqlitePlace:
    """A file, copied for each point."""

    name = "sqlite"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        folder = Path(self._folder.name)
        self._path, self._kept, self._blank = folder / "mainspring.db", folder / "kept.db", folder / "blank.db"
        database = SqliteDatabase(self._blank)
        upgrade(database)
        begin_history(database)
        database.tidy()
        database.close()

    def blank(self) -> None:
        """Make the database empty."""
        self._put(self._blank)

    def keep(self) -> None:
        """Remember what is in the database; nobody has it open."""
        shutil.copyfile(self._path, self._kept)

    def restore(self) -> None:
        """Bring back what `keep` saw."""
        self._put(self._kept)

    def _put(self, template: Path) -> None:
        for ending in ("-wal", "-shm", "-journal"):
            Path(f"{self._path}{ending}").unlink(missing_ok=True)
        shutil.copyfile(template, self._path)

    def open(self, clock: ManualClock, *, patient: bool = True) -> Database:
        """Open the file; whoever finds another one writing is told so at once, patient or not."""
        database = SqliteDatabase(self._path, lease_clock=clock.now, turn_within=0.0)
        database.sender = Silent()  # type: ignore[assignment]
        database.room = Room(self._path, database.location, _RESERVE)
        return database

    def done_with(self, database: Database) -> None:
        """Close it: the last one to close moves the log into the file."""
        database.close()

    def forget_the_dead(self) -> None:
        """Do nothing: a dead process holds no locks."""

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()


class PostgresPlace:
    """A database whose rows are taken out and put back, which needs no new connection."""

    name = "postgres"

    def __init__(self, server: str, cluster: PostgresCluster | None = None) -> None:
        """Use a database of its own on *server*, of which it is superuser; *cluster* is closed in the end."""
        self._cluster = cluster
        self._server = psycopg.connect(server, autocommit=True)
        self._database = f"crashpoints_{self._server.info.backend_pid}"
        self._server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._database)))
        # The last option of a name counts: whoever finds a row locked is told so at once.
        options = "-c lock_timeout=20ms"
        self._url = psycopg.conninfo.make_conninfo(server, dbname=self._database, options=options)
        database = PostgresDatabase(self._url)
        upgrade(database)
        begin_history(database)
        database.close()
        self._admin = psycopg.connect(self._url, autocommit=True)
        # Rows that are put back are no news for the history.
        self._admin.execute("SET session_replication_role = replica")
        self._tables = self._prepare()
        self._begin_at = 1
        self._idle: list[_QuickDatabase] = []

    def _prepare(self) -> list[str]:
        rows = self._admin.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'mainspring' ORDER BY 1"
        ).fetchall()
        tables = [f"mainspring.{name}" for (name,) in rows if name != "schema_versions"] + ["public.run_history"]
        self._admin.execute("CREATE SCHEMA kept")
        for table in tables:
            self._admin.execute(f"CREATE TABLE kept.{table.partition('.')[2]} AS TABLE {table}")
        return tables

    def blank(self) -> None:
        """Make the database empty."""
        for table in self._tables:
            if table != "mainspring.meta":
                self._admin.execute(f"TRUNCATE {table}")

    def keep(self) -> None:
        """Remember what is in the database."""
        for table in self._tables:
            kept = f"kept.{table.partition('.')[2]}"
            self._admin.execute(f"TRUNCATE {kept}; INSERT INTO {kept} SELECT * FROM {table}")
        found = self._admin.execute("SELECT last_value FROM mainspring.ready_seq").fetchone()
        assert found is not None
        self._begin_at = found[0]

    def restore(self) -> None:
        """Bring back what `keep` saw."""
        with self._admin.pipeline():
            for table in self._tables:
                kept = f"kept.{table.partition('.')[2]}"
                self._admin.execute(f"DELETE FROM {table}")
                self._admin.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {kept}")
            self._admin.execute("SELECT setval('mainspring.ready_seq', %s)", (self._begin_at,))

    def open(self, clock: ManualClock, *, patient: bool = True) -> Database:
        """Return a database of one connection; whoever finds a row locked is told so soon."""
        database = self._idle.pop() if self._idle else _QuickDatabase(self._url)
        database.prepare(clock.now, patient)
        return database

    def done_with(self, database: Database) -> None:
        """Keep it for the next one: connecting takes longer than all it does."""
        assert isinstance(database, _QuickDatabase)
        self._idle.append(database)

    def forget_the_dead(self) -> None:
        """Wait until the server has rolled back what a killed process left open."""
        mine = [self._admin.info.backend_pid, *(pid for database in self._idle for pid in database.backends())]
        query = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = %s AND backend_type = 'client backend' AND pid <> ALL(%s)"
        )
        for _ in range(10_000):
            if self._admin.execute(query, (self._database, mine)).fetchone() == (0,):
                return
        raise TimeoutError("a killed process is still connected")

    def close(self) -> None:
        """Drop the database."""
        for database in self._idle:
            database.close()
        self._admin.close()
        self._server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self._database)))
        self._server.close()
        if self._cluster is not None:
            self._cluster.close()


class _QuickDatabase(PostgresDatabase):
    """Waits 20 ms for a lock; the pauses before it repeats something take no time."""

    def __init__(self, url: str) -> None:
        super().__init__(url, lease_clock=lambda: self._lease_now(), clock=_Hurried())
        self._lease_now: Callable[[], datetime] = lambda: NOON
        self.sender = Silent()  # type: ignore[assignment]

    def prepare(self, now: Callable[[], datetime], patient: bool) -> None:
        """Judge leases by *now*; repeat what may pass for 30 s, or never."""
        self._lease_now, self._retry_for = now, 30.0 if patient else -1.0

    def backends(self) -> list[int]:
        """Return the processes of the server that serve this database."""
        return [tx.raw().info.backend_pid for tx in self._idle]


class _Hurried(ManualClock):
    def wait(self, signal: threading.Event, timeout: float) -> bool:
        self.advance(timedelta(seconds=timeout))
        return signal.is_set()


@dataclass
class World:
    """Where a scenario happens."""

    place: Place
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOON))
    notes: dict[str, Any] = field(default_factory=dict)
    """What the arrangement wants the act and the judge to know."""

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.effects = Path(self._folder.name) / "effects"
        self._said = Path(self._folder.name) / "said"
        self._begins_at = self.clock.now()
        self._looked_at: Database

    def keep(self) -> None:
        """Let every `restore` come back to here."""
        self._begins_at = self.clock.now()
        self.place.keep()
        for path in (self.effects, self._said):
            path.touch()
            shutil.copyfile(path, path.with_suffix(".kept"))

    def restore(self) -> None:
        """Begin once more."""
        self.clock = ManualClock(self._begins_at)
        self.place.restore()
        for path in (self.effects, self._said):
            shutil.copyfile(path.with_suffix(".kept"), path)

    def say(self, text: str) -> None:
        """Acknowledge something to whoever asked for it; survives the process that says it."""
        with self._said.open("a", encoding="ascii") as file:
            file.write(f"{text}\n")

    @property
    def said(self) -> frozenset[str]:
        """What was acknowledged."""
        return frozenset(self._said.read_text(encoding="ascii").splitlines())

    def looking_at(self, database: Database) -> None:
        """Let `look` read *database*."""
        self._looked_at = database

    def look(self, query: Any) -> list[Any]:
        """Return the rows of *query*."""
        return self._looked_at.read(lambda tx: list(tx.core(query).all()))

    def close(self) -> None:
        """Leave nothing behind."""
        self._folder.cleanup()
