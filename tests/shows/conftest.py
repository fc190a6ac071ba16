"""Give the shows databases of both kinds."""

from __future__ import annotations

from tests.store.conftest import (
    clock,
    migrated_database,
    migrated_file,
    open_database,
    postgres_store_url,
    reused_database,
    sqlite_file,
)

__all__ = [
    "clock",
    "migrated_database",
    "migrated_file",
    "open_database",
    "postgres_store_url",
    "reused_database",
    "sqlite_file",
]
