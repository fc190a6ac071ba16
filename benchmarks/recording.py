"""Record what Mainspring's store asks of the driver, and ask exactly that again without Mainspring.

The limit of a database is what it does with the same statements, in the same transactions, with the same parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from pysqlite3 import dbapi2 as driver

from benchmarks.ground import Ground, path_of
from benchmarks.trace import now
from mainspring.app import Application
from mainspring.store.database import Database
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite.database import SqliteDatabase


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the driver."""

    method: str
    """``execute`` or ``executemany``."""
    statement: Any
    parameters: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_boundary(self) -> bool:
        """Return whether it begins or ends a transaction."""
        return self._text.lstrip().startswith(("BEGIN", "COMMIT", "ROLLBACK", "SET "))

    @property
    def is_change(self) -> bool:
        """Return whether it changes rows."""
        return not {"INSERT", "UPDATE", "DELETE"}.isdisjoint(self._text.split())

    @property
    def _text(self) -> str:
        return self.statement.decode() if isinstance(self.statement, bytes) else str(self.statement)

    def make(self, connection: Any) -> None:
        """Make it on *connection* and fetch what it gives."""
        given = () if self.parameters is None else (self.parameters,)
        cursor = getattr(connection, self.method)(self.statement, *given, **self.options)
        if cursor.description is not None:
            cursor.fetchall()


Calls = list[Call]


class RecordingSqlite(SqliteDatabase):
    """A SQLite file whose connections write down what they are asked."""

    def __init__(self, address: str) -> None:
        self.connections: list[Calls] = []
        super().__init__(path_of(address))

    def connect_plainly(self) -> Any:
        """Return a connection with our settings that records nothing."""
        return super().connect()

    def connect(self, factory: Any = driver.Connection) -> Any:
        """Return a connection with our settings that records."""
        calls: Calls = []
        self.connections.append(calls)
        return _RecordingConnection(super().connect(factory), calls)


class _RecordingConnection:
    def __init__(self, raw: Any, calls: Calls) -> None:
        self._raw, self._calls = raw, calls

    def execute(self, statement: str, parameters: Any = None) -> Any:
        self._calls.append(Call("execute", statement, parameters))
        return self._raw.execute(statement) if parameters is None else self._raw.execute(statement, parameters)

    def executemany(self, statement: str, rows: Sequence[Any]) -> Any:
        self._calls.append(Call("executemany", statement, rows))
        return self._raw.executemany(statement, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


class RecordingPostgres(PostgresDatabase):
    """A PostgreSQL database whose connections write down what they are asked."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.connections: list[Calls] = []
        address_to = self._address.connect

        def connect(within: float | None = None) -> Any:
            connection = address_to(within)
            calls: Calls = []
            self.connections.append(calls)
            connection.cursor_factory = _cursor_that_records(calls)
            return connection

        self._address.connect = connect  # type: ignore[method-assign]

    def connect_plainly(self) -> Any:
        """Return a connection with our settings that records nothing."""
        connection = self.connect_raw()
        connection.cursor_factory = psycopg.Cursor
        return connection


def _cursor_that_records(calls: Calls) -> type[psycopg.Cursor[Any]]:
    class Recording(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            calls.append(Call("execute", query, params, {k: v for k, v in options.items() if v is not None}))
            return super().execute(query, params, **options)

    return Recording


Recorder = RecordingSqlite | RecordingPostgres


@contextmanager
def recorder(address: str) -> Iterator[Recorder]:
    """Open the database at *address* so that what it is asked is recorded."""
    database = RecordingSqlite(address) if address.startswith("sqlite:") else RecordingPostgres(address)
    try:
        yield database
    finally:
        Application(database).close()


def calls_of(database: Recorder, work: Callable[[Database], object]) -> Calls:
    """Let *work* write through *database*; return the calls of the connection that wrote."""
    marks = [len(calls) for calls in database.connections]
    work(database)
    marks += [0] * (len(database.connections) - len(marks))
    found = [calls[mark:] for calls, mark in zip(database.connections, marks, strict=True)]
    return _from_first_begin(max(found, key=lambda calls: sum(call.is_change for call in calls)))


def _from_first_begin(calls: Calls) -> Calls:
    first = next(i for i, call in enumerate(calls) if call.is_boundary)
    return calls[first:]


def replay(ground: Ground, address: str, calls: Calls, judge: Callable[[Database], object]) -> float:
    """Make *calls* on a copy of the database at *address*, one after the other; return the seconds they took.

    *judge* is given the copy afterwards, and raises when the calls have not done what they did the first time.
    """
    copy = ground.copied(address)
    try:
        with recorder(copy) as database:
            connection = database.connect_plainly()
            began = now()
            for call in calls:
                call.make(connection)
            took = now() - began
            connection.close()
            judge(database)
        return took
    finally:
        ground.drop(copy)
