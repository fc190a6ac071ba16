"""Enqueue runs: check their parameters, decide their queue, and write them durably."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from mainspring.clock import Clock
from mainspring.domain.priority import parse_priority
from mainspring.domain.queue_order import QUEUE_NAME
from mainspring.domain.routes import Route
from mainspring.domain.runs import NewRun, RunKind
from mainspring.domain.tasks import MAX_RETRIES, Task
from mainspring.encoding import canonical, encode
from mainspring.errors import InvalidInput
from mainspring.ids import RunId, ScheduleId, new_run_id
from mainspring.services.catalog import Decided, decide, defaults_of, policies_of
from mainspring.services.directory import Directory
from mainspring.store import queueing
from mainspring.store.database import Database, Tx
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.schedules import write_audit

_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Request:
    """A wish for one run. What is None is decided by routes and the task."""

    task: Task[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    due_at: datetime | None = None
    """When it comes due; None means now."""
    expires: timedelta | None = None
    max_tries: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    owner_id: str = ""
    fresh: bool = False
    """Compute the result even if one of an earlier run could be taken over."""


class Enqueuer:
    """Puts runs of tasks whose code is at hand into the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._directory = Directory(database, clock)

    def enqueue(self, request: Request, by: str | None = None) -> RunId:
        """Enqueue one run and return its id once it is durable; *by* names in the audit the person who asked.

        Raises:
            ParametersInvalid: the parameters do not fit the task's function; nothing was written.
        """
        return self.enqueue_many([request], by)[0]

    def enqueue_many(self, requests: Sequence[Request], by: str | None = None) -> list[RunId]:
        """Enqueue many runs in order, in transactions of 1,000; all are checked before any is written."""
        now = self._clock.now()
        runs = [new_run(request, self._directory.routes, now) for request in requests]
        for start in range(0, len(runs), _BATCH):
            batch = runs[start : start + _BATCH]
            ready = self._database.write(partial(_insert, runs=batch, now=now, by=by))
            self._database.sender.send(READY if ready else SCHEDULES)
        return [run.id for run in runs]


def _insert(tx: Tx, runs: Sequence[NewRun], now: datetime, by: str | None) -> bool:
    ready = queueing.insert_runs(tx, runs, now)
    if by is not None:
        for run in runs:
            write_audit(tx, now, by, "run.enqueue", run.id, {"task": run.task})
    return bool(ready)


def new_run(request: Request, routes: Sequence[Route], now: datetime) -> NewRun:
    """Return the run that *request* asks for, its parameters checked."""
    _check(request)
    task = request.task
    decided = decide(
        task.name,
        defaults_of(task),
        policies_of(task),
        routes,
        queue=request.queue,
        priority=request.priority,
        max_tries=request.max_tries,
        expires=request.expires,
    )
    due_at = request.due_at or now
    return NewRun(
        id=new_run_id(),
        task=task.name,
        queue=decided.queue,
        priority=decided.priority,
        max_tries=decided.max_tries,
        at_most_once=decided.at_most_once,
        parameters=encode(task.validate(request.parameters)),
        due_at=due_at,
        expires_at=None if decided.expires is None else due_at + decided.expires,
        kind=RunKind.ENQUEUED,
        labels=encode(dict(request.labels)),
        owner_id=request.owner_id,
        snapshot=snapshot(task.name, task.code_version, decided, extra={"fresh": True} if request.fresh else None),
    )


def _check(request: Request) -> None:
    """Refuse options that no run can have; types are the caller's, values are not."""
    queue, tries, expires, due_at = request.queue, request.max_tries, request.expires, request.due_at
    if queue is not None and QUEUE_NAME.fullmatch(queue) is None:
        raise InvalidInput(f"queue {queue!r} is not usable; write 1 to 100 letters, digits, '_', '.' and '-'")
    if request.priority is not None:
        parse_priority(request.priority)
    if tries is not None and not 1 <= tries <= MAX_RETRIES + 1:
        raise InvalidInput(f"{tries - 1} retries are out of range; write 0 to {MAX_RETRIES}")
    if expires is not None and expires <= timedelta(0):
        raise InvalidInput(f"expires {expires} is not positive; a run would be worthless before it comes due")
    if due_at is not None and due_at.tzinfo is None:
        raise InvalidInput(f"due_at {due_at} has no time zone; instants are aware")
    labels: Mapping[Any, Any] = request.labels
    for name, value in labels.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidInput(f"label {name!r}: {value!r} is not text; labels are texts")


def snapshot(
    task: str,
    code_version: str,
    decided: Decided,
    schedule: tuple[ScheduleId, str, int] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """Return what decided a run, as JSON text; equal decisions give equal texts and share a row."""
    body: dict[str, Any] = {
        "task": task,
        "code_version": code_version,
        "queue": decided.queue,
        "priority": decided.priority,
        "max_tries": decided.max_tries,
        "at_most_once": decided.at_most_once,
        "expires": decided.expires,
        "decided_by": dict(decided.why),
        **(extra or {}),
    }
    if schedule is not None:
        body["schedule"] = {"id": schedule[0], "name": schedule[1], "version": schedule[2]}
    return canonical(body)
