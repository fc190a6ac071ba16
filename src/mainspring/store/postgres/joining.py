"""Run our statements inside a transaction of somebody else's psycopg connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import psycopg
from psycopg import pq, sql
from psycopg.rows import tuple_row

from mainspring.errors import InvalidInput
from mainspring.store.database import Row
from mainspring.store.postgres.database import PostgresTx


class JoinedTx(PostgresTx):
    """A transaction that is not ours: it is neither begun nor ended here, and its settings stay as they are."""

    def __init__(self, raw: psycopg.Connection[Any], texts: Mapping[str, str]) -> None:
        self._theirs, self._texts = raw, texts
        self.repeated = False

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Run the hot statement of this name and return its rows."""
        return self._run(statement, parameters).fetchall()

    def run(self, statement: str, parameters: Mapping[str, Any]) -> int:
        """Run the hot statement of this name and return how many rows it changed."""
        return self._run(statement, parameters).rowcount

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run the hot statement of this name for all *rows*, passed as one array a column."""
        return self._run(statement, [list(column) for column in zip(*rows, strict=True)]).rowcount if rows else 0

    def core(self, statement: Any, parameters: Any = None) -> NoReturn:
        """Refuse: what enqueues, and what else belongs into a user's transaction, is hot statements alone."""
        raise AssertionError(f"only hot statements run inside a user's transaction: {statement}")

    def _run(self, statement: str, parameters: Any) -> psycopg.Cursor[Any]:
        # Their row factory and kind of cursor are theirs.
        cursor = psycopg.Cursor(self._theirs, row_factory=tuple_row)
        return cursor.execute(self._texts[statement], parameters)


def require_transaction(raw: Any, schema: str, installation: str, location: str) -> psycopg.Connection[Any]:
    """Return *raw* if it is a connection to the *installation* inside a transaction, or begins one.

    Raises:
        InvalidInput: says what it is instead, and the way out.
    """
    if not isinstance(raw, psycopg.Connection):
        kind = f"{type(raw).__module__}.{type(raw).__qualname__}"
        raise InvalidInput(
            f"a {kind} is no connection to {location}; give a psycopg connection, or a SQLAlchemy one "
            "(postgresql+psycopg://…)"
        )
    if raw.info.transaction_status == pq.TransactionStatus.INERROR:
        raise InvalidInput("the transaction of this connection has failed; roll it back first")
    cursor = psycopg.Cursor(raw, row_factory=tuple_row)
    table = sql.Identifier(schema, "meta")
    (there,) = cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table.as_string(raw),)).fetchone() or (False,)
    query = sql.SQL("SELECT value FROM {} WHERE key = 'installation_id'").format(table)
    found = cursor.execute(query).fetchone() if there else None
    if found is None or found[0] != installation:
        what = "holds another installation" if there else f"has no schema {schema!r} of Mainspring"
        raise InvalidInput(
            f"the connection leads to database {raw.info.dbname!r} on {raw.info.host or 'a local socket'}, which "
            f"{what}; the runs of this client are in {location}"
        )
    if raw.info.transaction_status != pq.TransactionStatus.INTRANS:
        raise InvalidInput(
            "this connection is in autocommit mode: nothing would commit together; use it inside "
            "`with connection.transaction():`, or without autocommit"
        )
    return raw
