"""Take steps with clocks and sessions, and compare the store with the model after each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mainspring.domain.runs import ClaimedRun, Outcome
from mainspring.ids import SessionId, uuid7
from mainspring.store import sessions, tables
from tests.model.choices import MICROSECOND, MINUTE, SPANS, START, STEPS_OF_THE_WALL, moment
from tests.model.compare import Comparison, Mismatch
from tests.model.expected import DAY, LEASE, SECOND, End, Model
from tests.model.found import OPEN
from tests.model.node import Node
from tests.model.store import Store


@dataclass
class Grant:
    """An attempt that a claim gave to a session, and what was last said of its end."""

    run: ClaimedRun
    session: str
    told: tuple[Outcome, End] | None = None


class Base:
    """Two processes on one store, the model of it, the clocks and the sessions."""

    def __init__(self, store: Store, avoided: frozenset[str] = OPEN) -> None:
        """Start over; *avoided* are faults of the product that are known already, by name."""
        store.start_over()
        self.store, self.clock, self._avoided = store, store.clock, avoided
        self.model = Model(START, store.boot, store.postgres)
        self.comparison = Comparison()
        self.boots = 1
        self.nodes = Node(store, self.boot_id), Node(store, self.boot_id)
        self.true = START
        """The time by a clock that nobody sets."""
        self.processes = 0
        self.grants: list[Grant] = []
        self.highest_wall = START
        self.accepted: set[str] = set()
        self.sound = True
        """Whether nothing was found so far."""
        self._overtaking = False
        self.open_session(steady=True)
        self.open_session()

    @property
    def now(self) -> datetime:
        """The wall clock."""
        return self.clock.now()

    @property
    def off(self) -> int:
        """How far the wall clock has been set away from the true time."""
        return self.model.wall - self.true

    @property
    def boot_id(self) -> str:
        """The boot that the machine is in."""
        return f"boot-{self.boots}"

    def check(self) -> None:
        """Compare everything."""
        self.sound = False
        self.comparison.check(self.model, self.store.read())
        self.sound = True

    def agree(self, what: str, found: Any, expected: Any) -> None:
        """Complain when an answer is not the predicted one."""
        if found != expected:
            self.sound = False
            raise Mismatch(f"{what}: the answer is {found!r}, must be {expected!r}")

    def _avoids(self, fault: str, schedule: str | None = None) -> bool:
        found = None if schedule is None else self.model.find(schedule)
        ahead = found is not None and found.mark > self.model.wall
        return fault in self._avoided and (schedule is None or ahead)

    def pass_time(self, amount: int, *, beating: bool = False) -> None:
        """Let time pass on all clocks; with *beating* sessions renew every 3 s, as far as that is worth a test."""
        left = SPANS[amount]
        while beating and 3 * SECOND < left <= 2 * MINUTE:
            self._tick(3 * SECOND)
            left -= 3 * SECOND
            self._beat()
        self._tick(left)
        self.check()

    def _tick(self, micros: int) -> None:
        self.clock.advance(micros * MICROSECOND)
        self.true += micros
        self.store.boot += micros
        self.model.boot += micros
        self._set_wall(self.model.wall + micros)

    def _a_moment_later(self) -> None:
        # What people do is told apart by its instant, and no two of them act within one microsecond.
        if not self._overtaking:
            self._tick(1)

    def _set_wall(self, wall: int) -> None:
        self.model.wall = wall
        self.highest_wall = max(self.highest_wall, wall)

    def _beat(self) -> None:
        for session in list(self.model.sessions.values()):
            if session.state == "live" and not session.gone:
                self._renew(session.id)

    def step_wall(self, by: int) -> None:
        """Set the wall clock alone, as an operator or NTP would."""
        self._set_wall(self.model.wall + STEPS_OF_THE_WALL[by])
        self.clock.step_wall(moment(self.model.wall))
        self.check()

    # Sessions

    def open_session(self, *, steady: bool = False) -> None:
        """Begin a worker session; a steady one has a lease that outlasts most of the waits."""
        self.processes += 1
        ttl = DAY if steady else LEASE
        session = sessions.NewSession(
            SessionId(uuid7()), "worker", f"w{self.processes}", "host", self.processes, self.boot_id, "0.1.0", "[]",
            "high,low,bulk", 10, "",
        )  # fmt: skip
        lease_now = self.store.database.lease_now()
        self.store.database.write(lambda tx: sessions.open_session(tx, session, ttl * MICROSECOND, self.now, lease_now))
        self.model.open_session(session.id, self.boot_id, ttl, self.processes)
        self.check()

    def _acting(self) -> list[str]:
        return [s.id for s in self.model.sessions.values() if not s.gone]

    def _session(self, pick: int, *, holding: bool = False) -> str:
        """Return a session that acts: those that hold something first, if asked for, then those that live."""
        holders = {run.session for run in self.model.runs.values() if run.state == "running"} if holding else set()

        def order(session_id: str) -> tuple[bool, bool]:
            session = self.model.sessions[session_id]
            return session_id not in holders, session.state != "live" or session.lease_until <= self.model.boot

        acting = self._acting()
        acting.reverse()
        return sorted(acting, key=order)[pick % len(acting)]

    def _begin_if_all_are_dead(self) -> None:
        # As workers do that have lost their session.
        acting = (self.model.sessions[session_id] for session_id in self._acting())
        if not any(s.state == "live" and s.lease_until > self.model.boot for s in acting):
            self.open_session(steady=True)

    def can_act(self) -> bool:
        """Return whether there is a worker process, dead in the database or not."""
        return bool(self._acting())

    def _renew(self, session_id: str) -> None:
        lease_now, ttl = self.store.database.lease_now(), self.model.sessions[session_id].ttl
        renewed = self.store.database.write(
            lambda tx: sessions.renew_session(tx, SessionId(session_id), ttl * MICROSECOND, self.now, lease_now)
        )
        self.agree("renewal", renewed, self.model.renew(session_id))

    def heartbeat(self, session: int) -> None:
        """Renew a lease, or find out that it is lost."""
        self._renew(self._session(session))
        self.check()

    def stop(self, session: int, *, seen_to_die: bool = False) -> None:
        """End a session: by its own announcement, or because its supervisor saw the process die."""
        session_id = self._session(session)
        pid = self.model.sessions[session_id].pid
        boot_id = self.model.sessions[session_id].boot_id
        if seen_to_die:
            ended = self.store.database.write(lambda tx: tables.end_process(tx, "host", pid, boot_id, self.now))
            self.agree("sessions ended", ended, int(self.model.end_session(session_id, "dead", "its process died")))
        else:
            self.store.database.write(
                lambda tx: sessions.end_session(tx, SessionId(session_id), "stopped", "stopped", self.now)
            )
            self.model.end_session(session_id, "stopped", "stopped")
        self.check()

    def restart_machine(self) -> None:
        """Restart the machine: no process is left; on SQLite the clock of leases begins anew."""
        self.boots += 1
        for session in self.model.sessions.values():
            session.gone = True
        if not self.store.postgres:
            self.store.boot = self.model.boot = 5 * SECOND
        self.nodes = Node(self.store, self.boot_id), Node(self.store, self.boot_id)
        self.check()

    def rescue(self, *, by: int = 0, lost: bool = False, overtaken: bool = False) -> None:
        """Bury the dead and take back their runs; perhaps another process does it in the same moment."""
        node = self.nodes[by]
        node.gate.loses_reply = lost
        if overtaken:
            node.gate.overtaken_by = lambda: self.rescue(by=1 - by)
        waits = node.waits(self.off, self.true)
        found = node.rescuer.run_once()
        self._rest(node)
        done = self.model.rescue(self.boot_id) if not waits else {}
        if not lost:
            self.agree("buried", {session_id for session_id, *_ in found.buried}, done.get("buried", set()))
            for name in ("returned", "lost", "cancelled", "poisoned"):
                self.agree(name, set(getattr(found, name)), done.get(name, set()))
        self.check()

    def _rest(self, node: Node) -> None:
        node.gate.loses_reply, node.gate.overtaken_by = False, None

    def tidy(self, *, late: bool = False) -> None:
        """Forget sessions that ended long ago; *late* lets a month pass first, unless a schedule would fire in it."""
        if late and all(schedule.deleted_at is not None for schedule in self.model.schedules.values()):
            self._tick(31 * DAY)
        self.agree("forgotten", self.nodes[0].tidier.run_once(), self.model.forget())
        self.check()
