"""Look at the database with plain SQL, each time at one moment of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, TypeVar

from mainspring.clock import EPOCH
from mainspring.store.database import Database, Tx

T = TypeVar("T")
Row = tuple[Any, ...]

_MICROSECOND: Final = timedelta(microseconds=1)
_MICROS: Final = re.compile(r"micros\(([\w.]+)\)")
_KEY: Final = re.compile(r"key\(([\w.]+)\)")
_PARAMETER: Final = re.compile(r"(?<![:\w]):(\w+)")


def micros(moment: datetime) -> int:
    """Return *moment* as microseconds since 1970 UTC, the form of all instants here."""
    return (moment - EPOCH) // _MICROSECOND


def instant(value: int) -> datetime:
    """Return the instant that `micros` wrote."""
    return EPOCH + timedelta(microseconds=value)


def show(value: int) -> str:
    """Return an instant for people: ISO text in UTC, with fractions of a second only where there are any."""
    return instant(value).isoformat().replace("+00:00", "Z")


class Look:
    """One consistent look at the database. Statements are the same for both, but for two marks.

    `micros(column)` is an instant as an integer, `key(column)` an id as text. A `datetime` among the parameters is
    compared with columns that hold instants.
    """

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._postgres = tx.dialect == "postgresql"

    @property
    def postgres(self) -> bool:
        """Whether the database is PostgreSQL."""
        return self._postgres

    def rows(self, statement: str, **parameters: Any) -> list[Row]:
        """Return the rows of *statement*."""
        given = {name: self._parameter(value) for name, value in parameters.items()}
        text = _dialect_text(statement, self._postgres)
        result = self._tx.connection.exec_driver_sql(text, given)
        # The driver's own tuples: those of SQLAlchemy cost twice as much, and a year of minutes has a million rows.
        found: Any = result.cursor.fetchall()
        result.close()
        return list(found)

    def last_place(self) -> int:
        """Return the last place in the order of arrival that was given out, 0 where none was."""
        if self._postgres:
            rows = self.rows("SELECT last_value FROM ready_seq")
        else:
            rows = self.rows("SELECT value FROM counters WHERE name = 'ready'")
        return int(rows[0][0]) if rows else 0

    def _parameter(self, value: Any) -> Any:
        if not isinstance(value, datetime):
            return value
        return value.astimezone(UTC) if self._postgres else micros(value)


@cache
def _dialect_text(statement: str, postgres: bool) -> str:
    if not postgres:
        return _KEY.sub(r"\1", _MICROS.sub(r"\1", statement))
    text = _MICROS.sub(r"CAST(extract(epoch FROM \1) * 1000000 AS bigint)", statement)
    return _PARAMETER.sub(r"%(\1)s", _KEY.sub(r"CAST(\1 AS text)", text))


def look(database: Database, work: Callable[[Look], T]) -> T:
    """Run *work* on one consistent look at *database*. It may run again after a lost connection."""

    def in_snapshot(tx: Tx) -> T:
        if tx.dialect == "sqlite":
            return work(Look(tx))
        schema = tx.connection.get_execution_options()["schema_translate_map"][None]
        quoted = '"' + str(schema).replace('"', '""') + '"'
        tx.connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        tx.connection.exec_driver_sql("SET LOCAL search_path = " + quoted)
        tx.allow(30.0)
        result = work(Look(tx))
        # After a failure the store closes the connection, and the transaction with it.
        tx.connection.exec_driver_sql("ROLLBACK")
        return result

    return database.read(in_snapshot)
