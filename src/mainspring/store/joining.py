"""Write inside a transaction of somebody else, so that both commit or neither."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy

from mainspring.errors import InvalidInput
from mainspring.store.database import Database, Tx

_WAITING: Final = "mainspring.after_commit"


@dataclass(frozen=True, slots=True)
class Joined:
    """A transaction that somebody else commits."""

    tx: Tx
    _given: Any
    _raw: Any

    def after_commit(self, call: Callable[[], None]) -> None:
        """Make *call* after the commit, where it can be known: psycopg's own connection does not tell."""
        if hasattr(self._raw, "after_commit"):
            self._raw.after_commit(call)
        elif _is_session(self._given):
            _after_session(self._given, call)


def join(database: Database, connection: Any) -> Joined:
    """Return a transaction inside that of *connection*: a SQLAlchemy connection or session, or a driver's connection.

    Raises:
        InvalidInput: it does not lead to this installation, is not safe beside ours, or commits every statement alone.
    """
    inner = connection.connection() if _is_session(connection) else connection
    if type(inner).__module__.startswith("sqlalchemy.ext.asyncio") or type(inner).__name__.startswith("Async"):
        raise InvalidInput(
            f"a {type(inner).__qualname__} is asynchronous; give the synchronous one, such as "
            "`await connection.run_sync(lambda sync: client.inside(sync).enqueue(…))` does"
        )
    raw = inner
    if isinstance(inner, sqlalchemy.Connection):
        # SQLAlchemy commits only what it has begun itself, and it begins with its first statement.
        inner.execute(sqlalchemy.select(1))
        raw = inner.connection.driver_connection
    return Joined(database.join(raw), connection, raw)


def _is_session(given: Any) -> bool:
    orm = sys.modules.get("sqlalchemy.orm")
    return orm is not None and isinstance(given, (orm.Session, orm.scoped_session))


def _after_session(session: Any, call: Callable[[], None]) -> None:
    found = session() if callable(session) else session
    if _WAITING not in found.info:
        found.info[_WAITING] = []
        sqlalchemy.event.listen(found, "after_transaction_end", _ended)
    found.info[_WAITING].append(call)


def _ended(session: Any, transaction: Any) -> None:
    # Inner transactions are savepoints; a call after a rollback hurts nobody.
    if transaction.parent is None:
        waiting, session.info[_WAITING] = session.info[_WAITING], []
        for call in waiting:
            call()
