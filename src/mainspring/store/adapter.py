"""Let SQLAlchemy Core speak on connections whose transactions are ours."""

from __future__ import annotations

import threading
from typing import Any

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.pool import NullPool


class Adapter:
    """Wraps driver connections; SQLAlchemy asks the database about itself once, not once a connection."""

    def __init__(self, url: str, **options: Any) -> None:
        self._given = threading.local()
        self._engine = sqlalchemy.create_engine(
            url, creator=lambda: self._given.raw, poolclass=NullPool, isolation_level="AUTOCOMMIT", **options
        )
        sqlalchemy.event.listen(self._engine, "handle_error", _keep_the_others)

    def wrap(self, raw: Any) -> Connection:
        """Return a SQLAlchemy connection over *raw*, which must be outside a transaction.

        SQLAlchemy ends its first look at a database with a rollback; later it leaves beginning and committing to us,
        and closing too.
        """
        self._given.raw = raw
        connection = self._engine.connect()
        # In its pool's hands a forgotten connection is rolled back and closed, in a forked child the parent's.
        connection.detach()
        # Outside a transaction of its own it answers an error with a rollback, which would undo everybody's work.
        connection.begin()
        return connection


def _keep_the_others(context: sqlalchemy.ExceptionContext) -> None:
    # SQLAlchemy would take every connection for dead that was made before the wall clock's time of the loss: after a
    # clock that ran ahead has been set back, each new one, and close it at once.
    context.invalidate_pool_on_disconnect = False
