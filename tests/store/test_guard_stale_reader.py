"""A read that fails leaves nothing behind that later reads could trip over."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy

from mainspring.store.database import Tx
from mainspring.store.schema import runs
from mainspring.store.sqlite.database import SqliteDatabase
from tests.store.arrange import count, put_some


def test_a_read_that_fails_with_a_cursor_open_does_not_make_later_reads_look_at_the_past(
    sqlite: SqliteDatabase,
) -> None:
    put_some(sqlite, 3)
    kept: list[Any] = []

    def look(tx: Tx) -> None:
        kept.append(tx.core(sqlalchemy.select(runs)))
        raise ValueError("unreadable")

    with pytest.raises(ValueError, match="unreadable"):
        sqlite.read(look)
    put_some(sqlite, 2)

    assert count(sqlite, "runs") == 5


def test_readers_that_failed_are_forgotten(sqlite: SqliteDatabase) -> None:
    def look(tx: Tx) -> None:
        raise ValueError("unreadable")

    put_some(sqlite, 1)
    for _ in range(3):
        with pytest.raises(ValueError, match="unreadable"):
            sqlite.read(look)

    assert len(sqlite._opened) == 1, "only the writer is open"
