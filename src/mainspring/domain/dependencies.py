"""Say what a run needs of others before it may start, and what follows for it when they end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mainspring.domain.states import FINAL, RunState
from mainspring.errors import InvalidInput
from mainspring.ids import RunId


class OnFailure(StrEnum):
    """What becomes of a run when one that it needs does not succeed."""

    STOP = "stop"
    """It is cancelled, and so is what needs it in the same way."""
    GO_ON = "go_on"
    """It runs all the same; the result that it was to be given is None."""
    COMPENSATE = "compensate"
    """It runs only then: where the needed run succeeds, it is cancelled as not needed."""


@dataclass(frozen=True, slots=True)
class Need:
    """A run that must have ended before another may start."""

    run_id: RunId
    policy: OnFailure = OnFailure.GO_ON
    gives: str | None = None
    """Where its result goes, as JSON: by parameter null (it is the value) or its places in a list."""


def policy_named(name: str) -> OnFailure:
    """Return the policy of this name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return OnFailure(name)
    except ValueError:
        known = ", ".join(repr(policy.value) for policy in OnFailure)
        raise InvalidInput(f"on_failure {name!r} is not known; write {known}") from None


def why_not(policy: OnFailure, run_id: str, task: str | None, state: RunState | None, *, began: bool) -> str | None:
    """Return why a run may never start that needs run *run_id*, which stands so; None as long as it may.

    A needed run that does not exist any more has no *state*.
    """
    name = f"run {run_id} of task {task}"
    if state is None:
        return None if policy is OnFailure.GO_ON else f"run {run_id} does not exist any more"
    if policy is OnFailure.STOP and state is RunState.FAILED:
        return f"{name} failed"
    if policy is OnFailure.STOP and state is RunState.CANCELLED:
        return f"{name} was cancelled"
    if policy is OnFailure.COMPENSATE and state is RunState.SUCCEEDED:
        return f"not needed: {name} succeeded"
    # What was cancelled while it ran may have done half of its work.
    if policy is OnFailure.COMPENSATE and state is RunState.CANCELLED and not began:
        return f"not needed: {name} was cancelled before it began"
    return None


def is_open(state: RunState | None) -> bool:
    """Return whether a needed run has not ended yet."""
    return state is not None and state not in FINAL
