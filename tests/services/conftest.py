"""Give each test the services on a migrated database of its own, on SQLite and on PostgreSQL, by a manual clock."""

from __future__ import annotations

import pytest

from mainspring.clock import ManualClock
from mainspring.store.database import Database
from tests.services.arrange import Installation
from tests.store.conftest import (
    clock,
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
    "clock",
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
def installation(database: Database, clock: ManualClock) -> Installation:
    """The services on an empty database."""
    return Installation(database, clock)
