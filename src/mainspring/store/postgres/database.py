"""Connect to PostgreSQL, and read and write it with retries that are safe."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
import sqlalchemy
from psycopg import pq
from sqlalchemy import Connection, CursorResult
from sqlalchemy.sql import Executable

from mainspring.clock import Clock, SystemClock
from mainspring.errors import StoreFull, StoreUnavailable
from mainspring.store.adapter import Adapter
from mainspring.store.database import DialectName, Row, statement_texts
from mainspring.store.fork import leave_to_parent, remember
from mainspring.store.postgres.connecting import Address, BoundedConnection, allowed, first_line, set_local
from mainspring.store.postgres.hints import NotifyReceiver, NotifySender
from mainspring.store.schema import meta

T = TypeVar("T")
_RETRIED_CLASSES = ("08", "57P0")
# Out of disk or memory, read-only after a failover, an internal error.
_READ_ONLY = "25006"
_FULL = "53100"
_OUTAGE_CLASSES = ("53", "58", _READ_ONLY, "XX")
_RETRIED_CODES = {"40001", "40P01", "55P03", "57014"}
_RETRY_SECONDS = 30.0
_NEVER = threading.Event()
_BROKEN = (pq.TransactionStatus.INERROR, pq.TransactionStatus.UNKNOWN)


class _Closed(StoreUnavailable):
    """We closed the connections ourselves; trying again is no use."""


class PostgresTx:
    """A connection inside a transaction."""

    dialect: DialectName = "postgresql"

    def __init__(
        self, raw: BoundedConnection, connection: Connection, plain: Connection, texts: Mapping[str, str]
    ) -> None:
        self._raw, self._connection, self._plain, self._texts = raw, connection, plain, texts
        self.repeated = False

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Run the hot statement of this name and return its rows."""
        return self._raw.execute(self._texts[statement], parameters).fetchall()

    def run(self, statement: str, parameters: Mapping[str, Any]) -> int:
        """Run the hot statement of this name and return how many rows it changed."""
        return self._raw.execute(self._texts[statement], parameters).rowcount

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run the hot statement of this name for all *rows*, passed as one array a column."""
        if not rows:
            return 0
        return self._raw.execute(self._texts[statement], [list(column) for column in zip(*rows, strict=True)]).rowcount

    def returning(self, statement: str, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Run the hot statement of this name for all *rows*, one array a column; return what it gives back."""
        if not rows:
            return []
        columns = [list(column) for column in zip(*rows, strict=True)]
        found: list[Row] = self._raw.execute(self._texts[statement], columns).fetchall()
        return found

    def core(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run an ordinary SQLAlchemy Core statement in this transaction."""
        return self.connection.execute(statement, parameters)

    def at(self, moment: datetime | None) -> datetime | None:
        """Return *moment* as a parameter of hot statements."""
        if moment is not None and moment.tzinfo is None:
            raise ValueError(f"{moment} has no time zone; instants are aware and in UTC")
        return moment

    def instant(self, value: datetime) -> datetime:
        """Return the instant that a hot statement gave back."""
        return value.astimezone(UTC)

    def ids(self, ids: Iterable[str]) -> list[str]:
        """Return a list of ids as one parameter of hot statements."""
        return list(ids)

    def refusal(self) -> None:
        """Return None: a full disk is seen by the statement that finds no room."""

    def savepoint(self, work: Callable[[], T]) -> T:
        """Run *work* so that its failure undoes only what it did itself, and is raised."""
        with self._raw.transaction():
            return work()

    @property
    def connection(self) -> Connection:
        """The SQLAlchemy connection over the same PostgreSQL connection; it never begins or commits by itself."""
        return self._connection

    @property
    def plain(self) -> Connection:
        """The same PostgreSQL connection, without our schema in front of table names."""
        return self._plain

    def allow(self, seconds: float | None) -> None:
        """Let each statement of this transaction take *seconds*, or any time."""
        self._raw.execute(set_local(seconds), prepare=False)
        self._raw.limit = allowed(seconds)

    def raw(self) -> BoundedConnection:
        """Return the driver's connection."""
        return self._raw

    def close(self) -> None:
        """Close the connection."""
        # SQLAlchemy would otherwise roll back on a connection that is closed already.
        self._connection.invalidate()
        self._plain.invalidate()
        self._raw.close()


class PostgresDatabase:
    """A schema of a PostgreSQL database."""

    dialect: DialectName = "postgresql"

    def __init__(
        self,
        url: str,
        schema: str = "mainspring",
        lease_clock: Callable[[], datetime | None] = lambda: None,
        clock: Clock | None = None,
        retry_for: float = _RETRY_SECONDS,
        hints_url: str | None = None,
    ) -> None:
        """Use the database at *url* (``postgresql://…``); nothing is connected before it is needed.

        Hints are listened to at *hints_url*: a straight way to the same database where *url* leads through a pooler.
        """
        self._url, self._address = url, Address(url)
        self._hints_address = Address(hints_url) if hints_url else self._address
        self.schema = schema
        self.location = self._address.location
        self._texts = statement_texts("postgres", schema)
        self._lease_clock, self._clock, self._retry_for = lease_clock, clock or SystemClock(), retry_for
        self._adapter = Adapter("postgresql+psycopg://")
        self._closed = False
        self._installation: str | None = None
        self._idle: list[PostgresTx] = []
        self._opened: set[PostgresTx] = set()
        self._lock = threading.Lock()
        self._hurry = threading.local()
        self.channel = f"mainspring_{schema}"
        self.sender = NotifySender(self.connect_raw, self.channel)
        remember(self)

    def write(self, work: Callable[[PostgresTx], T]) -> T:
        """Run *work* in one durable transaction; repeat it after a deadlock or a lost connection, up to 30 s."""
        return self._with_retries(work, transaction=True)

    def read(self, work: Callable[[PostgresTx], T]) -> T:
        """Run *work* on a connection outside a transaction; each statement sees what is committed when it begins."""
        return self._with_retries(work, transaction=False)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Let each `write` and `read` of this thread inside the block take *seconds* at most, tries again included."""
        before = getattr(self._hurry, "seconds", None)
        self._hurry.seconds = seconds if before is None else min(seconds, before)
        try:
            yield
        finally:
            self._hurry.seconds = before

    def lease_now(self) -> datetime | None:
        """Return None, so that the server's clock judges leases; tests give a clock of their own."""
        return self._lease_clock()

    def wake_address(self, session_id: str) -> str:
        """Return an empty text: NOTIFY needs no address."""
        return ""

    def receiver(self, address: str) -> NotifyReceiver:
        """Return a receiver of hints on the channel of this schema."""
        return NotifyReceiver(self._connect_to_listen, self.channel)

    def tidy(self) -> None:
        """Do nothing: the server keeps itself tidy."""

    def table_names(self) -> set[str]:
        """Return the names of the tables in our schema."""
        query = "SELECT tablename FROM pg_tables WHERE schemaname = %s"
        return self.read(lambda tx: {name for (name,) in tx.raw().execute(query, (self.schema,))})

    def close(self) -> None:
        """Close all connections."""
        self.sender.close()
        self._closed = True
        self._drop_idle()

    def join(self, raw: Any) -> PostgresTx:
        """Return a transaction inside that of *raw*, a connection of somebody else.

        Raises:
            InvalidInput: it does not lead to this installation, or commits every statement alone.
        """
        from mainspring.store.postgres.joining import JoinedTx, require_transaction

        if self._installation is None:
            query = sqlalchemy.select(meta.c.value).where(meta.c.key == "installation_id")
            self._installation = str(self.read(lambda tx: tx.core(query).scalar()))
        return JoinedTx(require_transaction(raw, self.schema, self._installation, self.location), self._texts)

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for tx in idle:
            self._close(tx)

    def _close(self, tx: PostgresTx) -> None:
        tx.close()
        self._opened.discard(tx)

    def connect_raw(self) -> BoundedConnection:
        """Return a new connection of our own.

        Raises:
            StoreUnavailable: the server cannot be reached; the password is not in the message.
        """
        return self._address.connect()

    def _connect_to_listen(self) -> BoundedConnection | None:
        """Return a new connection that may listen, or None where there is a pooler in between."""
        connection = self._hints_address.connect()
        if self._hints_address.pooled:
            connection.close()
            return None
        return connection

    def _with_retries(self, work: Callable[[PostgresTx], T], *, transaction: bool) -> T:
        start, attempt = self._clock.monotonic(), 0
        hurry: float | None = getattr(self._hurry, "seconds", None)
        retry_for = self._retry_for if hurry is None else min(self._retry_for, hurry)
        while True:
            left = None if hurry is None else max(hurry - (self._clock.monotonic() - start), 0.1)
            try:
                return self._once(work, transaction=transaction, repeated=attempt > 0, left=left)
            except (psycopg.Error, StoreUnavailable, sqlalchemy.exc.DBAPIError) as caught:
                inner = caught.orig if isinstance(caught, sqlalchemy.exc.DBAPIError) else None
                error: BaseException = inner or caught
                if not _passes(error):
                    if _is_outage(error):
                        raise self._unavailable(error) from error.__cause__
                    raise
                if self._clock.monotonic() - start > retry_for:
                    raise self._unavailable(error) from error.__cause__
            attempt += 1
            self._clock.wait(_NEVER, random.random() * min(0.05 * 2**attempt, 2.0))

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        if isinstance(error, StoreUnavailable):
            return error
        kind = StoreFull if getattr(error, "sqlstate", None) == _FULL else StoreUnavailable
        return kind(f"{self.location}: {first_line(error)}")

    def _once(
        self, work: Callable[[PostgresTx], T], *, transaction: bool, repeated: bool, left: float | None = None
    ) -> T:
        tx = self._take(left)
        tx.repeated = repeated
        tx.raw().hurry(left)
        try:
            result = self._in_transaction(tx, work, left) if transaction else work(tx)
        except BaseException as error:
            if _sqlstate(error) == _READ_ONLY:
                # This server is no longer the one to write to; new connections may lead to the one that is.
                tx.close()
            self._give_back(tx)
            raise
        self._give_back(tx)
        return result

    def _in_transaction(self, tx: PostgresTx, work: Callable[[PostgresTx], T], left: float | None) -> T:
        raw = tx.raw()
        raw.execute(self._address.begin(left), prepare=False)
        try:
            result = work(tx)
            if raw.info.transaction_status in _BROKEN:
                # A COMMIT would undo everything and say nothing.
                raise psycopg.errors.InFailedSqlTransaction("a statement failed, and its error was not passed on")
        except BaseException:
            _roll_back(raw)
            raise
        raw.execute(b"COMMIT", prepare=False)
        return result

    def _take(self, left: float | None = None) -> PostgresTx:
        with self._lock:
            if self._closed:
                raise _Closed(f"{self.location} has been closed")
            if self._idle:
                return self._idle.pop()
        raw = self._address.connect(left)
        connection = self._adapter.wrap(raw).execution_options(schema_translate_map={None: self.schema})
        tx = PostgresTx(raw, connection, self._adapter.wrap(raw), self._texts)
        self._opened.add(tx)
        return tx

    def after_fork(self) -> None:
        """Forget the parent's connections without closing them: they share its sockets."""
        leave_to_parent(self._opened)
        self._opened, self._idle, self._lock = set(), [], threading.Lock()
        self.sender = NotifySender(self.connect_raw, self.channel)

    def _give_back(self, tx: PostgresTx) -> None:
        if tx.raw().closed:
            # What ended this connection has most likely ended all: trying each would use up the time for retries.
            self._drop_idle()
        if tx.raw().closed or tx.raw().info.transaction_status != pq.TransactionStatus.IDLE:
            self._close(tx)
            return
        with self._lock:
            if not self._closed:
                self._idle.append(tx)
                return
        self._close(tx)


def _roll_back(raw: BoundedConnection) -> None:
    if raw.closed or raw.info.transaction_status == pq.TransactionStatus.IDLE:
        return
    try:
        raw.execute(b"ROLLBACK", prepare=False)
    except psycopg.Error:
        # Whoever gets it back closes it, which undoes everything as well.
        raw.close()


def _sqlstate(error: BaseException) -> str | None:
    inner = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    return inner.sqlstate if isinstance(inner, psycopg.Error) else None


def _is_outage(error: BaseException | None) -> bool:
    """Return whether the server cannot be used at present, for reasons that waiting for 30 s does not mend."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_OUTAGE_CLASSES)


def _passes(error: BaseException | None) -> bool:
    if isinstance(error, StoreUnavailable):
        cause = error.__cause__
        # A wrong password or database name does not pass by itself; a server that starts up does.
        return isinstance(cause, psycopg.OperationalError) and not _is_refusal(cause)
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return state in _RETRIED_CODES or state.startswith(_RETRIED_CLASSES)


def _is_refusal(error: psycopg.OperationalError) -> bool:
    text = str(error)
    return any(
        sign in text
        for sign in (
            "password",
            "does not exist",
            "no pg_hba.conf entry",
            "could not translate",
            "not permitted to log in",
        )
    )
