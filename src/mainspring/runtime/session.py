"""Hold a session's lease: renew it in time, and know when it must no longer be trusted."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, Literal

from mainspring.clock import Clock, boot_id
from mainspring.encoding import encode
from mainspring.errors import StoreUnavailable
from mainspring.ids import SessionId, uuid7
from mainspring.runtime.loops import Loop
from mainspring.store import sessions
from mainspring.store.database import Database
from mainspring.store.hints import HintReceiver
from mainspring.store.sessions import Held, NewSession
from mainspring.version import VERSION

_log = logging.getLogger("mainspring.session")

LEASE: Final = timedelta(seconds=12)
RENEW_EVERY: Final = 3.0
TRUST_MARGIN: Final = 2.0
"""Seconds before the lease may run out at which a session stops trusting itself."""


class Session:
    """One life of a worker or scheduler process in the database, with its doorbell."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        kind: Literal["worker", "scheduler"],
        name: str,
        *,
        tasks: Sequence[str] = (),
        queues: str = "",
        slots: int = 0,
        on_hint: Callable[[frozenset[str]], None] = lambda topics: None,
        on_held: Callable[[list[Held]], None] = lambda held: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare a session; *on_held* is told at each renewal which attempts the database says it holds."""
        self._database, self._clock = database, clock
        self._kind, self._name = kind, name
        self._tasks, self._queues, self._slots = tasks, queues, slots
        self._on_hint, self._on_held, self._on_lost = on_hint, on_held, on_lost
        self.id = SessionId("")
        self._trusted_until = 0.0
        # Patient enough for a short outage, quick enough to renew before the lease runs out.
        self._renewal = Loop(f"{kind}-heartbeat", self._renew, clock, longest_backoff=RENEW_EVERY / 2)
        self._receiver: HintReceiver | None = None
        self._rung, self._seen = threading.Event(), set[str]()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def trusted(self) -> bool:
        """Return whether the lease surely holds: its last good renewal began less than lease minus margin ago."""
        return self._clock.monotonic() < self._trusted_until

    def open(self) -> None:
        """Begin the session in the database and keep it alive from now on."""
        self._begin()
        self._renewal.start()

    def close(self, reason: str = "stopped") -> None:
        """End the session; its lease is given up at once."""
        self._renewal.stop()
        self._unlisten()
        now = self._clock.now()
        try:
            self._database.write(lambda tx: sessions.end_session(tx, self.id, "stopped", reason, now))
        except StoreUnavailable as error:
            _log.warning("session_not_ended session_id=%s error=%s; its lease runs out by itself", self.id, error)

    def look(self) -> None:
        """Renew and look at the held attempts at once, as when a hint says that a cancel was asked."""
        self._renewal.wake()

    def _begin(self) -> None:
        session_id = SessionId(uuid7())
        address = self._database.wake_address(session_id)
        receiver = self._database.receiver(address)
        new = NewSession(
            session_id, self._kind, self._name, socket.gethostname(), os.getpid(), boot_id(), VERSION,
            encode(sorted(self._tasks)), self._queues, self._slots, address,
        )  # fmt: skip
        began = self._clock.monotonic()
        now, lease_now = self._clock.now(), self._database.lease_now()
        try:
            self._database.write(lambda tx: sessions.open_session(tx, new, LEASE, now, lease_now))
        except BaseException:
            receiver.close()
            raise
        self._listen(receiver)
        self.id = session_id
        self._trust(began)
        _log.info("session_opened kind=%s session_id=%s name=%s", self._kind, session_id, self._name)

    def _trust(self, began: float) -> None:
        self._trusted_until = began + LEASE.total_seconds() - TRUST_MARGIN

    def _renew(self) -> float:
        began = self._clock.monotonic()
        if began >= self._trusted_until:
            return self._start_over("its lease could not be renewed in time")
        now, lease_now = self._clock.now(), self._database.lease_now()
        if not self._database.write(lambda tx: sessions.renew_session(tx, self.id, LEASE, now, lease_now)):
            return self._start_over("its lease ran out")
        self._trust(began)
        late = self._clock.monotonic() - began
        if late > RENEW_EVERY:
            _log.warning("heartbeat_late seconds=%.1f", late)
        if self._kind == "worker":
            self._on_held(self._database.read(lambda tx: sessions.held_by(tx, self.id)))
        return max(RENEW_EVERY - (self._clock.monotonic() - began), 0.05)

    def _start_over(self, why: str) -> float:
        _log.error("session_lost session_id=%s reason=%r; what it held is dropped, a new session begins", self.id, why)
        self._trusted_until = 0.0
        self._on_lost()
        self._unlisten()
        self._begin()
        return 0.05

    def _listen(self, receiver: HintReceiver) -> None:
        self._receiver, self._stopping = receiver, threading.Event()
        stop = self._stopping
        self._threads = [
            threading.Thread(
                target=receiver.listen, args=(self._rung, self._seen, stop), name="mainspring-doorbell", daemon=True
            ),
            threading.Thread(target=self._answer, args=(stop,), name="mainspring-answer", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _unlisten(self) -> None:
        self._stopping.set()
        if self._receiver is not None:
            self._receiver.close()
        self._rung.set()
        for thread in self._threads:
            thread.join(2.0)

    def _answer(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._rung.wait()
            self._rung.clear()
            topics = set[str]()
            while self._seen:
                topics.add(self._seen.pop())
            if not stop.is_set():
                self._on_hint(frozenset(topics))
