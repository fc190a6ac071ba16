"""Hints on SQLite: a datagram to the socket of each live session of this host."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from mainspring.clock import SystemClock
from mainspring.errors import MainspringError

_log = logging.getLogger("mainspring.hints")
_LONGEST_PATH = 100
_ADDRESSES_FRESH = 0.5
_LOOK_UP = 0.5
_STOP = b"\x00stop"


def address_for(database: Path, session_id: str) -> str:
    """Return a path for this session's socket: beside *database*, or in the temporary folder if that is too long."""
    # A UUIDv7 begins with its time; its end is what tells two sessions apart.
    name = session_id.replace("-", "")[-16:]
    beside = f"{database}-wake/{name}"
    if len(beside.encode()) <= _LONGEST_PATH:
        return beside
    mark = sha256(str(database).encode()).hexdigest()[:12]
    return f"{tempfile.gettempdir()}/mainspring-{os.getuid()}-{mark}/{name}"


class SocketReceiver:
    """Listens on one Unix datagram socket."""

    def __init__(self, address: str) -> None:
        """Bind *address*; its folder is made readable by this user alone."""
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # A stop without a knock (another's file in the place of ours) is noticed too.
        self._socket.settimeout(_LOOK_UP)
        self._listening, self._closing = threading.Lock(), threading.Event()
        try:
            Path(address).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
            self._socket.bind(address)
        except OSError as error:
            # A full disk must keep no worker from its leases: what a hint would tell at once, polling finds out.
            _log.warning("no_doorbell address=%s error=%s; hints are not heard, polling goes on", address, error)

    def listen(self, on_hint: threading.Event, seen: set[str], stop: threading.Event) -> None:
        """Until *stop* or `close`: add each topic to *seen*, then set *on_hint*."""
        with self._listening:
            while not (stop.is_set() or self._closing.is_set()):
                try:
                    data = self._socket.recv(256)
                except TimeoutError:
                    continue
                if data != _STOP:
                    seen.add(data.decode("utf-8", "replace"))
                    on_hint.set()

    def close(self) -> None:
        """Wake the listener so that it returns, and remove the socket and its file."""
        self._closing.set()
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as knock:
            knock.sendto(_STOP, self._address)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._address)
        with self._listening:
            self._socket.close()


class SocketSender:
    """Sends each hint at once to all addresses that *addresses* lists; the list is fetched twice a second at most."""

    def __init__(self, addresses: Callable[[], list[str]]) -> None:
        self._fetch, self._clock = addresses, SystemClock()
        self._addresses: list[str] = []
        self._fetched_at = -_ADDRESSES_FRESH
        self._socket: socket.socket | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def send(self, topic: str) -> None:
        """Send a hint about *topic*; a failure to do so is no error, for polling finds out."""
        with self._lock:
            for address in self._current():
                with contextlib.suppress(OSError):
                    self._send(topic.encode(), address)

    def _send(self, data: bytes, address: str) -> None:
        try:
            self._open().sendto(data, socket.MSG_DONTWAIT, address)
        except ConnectionRefusedError:
            # Whoever listened there was killed and could not clean up.
            os.unlink(address)

    def flush(self) -> None:
        """Return at once: a datagram has left when `send` returns."""

    def close(self) -> None:
        """Close the socket."""
        with self._lock:
            if self._socket is not None and self._pid == os.getpid():
                self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is None or self._pid != os.getpid():
            self._socket, self._pid = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), os.getpid()
        return self._socket

    def _current(self) -> list[str]:
        now = self._clock.monotonic()
        if now - self._fetched_at >= _ADDRESSES_FRESH:
            with contextlib.suppress(MainspringError):
                self._addresses = self._fetch()
            self._fetched_at = now
        return self._addresses
