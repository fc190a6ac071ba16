"""Schedules: keep them, look ahead, look back at their ledgers, and make up for fire times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from mainspring.app import Application
from mainspring.domain.access import Reach, Right, require
from mainspring.domain.rate import Rate
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.zones import zone
from mainspring.edges.api.models import (
    At,
    Given,
    IfMatch,
    Limit,
    Moment,
    Page,
    Priority,
    Told,
    at_text,
    version_of,
)
from mainspring.edges.api.problems import PreconditionNeeded
from mainspring.edges.api.repeatable import Repeatable
from mainspring.edges.api.routes.runs import RunsMade
from mainspring.edges.api.security import Asking, Caller, Known, needs
from mainspring.errors import InvalidInput, NotFound, UnknownName
from mainspring.ids import is_id
from mainspring.services.backfill import Backfill, BackfillLook
from mainspring.services.preview import Ahead, look_ahead, spec_of_text
from mainspring.services.reading import LedgerRow, StoredSchedule
from mainspring.services.schedules import require_editable

router = APIRouter(tags=["schedules"], route_class=Repeatable)
_EXAMPLE = {"task": "work.add", "cron": "0 9 * * 1-5", "zone": "America/Sao_Paulo", "parameters": {"a": 1}}
Which = Annotated[str, Path(description="Id of a schedule, or its name.", examples=["morning"], max_length=200)]
Count = Annotated[int, Query(ge=1, le=200, description="How many fire times.")]
Definition = Annotated[
    dict[str, Any],
    Field(
        description="Task, trigger and policies, with the keys of a schedule in mainspring.yaml.", examples=[_EXAMPLE]
    ),
]


class ScheduleGiven(Given):
    """A new schedule."""

    name: str = Field(examples=["morning"], max_length=200)
    definition: Definition


class ScheduleChange(Given):
    """What a schedule is to be from now on, whole."""

    definition: Definition


class PreviewGiven(Given):
    """A schedule that is saved nowhere; its task may be left out."""

    definition: Definition | None = None
    text: str | None = Field(None, description="A trigger in one line.", examples=["XNYS close - 15m"], max_length=500)
    zone: str | None = Field(None, description="With text: its time zone.", max_length=100)
    count: int = Field(5, ge=1, le=200)
    after: Moment | None = Field(None, description="Fire times after this instant; now unless given.")


class SchedulePause(Given):
    """How a schedule is paused."""

    until: Moment | None = Field(None, description="End the pause then; without it somebody resumes.")
    reason: str = Field("", max_length=1000)


class PauseTold(Told):
    """A pause that is in force."""

    since: At
    until: At | None
    by: str
    reason: str


class ScheduleTold(Told):
    """A schedule."""

    id: str
    name: str
    owner_id: str
    task: str
    state: Literal["on", "paused", "disabled", "ended"]
    rule: str = Field(description="Its trigger in words.")
    zone: str
    next_at: At | None
    description: str
    source: str = Field(description="`api`, or the file or pack that says what it is.")
    version: int
    pause: PauseTold | None
    spec: dict[str, Any] = Field(description="All it says, every default filled in.")
    created_at: At
    updated_at: At


class FireTimeTold(Told):
    """A fire time to come, or a stretch of them that is skipped for one reason."""

    fire_at: At
    local: str
    weekday: str
    until_at: At
    n: int
    skipped: str | None
    remark: str = Field(description="What is special about it, such as a half-day.")


class PreviewTold(Told):
    """What a schedule will do."""

    rule: str
    zone: str
    fire_times: list[FireTimeTold]


class LedgerTold(Told):
    """What became of a fire time, or of a stretch of them."""

    fire_at: At
    until_at: At
    n: int
    outcome: str
    cause: str | None
    reason: str
    spec_version: int
    recorded_at: At


class BackfillGiven(Given):
    """Fire times to make up for."""

    since: Moment
    until: Moment = Field(description="The first instant that does not belong to it; not in the future.")
    rate: str | None = Field(None, description="How fast they come due.", examples=["10/min"], max_length=50)
    priority: Priority = 2
    queue: str | None = None
    missing_only: bool = Field(False, description="Leave out what the ledger says has fired.")


class BackfillTold(Told):
    """What a backfill would do."""

    fire_times: list[At] = Field(description="The first 200 of those that would become runs.")
    fire_times_count: int
    runs: int
    left_out: dict[str, int] = Field(description="Fire times that calendars leave out, by reason.")
    done: int = Field(description="Fire times that an earlier backfill has made up for.")
    fired: int = Field(description="Fire times left out because they have fired.")
    seconds: float = Field(description="From the first to the last coming due.")


def schedule_of(application: Application, who: Caller, which: str) -> StoredSchedule:
    """Return a schedule that whoever asks may touch by the right of the route: their own of a name first.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    own, reach = who.principal.user_id, require(who.principal, who.right)
    try:
        if is_id(which) or reach is Reach.ALL:
            found = _own_or_any(application, which, own)
            who.sees(found.owner_id, "schedule", which)
            return found
        return application.scheduling.require(which, own)
    except UnknownName as error:
        if reach is Reach.ALL:
            raise
        raise NotFound("schedule", repr(which)) from error


def _own_or_any(application: Application, which: str, own: str) -> StoredSchedule:
    try:
        return application.scheduling.require(which, own)
    except UnknownName:
        return application.scheduling.require(which)


@router.get("/schedules", summary="List schedules")
@needs(Right.SCHEDULES_READ)
def list_schedules(
    who: Asking,
    application: Known,
    task: str | None = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before.", max_length=500)] = None,
) -> Page[ScheduleTold]:
    """Return schedules by name."""
    now = application.clock.now()
    found = sorted(application.scheduling.all(who.owner, task), key=_mark)
    if cursor is not None:
        found = [one for one in found if _mark(one) > cursor]
    items = found[:limit]
    following = _mark(items[-1]) if len(found) > limit else None
    return Page(items=[_told(one, now) for one in items], next=following)


def _mark(schedule: StoredSchedule) -> str:
    return f"{schedule.name}/{schedule.id}"


@router.post("/schedules", status_code=HTTPStatus.CREATED, summary="Make a schedule")
@needs(Right.SCHEDULES_WRITE)
def create_schedule(who: Asking, application: Known, given: ScheduleGiven, response: Response) -> ScheduleTold:
    """Make a schedule that belongs to whoever asks; all of it is checked before anything is written."""
    spec = application.defining.spec(given.name, given.definition)
    made = application.scheduling.create(spec, who.principal.user_id, who.name)
    response.headers["Location"] = f"schedules/{made.id}"
    return _answer(application, made, response)


@router.post("/schedules/preview", summary="Look ahead before a schedule is saved")
@needs(Right.PLANNING_READ)
def preview(who: Asking, application: Known, given: PreviewGiven) -> PreviewTold:
    """Return the rule in words and its next fire times, with what calendars leave out."""
    if (given.text is None) == (given.definition is None):
        raise InvalidInput("send either a definition or a text such as '0 9 * * 1-5' or 'XNYS close - 15m'")
    if given.definition is not None:
        spec = application.defining.rule(given.definition)
    else:
        spec = spec_of_text(given.text or "", given.zone)
    return _preview(spec, look_ahead(spec, given.after or application.clock.now(), given.count))


@router.get("/schedules/{schedule}", summary="Show a schedule")
@needs(Right.SCHEDULES_READ)
def show_schedule(who: Asking, application: Known, schedule: Which, response: Response) -> ScheduleTold:
    """Return a schedule; its ETag is for changes."""
    return _answer(application, schedule_of(application, who, schedule), response)


@router.put("/schedules/{schedule}", summary="Edit a schedule")
@needs(Right.SCHEDULES_WRITE)
def edit_schedule(
    who: Asking,
    application: Known,
    schedule: Which,
    given: ScheduleChange,
    response: Response,
    if_match: IfMatch = None,
) -> ScheduleTold:
    """Replace what a schedule says from now on; 412 when somebody has changed it since it was looked at."""
    old = schedule_of(application, who, schedule)
    version = version_of(if_match)
    if version is None:
        raise PreconditionNeeded("send If-Match with the ETag of the schedule as you have seen it")
    require_editable(old)
    spec = application.defining.spec(old.name, given.definition)
    return _answer(application, application.scheduling.edit(old, spec, who.name, version), response)


@router.delete("/schedules/{schedule}", status_code=HTTPStatus.NO_CONTENT, summary="Delete a schedule")
@needs(Right.SCHEDULES_WRITE)
def delete_schedule(who: Asking, application: Known, schedule: Which) -> None:
    """Delete a schedule; its ledger and its runs stay."""
    old = schedule_of(application, who, schedule)
    require_editable(old)
    application.scheduling.delete(old, who.name)


@router.post("/schedules/{schedule}/pause", summary="Pause a schedule")
@needs(Right.SCHEDULES_WRITE)
def pause_schedule(
    who: Asking, application: Known, schedule: Which, response: Response, given: SchedulePause | None = None
) -> ScheduleTold:
    """Pause a schedule, until an instant if given; its fire times are recorded as skipped."""
    old, wish = schedule_of(application, who, schedule), given or SchedulePause()
    return _answer(application, application.scheduling.pause(old, who.name, wish.reason, wish.until), response)


@router.post("/schedules/{schedule}/resume", summary="Resume a schedule")
@needs(Right.SCHEDULES_WRITE)
def resume_schedule(who: Asking, application: Known, schedule: Which, response: Response) -> ScheduleTold:
    """End the pause of a schedule; it fires again from its next fire time on."""
    old = schedule_of(application, who, schedule)
    return _answer(application, application.scheduling.resume(old, who.name), response)


@router.post("/schedules/{schedule}/trigger", status_code=HTTPStatus.CREATED, summary="Start a schedule's runs by hand")
@needs(Right.SCHEDULES_WRITE)
def trigger_schedule(who: Asking, application: Known, schedule: Which) -> RunsMade:
    """Make the runs of a schedule now; its ledger is not touched."""
    return RunsMade(ids=list(application.scheduling.trigger(schedule_of(application, who, schedule), who.name)))


@router.get("/schedules/{schedule}/preview", summary="Look ahead")
@needs(Right.SCHEDULES_READ)
def preview_schedule(who: Asking, application: Known, schedule: Which, count: Count = 5) -> PreviewTold:
    """Return the next fire times of a schedule, with what is skipped and why."""
    found, now = schedule_of(application, who, schedule), application.clock.now()
    ahead = look_ahead(found.spec, now, count, found.paused_now(now)) if found.enabled else []
    return _preview(found.spec, ahead)


@router.get("/schedules/{schedule}/ledger", summary="Look back")
@needs(Right.SCHEDULES_READ)
def show_ledger(
    who: Asking, application: Known, schedule: Which, limit: Limit = 50,
    cursor: Annotated[Moment | None, Query(description="`next` of the page before.")] = None,
) -> Page[LedgerTold]:  # fmt: skip
    """Return what became of a schedule's fire times, newest first, each with its reason."""
    found = schedule_of(application, who, schedule)
    rows: Sequence[LedgerRow] = application.reading.ledger(found.id, limit + 1, cursor)
    following = at_text(rows[limit - 1].fire_at) if len(rows) > limit else None
    return Page(items=[LedgerTold.model_validate(row) for row in rows[:limit]], next=following)


@router.post("/schedules/{schedule}/backfill/look", summary="Look what a backfill would do")
@needs(Right.SCHEDULES_READ)
def look_at_backfill(who: Asking, application: Known, schedule: Which, given: BackfillGiven) -> BackfillTold:
    """Return what a backfill would make; nothing is done."""
    look: BackfillLook = application.backfilling.look(schedule_of(application, who, schedule), _backfill(given))
    return BackfillTold(
        fire_times=list(look.fire_times[:200]),
        fire_times_count=len(look.fire_times),
        runs=look.runs,
        left_out=dict(look.barred),
        done=look.done,
        fired=look.fired,
        seconds=look.takes.total_seconds(),
    )


@router.post("/schedules/{schedule}/backfill", status_code=HTTPStatus.CREATED, summary="Make up for fire times")
@needs(Right.SCHEDULES_WRITE)
def start_backfill(who: Asking, application: Known, schedule: Which, given: BackfillGiven) -> RunsMade:
    """Make a run of each fire time of a range, each once: of kind `backfill`, apart from ordinary outcomes."""
    found = schedule_of(application, who, schedule)
    return RunsMade(ids=list(application.backfilling.start(found, _backfill(given), who.name)))


def _backfill(given: BackfillGiven) -> Backfill:
    rate = None if given.rate is None else Rate.parse(given.rate)
    return Backfill(given.since, given.until, rate, given.priority, given.queue, given.missing_only)


def _answer(application: Application, schedule: StoredSchedule, response: Response) -> ScheduleTold:
    response.headers["ETag"] = f'"{schedule.version}"'
    return _told(schedule, application.clock.now())


def _told(schedule: StoredSchedule, now: datetime) -> ScheduleTold:
    spec, pause = schedule.spec, schedule.paused_now(now)
    state: Literal["on", "paused", "disabled", "ended"] = "on" if schedule.next_at is not None else "ended"
    if pause is not None:
        state = "paused"
    if not schedule.enabled:
        state = "disabled"
    names = ("id", "name", "owner_id", "next_at", "source", "version", "created_at", "updated_at")
    return ScheduleTold(
        task=spec.task,
        state=state,
        rule=spec.trigger.in_words(),
        zone=spec.zone,
        description=spec.description,
        pause=None if pause is None else PauseTold.model_validate(pause),
        spec=json.loads(spec.to_text()),
        **{name: getattr(schedule, name) for name in names},
    )


def _preview(spec: ScheduleSpec, ahead: Sequence[Ahead]) -> PreviewTold:
    where = zone(spec.zone)
    times = []
    for one in ahead:
        local = one.fire_at.astimezone(where)
        told = {"local": local.isoformat(), "weekday": f"{local:%A}"}
        names = ("fire_at", "until_at", "n", "skipped", "remark")
        times.append(FireTimeTold(**told, **{name: getattr(one, name) for name in names}))
    return PreviewTold(rule=spec.trigger.in_words(), zone=spec.zone, fire_times=times)
