"""Give each test a database, a clock that stands still, and a fleet that is stopped afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.store.database import Database
from tests.runtime.arrange import Fleet, PatientClock
from tests.store.arrange import NOON
from tests.store.conftest import (
    database,
    migrated_database,
    migrated_file,
    open_database,
    postgres_store_url,
    reused_database,
    sqlite,
    sqlite_file,
)

__all__ = [
    "database",
    "migrated_database",
    "migrated_file",
    "open_database",
    "postgres_store_url",
    "reused_database",
    "sqlite",
    "sqlite_file",
]


@pytest.fixture
def clock() -> PatientClock:
    """Noon of 2 March 2026; judges leases too. It stands still until a test moves it."""
    return PatientClock(NOON)


@pytest.fixture
def fleet(database: Database, clock: PatientClock, tmp_path: Path) -> Iterator[Fleet]:
    """Workers and schedulers on each kind of database."""
    fleet = Fleet(database, clock, tmp_path)
    yield fleet
    fleet.close()


@pytest.fixture
def small_fleet(sqlite: Database, clock: PatientClock, tmp_path: Path) -> Iterator[Fleet]:
    """Workers and schedulers on SQLite, for what no database has a part in."""
    fleet = Fleet(sqlite, clock, tmp_path)
    yield fleet
    fleet.close()
