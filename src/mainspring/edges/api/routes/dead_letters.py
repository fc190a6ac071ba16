"""Dead letters, the failed runs on which nobody has decided: groups, and what becomes of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from mainspring.domain.access import Right, owner_filter
from mainspring.domain.rate import Rate
from mainspring.edges.api.models import At, Cursor, Given, Limit, Moment, Page, Priority, Told, after_cursor, page
from mainspring.edges.api.repeatable import Repeatable
from mainspring.edges.api.routes.runs import Label, RunTold, read_labels
from mainspring.edges.api.security import Asking, Caller, Known, needs
from mainspring.errors import InvalidInput, NotFound
from mainspring.ids import RunId, is_id
from mainspring.services.dead_letters import DeadFilter, Edit, Group, Look, RunFilter

router = APIRouter(tags=["dead letters"], route_class=Repeatable)
Signature = Annotated[str, Path(description="Signature of a group.", max_length=16)]


class GroupTold(Told):
    """Dead letters that failed in the same way."""

    signature: str
    task: str
    count: int
    first_at: At
    last_at: At
    example: str = Field(description="Id of the newest of them.")
    error_type: str
    message: str = Field(description="Without what varies between them.")
    place: str = Field(description="The innermost function of the task's code.")
    traceback: str | None


class DeadGiven(Given):
    """Which dead letters are meant: all conditions hold; `all` says that none is wanted."""

    ids: list[str] | None = Field(None, max_length=1000)
    signature: str | None = Field(None, max_length=16)
    task: str | None = None
    queue: str | None = None
    schedule: str | None = None
    labels: dict[str, str] = Field({})
    since: Moment | None = None
    until: Moment | None = None
    text: str | None = Field(None, description="Part of the message.", max_length=1000)
    all: bool = False


class DiscardGiven(DeadGiven):
    """Dead letters of which nothing is to become."""

    reason: str = Field("", max_length=1000)


class ReplayGiven(DeadGiven):
    """Dead letters whose work is to be done again, and with what other parameters."""

    set: dict[str, str] = Field({}, description="Parameters for all, as texts that are read as the task wants them.")
    each: dict[str, dict[str, Any]] = Field({}, description="Parameters for single runs, by id; they win.")
    to_queue: str | None = None
    priority: Priority | None = None
    rate: str | None = Field(None, description="How fast they come due.", examples=["10/min"], max_length=50)
    from_checkpoint: bool = True


class ChangedTold(Told):
    """What becomes of one parameter."""

    name: str
    count: int
    before: Any
    after: Any


class ReplayLookTold(Told):
    """What a replay would do."""

    count: int
    replayable: int
    by_task: dict[str, int]
    refused: dict[str, int] = Field(description="Why runs would be left as they are: the commonest reasons.")
    changed: list[ChangedTold]
    checkpoints: int


class ReplayedTold(Told):
    """What a replay did."""

    count: int
    until: At | None = Field(description="When the last of them comes due.")


class DecidedTold(Told):
    """On how many was decided."""

    count: int


@router.get("/dead-letters", summary="List dead letters by what they have in common")
@needs(Right.RUNS_READ)
def list_groups(
    who: Asking,
    application: Known,
    task: str | None = None,
    queue: str | None = None,
    schedule: str | None = None,
    label: Label = [],  # noqa: B006 - read alone
    since: Moment | None = None,
    until: Moment | None = None,
    text: str | None = None,
    limit: Limit = 20,
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> list[GroupTold]:
    """Return groups, the largest first; the newest 100,000 dead letters are looked at."""
    like = RunFilter((), task, queue, schedule, read_labels(label), who.owner)
    wanted = DeadFilter(like, since=since, until=until, text=text)
    return [_group(one) for one in application.dead_letters.groups(wanted, limit, offset)]


@router.get("/dead-letters/{signature}", summary="List the dead letters of a group")
@needs(Right.RUNS_READ)
def list_dead(
    who: Asking, application: Known, signature: Signature, limit: Limit = 50, cursor: Cursor = None
) -> Page[RunTold]:
    """Return the runs of one signature, newest first; 404 where there is none."""
    wanted, before = DeadFilter(RunFilter(owner_id=who.owner), signature=signature), after_cursor(cursor)
    found = application.dead_letters.runs(wanted, limit + 1, None if before is None else RunId(before))
    if not found and before is None:
        raise NotFound("dead letter", f"with the signature {signature}")
    return page(found, limit, RunTold.model_validate)


@router.post("/dead-letters/replay/look", summary="Look what a replay would do")
@needs(Right.RUNS_READ)
def look_at_replay(who: Asking, application: Known, given: ReplayGiven) -> ReplayLookTold:
    """Return what a replay would do; nothing is done."""
    look: Look = application.dead_letters.look(_filter(who, given), _edit(given))
    names = ("count", "replayable", "by_task", "refused", "checkpoints")
    changed = [ChangedTold.model_validate(one) for one in look.changed]
    return ReplayLookTold(changed=changed, **{name: getattr(look, name) for name in names})


@router.post("/dead-letters/replay", summary="Replay dead letters")
@needs(Right.RUNS_WRITE)
def replay(who: Asking, application: Known, given: ReplayGiven) -> ReplayedTold:
    """Make a new run of each dead letter that can be replayed; each is decided once."""
    letters = application.dead_letters
    return ReplayedTold.model_validate(letters.replay(letters.look(_filter(who, given), _edit(given)), who.name))


@router.post("/dead-letters/retry", summary="Retry dead letters")
@needs(Right.RUNS_WRITE)
def retry(who: Asking, application: Known, given: DeadGiven) -> DecidedTold:
    """Make the same runs ready again."""
    return DecidedTold(count=application.dead_letters.retry(_filter(who, given), who.name))


@router.post("/dead-letters/discard", summary="Discard dead letters")
@needs(Right.RUNS_WRITE)
def discard(who: Asking, application: Known, given: DiscardGiven) -> DecidedTold:
    """Decide that nothing becomes of them; restore undoes it."""
    return DecidedTold(count=application.dead_letters.discard(_filter(who, given), who.name, given.reason))


@router.post("/dead-letters/restore", summary="Restore discarded dead letters")
@needs(Right.RUNS_WRITE)
def restore(who: Asking, application: Known, given: DeadGiven) -> DecidedTold:
    """Make discarded runs dead letters again."""
    return DecidedTold(count=application.dead_letters.restore(_filter(who, given), who.name))


def _filter(who: Caller, given: DeadGiven) -> DeadFilter:
    for one in given.ids or ():
        if not is_id(one):
            raise InvalidInput(f"{one[:60]!r} is not the id of a run")
    like = RunFilter(
        (), given.task, given.queue, given.schedule, given.labels or None, owner_filter(who.principal, who.right)
    )
    ids = None if given.ids is None else [RunId(one.lower()) for one in given.ids]
    wanted = DeadFilter(like, given.signature, ids, given.since, given.until, given.text)
    if not given.all and wanted == DeadFilter(RunFilter(owner_id=like.owner_id)):
        raise InvalidInput("say which dead letters are meant, or send all: true")
    return wanted


def _edit(given: ReplayGiven) -> Edit:
    rate = None if given.rate is None else Rate.parse(given.rate)
    for one in given.each:
        if not is_id(one):
            raise InvalidInput(f"each: {one[:60]!r} is not the id of a run")
    each = {RunId(one.lower()): values for one, values in given.each.items()}
    return Edit(given.set, each, given.to_queue, given.priority, rate, given.from_checkpoint)


def _group(group: Group) -> GroupTold:
    symptom = group.symptom
    names = ("signature", "count", "first_at", "last_at", "example", "traceback")
    return GroupTold(
        task=symptom.task, error_type=symptom.error_type, message=symptom.message, place=symptom.place,
        **{name: getattr(group, name) for name in names},
    )  # fmt: skip
