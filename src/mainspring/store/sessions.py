"""Keep the lives of workers and schedulers: leases, their renewal, and the rescue of what the dead left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from mainspring.domain.runs import POISON_AFTER, poison_message
from mainspring.domain.signature import symptom_of
from mainspring.domain.states import FailureKind, RunState
from mainspring.ids import ClaimId, RunId, SessionId
from mainspring.store import limiting
from mainspring.store.database import Tx
from mainspring.store.queueing import follow

_MICROSECOND = timedelta(microseconds=1)
BATCH = 100
RESTARTED = "the machine was restarted"
"""Why `bury_sessions` ended a session of an earlier boot."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that begins; *tasks* is a JSON list of names, *queues* the order as the user wrote it."""

    id: SessionId
    kind: Literal["worker", "scheduler"]
    name: str
    host: str
    pid: int
    boot_id: str
    version: str
    tasks: str
    queues: str
    slots: int
    wake_address: str


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that the database says a session holds."""

    run_id: RunId
    attempt: int
    claim_id: ClaimId | None
    cancel_asked: bool


@dataclass(frozen=True, slots=True)
class Rescued:
    """What a rescue did."""

    buried: tuple[tuple[SessionId, str, str], ...] = ()
    """Sessions found dead: id, name and why."""
    returned: tuple[RunId, ...] = ()
    lost: tuple[RunId, ...] = ()
    """Runs to be executed at most once, which may or may not have happened."""
    cancelled: tuple[RunId, ...] = ()
    poisoned: tuple[RunId, ...] = ()
    """Runs that killed whatever ran them, alone and again and again."""
    released: tuple[RunId, ...] = ()
    """Runs that waited for those that ended and are ready now."""

    def __add__(self, other: Rescued) -> Rescued:
        """Return what two rescues did together."""
        return Rescued(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @property
    def count(self) -> int:
        """Return how many runs were taken from dead sessions."""
        return sum(map(len, (self.returned, self.lost, self.cancelled, self.poisoned)))


def open_session(tx: Tx, session: NewSession, ttl: timedelta, now: datetime, lease_now: datetime | None) -> None:
    """Begin the life of *session* with a lease of *ttl*."""
    if tx.repeated and tx.rows("session_state", {"session": session.id}):
        return
    parameters = {name: getattr(session, name) for name in session.__slots__}
    tx.run("open_session", {**parameters, **_lease(tx, ttl, now, lease_now)})


def renew_session(tx: Tx, session: SessionId, ttl: timedelta, now: datetime, lease_now: datetime | None) -> bool:
    """Renew the lease; False means that the session is dead for ever."""
    return tx.run("renew_session", {"session": session, **_lease(tx, ttl, now, lease_now)}) == 1


def _lease(tx: Tx, ttl: timedelta, now: datetime, lease_now: datetime | None) -> dict[str, Any]:
    return {"ttl_us": ttl // _MICROSECOND, "now": tx.at(now), "lease_now": tx.at(lease_now)}


def end_session(tx: Tx, session: SessionId, state: Literal["stopped", "dead"], reason: str, now: datetime) -> None:
    """End a live session by its own will, or because its supervisor saw the process die."""
    tx.run("end_session", {"session": session, "state": state, "reason": reason, "now": tx.at(now)})


def held_by(tx: Tx, session: SessionId) -> list[Held]:
    """Return every attempt that the database says *session* holds."""
    return [Held(r, a, c, bool(asked)) for r, a, c, asked in tx.rows("held_by_session", {"session": session})]


def rescue(tx: Tx, boot_id: str, now: datetime, lease_now: datetime | None, most: int = BATCH) -> Rescued:
    """Bury sessions whose lease has run out and take back at most *most* runs of sessions that are not live.

    The expiry is judged again inside the update, so that a session that renews at this moment is left alone.
    """
    lease = {"now": tx.at(now), "lease_now": tx.at(lease_now), "boot_id": boot_id}
    buried = tuple((s, name, why) for s, name, why in tx.rows("bury_sessions", lease))
    orphans = [_Orphan(*row) for row in tx.rows("orphaned_runs", {"n": most})]
    orphans = [orphan for orphan in orphans if not _claimed_meanwhile(tx, orphan)]
    awaited = {run_id for run_id, waited in tx.returning("lose_runs", [o.row(tx, now) for o in orphans]) if waited}
    tx.many("insert_attempts", [orphan.attempt_row(tx, now) for orphan in orphans])
    ends: tuple[RunState | FailureKind, ...]
    ends = (RunState.READY, FailureKind.LOST, RunState.CANCELLED, FailureKind.POISON)
    returned, lost, cancelled, poisoned = (
        tuple(o.run_id for o in orphans if end in (o.state, o.failure_kind)) for end in ends
    )
    tx.many("insert_ready", [(run_id,) for run_id in returned])
    limiting.give_back(tx, {orphan.run_id: orphan.attempt for orphan in orphans}, now)
    followed = follow(tx, [o.run_id for o in orphans if o.run_id in awaited and o.state is not RunState.READY], now)
    return Rescued(buried, returned, lost, cancelled, poisoned, tuple(followed.released))


def _claimed_meanwhile(tx: Tx, orphan: _Orphan) -> bool:
    """Return whether a live session took the run while its row was being locked.

    PostgreSQL then gives the row as it is now beside the sessions as they were before: the new session is missing.
    """
    return orphan.session_state is None and tx.rows("session_state", {"session": orphan.session_id}) == [("live",)]


@dataclass(frozen=True, slots=True)
class _Orphan:
    run_id: RunId
    attempt: int
    session_id: SessionId
    at_most_once: bool
    started_at: Any
    cancel_asked: bool
    session_state: str | None
    session_reason: str | None
    losses: int
    isolated_losses: int
    task: str

    @property
    def state(self) -> RunState:
        if self.failure_kind is not None:
            return RunState.FAILED
        return RunState.CANCELLED if self.cancel_asked else RunState.READY

    @property
    def failure_kind(self) -> FailureKind | None:
        if self.at_most_once:
            return FailureKind.LOST
        poison = self.isolated_losses + self.lost_alone >= POISON_AFTER and self.lost_alone and not self.cancel_asked
        return FailureKind.POISON if poison else None

    @property
    def lost(self) -> int:
        # Who said that it stops, or lost its machine, did not die of what it ran.
        return 0 if self.session_state == "stopped" or self.session_reason == RESTARTED else 1

    @property
    def lost_alone(self) -> int:
        # A run that was lost before runs alone in a process of its own.
        return self.lost if self.losses > 0 else 0

    @property
    def reason(self) -> str:
        how = "died"
        if self.session_state == "stopped":
            how = "stopped without giving it back"
        elif self.session_reason == RESTARTED:
            how = "went down with its machine"
        return f"the worker of attempt {self.attempt} {how}"

    @property
    def message(self) -> str | None:
        if self.failure_kind is FailureKind.LOST:
            return f"{self.reason}; the run may or may not have happened, and is not repeated (at_most_once)"
        if self.failure_kind is FailureKind.POISON:
            return poison_message(self.isolated_losses + self.lost_alone, self.losses + self.lost, self.reason)
        return None

    @property
    def signature(self) -> str | None:
        kind = self.failure_kind
        return None if kind is None else symptom_of(self.task, kind, None, None, None).signature

    def row(self, tx: Tx, now: datetime) -> Sequence[Any]:
        kind = self.failure_kind
        return (
            self.state.value, None if kind else self.reason, kind.value if kind else None, self.message,
            self.signature, self.lost, self.lost_alone, None if self.state is RunState.READY else tx.at(now),
            self.run_id, self.attempt, self.session_id,
        )  # fmt: skip

    def attempt_row(self, tx: Tx, now: datetime) -> Sequence[Any]:
        return (
            self.run_id, self.attempt, self.session_id, self.started_at, tx.at(now), "lost", False, self.reason,
            None, None, None, None,
        )  # fmt: skip
