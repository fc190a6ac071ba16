"""Describe runs as they pass between services and the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from mainspring.domain.dependencies import Need
from mainspring.domain.needs import RunNeeds
from mainspring.domain.resources import Report
from mainspring.domain.signature import Symptom, symptom_of
from mainspring.domain.states import FailureKind, RunState
from mainspring.domain.unique import RunKey
from mainspring.ids import RunId, ScheduleId


class RunKind(StrEnum):
    """Where a run came from; each kind has its own key space."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    BACKFILL = "backfill"
    ENQUEUED = "enqueued"


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be inserted; `parameters` is JSON text. Due now or before means it becomes ready at once."""

    id: RunId
    task: str
    queue: str
    priority: int
    max_tries: int
    parameters: str
    due_at: datetime
    kind: RunKind = RunKind.ENQUEUED
    at_most_once: bool = False
    expires_at: datetime | None = None
    schedule_id: ScheduleId | None = None
    fire_at: datetime | None = None
    member: str = ""
    labels: str = "{}"
    owner_id: str = ""
    params_version: int = 1
    snapshot: str = "{}"
    needs: tuple[Need, ...] = ()
    """Runs that must end before this one may start; not empty puts it in state `waiting`."""
    replay_of: RunId | None = None
    """The failed run whose work it does again."""
    key: RunKey | None = None
    """What it has alone of all runs."""
    uses: str | None = None
    """What each attempt needs, as `domain.needs` writes it; None needs nothing."""
    turn_key: str | None = None
    """The value with which it takes turns in its queue."""
    root_id: str | None = None
    """The graph that it belongs to."""

    @property
    def is_given_results(self) -> bool:
        """Return whether results of others are filled into its parameters when it starts."""
        return any(need.gives is not None for need in self.needs)


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """What a worker needs to start an attempt."""

    id: RunId
    attempt: int
    task: str
    queue: str
    rank: int
    turn: int
    seq: int
    tries: int
    losses: int
    max_tries: int
    at_most_once: bool
    due_at: datetime
    created_at: datetime
    schedule_id: ScheduleId | None
    fire_at: datetime | None
    parameters: str | None
    """JSON text; None when it is too long for the row, or results are to be filled in: then it must be asked for."""
    returns: int = 0
    expires_at: datetime | None = None
    cancel_requested: bool = False
    isolated_losses: int = 0
    """Losses that it suffered alone in a process of its own; at `POISON_AFTER` it is not started again."""
    uses: str | None = None
    """What was judged at its claim; None where nothing had to be."""

    @property
    def limited(self) -> bool:
        """Return whether limits were asked for this attempt, so that its end must tell them."""
        return self.uses is not None

    @property
    def suspect(self) -> bool:
        """Return whether its worker has died of something that may be this run: it runs isolated from now on."""
        return self.losses > 0


class Ended(StrEnum):
    """How an attempt ended, as the worker saw it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"
    SNOOZED = "snoozed"
    HELD = "held"
    INTERRUPTED = "interrupted"
    RETURNED = "returned"
    LOST = "lost"
    CANCELLED = "cancelled"


STATE_AFTER: Mapping[Ended, RunState] = {
    Ended.SUCCEEDED: RunState.SUCCEEDED,
    Ended.FAILED: RunState.FAILED,
    Ended.RETRIED: RunState.SCHEDULED,
    Ended.SNOOZED: RunState.SCHEDULED,
    Ended.HELD: RunState.HELD,
    Ended.INTERRUPTED: RunState.READY,
    Ended.RETURNED: RunState.SCHEDULED,
    Ended.LOST: RunState.READY,
    Ended.CANCELLED: RunState.CANCELLED,
}

POISON_AFTER: Final = 3
"""Losses in isolation after which a run is not started any more. Losses beside other runs condemn nobody."""


def poison_message(isolated_losses: int, losses: int, how: str) -> str:
    """Return why a run is not started again: how often its process died, and *how* it did the last time."""
    others = losses - isolated_losses
    beside = f" ({others} more beside other runs)" if others > 0 else ""
    return (
        f"it was lost {isolated_losses} times{beside} while it ran alone in a process of its own, the last time: "
        f"{how}; it is not started again by itself"
    )


CHARGED = frozenset({Ended.SUCCEEDED, Ended.FAILED, Ended.RETRIED})
"""Endings that count as a try; holds, snoozes, interruptions, returns and losses do not."""


@dataclass(frozen=True, slots=True)
class Cached:
    """A place in the cache of results, and how long a result stays there."""

    key: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Blame:
    """What the failure of an attempt says about the resource of this name, or about all that its run uses."""

    said: Report
    resource: str | None = None
    retry_after: timedelta | None = None
    """The pause that a resource asked for which refused."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt, to be recorded by `finish`."""

    run: ClaimedRun
    ended: Ended
    started_at: datetime
    finished_at: datetime
    result: str | None = None
    """JSON text of the result, for `Ended.SUCCEEDED`."""
    result_hash: str | None = None
    failure_kind: FailureKind | None = None
    reason: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    due_at: datetime | None = None
    log: bytes | None = None
    lost_in_isolation: bool = False
    """Whether the process that ran nothing else died of it: counts as a loss, never as a try."""
    checkpoint: bool = False
    """Whether the run may have saved where it stands, which is forgotten when it has succeeded."""
    taken_from: RunId | None = None
    """The run whose result it took over; such a success keeps its reason."""
    cached: Cached | None = None
    """Where its result is kept for others, for `Ended.SUCCEEDED`."""
    blame: Blame | None = None
    """What a failure that another try may mend says about resources."""
    needs: RunNeeds | None = None
    """What the worker has found the run to need, where only the task's code could say it."""

    @property
    def state(self) -> RunState:
        """Return the state that this end leads to; a loss with a failure kind is the last one."""
        if self.ended is Ended.LOST and self.failure_kind is not None:
            return RunState.FAILED
        return STATE_AFTER[self.ended]

    @property
    def symptom(self) -> Symptom | None:
        """Return what the run's failure has in common with others of its group; None unless it has failed."""
        if self.state is not RunState.FAILED or self.failure_kind is None:
            return None
        message = self.error_message or self.reason
        return symptom_of(self.run.task, self.failure_kind, self.error_type, message, self.traceback)

    @property
    def charged(self) -> bool:
        """Return whether it counts as a try."""
        return self.ended in CHARGED and not self.lost_in_isolation


@dataclass(frozen=True, slots=True)
class FinishResult:
    """What became of a batch of outcomes: the ids whose lease was lost, and when anything new comes due."""

    fenced: frozenset[RunId] = frozenset()
    earliest_due_at: datetime | None = None
    released: int = 0
    """Runs that were let go by these ends: held ones, and those that waited for them."""
    more: bool = False
    """Whether runs were held back in a claim that left slots free: there may be more to claim at once."""
