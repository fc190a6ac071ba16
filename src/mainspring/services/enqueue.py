"""Enqueue runs: check their parameters, decide their queue, and write them durably."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Final

from mainspring.clock import Clock
from mainspring.domain.dependencies import Need
from mainspring.domain.needs import ASK, RunNeeds
from mainspring.domain.priority import parse_priority
from mainspring.domain.queue_order import QUEUE_NAME
from mainspring.domain.routes import Route
from mainspring.domain.runs import NewRun, RunKind
from mainspring.domain.tasks import MAX_RETRIES, Task
from mainspring.domain.unique import Unique
from mainspring.encoding import canonical, encode
from mainspring.errors import BulkInterrupted, InvalidInput, NotFound
from mainspring.ids import RunId, ScheduleId, new_run_id
from mainspring.services.catalog import Decided, decide, defaults_of, policies_of
from mainspring.services.directory import Directory
from mainspring.store import keys, queueing
from mainspring.store.database import Database, Tx
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.keys import Settled
from mainspring.store.schedules import write_audit

BATCH: Final = 5_000
"""Runs that one transaction adds at most: what waits for it waits some hundredths of a second."""


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
    unique: Unique | None = None
    """Which runs are the same; None means what the task says."""
    needs: tuple[Need, ...] = ()
    """Runs that must end first."""
    coming: frozenset[str] = frozenset()
    """Parameters that results of the needed runs will fill."""
    graph: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """The run that a wish came to."""

    run_id: RunId
    existing: bool = False
    """Whether it was there already, as it was or changed."""


class Enqueuer:
    """Puts runs of tasks whose code is at hand into the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._directory = Directory(database, clock)

    def enqueue(self, request: Request, by: str | None = None) -> RunId:
        """Enqueue one run and return its id once it is durable; *by* names in the audit the person who asked.

        Raises:
            ParametersInvalid: the parameters do not fit the task's function; nothing was written.
            DuplicateRun: it must be alone and is not; nothing was written.
            NotFound: a run that it needs does not exist.
        """
        return self.place([request], by)[0].run_id

    def enqueue_many(self, requests: Iterable[Request], by: str | None = None) -> list[RunId]:
        """Enqueue many runs in order and return their ids; see `place`."""
        return [placed.run_id for placed in self.place(requests, by)]

    def place(self, requests: Iterable[Request], by: str | None = None) -> list[Placed]:
        """Enqueue runs in order, in transactions of 5,000; those of a transaction are checked before it begins.

        *requests* is read as it is written: however many there are, 5,000 are in memory.

        Raises:
            BulkInterrupted: a later transaction failed; it carries the ids of the runs that are enqueued.
        """
        placed: list[Placed] = []
        wishes = iter(requests)
        while batch := list(islice(wishes, BATCH)):
            try:
                placed += self._write(batch, by)
            except Exception as error:
                if not placed:
                    raise
                raise BulkInterrupted([done.run_id for done in placed], str(error)) from error
            except BaseException as error:
                error.add_note(f"{len(placed):,} runs were enqueued before, and at most {len(batch):,} more")
                raise
        return placed

    def place_in(self, tx: Tx, requests: Iterable[Request]) -> list[Placed]:
        """Enqueue runs inside a transaction of somebody else, who commits them, or does not."""
        now = self._clock.now()
        maker = Maker(self._directory.routes, now)
        runs = [maker.make(request) for request in requests]
        settled, _ = _insert(tx, runs, now, None)
        return _placed(runs, settled)

    def _write(self, batch: Sequence[Request], by: str | None) -> list[Placed]:
        now = self._clock.now()
        maker = Maker(self._directory.routes, now)
        runs = [maker.make(request) for request in batch]
        settled, ready = self._database.write(partial(_insert, runs=runs, now=now, by=by))
        self._database.sender.send(READY if ready else SCHEDULES)
        return _placed(runs, settled)


def _insert(tx: Tx, runs: Sequence[NewRun], now: datetime, by: str | None) -> tuple[Settled, bool]:
    _require_needed(tx, runs)
    settled = keys.settle(tx, runs, now)
    ready = queueing.insert_runs(tx, settled.fresh, now)
    if by is not None:
        for run in runs:
            existing = settled.stand_ins.get(run.id)
            body = {"task": run.task} if existing is None else {"task": run.task, "existing": True}
            write_audit(tx, now, by, "run.enqueue", existing or run.id, body)
    return settled, ready or settled.ready


def _require_needed(tx: Tx, runs: Sequence[NewRun]) -> None:
    needed = {need.run_id for run in runs for need in run.needs}
    if needed:
        found = {run_id for run_id, *_ in tx.rows("attempt_states", {"ids": tx.ids(sorted(needed))})}
        for run_id in sorted(needed - found):
            raise NotFound("run", run_id)


def _placed(runs: Sequence[NewRun], settled: Settled) -> list[Placed]:
    if not settled.stand_ins:
        return [Placed(run.id) for run in runs]
    return [Placed(settled.stand_ins.get(run.id, run.id), run.id in settled.stand_ins) for run in runs]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What wishes have in common that differ in nothing but parameters and due time."""

    decided: Decided
    labels: str
    snapshot: str
    unique: Unique | None


class Maker:
    """Makes runs of wishes; what many of them share is decided once."""

    def __init__(self, routes: Sequence[Route], now: datetime) -> None:
        self._routes, self._now = routes, now
        self._shapes: dict[tuple[Any, ...], _Shape] = {}

    def make(self, request: Request) -> NewRun:
        """Return the run that *request* asks for, its parameters checked."""
        task, due_at = request.task, request.due_at
        if due_at is not None and due_at.tzinfo is None:
            raise InvalidInput(f"due_at {due_at} has no time zone; instants are aware")
        shape = self._shape(request)
        decided, unique = shape.decided, shape.unique
        if unique is not None and (request.needs or request.graph is not None):
            _check_alone(task.name, unique, request.coming)
        parameters = task.validate(request.parameters, request.coming)
        limits = _limits(task, parameters, request.coming) if task.flow.declared else RunNeeds()
        if due_at is None:
            due_at = self._now if unique is None or unique.wait is None else self._now + unique.wait
        return NewRun(
            id=new_run_id(),
            task=task.name,
            queue=decided.queue,
            priority=decided.priority,
            max_tries=decided.max_tries,
            at_most_once=decided.at_most_once,
            parameters=encode(parameters),
            due_at=due_at,
            expires_at=None if decided.expires is None else due_at + decided.expires,
            kind=RunKind.ENQUEUED,
            labels=shape.labels,
            owner_id=request.owner_id,
            snapshot=shape.snapshot,
            needs=request.needs,
            root_id=request.graph,
            key=None if unique is None else unique.key_of(task.name, parameters, self._now),
            uses=limits.uses,
            turn_key=limits.key,
        )

    def _shape(self, request: Request) -> _Shape:
        task = request.task
        # Labels may hold anything before they are checked; text can always be a key.
        labels = repr(request.labels) if request.labels else ""
        mark = (
            task,
            request.queue,
            request.priority,
            request.max_tries,
            request.expires,
            labels,
            request.unique,
            request.fresh,
        )
        found = self._shapes.get(mark)
        if found is None:
            found = self._shapes[mark] = self._decide(request)
        return found

    def _decide(self, request: Request) -> _Shape:
        _check(request)
        task = request.task
        decided = decide(
            task.name,
            defaults_of(task),
            policies_of(task),
            self._routes,
            queue=request.queue,
            priority=request.priority,
            max_tries=request.max_tries,
            expires=request.expires,
        )
        if request.unique is not None:
            task.check_unique(request.unique)
        extra = {"fresh": True} if request.fresh else None
        body = snapshot(task.name, task.code_version, decided, extra=extra)
        return _Shape(decided, encode(dict(request.labels)), body, request.unique or task.unique)


def _limits(task: Task[..., Any], parameters: Mapping[str, Any], coming: frozenset[str]) -> RunNeeds:
    """Return what a run needs before it may start; where results are to say it, the worker that has them asks."""
    if coming and task.flow.asks:
        return RunNeeds(ASK)
    try:
        return task.flow.needs(task.name, parameters)
    except InvalidInput:
        if coming:
            return RunNeeds(ASK)
        raise


def _check_alone(task: str, unique: Unique, coming: frozenset[str]) -> None:
    """Refuse what cannot be said of a run that depends on others: a run that is there already waits for other ones."""
    if unique.on_conflict != "reject":
        raise InvalidInput(
            f"task {task!r} is unique with on_conflict={unique.on_conflict!r}, and a run that is there already "
            "waits for none of what this one waits for; give this one unique=Unique(…) with on_conflict='reject'"
        )
    unknown = sorted(coming if unique.fields is None else coming & set(unique.fields))
    if unknown:
        raise InvalidInput(
            f"task {task!r} is unique by parameter {unknown[0]!r}, which the result of another run will fill; "
            "give the run unique=Unique(fields=(…)) with parameters that are known"
        )


def _check(request: Request) -> None:
    """Refuse options that no run can have; types are the caller's, values are not."""
    check_options(request.queue, request.priority, request.max_tries, request.expires)
    labels: Mapping[Any, Any] = request.labels
    for name, value in labels.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidInput(f"label {name!r}: {value!r} is not text; labels are texts")


def check_options(
    queue: str | None, priority: int | None, max_tries: int | None = None, expires: timedelta | None = None
) -> None:
    """Refuse options that no run can have; None stands for what is decided elsewhere.

    Raises:
        InvalidInput: names the option.
    """
    if queue is not None and QUEUE_NAME.fullmatch(queue) is None:
        raise InvalidInput(f"queue {queue!r} is not usable; write 1 to 100 letters, digits, '_', '.' and '-'")
    if priority is not None:
        parse_priority(priority)
    if max_tries is not None and not 1 <= max_tries <= MAX_RETRIES + 1:
        raise InvalidInput(f"{max_tries - 1} retries are out of range; write 0 to {MAX_RETRIES}")
    if expires is not None and expires <= timedelta(0):
        raise InvalidInput(f"expires {expires} is not positive; a run would be worthless before it comes due")


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
