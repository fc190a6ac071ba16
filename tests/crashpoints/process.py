"""What a process of the service does, one step at a time: scheduler, worker and control in one, without threads."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from mainspring.domain.runs import ClaimedRun, Ended, Outcome
from mainspring.domain.states import FailureKind
from mainspring.encoding import INLINE_LIMIT, fingerprint
from mainspring.errors import StoreUnavailable
from mainspring.ids import ClaimId, RunId, SessionId, uuid7
from mainspring.runtime.session import LEASE, TRUST_MARGIN
from mainspring.services.enqueue import Enqueuer
from mainspring.services.fire import Firer
from mainspring.services.maintenance import Releaser, Rescuer, Stager
from mainspring.services.runs import Steering
from mainspring.services.schedules import Scheduling
from mainspring.store import claiming, sessions
from mainspring.store.database import Database
from mainspring.store.sessions import NewSession
from tests.crashpoints.world import World
from tests.promises.evidence import write_effect

BOOT: Final = "boot-1"
AGAIN_AFTER: Final = timedelta(seconds=5)
"""How long a run rests that is retried, snoozed or given back."""
LONG: Final = 4
"""Rounds of its process that the first attempt of a task `long.…` lasts at least."""
QUEUES: Final = ("default", "other")


@dataclass(frozen=True, slots=True)
class Hands:
    """What a worker has in its hands, apart from the database: its session and what it runs."""

    session: SessionId
    running: tuple[ClaimedRun, ...] = ()


@dataclass
class Process:
    """A process; what it does to the database goes through *database*, which may be full of faults."""

    world: World
    database: Database
    name: str = "w1"
    slots: int = 10
    session: SessionId | None = None
    running: dict[tuple[RunId, int], ClaimedRun] = field(default_factory=dict)
    done: list[Outcome] = field(default_factory=list)
    rounds: int = 0

    def __post_init__(self) -> None:
        self.clock = self.world.clock
        self.firer = Firer(self.database, self.clock)
        self.scheduling, self.steering = Scheduling(self.database, self.clock), Steering(self.database, self.clock)
        self.enqueuer, self.stager = Enqueuer(self.database, self.clock), Stager(self.database, self.clock)
        self.releaser = Releaser(self.database, self.clock)
        self.rescuer = Rescuer(self.database, self.clock, BOOT)
        self._trusted_until = 0.0
        self._unknown: set[tuple[RunId, int]] = set()
        self._claiming: ClaimId | None = None

    def take_over(self, hands: Hands) -> Process:
        """Be the process that the arrangement left with *hands*, its lease just renewed."""
        self.session, self.running = hands.session, {(run.id, run.attempt): run for run in hands.running}
        self._trusted_until = self.clock.monotonic() + LEASE.total_seconds() - TRUST_MARGIN
        return self

    @property
    def hands(self) -> Hands:
        """Return what a `take_over` needs."""
        assert self.session is not None
        return Hands(self.session, tuple(self.running.values()))

    @property
    def trusted(self) -> bool:
        """Whether the lease surely holds."""
        return self.clock.monotonic() < self._trusted_until

    def round(self, *, to_the_end: bool = True) -> None:
        """Do everything once that the loops of a process do again and again; what the database refuses waits.

        What was claimed is still running at the end of a round that does not go *to the end*.
        """
        self.rounds += 1
        duties = [self.beat, self.rescuer.run_once, self.fire, self.stager.run_once, self.releaser.run_once]
        duties.append(self.cycle)
        for duty in [*duties, self.work, self.cycle] if to_the_end else duties:
            with contextlib.suppress(StoreUnavailable):
                duty()

    def fire(self) -> None:
        """Fire all that is due."""
        while self.firer.run_once().more:
            pass

    def beat(self) -> None:
        """Renew the lease, and look at what the database says this process holds; begin anew where it was lost."""
        began, now, lease_now = self.clock.monotonic(), self.clock.now(), self.database.lease_now()
        session = self.session
        if (
            session is None
            or not self.trusted
            or not self.database.write(lambda tx: sessions.renew_session(tx, session, LEASE, now, lease_now))
        ):
            self.begin()
            return
        self._trusted_until = began + LEASE.total_seconds() - TRUST_MARGIN
        self._reconcile(session)

    def stop(self) -> None:
        """End the session, as a process that stops does; whatever it holds still is for others to take back."""
        session, now = self.session, self.clock.now()
        assert session is not None
        self.database.write(lambda tx: sessions.end_session(tx, session, "stopped", "stopped", now))
        self.session, self.running = None, {}

    def begin(self) -> None:
        """Drop everything and open a session."""
        self.running, self.done, self._unknown, self.session = {}, [], set(), None
        new = NewSession(
            SessionId(uuid7()), "worker", self.name, "host", 1, BOOT, "1", "[]", ",".join(QUEUES), self.slots, ""
        )
        began, now, lease_now = self.clock.monotonic(), self.clock.now(), self.database.lease_now()
        self.database.write(lambda tx: sessions.open_session(tx, new, LEASE, now, lease_now))
        self.session, self._trusted_until = new.id, began + LEASE.total_seconds() - TRUST_MARGIN

    def _reconcile(self, session: SessionId) -> None:
        held = self.database.read(lambda tx: sessions.held_by(tx, session))
        ending = {(outcome.run.id, outcome.run.attempt) for outcome in self.done}
        unknown = set()
        for item in held:
            key = (item.run_id, item.attempt)
            if key in self.running and item.cancel_asked:
                self.done.append(_ended(self.running.pop(key), Ended.CANCELLED, self))
            elif key not in self.running and key not in ending and item.claim_id != self._claiming:
                unknown.add(key)
        for run_id, attempt in unknown & self._unknown:
            found = self.database.read(lambda tx, run_id=run_id: claiming.held_run(tx, session, run_id))  # type: ignore[misc]
            if found is not None and found.attempt == attempt:
                self._start(found)
        self._unknown = unknown

    def cycle(self, free: int | None = None) -> None:
        """Record what has ended and claim for the free slots."""
        if self.session is None:
            return
        outcomes, session = list(self.done), self.session
        free = self.slots - len(self.running) if free is None else free
        self._claiming = ClaimId(uuid7())
        try:
            result, claimed = claiming.cycle(
                self.database, session, outcomes, list, QUEUES if self.trusted else (), free, self.clock.now(),
                self._claiming,
            )  # fmt: skip
        finally:
            self._claiming = None
        self.done = self.done[len(outcomes) :]
        self.world.notes.setdefault("fenced", []).extend(result.fenced)
        if self.trusted:
            for run in claimed:
                self._start(run)

    def _start(self, run: ClaimedRun) -> None:
        if (run.id, run.attempt) not in self.running:
            self.running[run.id, run.attempt] = run
            self._effect(run, "start")

    def work(self) -> None:
        """Execute what runs to its end, unless the lease is not to be trusted any more."""
        if not self.trusted:
            return
        for run in list(self.running.values()):
            if run.task.startswith("long.") and run.attempt == 1 and self.rounds < LONG:
                continue
            del self.running[run.id, run.attempt]
            self._effect(run, "effect")
            self._effect(run, "end")
            self.done.append(end_of(run, self))

    def _effect(self, run: ClaimedRun, what: str) -> None:
        write_effect(self.world.effects, run.id, run.attempt, what, self.clock.monotonic())


def end_of(run: ClaimedRun, process: Process) -> Outcome:
    """Return how a run of this task ends: its name says what happens at its first attempt, later ones succeed."""
    _, _, how = run.task.partition(".")
    if run.attempt > 1 and how != "fail":
        how = "succeed"
    ends = {
        "fail": Ended.FAILED, "break": Ended.FAILED, "retry": Ended.RETRIED, "snooze": Ended.SNOOZED,
        "interrupt": Ended.INTERRUPTED, "unknown": Ended.RETURNED,
    }  # fmt: skip
    return _ended(run, ends.get(how, Ended.SUCCEEDED), process)


def _ended(run: ClaimedRun, ended: Ended, process: Process) -> Outcome:
    now = process.clock.now()
    outcome = Outcome(run, ended, now, now, log=f"attempt {run.attempt}".encode())
    if ended is Ended.SUCCEEDED:
        result = '"' + "x" * (INLINE_LIMIT + 1) + '"' if run.task.endswith(".long") else f'{{"run":"{run.id}"}}'
        return replace(outcome, result=result, result_hash=fingerprint(result))
    if ended is Ended.FAILED or (ended is Ended.INTERRUPTED and run.at_most_once):
        kind = FailureKind.ERROR if ended is Ended.FAILED else FailureKind.LOST
        return replace(outcome, ended=Ended.FAILED, failure_kind=kind, error_type="Broken", error_message="it broke")
    if ended in (Ended.RETRIED, Ended.SNOOZED, Ended.RETURNED):
        return replace(outcome, due_at=now + AGAIN_AFTER, reason="once more")
    return replace(outcome, reason="it was stopped")
