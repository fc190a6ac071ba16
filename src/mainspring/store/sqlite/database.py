"""Open a SQLite file safely, and read and write it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from pysqlite3 import dbapi2 as driver
from sqlalchemy import Connection, CursorResult
from sqlalchemy.sql import Executable

from mainspring.clock import SystemClock, lease_clock_now
from mainspring.errors import StoreUnavailable
from mainspring.store.adapter import Adapter
from mainspring.store.database import DialectName, Row, statement_texts
from mainspring.store.fork import leave_to_parent, remember
from mainspring.store.sqlite.hints import SocketReceiver, SocketSender, address_for
from mainspring.store.sqlite.safety import check_file_system, check_library
from mainspring.store.sqlite.turnstile import TURN_SECONDS, Turnstile
from mainspring.store.sqlite.writer import GroupCommit
from mainspring.store.types import from_micros, to_micros

T = TypeVar("T")
_BUSY_SECONDS = 10.0
_CLOCK = SystemClock()
_NEVER = threading.Event()
_MISTAKES = (driver.IntegrityError, driver.ProgrammingError, driver.DataError, driver.NotSupportedError)

_inherited: set[tuple[int, int]] = set()
"""Files that were open when this process was forked.

SQLite keeps its locks on a file for the whole process and does not notice a fork: a new connection here would believe
itself protected by locks that only the parent has, and commit into a log that the parent's last close deletes.
"""


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


class SqliteTx:
    """A connection inside a transaction."""

    dialect: DialectName = "sqlite"
    repeated = False

    def __init__(self, raw: Any, connection: Connection, texts: Mapping[str, str]) -> None:
        self._raw, self._connection, self._texts = raw, connection, texts
        self._depth = 0

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Run the hot statement of this name and return its rows."""
        found: list[Row] = self._raw.execute(self._texts[statement], parameters).fetchall()
        return found

    def run(self, statement: str, parameters: Mapping[str, Any]) -> int:
        """Run the hot statement of this name and return how many rows it changed."""
        return int(self._raw.execute(self._texts[statement], parameters).rowcount)

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run the hot statement of this name for all *rows*; return how many database rows it changed."""
        return int(self._raw.executemany(self._texts[statement], rows).rowcount) if rows else 0

    def core(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run an ordinary SQLAlchemy Core statement in this transaction."""
        return self.connection.execute(statement, parameters)

    def at(self, moment: datetime | None) -> int | None:
        """Return *moment* as a parameter of hot statements."""
        return None if moment is None else to_micros(moment)

    def instant(self, value: int) -> datetime:
        """Return the instant that a hot statement gave back."""
        return from_micros(value)

    def ids(self, ids: Iterable[str]) -> str:
        """Return a list of ids as one parameter of hot statements."""
        return json.dumps(list(ids))

    def savepoint(self, work: Callable[[], T]) -> T:
        """Run *work* so that its failure undoes only what it did itself, and is raised."""
        self._depth += 1
        name = f"s{self._depth}"
        self._raw.execute(f"SAVEPOINT {name}")
        try:
            result = work()
        except BaseException:
            if self._raw.in_transaction:
                self._raw.execute(f"ROLLBACK TO {name}")
                self._raw.execute(f"RELEASE {name}")
            raise
        else:
            self._raw.execute(f"RELEASE {name}")
            return result
        finally:
            self._depth -= 1

    @property
    def connection(self) -> Connection:
        """The SQLAlchemy connection over the same SQLite connection; it never begins or commits by itself."""
        return self._connection

    @property
    def plain(self) -> Connection:
        """The same connection: a SQLite file has no schemas."""
        return self._connection

    def is_open(self) -> bool:
        """Return whether a transaction is under way."""
        return bool(self._raw.in_transaction)

    def raw(self) -> Any:
        """Return the driver's connection."""
        return self._raw

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()


class SqliteDatabase:
    """One SQLite file, opened by any number of processes of one host."""

    dialect: DialectName = "sqlite"

    def __init__(
        self, path: Path, lease_clock: Callable[[], datetime] = lease_clock_now, turn_within: float = TURN_SECONDS
    ) -> None:
        """Open *path*, making the file and its folder if they do not exist; wait for a turn to write *turn_within* s.

        Raises:
            StoreUnavailable: the folder cannot be written, lies on a network file system, or the file is no database.
        """
        self.path = path.absolute()
        self.location = f"sqlite:///{self.path}"
        self._lease_clock = lease_clock
        self._texts = statement_texts("sqlite", None)
        self._prepare_folder()
        self.journal_mode = check_library(driver.sqlite_version_info)
        self._adapter = Adapter("sqlite://", module=driver)
        self._turnstile = Turnstile(self.path, turn_within)
        self._closed = False
        self._opened: list[SqliteTx] = []
        self._readers: list[SqliteTx] = []
        self._readers_lock = threading.Lock()
        self._writer: SqliteTx | None = None
        self._group = self._new_group()
        self.sender = SocketSender(self._live_addresses)
        remember(self)

    def write(self, work: Callable[[SqliteTx], T]) -> T:
        """Run *work* in one durable transaction and return what it returned, after the commit."""
        with self._telling():
            return self._group.submit(work)

    def read(self, work: Callable[[SqliteTx], T]) -> T:
        """Run *work* on one consistent look at the file."""
        with self._telling():
            tx = self._take_reader()
            try:
                tx.raw().execute("BEGIN")
                return work(tx)
            finally:
                if tx.is_open():
                    tx.raw().execute("ROLLBACK")
                self._give_back(tx)

    def _take_reader(self) -> SqliteTx:
        with self._readers_lock:
            if self._closed:
                raise StoreUnavailable(f"{self.location} has been closed")
            if self._readers:
                return self._readers.pop()
        return self._new_tx()

    def _give_back(self, tx: SqliteTx) -> None:
        with self._readers_lock:
            if not self._closed:
                self._readers.append(tx)
                return
        tx.close()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Say `StoreUnavailable` where the file cannot be used; mistakes in a statement stay what they are."""
        try:
            yield
        except (driver.DatabaseError, sqlalchemy.exc.DBAPIError) as caught:
            error = caught.orig if isinstance(caught, sqlalchemy.exc.DBAPIError) else caught
            if isinstance(error, _MISTAKES):
                raise
            raise StoreUnavailable(f"{self.location}: {error}") from caught

    def lease_now(self) -> datetime:
        """Return the boot clock: SQLite has no clock of its own."""
        return self._lease_clock()

    def wake_address(self, session_id: str) -> str:
        """Return the path of the socket on which the session of this id listens."""
        return address_for(self.path, session_id)

    def receiver(self, address: str) -> SocketReceiver:
        """Return a receiver of hints that listens at *address*."""
        return SocketReceiver(address)

    def table_names(self) -> set[str]:
        """Return the names of the tables in the file."""
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return self.read(lambda tx: {name for (name,) in tx.raw().execute(query)})

    def tidy(self) -> None:
        """Move the write-ahead log into the file and cut it, as far as readers and writers allow."""
        connection = self._connect()
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def close(self) -> None:
        """Finish what waits and close all connections."""
        self.sender.close()
        self._group.close()
        # A connection in use is closed by whoever uses it: closing it under a running statement is not safe.
        with self._readers_lock:
            self._closed, idle, self._readers = True, self._readers, []
        for tx in [*idle, *([self._writer] if self._writer else [])]:
            tx.close()
        self._opened, self._writer = [], None
        self._turnstile.close()

    def _prepare_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"cannot make the folder of {self.location}: {error.strerror}") from error
        if self.path.is_dir():
            raise StoreUnavailable(f"{self.location} is a folder; name a file in it")
        check_file_system(self.path)

    def _new_group(self) -> GroupCommit[SqliteTx]:
        return GroupCommit(self._begin, self._commit, self._rollback, SqliteTx.savepoint, SqliteTx.is_open)

    def _connect(self) -> Any:
        if _inherited and _identity(self.path) in _inherited:
            raise StoreUnavailable(
                f"{self.location} was open in the process that this one was forked from; SQLite would lose what is "
                "written here. Start child processes with 'spawn' or 'forkserver', or close the database before forking"
            )
        try:
            connection = driver.connect(
                str(self.path),
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
            self._set_journal_mode(connection)
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except driver.DatabaseError as error:
            raise StoreUnavailable(f"cannot open {self.location}: {error}") from error
        return connection

    def _set_journal_mode(self, connection: Any) -> None:
        start = _CLOCK.monotonic()
        while connection.execute("PRAGMA journal_mode").fetchone()[0] != self.journal_mode:
            try:
                (mode,) = connection.execute(f"PRAGMA journal_mode = {self.journal_mode}").fetchone()
                if mode == self.journal_mode:
                    return
                raise driver.OperationalError(f"the journal mode stays {mode}, wanted is {self.journal_mode}")
            except driver.OperationalError:
                # Somebody opens the new file at the same moment; SQLite does not wait here by itself.
                if _CLOCK.monotonic() - start > _BUSY_SECONDS:
                    raise
            _CLOCK.wait(_NEVER, 0.005)

    def _new_tx(self) -> SqliteTx:
        raw = self._connect()
        tx = SqliteTx(raw, self._adapter.wrap(raw), self._texts)
        self._opened.append(tx)
        return tx

    def _begin(self) -> SqliteTx:
        self._turnstile.enter()
        try:
            if self._writer is None:
                self._writer = self._new_tx()
            self._writer.raw().execute("BEGIN IMMEDIATE")
        except BaseException:
            self._turnstile.leave()
            raise
        return self._writer

    def _commit(self) -> None:
        assert self._writer is not None
        try:
            self._writer.raw().execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        finally:
            self._turnstile.leave()

    def _rollback(self) -> None:
        try:
            self._undo()
        finally:
            self._turnstile.leave()

    def _undo(self) -> None:
        if self._writer is not None and self._writer.raw().in_transaction:
            self._writer.raw().execute("ROLLBACK")

    def after_fork(self) -> None:
        """Forget the parent's connections without closing them: SQLite forbids even that in the child."""
        if self._opened:
            leave_to_parent(self._opened)
            _inherited.add(_identity(self.path))
        self._turnstile.after_fork()
        self._opened, self._readers, self._writer = [], [], None
        self._readers_lock = threading.Lock()
        self._group = self._new_group()
        self.sender = SocketSender(self._live_addresses)

    def _live_addresses(self) -> list[str]:
        rows = self.read(lambda tx: tx.rows("wake_addresses", {}))
        return [address for (address,) in rows]


_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA mmap_size = 0",
    "PRAGMA wal_autocheckpoint = 1000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA fullfsync = ON",
)
