"""The life of a run as one table: which event leads from which state to which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from mainspring.errors import Conflict


class RunState(StrEnum):
    """Where a run stands between enqueue and end."""

    SCHEDULED = "scheduled"
    WAITING = "waiting"
    HELD = "held"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FailureKind(StrEnum):
    """Why a run failed."""

    ERROR = "error"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    POISON = "poison"
    PARAMETERS = "parameters"
    NOT_SERIALISABLE = "not_serialisable"


class Event(StrEnum):
    """What happens to a run."""

    COME_DUE = "come_due"
    RELEASE = "release"
    HOLD = "hold"
    CLAIM = "claim"
    SUCCEED = "succeed"
    RETRY = "retry"
    SNOOZE = "snooze"
    INTERRUPT = "interrupt"
    LOSE = "lose"
    FAIL = "fail"
    CANCEL = "cancel"
    REOPEN = "reopen"
    POSTPONE = "postpone"
    PUT_BACK = "put_back"


_S, _E = RunState, Event

TRANSITIONS: Final[Mapping[tuple[RunState, Event], RunState]] = MappingProxyType({
    (_S.SCHEDULED, _E.COME_DUE): _S.READY,
    (_S.SCHEDULED, _E.HOLD): _S.HELD,
    (_S.SCHEDULED, _E.CANCEL): _S.CANCELLED,
    (_S.WAITING, _E.RELEASE): _S.READY,
    (_S.WAITING, _E.CANCEL): _S.CANCELLED,
    (_S.HELD, _E.RELEASE): _S.READY,
    (_S.HELD, _E.CANCEL): _S.CANCELLED,
    (_S.HELD, _E.POSTPONE): _S.SCHEDULED,
    (_S.READY, _E.CLAIM): _S.RUNNING,
    (_S.READY, _E.HOLD): _S.HELD,
    (_S.READY, _E.CANCEL): _S.CANCELLED,
    (_S.READY, _E.POSTPONE): _S.SCHEDULED,
    (_S.RUNNING, _E.SUCCEED): _S.SUCCEEDED,
    (_S.RUNNING, _E.RETRY): _S.SCHEDULED,
    (_S.RUNNING, _E.SNOOZE): _S.SCHEDULED,
    (_S.RUNNING, _E.HOLD): _S.HELD,
    (_S.RUNNING, _E.INTERRUPT): _S.READY,
    (_S.RUNNING, _E.LOSE): _S.READY,
    (_S.RUNNING, _E.FAIL): _S.FAILED,
    (_S.RUNNING, _E.CANCEL): _S.CANCELLED,
    (_S.FAILED, _E.REOPEN): _S.READY,
    (_S.CANCELLED, _E.PUT_BACK): _S.WAITING,
})  # fmt: skip

FINAL: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
UNFINISHED: Final = frozenset(RunState) - FINAL


class InvalidTransition(Conflict):
    """A run in its present state cannot do what was asked."""

    def __init__(self, state: RunState, event: Event) -> None:
        super().__init__(f"a run that is {state} cannot {event.replace('_', ' ')}")
        self.state, self.event = state, event


def next_state(state: RunState, event: Event) -> RunState:
    """Return the state *event* leads to, or raise `InvalidTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise InvalidTransition(state, event) from None
