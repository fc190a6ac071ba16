"""Give each test a migrated database of its own: on SQLite and on PostgreSQL, by the same clock."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mainspring.clock import ManualClock
from mainspring.store.database import Database
from mainspring.store.migrate import upgrade
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite.database import SqliteDatabase
from tests.servers import PostgresCluster
from tests.store.arrange import NOON

Open = Callable[[], Database]

_EMPTY = """
DO $$
DECLARE t text; filled bool;
BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'mainspring' AND tablename <> 'schema_versions' LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM mainspring.%I)', t) INTO filled;
        IF filled AND t <> 'meta' THEN EXECUTE format('TRUNCATE mainspring.%I', t); END IF;
    END LOOP;
    DELETE FROM mainspring.meta WHERE key NOT IN ('schema_version', 'installation_id', 'min_app_version');
END $$
"""


@dataclass(frozen=True, slots=True)
class Reused:
    """A database that many tests use, each after the other has left it empty."""

    url: str
    admin: psycopg.Connection[Any]

    def empty(self) -> None:
        """End what is still connected and leave no row."""
        self.admin.execute(_EMPTY)


@pytest.fixture
def clock() -> ManualClock:
    """Noon of 2 March 2026; judges leases too."""
    return ManualClock(NOON)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and nothing in it."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    database = SqliteDatabase(path)
    upgrade(database)
    database.tidy()
    database.close()
    return path


@pytest.fixture(scope="session")
def migrated_database(shared_postgres: PostgresCluster) -> str:
    """The name of a PostgreSQL database with the schema and nothing in it; a template, never written to."""
    name = shared_postgres.create_database()
    database = PostgresDatabase(shared_postgres.url(name))
    upgrade(database)
    database.close()
    return name


@pytest.fixture(scope="session")
def reused_database(shared_postgres: PostgresCluster, migrated_database: str) -> Iterator[Reused]:
    """A migrated PostgreSQL database that one test after the other finds empty: copying the template takes longer."""
    name = shared_postgres.create_database(template=migrated_database)
    with shared_postgres.connect(name) as admin:
        yield Reused(shared_postgres.url(name), admin)


@pytest.fixture
def sqlite_file(migrated_file: Path, tmp_path: Path) -> Path:
    """A migrated SQLite file of this test."""
    return Path(shutil.copy(migrated_file, tmp_path / "mainspring.db"))


@pytest.fixture
def postgres_store_url(reused_database: Reused) -> Iterator[str]:
    """The address of a migrated PostgreSQL database that is empty."""
    yield reused_database.url
    reused_database.empty()


@pytest.fixture(params=["sqlite", "postgres"])
def open_database(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Open]:
    """Open the database of this test once more, as another process would; all are closed afterwards."""
    opened: list[Database] = []

    def open_again() -> Database:
        database: Database
        if request.param == "sqlite":
            database = SqliteDatabase(request.getfixturevalue("sqlite_file"), lease_clock=clock.now)
        else:
            database = PostgresDatabase(request.getfixturevalue("postgres_store_url"), lease_clock=clock.now)
        opened.append(database)
        return database

    yield open_again
    for database in opened:
        database.close()


@pytest.fixture
def database(open_database: Open) -> Database:
    """A migrated, empty database; the test runs once on each kind."""
    return open_database()


@pytest.fixture
def sqlite(sqlite_file: Path, clock: ManualClock) -> Iterator[SqliteDatabase]:
    """A migrated, empty SQLite database, for what only SQLite does."""
    database = SqliteDatabase(sqlite_file, lease_clock=clock.now)
    yield database
    database.close()


@pytest.fixture
def postgres(postgres_store_url: str, clock: ManualClock) -> Iterator[PostgresDatabase]:
    """A migrated, empty PostgreSQL database, for what only PostgreSQL does."""
    database = PostgresDatabase(postgres_store_url, lease_clock=clock.now)
    yield database
    database.close()
