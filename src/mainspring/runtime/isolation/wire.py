"""Write runs and errors as JSON, for the way to a child process and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from mainspring.clock import EPOCH
from mainspring.domain.resources import Report
from mainspring.domain.runs import Blame, ClaimedRun
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
    blame = error.blame
    return {
        "why": error.why.value,
        "type": error.error_type,
        "message": error.error_message,
        "traceback": error.traceback,
        "delay": _micros(error.delay),
        "until": None if error.until is None else error.until.isoformat(),
        "blame": None if blame is None else [blame.said.value, blame.resource, _micros(blame.retry_after)],
    }


def raised_from_json(body: Mapping[str, Any]) -> Raised:
    """Return the error that `raised_to_json` wrote."""
    said = body["blame"]
    blame = None if said is None else Blame(Report(said[0]), said[1], _span(said[2]))
    until = None if body["until"] is None else datetime.fromisoformat(body["until"])
    words = (body["type"], body["message"], body["traceback"])
    return Raised(Why(body["why"]), *words, _span(body["delay"]), until, blame)


def _micros(span: timedelta | None) -> int | None:
    return None if span is None else span // _MICROSECOND


def _span(micros: int | None) -> timedelta | None:
    return None if micros is None else micros * _MICROSECOND
