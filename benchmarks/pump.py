"""The worker's loop without the worker: finish the last batch and claim the next, through the store, in this thread."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import timedelta

from mainspring.clock import SystemClock, boot_id
from mainspring.domain.runs import ClaimedRun, Ended, Outcome
from mainspring.encoding import encode, fingerprint
from mainspring.ids import SessionId, uuid7
from mainspring.store import claiming, sessions
from mainspring.store.database import Database
from mainspring.store.sessions import NewSession
from mainspring.version import VERSION

QUEUE = "default"
CLOCK = SystemClock()
_FOR_EVER = timedelta(days=365)
_RESULT = encode(None)


def open_session(database: Database, slots: int) -> SessionId:
    """Begin a session whose lease does not run out while we measure."""
    key, now = SessionId(uuid7()), CLOCK.now()
    new = NewSession(
        key, "worker", "benchmark", socket.gethostname(), os.getpid(), boot_id(), VERSION, "[]", QUEUE, slots, ""
    )
    lease_now = database.lease_now()
    database.write(lambda tx: sessions.open_session(tx, new, _FOR_EVER, now, lease_now))
    return key


def succeeded(run: ClaimedRun) -> Outcome:
    """Return the outcome of a no-op."""
    now = CLOCK.now()
    return Outcome(run, Ended.SUCCEEDED, now, now, _RESULT, fingerprint(_RESULT))


def cycle(database: Database, session: SessionId, outcomes: list[Outcome], slots: int) -> list[ClaimedRun]:
    """Record *outcomes* and claim for *slots*, in one transaction."""
    _, claimed = claiming.cycle(database, session, outcomes, lambda queues: queues, (QUEUE,), slots, CLOCK.now())
    return claimed


def batches(database: Database, session: SessionId, slots: int) -> Iterator[list[ClaimedRun]]:
    """Claim batch by batch, each time finishing the one before, until nothing is left."""
    claimed = cycle(database, session, [], slots)
    while claimed:
        yield claimed
        claimed = cycle(database, session, [succeeded(run) for run in claimed], slots)


def drain(database: Database, session: SessionId, slots: int) -> int:
    """Work everything off; return how many runs that were."""
    return sum(len(batch) for batch in batches(database, session, slots))
