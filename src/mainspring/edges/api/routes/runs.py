"""Runs: order, list, look at, cancel and retry them; their attempts, logs, results and artifacts."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from itertools import chain
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import Field

from mainspring.app import Application
from mainspring.domain.access import Right
from mainspring.domain.states import RunState
from mainspring.edges.api.models import (
    At,
    Cursor,
    Given,
    Limit,
    Moment,
    Page,
    Priority,
    Seconds,
    Told,
    after_cursor,
    page,
    span,
)
from mainspring.edges.api.repeatable import Repeatable
from mainspring.edges.api.security import Asking, Caller, Known, needs
from mainspring.errors import Conflict, InvalidInput, NotFound
from mainspring.ids import RunId
from mainspring.services.editing import Edit
from mainspring.services.ordering import MOST, Wish
from mainspring.services.reading import RunFilter, RunView

router = APIRouter(tags=["runs"], route_class=Repeatable)
_ARTIFACT = {"content": {"application/octet-stream": {}}, "description": "The file."}
RunIdGiven = Annotated[str, Path(description="Id of a run.", examples=["019ac4e2-7c11-7d3a-8f00-3c5d2a9b6e10"])]
State = Annotated[list[RunState], Query(description="Only runs in these states.")]
Label = Annotated[list[str], Query(description="Only runs with this label: NAME=VALUE.", examples=[["team=data"]])]


class RunGiven(Given):
    """A wish for a run; what is left out is decided by routes and the task."""

    task: str = Field(examples=["work.add"], max_length=200)
    parameters: dict[str, Any] = Field({}, examples=[{"a": 40, "b": 2}])
    queue: str | None = Field(None, examples=["default"])
    priority: Priority | None = Field(None, examples=["high"])
    due_at: Moment | None = Field(None, description="When it comes due; now unless given.")
    delay_seconds: Seconds | None = Field(None, description="Come due this much later; not with due_at.")
    expires_seconds: Seconds | None = Field(None, description="Cancel it unless it has started so long after.")
    max_retries: Annotated[int, Field(ge=0, le=1000)] | None = None
    labels: dict[str, str] = Field({}, examples=[{"team": "data"}])


class RunsGiven(Given):
    """Wishes for many runs: all are made, or none."""

    runs: list[RunGiven] = Field(min_length=1, max_length=MOST)


class RunChange(Given):
    """What is to change of a run that has not started; what is left out stays."""

    priority: Priority | None = None
    queue: str | None = None
    due_at: Moment | None = None
    parameters: dict[str, Any] = Field({}, description="New values by name; the other parameters stay.")


class RunsMade(Told):
    """The runs that were made, in the order of the wishes."""

    ids: list[str]


class RunTold(Told):
    """A run."""

    id: str
    task: str
    queue: str
    priority: int
    state: RunState
    state_reason: str | None
    failure_kind: str | None
    failure_message: str | None
    failure_signature: str | None
    kind: str = Field(description="scheduled, manual, backfill or enqueued.")
    attempt: int
    tries: int
    losses: int
    max_tries: int
    schedule: str | None
    schedule_id: str | None
    fire_at: At | None
    member: str
    due_at: At
    expires_at: At | None
    cancel_requested_at: At | None
    labels: dict[str, str]
    owner_id: str = Field(description="Id of the account that it belongs to; empty for what nobody owns.")
    replay_of: str | None
    created_at: At
    started_at: At | None
    finished_at: At | None
    decided_at: At | None


class ProgressTold(Told):
    """How far the present attempt says it is."""

    done: float
    total: float | None
    note: str


class HoldTold(Told):
    """What holds a run back, and how many go before it."""

    by: str
    reason: str
    until: At | None
    place: int = Field(description="1 is the next to go.")
    count: int


class RunShown(RunTold):
    """A run with its parameters, and what decided it."""

    parameters: dict[str, Any]
    snapshot: dict[str, Any]
    progress: ProgressTold | None
    replays: list[str]
    hold: HoldTold | None


class AttemptTold(Told):
    """An ended attempt."""

    attempt: int
    outcome: str
    charged: bool
    started_at: At
    finished_at: At
    reason: str | None
    error_type: str | None
    error_message: str | None
    traceback: str | None


class ResultTold(Told):
    """What a run returned."""

    state: RunState
    result: Any


class ArtifactTold(Told):
    """A file that a run left behind."""

    id: str
    run_id: str
    attempt: int
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: At


class CancelGiven(Given):
    """Why a run is cancelled."""

    reason: str = Field("", max_length=1000)


class CancelTold(Told):
    """What became of the wish to cancel."""

    run: RunTold
    outcome: Literal["cancelled", "asked"] = Field(description="A run that is under way is asked to stop.")


def read_labels(given: list[str]) -> dict[str, str] | None:
    """Return labels that stand in an address as a mapping; None where there is none."""
    found = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InvalidInput(f"label {text!r} is not written as NAME=VALUE")
        found[name] = value
    return found or None


def run_of(application: Application, who: Caller, run_id: str) -> RunView:
    """Return a run that whoever asks may touch by the right of the route.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    view = application.reading.run(RunId(run_id.lower()))
    who.sees(view.run.owner_id, "run", run_id)
    return view


@router.get("/runs", summary="List runs")
@needs(Right.RUNS_READ)
def list_runs(
    who: Asking,
    application: Known,
    state: State = [],  # noqa: B006 - read alone
    task: str | None = None,
    queue: str | None = None,
    schedule: Annotated[str | None, Query(description="Only runs of the schedule of this name.")] = None,
    label: Label = [],  # noqa: B006 - read alone
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[RunTold]:
    """Return runs, newest first."""
    wanted = RunFilter(state, task, queue, schedule, read_labels(label), who.owner)
    before = after_cursor(cursor)
    found = application.reading.runs(wanted, limit + 1, None if before is None else RunId(before))
    return page(found, limit, RunTold.model_validate)


@router.post("/runs", status_code=HTTPStatus.CREATED, summary="Make a run")
@needs(Right.RUNS_WRITE)
def create_run(who: Asking, application: Known, given: RunGiven, response: Response) -> RunTold:
    """Make a run of a task, its parameters checked against the task's schema; it belongs to whoever asks."""
    (run_id,) = application.ordering.place([_wish(given, application)], who.principal.user_id, who.name)
    response.headers["Location"] = f"runs/{run_id}"
    return RunTold.model_validate(application.reading.run(run_id).run)


@router.post("/runs/bulk", status_code=HTTPStatus.CREATED, summary="Make many runs")
@needs(Right.RUNS_WRITE)
def create_runs(who: Asking, application: Known, given: RunsGiven) -> RunsMade:
    """Make up to 1,000 runs in one transaction: all of them, or none."""
    wishes = [_wish(wish, application) for wish in given.runs]
    return RunsMade(ids=list(application.ordering.place(wishes, who.principal.user_id, who.name)))


@router.get("/runs/{run_id}", summary="Show a run")
@needs(Right.RUNS_READ)
def show_run(who: Asking, application: Known, run_id: RunIdGiven) -> RunShown:
    """Return a run with its parameters, its progress, and what decided it."""
    view = run_of(application, who, run_id)
    progress = None if view.progress is None else ProgressTold(**dict(zip(_PROGRESS, view.progress, strict=True)))
    return RunShown(
        **RunTold.model_validate(view.run).model_dump(),
        parameters=view.parameters or {},
        snapshot=view.snapshot or {},
        progress=progress,
        replays=list(view.replays),
        hold=None if view.hold is None else HoldTold.model_validate(view.hold),
    )


_PROGRESS = ("done", "total", "note")


@router.get("/runs/{run_id}/attempts", summary="List the ended attempts of a run")
@needs(Right.RUNS_READ)
def list_attempts(who: Asking, application: Known, run_id: RunIdGiven) -> list[AttemptTold]:
    """Return how each attempt ended, in order."""
    return [AttemptTold.model_validate(one) for one in run_of(application, who, run_id).attempts]


@router.get("/runs/{run_id}/logs", summary="Read the log of an attempt", response_class=PlainTextResponse)
@needs(Right.LOGS_READ)
def read_log(
    who: Asking,
    application: Known,
    run_id: RunIdGiven,
    attempt: Annotated[int | None, Query(ge=1, le=1_000_000, description="The last one unless given.")] = None,
) -> PlainTextResponse:
    """Return what an attempt wrote, as plain text; empty where nothing was logged."""
    run = run_of(application, who, run_id).run
    return PlainTextResponse(application.reading.log(run.id, attempt or run.attempt))


@router.get("/runs/{run_id}/result", summary="Read the result of a run")
@needs(Right.RUNS_READ)
def read_result(who: Asking, application: Known, run_id: RunIdGiven) -> ResultTold:
    """Return what a succeeded run returned; 409 for one that has not succeeded."""
    view = run_of(application, who, run_id)
    if view.run.state is not RunState.SUCCEEDED:
        raise Conflict(f"run {view.run.id} is {view.run.state} and has no result")
    return ResultTold(state=view.run.state, result=view.result)


@router.get("/runs/{run_id}/artifacts", summary="List the artifacts of a run")
@needs(Right.RUNS_READ)
def list_artifacts(who: Asking, application: Known, run_id: RunIdGiven) -> list[ArtifactTold]:
    """Return the files that a run left behind, newest first."""
    return [ArtifactTold.model_validate(one) for one in run_of(application, who, run_id).artifacts]


@router.get(
    "/artifacts/{artifact_id}", summary="Download an artifact", response_class=StreamingResponse,
    responses={200: _ARTIFACT},
)  # fmt: skip
@needs(Right.RUNS_READ)
def download(
    who: Asking, application: Known, artifact_id: Annotated[str, Path(description="Id of an artifact.")]
) -> StreamingResponse:
    """Return the file, as an attachment; its name in the answer is a suggestion alone."""
    found = application.artifacts.find(artifact_id.lower())
    try:
        run_of(application, who, found["run_id"])
    except NotFound:
        raise NotFound("artifact", artifact_id) from None
    pieces = application.artifacts.read(found)
    # The first one now, so that a file that is not there is an error of this answer, and no answer cut short.
    whole = chain([next(pieces, b"")], pieces)
    name = quote(FilePath(found["name"]).name, safe="")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "Content-Length": str(found["size"]),
    }
    return StreamingResponse(whole, media_type="application/octet-stream", headers=headers)


@router.patch("/runs/{run_id}", summary="Edit a run that has not started")
@needs(Right.RUNS_WRITE)
def edit_run(who: Asking, application: Known, run_id: RunIdGiven, given: RunChange) -> RunTold:
    """Change queue, priority, due time or parameters of a run; 409 once it is under way."""
    run = run_of(application, who, run_id).run
    edit = Edit(given.priority, given.queue, given.due_at, given.parameters)
    return RunTold.model_validate(application.editing.edit(run.id, edit, who.name))


@router.post("/runs/{run_id}/cancel", status_code=HTTPStatus.ACCEPTED, summary="Cancel a run")
@needs(Right.RUNS_WRITE)
def cancel_run(who: Asking, application: Known, run_id: RunIdGiven, given: CancelGiven | None = None) -> CancelTold:
    """Cancel a run that has not started, or ask one that is under way to stop."""
    run = run_of(application, who, run_id).run
    answer = application.steering.cancel(run.id, who.name, given.reason if given is not None else "")
    return CancelTold(run=RunTold.model_validate(answer.run), outcome="asked" if answer.asked else "cancelled")


@router.post("/runs/{run_id}/retry", summary="Retry a failed run")
@needs(Right.RUNS_WRITE)
def retry_run(who: Asking, application: Known, run_id: RunIdGiven) -> RunTold:
    """Make a failed run ready again, with as many tries as it had at first."""
    return RunTold.model_validate(application.steering.retry(run_of(application, who, run_id).run.id, who.name))


def _wish(given: RunGiven, application: Application) -> Wish:
    if given.due_at is not None and given.delay_seconds is not None:
        raise InvalidInput("due_at and delay_seconds exclude each other; give one of them")
    due_at = given.due_at
    if given.delay_seconds is not None:
        due_at = application.clock.now() + timedelta(seconds=given.delay_seconds)
    return Wish(
        given.task, given.parameters, given.queue, given.priority, due_at, span(given.expires_seconds),
        None if given.max_retries is None else given.max_retries + 1, given.labels,
    )  # fmt: skip
