"""Write runs and errors as JSON, for the way to a child process and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from mainspring.clock import EPOCH
from mainspring.domain.runs import ClaimedRun
from mainspring.ids import RunId, ScheduleId
from mainspring.runtime.worker.outcomes import Raised, Why

_PLAIN: Final = ("id", "attempt", "task", "queue", "schedule_id", "tries", "losses", "max_tries", "at_most_once")
_MICROSECOND: Final = timedelta(microseconds=1)


def run_to_json(run: ClaimedRun) -> dict[str, Any]:
    """Return what a child needs to know of a run."""
    body = {name: getattr(run, name) for name in _PLAIN}
    return {**body, "fire_at": None if run.fire_at is None else run.fire_at.isoformat()}


def run_from_json(body: Mapping[str, Any]) -> ClaimedRun:
    """Return the run that `run_to_json` wrote; what a child need not know is empty."""
    fire_at = body["fire_at"]
    schedule_id = body["schedule_id"]
    return ClaimedRun(
        RunId(body["id"]), body["attempt"], body["task"], body["queue"], 0, 0, 0, body["tries"], body["losses"],
        body["max_tries"], body["at_most_once"], EPOCH, EPOCH, None if schedule_id is None else ScheduleId(schedule_id),
        None if fire_at is None else datetime.fromisoformat(fire_at), None,
    )  # fmt: skip


def raised_to_json(error: Raised) -> dict[str, Any]:
    """Return an error for the way to the worker."""
    return {
        "why": error.why.value,
        "type": error.error_type,
        "message": error.error_message,
        "traceback": error.traceback,
        "delay": None if error.delay is None else error.delay // _MICROSECOND,
        "until": None if error.until is None else error.until.isoformat(),
    }


def raised_from_json(body: Mapping[str, Any]) -> Raised:
    """Return the error that `raised_to_json` wrote."""
    delay = None if body["delay"] is None else body["delay"] * _MICROSECOND
    until = None if body["until"] is None else datetime.fromisoformat(body["until"])
    return Raised(Why(body["why"]), body["type"], body["message"], body["traceback"], delay, until)
