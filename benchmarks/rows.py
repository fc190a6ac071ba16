"""Put runs into our tables by the driver alone: the limit that enqueueing is held against.

One run is enqueued by Mainspring; its rows, with new ids and places, are what is put in again and again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.recording import recorder
from benchmarks.trace import now

TABLES = ("runs", "run_payloads", "ready")
_SCHEMA = "mainspring"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, without what is NULL in it."""

    table: str
    columns: tuple[str, ...]
    values: tuple[Any, ...]

    def for_run(self, number: int, key: str) -> tuple[Any, ...]:
        """Return the values of a like row for another run."""
        changed = {"id" if self.table == "runs" else "run_id": key, "seq": number}
        return tuple(changed.get(name, value) for name, value in zip(self.columns, self.values, strict=True))

    def insert(self, mark: str, schema: str = "") -> str:
        """Return the statement that puts in one row, each value where a *mark* is."""
        marks = ", ".join([mark] * len(self.columns))
        return f"INSERT INTO {schema}{self.table} ({', '.join(self.columns)}) VALUES ({marks})"


def sample(connection: Any, schema: str = "") -> list[Row]:
    """Return the rows of the only run in the database."""
    rows = []
    for table in TABLES:
        cursor = connection.execute(f"SELECT * FROM {schema}{table}")
        (values,) = cursor.fetchall()
        kept = [
            (column[0], value) for column, value in zip(cursor.description, values, strict=True) if value is not None
        ]
        names, values = zip(*kept, strict=True)
        rows.append(Row(table, names, values))
    return rows


class RawSqlite:
    """Our tables in a SQLite file."""

    def __init__(self, connection: Any) -> None:
        self._connection, self._rows = connection, sample(connection)
        self._texts = [row.insert("?") for row in self._rows]

    def put(self, numbers: Sequence[int], batch: int) -> float:
        """Put in a run for each of *numbers*, *batch* in a transaction; return the seconds it took."""
        work = list(_batches(self._rows, numbers, batch))
        began = now()
        for tables in work:
            self._connection.execute("BEGIN IMMEDIATE")
            for text, rows in zip(self._texts, tables, strict=True):
                self._connection.executemany(text, rows)
            self._connection.execute("COMMIT")
        return now() - began


class RawPostgres:
    """Our tables in a PostgreSQL database."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection, self._rows = connection, sample(connection, f"{_SCHEMA}.")
        first, second, last = (row.insert("%s", f"{_SCHEMA}.") for row in self._rows)
        self._text = f"WITH a AS ({first}), b AS ({second}) {last}"

    def put(self, numbers: Sequence[int], batch: int) -> float:
        """Put in a run for each of *numbers*: one statement that commits by itself, or COPY a batch."""
        work = list(_batches(self._rows, numbers, batch))
        put = self._copy if batch > 1 else self._single
        began = now()
        for tables in work:
            put(tables)
        return now() - began

    def _single(self, tables: list[list[tuple[Any, ...]]]) -> None:
        self._connection.execute(self._text, [value for (row,) in tables for value in row], prepare=True)

    def _copy(self, tables: list[list[tuple[Any, ...]]]) -> None:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            for row, values in zip(self._rows, tables, strict=True):
                with cursor.copy(f"COPY {_SCHEMA}.{row.table} ({', '.join(row.columns)}) FROM STDIN") as copy:
                    for given in values:
                        copy.write_row(given)


def _batches(rows: list[Row], numbers: Sequence[int], batch: int) -> Iterator[list[list[tuple[Any, ...]]]]:
    for first in range(0, len(numbers), batch):
        runs = [(number, str(uuid.UUID(int=(7 << 76) | number))) for number in numbers[first : first + batch]]
        yield [[row.for_run(number, key) for number, key in runs] for row in rows]


@contextmanager
def raw_tables(address: str) -> Iterator[RawSqlite | RawPostgres]:
    """Give our tables at *address*, in which there is one run, over a connection with the settings of our own."""
    with recorder(address) as database, closing(database.connect_plainly()) as connection:
        yield RawSqlite(connection) if address.startswith("sqlite:") else RawPostgres(connection)
