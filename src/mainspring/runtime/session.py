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
from mainspring.runtime.watchdog import Watchdog
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
_GOODBYE_SECONDS: Final = 5.0
"""Seconds for which a stopping session tries to give up its lease; then it lets it run out."""


class Session:
    """One life of a worker or scheduler process in the database, with its doorbell.

    A session that could not be renewed until `trusted_until` is lost for good, even if its renewal gets through later:
    whoever uses it is told by *on_lost*, on any thread and once, and has dropped everything before a new one begins.
    """

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
        self._lost, self._closing = True, False
        self._life = threading.Lock()
        self._former: tuple[SessionId, float] | None = None
        # Patient enough for a short outage, quick enough to renew before the lease runs out.
        self._renewal = Loop(f"{kind}-heartbeat", self._renew, clock, longest_backoff=RENEW_EVERY / 2)
        self._watchdog = Watchdog(f"{kind}-watchdog", clock, lambda: self._trusted_until, self._late)
        self._receiver: HintReceiver | None = None
        self._rung, self._seen = threading.Event(), set[str]()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def trusted_until(self) -> float:
        """Until when the lease surely holds, in seconds of the clock's `monotonic`; 0 once it is lost.

        The last good renewal began a lease less a margin before. May be read from any thread.
        """
        return self._trusted_until

    @property
    def trusted(self) -> bool:
        """Return whether the lease surely holds at this moment."""
        return self._clock.monotonic() < self._trusted_until

    def open(self) -> None:
        """Begin the session in the database and keep it alive from now on."""
        self._begin()
        self._watchdog.start()
        self._renewal.start()

    def close(self, reason: str = "stopped") -> None:
        """End the session; its lease is given up at once."""
        self._closing = True
        self._renewal.stop()
        self._watchdog.stop()
        self._unlisten()
        now = self._clock.now()
        try:
            with self._database.within(_GOODBYE_SECONDS):
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
        with self._life:
            self.id, self._lost = session_id, False
            self._trusted_until = _end_of_trust(began)
        self._watchdog.feed()
        _log.info("session_opened kind=%s session_id=%s name=%s", self._kind, session_id, self._name)

    def _renew(self) -> float:
        began = self._clock.monotonic()
        if not self.trusted:
            return self._start_over("its lease could not be renewed in time")
        # Short enough for more than one try before the lease runs out.
        with self._database.within(RENEW_EVERY):
            now, lease_now = self._clock.now(), self._database.lease_now()
            if not self._database.write(lambda tx: sessions.renew_session(tx, self.id, LEASE, now, lease_now)):
                return self._start_over("its lease ran out")
            if not self._trust(began):
                return self._start_over("its lease could not be renewed in time")
            self._end_former()
            held = self._database.read(lambda tx: sessions.held_by(tx, self.id)) if self._kind == "worker" else []
        if self._kind == "worker" and self.trusted:
            self._on_held(held)
        return max(RENEW_EVERY - (self._clock.monotonic() - began), 0.05)

    def _trust(self, began: float) -> bool:
        """Trust the session for a lease from *began* on, unless its time was up before."""
        with self._life:
            now = self._clock.monotonic()
            if self._lost or now >= self._trusted_until:
                return False
            late = now - (self._trusted_until - _end_of_trust(0.0)) - RENEW_EVERY
            self._trusted_until = _end_of_trust(began)
        if late > RENEW_EVERY:
            _log.warning("heartbeat_late seconds=%.1f; something keeps the process or the database busy", late)
        return True

    def _late(self) -> None:
        self._lose("its lease could not be renewed in time", overdue=True)

    def _lose(self, why: str, *, overdue: bool = False) -> None:
        """Give the session up for good (*overdue*: if it still is); returns when its user has dropped everything."""
        with self._life:
            if self._lost or (overdue and self.trusted):
                return
            self._lost, self._trusted_until = True, 0.0
            _log.error(
                "session_lost session_id=%s reason=%r; what it held is dropped, a new session begins", self.id, why
            )
            # What it held may end by itself until the lease would have run out, and not be started again before.
            self._former = (self.id, self._clock.monotonic() + TRUST_MARGIN)
            try:
                self._on_lost()
            except Exception:  # a new session must begin all the same
                _log.exception("session_not_dropped session_id=%s", self.id)

    def _start_over(self, why: str) -> float:
        self._lose(why)
        if self._closing:
            return RENEW_EVERY
        self._unlisten()
        with self._database.within(RENEW_EVERY):
            self._begin()
        return 0.05

    def _end_former(self) -> None:
        """End the session before this one, in case its last renewal got through after all: its runs wait for that."""
        if self._former is None or self._clock.monotonic() < self._former[1]:
            return
        session_id, now = self._former[0], self._clock.now()
        why = "its worker could not renew it in time"
        self._database.write(lambda tx: sessions.end_session(tx, session_id, "dead", why, now))
        self._former = None

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


def _end_of_trust(began: float) -> float:
    return began + LEASE.total_seconds() - TRUST_MARGIN
