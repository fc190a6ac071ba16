"""Open connections to PostgreSQL that end when the server does not answer, straight or through a pooler.

A pooler in transaction mode (PgBouncer) gives each transaction any of its server connections. So nothing may be left on
one of them: no SET, no prepared statement, no LISTEN, no advisory lock of a session. Where we notice a pooler, limits
go into each transaction (SET LOCAL), statements are not prepared, and hints are not listened to.
"""

from __future__ import annotations

import logging
import math
import os
import re
import socket
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mainspring.clock import SystemClock
from mainspring.errors import InvalidInput, StoreUnavailable

_log = logging.getLogger("mainspring.store")
_CLOCK: Final = SystemClock()
STATEMENT_SECONDS: Final = 10.0
_LOCK_SECONDS: Final = 2.0
_IDLE_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 5
_ANSWER_SECONDS: Final = 2.0
"""Seconds after a statement's time is up within which the server must have said so."""
_STRAIGHT: Final = (
    f"-c statement_timeout={STATEMENT_SECONDS:.0f}s -c lock_timeout={_LOCK_SECONDS:.0f}s "
    f"-c idle_in_transaction_session_timeout={_IDLE_SECONDS:.0f}s -c timezone=UTC "
    r"-c default_transaction_isolation=read\ committed -c mainspring.straight=on"
)
_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "mainspring",
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_POOLER: Final = re.compile(r"(^|[?&\s])pgbouncer=(\w*)(&|$|(?=\s))")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer a call in time: it may never answer."""

    limit: float | None = STATEMENT_SECONDS + _ANSWER_SECONDS
    """Seconds that one call may take; None waits for ever."""
    _until: float | None = None

    def hurry(self, seconds: float | None) -> None:
        """Let all calls from now on take *seconds* together; None lets each take its usual time."""
        self.limit = type(self).limit
        self._until = None if seconds is None else _CLOCK.monotonic() + seconds

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server, as psycopg does, but no longer than the limit."""
        limit = self._limit()
        if timeout is not None or limit is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, limit)
        except psycopg.errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError(f"the server did not answer within {limit:.1f} s") from None

    def _limit(self) -> float | None:
        if self._until is None:
            return self.limit
        left = max(self._until - _CLOCK.monotonic(), 0.0)
        return left if self.limit is None else min(self.limit, left)


def cut(connection: psycopg.Connection[Any]) -> None:
    """Make whoever waits on *connection* in another thread give up at once; the connection is of no use afterwards."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as own:
        own.shutdown(socket.SHUT_RDWR)


class Address:
    """Where a server is, and whether a pooler stands in front of it."""

    def __init__(self, url: str) -> None:
        """Read *url*, one of libpq's or its ``key=value`` form; ``pgbouncer=true`` in it says that a pooler is there.

        Raises:
            InvalidInput: *url* cannot be read.
        """
        plain, pooled = _split(url)
        try:
            self._parts = conninfo_to_dict(plain)
        except psycopg.ProgrammingError as error:
            raise InvalidInput(f"the database address cannot be read: {str(error).splitlines()[0]}") from None
        self.location = _location(self._parts)
        self.pooled = bool(pooled)
        """Whether a pooler is known to be there; the first connection finds out, too."""
        self._told = pooled is not None

    def connect(self, within: float | None = None) -> BoundedConnection:
        """Return a new connection, made *within* so many seconds.

        Raises:
            StoreUnavailable: the server cannot be reached; the password is not in the message.
        """
        try:
            return self._pooled(within) if self.pooled else self._straight(within)
        except psycopg.Error as error:
            raise StoreUnavailable(f"cannot connect to {self.location}: {first_line(error)}") from error

    def _straight(self, within: float | None) -> BoundedConnection:
        theirs = self._parts.get("options") or os.environ.get("PGOPTIONS", "")
        options = f"{_STRAIGHT} {theirs}".strip()
        try:
            connection = self._open(within, options=options)
        except psycopg.OperationalError as error:
            if "unsupported startup parameter" not in str(error) or self._told:
                raise
            self._notice()
            return self._pooled(within)
        if not self._told:
            # A pooler that is told to ignore our options takes them without a word.
            ((straight,),) = connection.execute("SELECT current_setting('mainspring.straight', true)").fetchall()
            if straight != "on":
                self._notice()
                connection.prepare_threshold = None
        return connection

    def _pooled(self, within: float | None) -> BoundedConnection:
        connection = self._open(within)
        connection.prepare_threshold = None
        return connection

    def _open(self, within: float | None, **more: Any) -> BoundedConnection:
        given = {**_DEFAULTS, **self._parts, **more}
        if within is not None:
            # Whole seconds, and libpq takes less than two for two.
            given["connect_timeout"] = min(int(given["connect_timeout"]), max(math.ceil(within), 2))
        connection = BoundedConnection.connect(make_conninfo(**given), autocommit=True)
        connection.hurry(within)
        return connection

    def _notice(self) -> None:
        self.pooled = True
        _log.info(
            "pooler_found location=%s; statements are not prepared and hints not listened to, polling finds new work",
            self.location,
        )

    def begin(self, seconds: float | None) -> bytes:
        """Return what begins a transaction whose statements may take *seconds* each."""
        if seconds is None and not self.pooled:
            return b"BEGIN"
        statement = STATEMENT_SECONDS if seconds is None else min(seconds, STATEMENT_SECONDS)
        lock = min(statement, _LOCK_SECONDS)
        text = (
            f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {_milliseconds(statement)}; "
            f"SET LOCAL lock_timeout = {_milliseconds(lock)}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {_milliseconds(_IDLE_SECONDS)}"
        )
        return text.encode("ascii")


def set_local(seconds: float | None) -> bytes:
    """Return what lets the statements of a transaction take *seconds* each; None lets them take any time."""
    return f"SET LOCAL statement_timeout = {0 if seconds is None else _milliseconds(seconds)}".encode("ascii")


def allowed(seconds: float | None) -> float | None:
    """Return how long one call may take after `set_local`."""
    return None if seconds is None else seconds + _ANSWER_SECONDS


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)


def _split(url: str) -> tuple[str, bool | None]:
    """Return *url* as libpq knows it, and what it says of a pooler."""
    found = _POOLER.search(url)
    if found is None:
        return url, None
    before, value, after = found.groups()
    if value not in ("true", "false"):
        raise InvalidInput(f"the database address says pgbouncer={value}; write pgbouncer=true or pgbouncer=false")
    return url[: found.start()] + (before if after == "&" else "") + url[found.end() :], value == "true"


def _location(parts: dict[str, Any]) -> str:
    host = parts.get("host") or "local socket"
    port = f":{parts['port']}" if parts.get("port") else ""
    user = f"{parts['user']}@" if parts.get("user") else ""
    return f"postgresql://{user}{host}{port}/{parts.get('dbname') or ''}"


def first_line(error: BaseException | None) -> str:
    """Return the first line of what *error* says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
