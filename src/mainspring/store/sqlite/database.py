"""Open a SQLite file safely, and read and write it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy
from pysqlite3 import dbapi2 as driver

from mainspring.clock import SystemClock, lease_clock_now
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.store.adapter import Adapter
from mainspring.store.database import DialectName, statement_texts
from mainspring.store.fork import leave_to_parent, remember
from mainspring.store.sqlite.hints import SocketReceiver, SocketSender, address_for
from mainspring.store.sqlite.home import HomeGuard
from mainspring.store.sqlite.libraries import opened_before_us, opened_beside_us
from mainspring.store.sqlite.room import OutOfRoom, Room, in_words
from mainspring.store.sqlite.safety import (
    check_file_system,
    check_library,
    file_system_warning,
    library_warning,
    why_closed,
)
from mainspring.store.sqlite.turnstile import TURN_SECONDS, Turnstile
from mainspring.store.sqlite.tx import SqliteTx
from mainspring.store.sqlite.writer import GroupCommit

T = TypeVar("T")
LONGEST_LOG: Final = 64 * 1024 * 1024
"""Bytes of write-ahead log that are kept; more means that somebody reads for a long time."""
_BUSY_SECONDS = 10.0
_TRUNCATE_WITHIN: Final = 0.1
"""Seconds for which a checkpoint may keep writers out while it waits for readers."""
_log = logging.getLogger("mainspring.store")
_CLOCK = SystemClock()
_NEVER = threading.Event()
_MISTAKES = (driver.IntegrityError, driver.ProgrammingError, driver.DataError, driver.NotSupportedError)
_BUSY, _LOCKED = 5, 6
_CLOSED: Final = frozenset({3, 8, 14, 23})
"""SQLite's codes for files that the system keeps closed to us: perm, readonly, cannot open, auth."""

_inherited: set[tuple[int, int]] = set()
"""Files that were open when this process was forked.

SQLite keeps its locks on a file for the whole process and does not notice a fork: a new connection here would believe
itself protected by locks that only the parent has, and commit into a log that the parent's last close deletes.
"""


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _is_same(one: Path, other: Path) -> bool:
    return _identity(one) == _identity(other) != (0, 0)


class _OpenedHere:
    """Files that Mainspring has opened in this process at some time."""

    def __init__(self) -> None:
        self._files: set[tuple[int, int]] = set()
        self._lock = threading.Lock()
        remember(self)

    def open(self, path: Path, connect: Callable[[], T]) -> T:
        """Return what *connect* gives, one thread at a time.

        Until a file is known here, a second thread would take the connection of the first for a stranger's; and a new
        file is not known before it exists.

        Raises:
            StoreUnavailable: another library had the file open before us.
        """
        with self._lock:
            stranger = None if _identity(path) in self._files else opened_before_us(path)
            if stranger is not None:
                raise StoreUnavailable(stranger)
            connection = connect()
            self._files.add(_identity(path))
            return connection

    def after_fork(self) -> None:
        """Forget who held the lock: that thread is not here."""
        self._lock = threading.Lock()


_opened_here = _OpenedHere()


class SqliteDatabase:
    """One SQLite file, opened by any number of processes of one host."""

    dialect: DialectName = "sqlite"

    def __init__(
        self,
        path: Path,
        lease_clock: Callable[[], datetime] = lease_clock_now,
        turn_within: float = TURN_SECONDS,
        *,
        trusted_file_system: bool = False,
    ) -> None:
        """Open *path*, making the file and its folder if they do not exist; wait for a turn to write *turn_within* s.

        Raises:
            StoreUnavailable: the folder cannot be written, or lies on a network file system that is not *trusted*.
        """
        self.path = path.absolute()
        self.location = f"sqlite:///{self.path}"
        self._lease_clock = lease_clock
        self._texts = statement_texts("sqlite", None)
        self._prepare_folder(trusted_file_system)
        self.version = ".".join(map(str, driver.sqlite_version_info))
        self.journal_mode = check_library(driver.sqlite_version_info)
        for warning in (library_warning(driver.sqlite_version_info), file_system_warning(self.path)):
            if warning is not None:
                _log.warning("sqlite_unsafe %s", warning)
        self.room = Room(self.path, self.location)
        self._home = HomeGuard(self.path, self.location)
        self._opened_as = (0, 0)
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

    @classmethod
    def at_address(cls, address: str) -> SqliteDatabase:
        """Open the file that *address* names: ``sqlite:///path``, perhaps with ``?file_system=trusted``.

        Raises:
            InvalidInput: the address has other options.
        """
        name, _, query = address.removeprefix("sqlite:///").partition("?")
        if query not in ("", "file_system=trusted"):
            raise InvalidInput(f"{address!r}: the only option of a SQLite address is ?file_system=trusted")
        return cls(Path(name), trusted_file_system=bool(query))

    def write(self, work: Callable[[SqliteTx], T]) -> T:
        """Run *work* in one durable transaction and return what it returned, after the commit."""
        return self._with_room(lambda: self._group.submit(work))

    def read(self, work: Callable[[SqliteTx], T]) -> T:
        """Run *work* on one consistent look at the file."""
        return self._with_room(lambda: self._look(work))

    def _look(self, work: Callable[[SqliteTx], T]) -> T:
        tx = self._take_reader()
        try:
            tx.raw().execute("BEGIN")
            result = work(tx)
            if tx.is_open():
                tx.raw().execute("ROLLBACK")
        except BaseException:
            # A cursor that the failure leaves behind would keep this connection at this moment's state for ever.
            self._drop(tx)
            raise
        self._give_back(tx)
        return result

    def _with_room(self, call: Callable[[], T]) -> T:
        """Make *call*; where the disk is full, give up the reserve and make it once more.

        What is new work refuses itself then (see `SqliteTx.refusal`); ends are recorded.
        """
        try:
            with self._telling():
                return call()
        except OutOfRoom:
            if self.room.give_up():
                self._reclaim()
            elif not self.room.is_given_up():
                raise
        with self._telling():
            return call()

    def _take_reader(self) -> SqliteTx:
        with self._readers_lock:
            if self._closed:
                raise StoreUnavailable(f"{self.location} has been closed")
            if self._readers:
                return self._readers.pop()
        return self._new_tx()

    def _drop(self, tx: SqliteTx) -> None:
        # `close` may have forgotten it meanwhile.
        with contextlib.suppress(ValueError):
            self._opened.remove(tx)
        tx.close()

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
            raise self._unavailable(f"{self.location}: {error}", error) from caught
        except StoreUnavailable as error:
            full = None if isinstance(error, OutOfRoom) else self.room.out_of_room(error)
            if full is None:
                raise
            raise full from error

    def _unavailable(self, said: str, error: BaseException | None) -> StoreUnavailable:
        full = None if error is None else self.room.out_of_room(error)
        if full is not None:
            return full
        closed = getattr(error, "sqlite_errorcode", 0) & 0xFF in _CLOSED
        why = why_closed(self.path) if closed else None
        return StoreUnavailable(f"{said}; {why}" if why else said)

    def _refusal(self, raw: Any) -> StoreUnavailable | None:
        return self.room.refusal() or self._home.refusal(raw)

    def within(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """Do nothing: no server can hang here, and a turn to write is waited for only so long as it is."""
        return contextlib.nullcontext()

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
        """Cut the write-ahead log as far as readers allow, make the reserve, and say aloud what is not as it should."""
        if self._closed:
            raise StoreUnavailable(f"{self.location} has been closed")
        self._with_room(self._checkpoint)
        self.room.restore()
        for wrong in (self.read(lambda tx: tx.refusal()), opened_beside_us(self.path)):
            if wrong is not None:
                _log.error("database_unsafe %s", wrong)
        if self.log_size > LONGEST_LOG:
            _log.warning("wal_large database=%s %s", self.location, long_log(self.log_size))

    @property
    def log_size(self) -> int:
        """Return how many bytes the write-ahead log has."""
        try:
            return os.stat(f"{self.path}-wal").st_size
        except OSError:
            return 0

    def _checkpoint(self) -> None:
        if self.journal_mode != "wal":
            return
        connection = self.connect()
        try:
            # This one keeps nobody out; it leaves little for the one that does.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._group.aside(lambda: self._truncate(connection))
        finally:
            connection.close()

    def _truncate(self, connection: Any) -> None:
        self._turnstile.enter()
        try:
            # A reader may stay for minutes; the leases of all would run out if writers waited for it.
            connection.execute(f"PRAGMA busy_timeout = {int(_TRUNCATE_WITHIN * 1000)}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._turnstile.leave()

    def _reclaim(self) -> None:
        try:
            with self._telling():
                self._checkpoint()
        except StoreUnavailable as error:
            _log.warning("checkpoint_failed database=%s error=%s", self.location, error)

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

    def _prepare_folder(self, trusted: bool) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"cannot make the folder of {self.location}: {error.strerror}") from error
        if self.path.is_dir():
            raise StoreUnavailable(f"{self.location} is a folder; name a file in it")
        if not trusted:
            check_file_system(self.path)

    def _new_group(self) -> GroupCommit[SqliteTx]:
        return GroupCommit(self._begin, self._commit, self._rollback, SqliteTx.savepoint, SqliteTx.is_open)

    def connect(self, factory: Any = driver.Connection) -> Any:
        """Return a new connection, made by *factory*, with the settings that keep the file safe.

        Raises:
            StoreUnavailable: the file cannot be opened here.
        """
        if _inherited and _identity(self.path) in _inherited:
            raise StoreUnavailable(
                f"{self.location} was open in the process that this one was forked from; SQLite would lose what is "
                "written here. Start child processes with 'spawn' or 'forkserver', or close the database before forking"
            )
        connection = None
        try:
            connection = _opened_here.open(self.path, lambda: self._connect(factory))
            self._set_journal_mode(connection)
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except driver.DatabaseError as error:
            if connection is not None:
                connection.close()
            raise self._unavailable(f"cannot open {self.location}: {error}", error) from error
        return connection

    def _connect(self, factory: Any) -> Any:
        return driver.connect(
            str(self.path),
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=factory,
            cached_statements=512,
        )

    def lend(self, raw: Any) -> SqliteTx:
        """Return what runs our statements on *raw*, a connection of `connect` that somebody else begins and commits."""
        return SqliteTx(raw, self._adapter.wrap(raw), self._texts, self._refusal)

    @property
    def turnstile(self) -> Turnstile:
        """What whoever writes passes, on a connection of his own too."""
        return self._turnstile

    def join(self, raw: Any) -> SqliteTx:
        """Return a transaction inside that of *raw*, a connection of somebody else; begin one if there is none.

        Raises:
            InvalidInput: it is no connection to this file, or not safe beside ours.
        """
        from mainspring.store.sqlite.connection import SharedConnection, require_shared

        connection: SharedConnection = require_shared(raw)
        if not _is_same(connection.path, self.path):
            raise InvalidInput(f"the connection leads to {connection.path}, and Mainspring's runs are in {self.path}")
        connection.begin()
        return connection.lent

    def _set_journal_mode(self, connection: Any) -> None:
        start = _CLOCK.monotonic()
        while (mode := connection.execute("PRAGMA journal_mode").fetchone()[0]) != self.journal_mode:
            try:
                (mode,) = connection.execute(f"PRAGMA journal_mode = {self.journal_mode}").fetchone()
                if mode == self.journal_mode:
                    return
            except driver.OperationalError as error:
                # Somebody opens the new file at the same moment; SQLite does not wait here by itself.
                if error.sqlite_errorcode & 0xFF not in (_BUSY, _LOCKED):
                    raise
            if _CLOCK.monotonic() - start > _BUSY_SECONDS:
                raise driver.OperationalError(
                    f"its journal mode stays {mode} while another process has it open, and SQLite {self.version} here "
                    f"needs {self.journal_mode}; stop the other process, or use the same version for both"
                )
            _CLOCK.wait(_NEVER, 0.005)

    def _new_tx(self) -> SqliteTx:
        raw = self.connect()
        tx = SqliteTx(raw, self._adapter.wrap(raw), self._texts, self._refusal)
        self._opened.append(tx)
        return tx

    def _begin(self) -> SqliteTx:
        self._turnstile.enter()
        try:
            if self._writer is None:
                self._writer = self._new_tx()
                self._opened_as = _identity(self.path)
            self._writer.raw().execute("BEGIN IMMEDIATE")
            if _identity(self.path) != self._opened_as:
                self._undo()
                raise StoreUnavailable(
                    f"{self.location} was moved, replaced or deleted while this process had it open, and what it "
                    "writes would be lost; stop it, put the file in its place, and start it again"
                )
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
        writer = self._writer
        if writer is None or not writer.is_open():
            return
        try:
            writer.raw().execute("ROLLBACK")
        except driver.DatabaseError:
            # Closing a connection undoes what it has not committed; the next write opens another one.
            self._writer = None
            self._drop(writer)

    def after_fork(self) -> None:
        """Forget the parent's connections without closing them: SQLite forbids even that in the child."""
        if self._opened:
            leave_to_parent(self._opened)
            _inherited.add(_identity(self.path))
        self._turnstile.after_fork()
        # A thread that is not here may have held its lock.
        self.room = Room(self.path, self.location)
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


def long_log(size: int) -> str:
    """Return what is to be said of a write-ahead log of *size* bytes, with the way out."""
    return (
        f"the write-ahead log has {in_words(size)}: somebody has been reading for a long time; end long reads of the "
        "file (an open shell, a backup, a report), and it is cut within a minute"
    )
