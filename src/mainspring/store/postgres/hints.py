"""Hints on PostgreSQL: NOTIFY from a connection of its own, after the commit, never in the transaction.

NOTIFY takes a lock of the whole database at commit; sent apart and at most every 10 ms it costs the writers nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import psycopg

from mainspring.clock import SystemClock
from mainspring.errors import MainspringError
from mainspring.store.postgres.connecting import cut

_log = logging.getLogger("mainspring.hints")
_GAP = 0.010
_RECONNECT = 1.0
_CHECK = 10.0
_LOOK_UP = 0.5
"""Seconds after which a listener looks whether it is to stop."""

Connect = Callable[[], psycopg.Connection[Any]]
ConnectToListen = Callable[[], psycopg.Connection[Any] | None]


class NotifySender:
    """Sends the first hint at once and what comes within 10 ms of it together."""

    def __init__(self, connect: Connect, channel: str) -> None:
        self._connect, self._channel = connect, channel
        self._topics: set[str] = set()
        self._wanted, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._clock = SystemClock()
        self._pid = 0

    def send(self, topic: str) -> None:
        """Send a hint about *topic* soon; never raises."""
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._thread = os.getpid(), None
            self._topics.add(topic)
            self._idle.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="mainspring-notify", daemon=True)
                self._thread.start()
        self._wanted.set()

    def flush(self) -> None:
        """Return when all hints given so far have left, or after two seconds."""
        self._idle.wait(2.0)

    def close(self) -> None:
        """Flush and stop."""
        if self._thread is not None and self._pid == os.getpid():
            self.flush()
            self._closed.set()
            self._wanted.set()
            self._thread.join(5.0)

    def _serve(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while not self._closed.is_set():
            self._wanted.wait()
            self._wanted.clear()
            with self._lock:
                topics, self._topics = self._topics, set()
            connection = self._notify(connection, topics)
            with self._lock:
                if not self._topics:
                    self._idle.set()
            self._clock.wait(self._closed, _GAP)
        if connection is not None:
            connection.close()

    def _notify(self, connection: psycopg.Connection[Any] | None, topics: set[str]) -> psycopg.Connection[Any] | None:
        try:
            if connection is None or connection.closed:
                connection = self._connect()
            for topic in sorted(topics):
                connection.execute("SELECT pg_notify(%s, %s)", (self._channel, topic))
        except (psycopg.Error, MainspringError) as error:
            _log.debug("hint_not_sent topics=%s error=%s", topics, error)  # polling finds out
            if connection is not None:
                connection.close()
            return None
        return connection


class NotifyReceiver:
    """Listens on one channel over a connection of its own and reconnects when that dies.

    Where no connection may listen (a pooler stands in between) it says nothing: polling finds what is new.
    """

    def __init__(self, connect: ConnectToListen, channel: str, check_every: float = _CHECK) -> None:
        self._connect, self._channel, self._check_every = connect, channel, check_every
        self._stopping = threading.Event()
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def listen(self, on_hint: threading.Event, seen: set[str], stop: threading.Event) -> None:
        """Until *stop* or `close`: add each topic to *seen*, then set *on_hint*."""
        while not (stop.is_set() or self._stopping.is_set()):
            try:
                self._listen_once(on_hint, seen, stop)
            except (psycopg.Error, MainspringError) as error:
                _log.debug("listener_lost error=%s", error)
                self._clock.wait(self._stopping, _RECONNECT)

    def _listen_once(self, on_hint: threading.Event, seen: set[str], stop: threading.Event) -> None:
        connection = self._connect()
        if connection is None:
            while not (stop.is_set() or self._stopping.wait(_LOOK_UP)):
                pass
            return
        with contextlib.closing(connection):
            connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(self._channel)))
            with self._lock:
                self._connection = connection
            try:
                self._hear(connection, on_hint, seen, stop)
            finally:
                with self._lock:
                    self._connection = None

    def _hear(
        self, connection: psycopg.Connection[Any], on_hint: threading.Event, seen: set[str], stop: threading.Event
    ) -> None:
        # What was sent while nobody listened is lost: look at once.
        on_hint.set()
        checked = self._clock.monotonic()
        while not (stop.is_set() or self._stopping.is_set()):
            for note in connection.notifies(timeout=_LOOK_UP, stop_after=1):
                seen.add(note.payload)
                on_hint.set()
            if self._clock.monotonic() - checked > self._check_every:
                # A half-open connection says nothing by itself; asking makes it fail. A pooler that has given us
                # another server connection answers, but listens to nothing.
                if connection.execute("SELECT 1 FROM pg_listening_channels()").fetchone() is None:
                    raise psycopg.OperationalError("the server does not listen for us any more")
                checked = self._clock.monotonic()

    def close(self) -> None:
        """Make `listen` return at once."""
        self._stopping.set()
        with self._lock:
            if self._connection is not None:
                cut(self._connection)
