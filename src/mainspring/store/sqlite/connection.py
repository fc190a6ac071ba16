"""A DB-API connection for users' own statements in the file that holds our tables: as safe beside ours as one of ours.

It reads without a transaction. The first statement that may write begins one, and writers of all processes take turns:
whoever leaves a transaction open makes all others wait.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pysqlite3 import dbapi2 as driver

from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.sqlite.tx import SqliteTx

_READS: Final = frozenset({"SELECT", "EXPLAIN", "PRAGMA", "VALUES", "ATTACH", "DETACH", "VACUUM", "RELEASE"})
_COMMITS: Final = frozenset({"COMMIT", "END"})


class SharedCursor(driver.Cursor):  # type: ignore[misc]
    """A cursor that begins a transaction, in turn with other writers, where a statement may write."""

    connection: SharedConnection

    def execute(self, statement: str, parameters: Any = (), /) -> SharedCursor:
        """Run one statement."""
        word = _first_word(statement)
        if word == "BEGIN":
            self.connection.begin()
            return self
        if word not in _READS | _COMMITS | {"ROLLBACK"}:
            self.connection.begin()
        try:
            super().execute(statement, parameters)
        finally:
            self.connection.settle()
        if word in _COMMITS:
            self.connection.tell()
        return self

    def executemany(self, statement: str, rows: Any, /) -> SharedCursor:
        """Run one statement for each of *rows*."""
        self.connection.begin()
        super().executemany(statement, rows)
        return self

    def executescript(self, script: str, /) -> SharedCursor:
        """Commit, and run statements that begin and commit for themselves."""
        self.connection.commit()
        self.connection.take_turn()
        try:
            super().executescript(script)
        finally:
            self.connection.settle()
        return self


class SharedConnection(driver.Connection):  # type: ignore[misc]
    """See `connect`. In a ``with`` block it begins at once, and commits at the end, or undoes all after an error."""

    path: Path
    lent: SqliteTx
    _home: SqliteDatabase
    _pid: int
    _has_turn = False
    _closed = False

    def settle_in(self, home: SqliteDatabase) -> None:
        """Take up work on the file of *home*."""
        self._home, self.path, self._pid = home, home.path, os.getpid()
        self._waiting: list[Callable[[], None]] = []
        self.lent = home.lend(self)

    def cursor(self, factory: Any = SharedCursor) -> Any:
        """Return a new cursor."""
        return super().cursor(factory)

    def begin(self) -> None:
        """Begin a transaction, in turn with all other writers; nothing happens where one is under way.

        Raises:
            StoreUnavailable: the turn did not come within 10 s.
        """
        if self.in_transaction:
            return
        self.take_turn()
        try:
            driver.Cursor.execute(driver.Connection.cursor(self, driver.Cursor), "BEGIN IMMEDIATE")
        finally:
            self.settle()

    def take_turn(self) -> None:
        """Wait for the turn to write."""
        if self._pid != os.getpid():
            raise StoreUnavailable(
                f"this connection to {self.path} was opened in the process that this one was forked from; SQLite would "
                "lose what is written here. Open another one in a process started with 'spawn' or 'forkserver'"
            )
        if not self._has_turn:
            self._home.turnstile.enter()
            self._has_turn = True

    def settle(self) -> None:
        """Let the next writer write, unless a transaction is under way."""
        if self._has_turn and not self.in_transaction:
            self._has_turn = False
            self._home.turnstile.leave()

    def after_commit(self, call: Callable[[], None]) -> None:
        """Make *call* once after the commit of the transaction that is under way."""
        self._waiting.append(call)

    def tell(self) -> None:
        """Make the calls that wait for the commit."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    def commit(self) -> None:
        """Make durable what was written."""
        try:
            super().commit()
        finally:
            self.settle()
        self.tell()

    def rollback(self) -> None:
        """Undo what was written since the transaction began."""
        self._waiting = []
        try:
            super().rollback()
        finally:
            self.settle()

    def close(self) -> None:
        """Undo what was not committed and close the connection."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._pid == os.getpid() and self.in_transaction:
                self.rollback()
        finally:
            super().close()
            self._home.close()

    def __enter__(self) -> SharedConnection:
        self.begin()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.commit()
        else:
            self.rollback()


def _first_word(statement: str) -> str:
    return (statement.split(None, 1) or [""])[0].rstrip(";").upper()


def connect(path: str | Path) -> SharedConnection:
    """Return a connection to the SQLite file at *path* for statements of your own.

    It is set up as Mainspring's own: write-ahead log, each commit flushed to the disk, writers in turn. *path* may be
    an address (``sqlite:///…``).

    Raises:
        StoreUnavailable: the file lies on a network file system, or cannot be opened.
    """
    address = str(path)
    home = SqliteDatabase.at_address(address) if address.startswith("sqlite:///") else SqliteDatabase(Path(path))
    try:
        connection: SharedConnection = home.connect(SharedConnection)
        connection.settle_in(home)
    except BaseException:
        home.close()
        raise
    return connection


def require_shared(raw: Any) -> SharedConnection:
    """Return *raw* if it is a connection of `connect`.

    Raises:
        InvalidInput: says what it is instead, why that is not safe, and the way out.
    """
    if isinstance(raw, SharedConnection):
        return raw
    way_out = "open the file with mainspring.sqlite.connect(path), or mainspring.sqlite.engine(path) for SQLAlchemy"
    standard = sys.modules.get("sqlite3")
    if standard is not None and isinstance(raw, standard.Connection):
        raise InvalidInput(
            "this is a connection of the standard library's sqlite3: two SQLite libraries in one process drop each "
            f"other's locks, and committed rows vanish; {way_out}"
        )
    if isinstance(raw, driver.Connection):
        raise InvalidInput(f"this connection was opened by pysqlite3 alone and takes no turns with others; {way_out}")
    kind = f"{type(raw).__module__}.{type(raw).__qualname__}"
    raise InvalidInput(f"a {kind} is no connection to the SQLite file that holds Mainspring's runs; {way_out}")
