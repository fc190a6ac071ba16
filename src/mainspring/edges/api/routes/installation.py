"""What the installation has: tasks, queues, workers, figures, and who did what."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from mainspring.domain.access import Forbidden, Reach, Right, reach
from mainspring.edges.api.models import (
    At,
    Cursor,
    Given,
    IfMatch,
    Limit,
    Moment,
    Page,
    Told,
    after_cursor,
    page,
    version_of,
)
from mainspring.edges.api.security import Asking, Known, needs
from mainspring.encoding import decode, encode
from mainspring.errors import UnknownName, VersionMismatch
from mainspring.services.auditing import AuditFilter
from mainspring.services.forecast import live_slots, planned_in_database
from mainspring.services.reading import QueueDepth
from mainspring.services.resources import ResourceLimits, ResourceView
from mainspring.services.simulate import simulate
from mainspring.services.standstill import Standstill
from mainspring.services.statistics import Tally

router = APIRouter(tags=["installation"])
Name = Annotated[str, Path(max_length=200)]


class TaskTold(Told):
    """A task that workers have described."""

    name: str
    description: str
    parameters_schema: dict[str, Any] = Field(description="JSON Schema of its parameters.")
    defaults: dict[str, Any]
    policies: dict[str, Any]
    code_version: str


class QueueLimitsTold(Told):
    """How many runs of a queue run at the same time; null for any number."""

    running: int | None
    per_key: int | None = Field(description="Of those with one key.")


class QueueLimitsGiven(Given):
    """Limits of a queue; null lifts one."""

    running: Annotated[int, Field(ge=1, le=100_000)] | None = None
    per_key: Annotated[int, Field(ge=1, le=100_000)] | None = None


class ResourceTold(Told):
    """A resource that runs share: its limits, and how it stands."""

    name: str
    limits: dict[str, Any] = Field(description="With the keys of a resource in mainspring.yaml.")
    source: str
    edited_by: str | None
    version: int
    updated_at: At
    state: str
    words: str = Field(description="How it stands, and why.")
    until: At | None
    in_use: int
    held: int = Field(description="Runs that it holds back, counted up to 1,000.")
    held_more: bool
    learnt_rate: float | None = Field(description="Per second, taught by refusals.")


class ResourceLimitsGiven(Given):
    """Limits of a resource, whole."""

    limits: dict[str, Any] = Field(
        examples=[{"concurrency": 5, "rate": "100/min", "breaker": {"failures": 5, "cool_down": "30s"}}]
    )


class TripGiven(Given):
    """How long a resource is left alone."""

    until: Moment | None = None
    reason: str = Field("", max_length=1000)


class QueueTold(Told):
    """A queue with what waits in it."""

    name: str
    description: str
    paused_at: At | None
    paused_by: str | None
    pause_reason: str | None
    ready: int
    ready_by_priority: dict[int, int]
    running: int
    held: int = Field(description="Runs that limits hold back.")
    limits: QueueLimitsTold


class PauseGiven(Given):
    """Why a queue is paused."""

    reason: str = Field("", max_length=1000, examples=["the supplier is down"])


class WorkerTold(Told):
    """A worker or scheduler process."""

    id: str
    kind: str
    name: str
    host: str
    pid: int
    version: str
    queues: str
    slots: int
    state: str
    started_at: At
    seen_at: At


class TallyTold(Told):
    """How attempts ended, and how long they took."""

    attempts: int
    succeeded: int
    failed: int
    retried: int
    other: int
    success_rate: float | None = Field(description="Share of the runs that came to an end; null where none did.")
    mean_seconds: float | None
    longest_seconds: float
    mean_wait_seconds: float | None = Field(description="From coming due to the start.")


class StepTold(TallyTold):
    """The tally of a step."""

    begin: At


class StatisticsTold(Told):
    """What happened in a stretch of time."""

    since: At
    until: At
    total: TallyTold
    by_task: dict[str, TallyTold]
    by_queue: dict[str, TallyTold]
    steps: list[StepTold] = Field(description="Those in which something ended, oldest first.")


class AuditTold(Told):
    """Who did what to which thing."""

    id: str
    at: At
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


class MaintenanceGiven(Given):
    """A standstill."""

    until: Moment | None = Field(None, description="When it ends by itself; without it somebody ends it.")
    reason: str = Field("", max_length=1000, examples=["the database moves"])


class MaintenanceTold(Told):
    """Whether the installation stands still."""

    active: bool
    since: At | None = None
    until: At | None = None
    by: str | None = None
    reason: str | None = None


class SimulationTold(Told):
    """What the schedules do in a stretch of time, if every run takes as long as usual; durations are seconds."""

    begin: At
    end: At
    zone: str
    schedules: int
    fire_times: int
    runs: int
    peak: int = Field(description="The most runs at one moment.")
    peak_at: At | None
    slots: int = Field(description="Of the workers that live.")
    load: list[dict[str, Any]] = Field(description="By queue and hour.")
    collisions: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    overlaps: list[dict[str, Any]]
    free_slot: dict[str, Any] = Field(description="The least loaded half hour of the night.")
    unknown_tasks: list[str] = Field(description="Tasks of which no run has succeeded yet: 30 s were taken.")


@router.get("/maintenance", summary="Whether the installation stands still")
@needs(Right.SYSTEM_READ)
def show_maintenance(who: Asking, application: Known) -> MaintenanceTold:
    """Return the maintenance that is in force."""
    return _maintenance(application.maintenance_mode.current())


@router.put("/maintenance", summary="Let the installation stand still")
@needs(Right.SYSTEM_WRITE)
def begin_maintenance(who: Asking, application: Known, given: MaintenanceGiven) -> MaintenanceTold:
    """Let nothing fire and nothing be claimed, within about a second; what runs goes on."""
    return _maintenance(application.maintenance_mode.begin(who.name, given.reason, given.until))


@router.delete("/maintenance", status_code=HTTPStatus.NO_CONTENT, summary="End a standstill")
@needs(Right.SYSTEM_WRITE)
def end_maintenance(who: Asking, application: Known) -> None:
    """Let everything fire and be claimed again."""
    application.maintenance_mode.end(who.name)


def _maintenance(found: Standstill | None) -> MaintenanceTold:
    if found is None:
        return MaintenanceTold(active=False)
    return MaintenanceTold(active=True, since=found.since, until=found.until, by=found.by, reason=found.reason)


@router.get("/simulation", summary="Simulate the coming days")
@needs(Right.PLANNING_READ)
def show_simulation(
    who: Asking,
    application: Known,
    days: Annotated[int, Query(ge=1, le=92)] = 30,
    zone: Annotated[str, Query(description="Zone of the hours of the day.", max_length=100)] = "UTC",
) -> SimulationTold:
    """Run all schedules that whoever asks may see on a virtual clock: load, collisions, skipped days, a free slot."""
    database, clock = application.database, application.clock
    planned = planned_in_database(database, clock, owner_id=who.owner)
    found = simulate(planned, clock.now(), days, zone)
    return SimulationTold(slots=live_slots(database), **decode(encode(found)))


@router.get("/tasks", summary="List tasks")
@needs(Right.TASKS_READ)
def list_tasks(who: Asking, application: Known) -> list[TaskTold]:
    """Return all tasks that workers have described, by name."""
    return [_task(task) for task in application.reading.tasks().values()]


@router.get("/tasks/{name}", summary="Show a task")
@needs(Right.TASKS_READ)
def show_task(who: Asking, application: Known, name: Name) -> TaskTold:
    """Return a task with the JSON schema of its parameters."""
    known = application.reading.tasks()
    if name not in known:
        raise UnknownName("task", name, known)
    return _task(known[name])


def _task(task: Any) -> TaskTold:
    names = ("name", "description", "defaults", "policies", "code_version")
    return TaskTold(parameters_schema=task.schema, **{name: getattr(task, name) for name in names})


@router.get("/queues", summary="List queues")
@needs(Right.QUEUES_READ)
def list_queues(who: Asking, application: Known) -> list[QueueTold]:
    """Return all queues by name, with what waits in them."""
    return [QueueTold.model_validate(queue) for queue in application.reading.queues()]


@router.get("/queues/{name}", summary="Show a queue")
@needs(Right.QUEUES_READ)
def show_queue(who: Asking, application: Known, name: Name) -> QueueTold:
    """Return a queue with what waits in it."""
    return QueueTold.model_validate(application.queueing.require(name))


@router.post("/queues/{name}/pause", summary="Pause a queue")
@needs(Right.QUEUES_WRITE)
def pause_queue(who: Asking, application: Known, name: Name, given: PauseGiven | None = None) -> QueueTold:
    """Pause a queue: its runs stay where they are, and what runs already goes on."""
    reason = "" if given is None else given.reason
    return QueueTold.model_validate(application.queueing.pause(name, who.name, reason))


@router.post("/queues/{name}/resume", summary="Resume a queue")
@needs(Right.QUEUES_WRITE)
def resume_queue(who: Asking, application: Known, name: Name) -> QueueTold:
    """End the pause of a queue."""
    found: QueueDepth = application.queueing.resume(name, who.name)
    return QueueTold.model_validate(found)


@router.put("/queues/{name}/limits", summary="Limit a queue")
@needs(Right.QUEUES_WRITE)
def limit_queue(who: Asking, application: Known, name: Name, given: QueueLimitsGiven) -> QueueTold:
    """Limit from now on how many runs of a queue run at the same time, in all and with one key."""
    found = application.queueing.limit(name, who.name, running=given.running, per_key=given.per_key)
    return QueueTold.model_validate(found)


@router.get("/resources", summary="List resources")
@needs(Right.RESOURCES_READ)
def list_resources(who: Asking, application: Known) -> list[ResourceTold]:
    """Return what runs share, by name, with limits and how each stands."""
    return [_resource(one) for one in application.resources.all()]


@router.get("/resources/{name}", summary="Show a resource")
@needs(Right.RESOURCES_READ)
def show_resource(who: Asking, application: Known, name: Name, response: Response) -> ResourceTold:
    """Return a resource; its ETag is for changes."""
    return _answer(application.resources.require(name), response)


@router.put("/resources/{name}/limits", summary="Declare the limits of a resource")
@needs(Right.RESOURCES_WRITE)
def set_resource_limits(
    who: Asking,
    application: Known,
    name: Name,
    given: ResourceLimitsGiven,
    response: Response,
    if_match: IfMatch = None,
) -> ResourceTold:
    """Replace the limits of a resource; they hold at once. 412 when they have changed since they were looked at."""
    resources, seen = application.resources, version_of(if_match)
    limits, (_, version) = ResourceLimits.from_mapping(given.limits), resources.find_limits(name)
    if seen is not None and seen != version:
        raise VersionMismatch("resource", name, version)
    return _answer(resources.set_limits(name, limits, version, who.name), response)


@router.post("/resources/{name}/trip", summary="Leave a resource alone")
@needs(Right.RESOURCES_WRITE)
def trip_resource(
    who: Asking, application: Known, name: Name, response: Response, given: TripGiven | None = None
) -> ResourceTold:
    """Let nobody use a resource until an instant, or until it is reset; what uses it goes on."""
    wish = given or TripGiven()
    return _answer(application.resources.trip(name, who.name, wish.until, wish.reason), response)


@router.post("/resources/{name}/reset", summary="Let a resource be used again")
@needs(Right.RESOURCES_WRITE)
def reset_resource(who: Asking, application: Known, name: Name, response: Response) -> ResourceTold:
    """Forget what happened to a resource: an open breaker, a pause, a learnt rate."""
    return _answer(application.resources.reset(name, who.name), response)


def _answer(found: ResourceView, response: Response) -> ResourceTold:
    response.headers["ETag"] = f'"{found.version}"'
    return _resource(found)


def _resource(one: ResourceView) -> ResourceTold:
    names = ("name", "source", "edited_by", "version", "updated_at", "words", "until", "in_use", "held", "held_more",
             "learnt_rate")  # fmt: skip
    told = {name: getattr(one, name) for name in names}
    return ResourceTold(limits=one.limits.to_mapping(), state=str(one.standing), **told)


@router.get("/workers", summary="List worker and scheduler processes")
@needs(Right.WORKERS_READ)
def list_workers(
    who: Asking,
    application: Known,
    ended: Annotated[bool, Query(description="Also the newest of those that have ended.")] = False,
) -> list[WorkerTold]:
    """Return the processes of this installation, newest first, at most 200."""
    return [WorkerTold.model_validate(one) for one in application.reading.sessions(live_only=not ended)]


@router.get("/statistics", summary="Count what attempts did")
@needs(Right.STATISTICS_READ)
def show_statistics(
    who: Asking,
    application: Known,
    since: Annotated[Moment | None, Query(description="A day ago unless given.")] = None,
    until: Annotated[Moment | None, Query(description="Now unless given.")] = None,
    step_minutes: Annotated[int, Query(ge=1, le=44_640)] = 60,
    task: str | None = None,
    queue: str | None = None,
) -> StatisticsTold:
    """Return totals, and the same by task, by queue and by step of time."""
    if reach(who.principal, Right.STATISTICS_READ) is not Reach.ALL:
        raise Forbidden(
            Right.STATISTICS_READ, "figures are of everybody's runs; viewers, operators and admins see them"
        )
    now: datetime = application.clock.now()
    end = until or now + timedelta(minutes=1)
    found = application.figures(since or end - timedelta(days=1), end, timedelta(minutes=step_minutes), task, queue)
    return StatisticsTold(
        since=found.since,
        until=found.until,
        total=_tally(found.total),
        by_task={name: _tally(one) for name, one in sorted(found.by_task.items())},
        by_queue={name: _tally(one) for name, one in sorted(found.by_queue.items())},
        steps=[StepTold(begin=begin, **_tally(one).model_dump()) for begin, one in found.steps],
    )


def _tally(tally: Tally) -> TallyTold:
    names = ("attempts", "succeeded", "failed", "retried", "other", "success_rate", "mean_seconds", "mean_wait_seconds")
    return TallyTold(longest_seconds=tally.longest, **{name: getattr(tally, name) for name in names})


@router.get("/audit", summary="List who did what")
@needs(Right.AUDIT_READ)
def list_audit(
    who: Asking,
    application: Known,
    actor: str | None = None,
    action: Annotated[str | None, Query(description="Such as `schedule.edit`, or `schedule` for all of them.")] = None,
    subject: str | None = None,
    since: Annotated[Moment | None, Query(description="Then or later.")] = None,
    until: Annotated[Moment | None, Query(description="Before then.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[AuditTold]:
    """Return every change and every refusal, newest first."""
    wanted = AuditFilter(actor, action, subject, since, until)
    found = application.auditing.entries(wanted, limit + 1, after_cursor(cursor))
    return page(found, limit, _entry)


def _entry(row: Any) -> AuditTold:
    names = ("id", "at", "actor", "action", "subject")
    return AuditTold(details=decode(row.body) or {}, **{name: getattr(row, name) for name in names})
