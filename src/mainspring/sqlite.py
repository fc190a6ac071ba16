"""Open the SQLite file that holds Mainspring's tables for statements of your own, safely beside Mainspring's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.store.sqlite.connection import SharedConnection as Connection
from mainspring.store.sqlite.connection import connect

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["Connection", "connect", "engine"]


def engine(path: str | Path, **options: Any) -> Engine:
    """Return a SQLAlchemy engine whose connections are those of `connect`; *options* go to ``create_engine``.

    A transaction begins with the first statement that may write.
    """
    import sqlalchemy
    from pysqlite3 import dbapi2 as driver
    from sqlalchemy.pool import NullPool

    given = {"poolclass": NullPool, "module": driver, **options}
    return sqlalchemy.create_engine("sqlite://", creator=lambda: connect(path), **given)
