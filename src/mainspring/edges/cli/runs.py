"""List, show, edit, cancel and retry runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson, Reason, RunIdArgument, RunOrNone
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import Cell, Column, Row, is_terminal, print_json, print_table, say
from mainspring.edges.cli.times import from_now, local_zone, span, stamp
from mainspring.edges.cli.wording import short_id, state_cell, took

if TYPE_CHECKING:
    from mainspring.app import Application
    from mainspring.services.reading import RunFilter, Step, StoredRun

_COLUMNS = (
    Column("run"),
    Column("state"),
    Column("task", flexible=True),
    Column("from", drop=5, flexible=True),
    Column("queue", drop=6),
    Column("priority", drop=7),
    Column("tries", drop=4),
    Column("created", drop=2),
    Column("", drop=3),
    Column("took", drop=8, right=True),
    Column("note", drop=1, flexible=True),
)

States = Annotated[
    list[str] | None, typer.Option("--state", help="Only runs in this state; may be given several times.")
]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Only runs with this label.")]


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    from mainspring.edges.cli import edit, graphs, run

    group = typer.Typer(no_args_is_help=True, help="List, show, edit, cancel and retry runs.")
    group.command("list")(list_)
    group.command("show")(run.show)
    group.command("logs")(run.logs)
    group.command("edit")(edit.edit)
    group.command("tree")(graphs.tree)
    group.command("cancel")(cancel)
    group.command("retry")(retry)
    app.add_typer(group, name="runs")


def list_(
    context: typer.Context,
    state: States = None,
    task: Annotated[str | None, typer.Option("--task", help="Only runs of this task.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="Only runs in this queue.")] = None,
    schedule: Annotated[str | None, typer.Option("--schedule", help="Only runs of this schedule.")] = None,
    label: Labels = None,
    graph: Annotated[str | None, typer.Option("--graph", metavar="ID", help="Only runs of this graph.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Show at most this many.")] = 20,
    before: Annotated[
        str | None, typer.Option("--before", metavar="RUN", help="Show runs older than this one: the next page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first.

    On a terminal an id is shown by its last 12 characters, which all commands take.
    """
    from mainspring.services.reading import RunFilter

    states, labels = states_of(state or []), pairs(label or [], "--label") or None
    application = open_existing(context)
    of_graph = None if graph is None else application.graphs.require(graph)
    wanted = RunFilter(states, task, queue, schedule, labels, graph=of_graph)
    require_known(application, wanted)
    start = None if before is None else application.steering.require(before).id
    found = application.reading.runs(wanted, limit, start)
    following = found[-1].id if len(found) == limit else None
    if as_json:
        steps = application.reading.steps([run.id for run in found if run.state == "running"])
        listed = [{**run_json(run), "progress": step_json(steps.get(run.id))} for run in found]
        print_json({"runs": listed, "next_before": following})
    elif not found:
        _say_none(wanted, before)
    else:
        print_runs(application, found)
        if following is not None:
            say(f"older ones: --before {short_id(following)}", "dim")


def cancel(
    context: typer.Context,
    run: RunOrNone = None,
    graph: Annotated[
        str | None, typer.Option("--graph", metavar="ID", help="Cancel all runs of this graph instead.")
    ] = None,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a graph is cancelled.")] = False,
    as_json: AsJson = False,
) -> None:
    """Cancel a run that has not started, or ask a running one to stop; or do so with all runs of a graph."""
    from mainspring.edges.cli.graphs import cancel_graph
    from mainspring.errors import InvalidInput

    application = open_existing(context)
    if (run is None) == (graph is None):
        raise InvalidInput("name a run, or a graph with --graph: one of the two")
    if graph is not None:
        cancel_graph(application, graph, reason, yes=yes, as_json=as_json)
        return
    answer = application.steering.cancel(run or "", actor(), reason)
    if as_json:
        print_json({**run_json(answer.run), "cancel_asked": answer.asked})
    else:
        say(answer.in_words())


def retry(
    context: typer.Context,
    run: RunIdArgument,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Forget its checkpoint, from which it goes on otherwise.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a failed run ready again, with as many tries as it had at first."""
    after = open_existing(context).steering.retry(run, actor(), from_start=from_start)
    if as_json:
        print_json(run_json(after))
    else:
        say(f"run {after.id} is {after.state} again")


def run_json(run: StoredRun) -> dict[str, Any]:
    """Return a run as JSON values; the keys are stable."""
    names = (
        "id", "task", "queue", "priority", "state", "state_reason", "failure_kind", "failure_message", "kind",
        "attempt", "tries", "losses", "max_tries", "at_most_once", "schedule", "fire_at", "member", "due_at",
        "expires_at", "cancel_requested_at", "labels", "owner_id", "created_at", "started_at", "finished_at",
        "decided_at", "failure_signature", "replay_of",
    )  # fmt: skip
    return {**{name: getattr(run, name) for name in names}, "graph": run.root_id}


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Return texts such as `team=data` as a mapping.

    Raises:
        InvalidInput: one has no `=`, no name, or a name that was given before.
    """
    from mainspring.errors import InvalidInput

    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f"{option} {text!r} has no name and value; write {option} name=value")
        if name.strip() in found:
            raise InvalidInput(f"{option} names {name.strip()!r} twice")
        found[name.strip()] = value
    return found


def print_runs(application: Application, found: Sequence[StoredRun]) -> None:
    """Print runs as a table, and the zone of its times."""
    now, (where, zone) = application.clock.now(), local_zone()
    running = [run.id for run in found if run.state == "running"]
    steps = application.reading.steps(running) if running else {}
    rows = [_row(run, now, where, steps.get(run.id)) for run in found]
    used = [place for place in range(len(_COLUMNS)) if any(_text(row[place]) for row in rows)]
    print_table([_COLUMNS[place] for place in used], [[row[place] for place in used] for row in rows])
    say(f"times: {zone}", "dim")


def _row(run: StoredRun, now: Any, where: Any, step: Step | None = None) -> Row:
    from mainspring.domain.priority import priority_word

    return (
        short_id(run.id) if is_terminal() else run.id,
        state_cell(run.state),
        run.task,
        " ".join(part for part in (run.schedule or "", run.member) if part),
        run.queue,
        priority_word(run.priority),
        f"{run.tries}/{run.max_tries}",
        stamp(run.created_at, where),
        from_now(run.created_at, now),
        took(run.started_at, run.finished_at),
        Cell(run_note(run, now) or ("" if step is None else step_in_words(step)), "red" if run.failure_kind else "dim"),
    )


def run_note(run: StoredRun, now: Any) -> str:
    """Return what else there is to say of a run in one line."""
    from mainspring.domain.states import RunState

    if run.failure_message:
        return f"{run.failure_kind}: {run.failure_message}".partition("\n")[0]
    if run.state is RunState.SCHEDULED:
        due = f"due {from_now(run.due_at, now)}"
        return f"{due}: {run.state_reason}" if run.state_reason else due
    if run.cancel_requested_at is not None and run.state is RunState.RUNNING:
        return "was asked to cancel"
    return (run.state_reason or "").partition("\n")[0]


def step_in_words(step: Step) -> str:
    """Return how far a run is, such as `30 of 50 (60 %): parsing — about 3 min left`."""
    from mainspring.domain.progress import rounded

    said = f"{step.done:g}"
    if step.total:
        said = f"{step.done:g} of {step.total:g} ({100 * step.done / step.total:.0f} %)"
    said = f"{said}: {step.note}" if step.note else said
    if step.stalled_for is not None:
        return f"{said} — nothing new for {span(step.stalled_for)}"
    return f"{said} — about {span(rounded(step.left))} left" if step.left else said


def step_json(step: Step | None) -> dict[str, Any] | None:
    """Return how far a run is as JSON values; times are seconds."""
    if step is None:
        return None
    return {
        "done": step.done,
        "total": step.total,
        "note": step.note,
        "percent": None if not step.total else round(100 * step.done / step.total, 1),
        "seconds_left": None if step.left is None else round(step.left.total_seconds(), 1),
        "stalled_for": None if step.stalled_for is None else round(step.stalled_for.total_seconds(), 1),
        "reported_at": step.reported_at,
    }


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def states_of(given: Sequence[str]) -> list[Any]:
    """Return the states of these names."""
    from mainspring.domain.states import RunState
    from mainspring.errors import UnknownName

    known = {state.value: state for state in RunState}
    for name in given:
        if name.lower() not in known:
            raise UnknownName("state", name, known)
    return [known[name.lower()] for name in given]


def require_known(application: Application, wanted: RunFilter) -> None:
    """Refuse a filter by names that nobody has ever used: an empty list would hide the slip."""
    from mainspring.errors import UnknownName
    from mainspring.services.queues import Queueing

    known_tasks: Mapping[str, Any] = application.reading.tasks()
    if wanted.task is not None and wanted.task not in known_tasks and not application.reading.runs(wanted, 1):
        raise UnknownName("task", wanted.task, known_tasks)
    if wanted.schedule is not None and not application.reading.runs(wanted, 1):
        application.scheduling.require(wanted.schedule)
    if wanted.queue is not None:
        Queueing(application.database, application.clock).require(wanted.queue)


def _say_none(wanted: RunFilter, before: str | None) -> None:
    from mainspring.services.reading import RunFilter

    if wanted == RunFilter(states=[]) and before is None:
        say("no runs yet; start one with `mainspring enqueue TASK` or `mainspring schedules trigger NAME`")
    elif before is not None:
        say("no older runs")
    else:
        say("no run fits; leave out an option to see more")
