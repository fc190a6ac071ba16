"""Change runs that have not started."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.parameters import read_described
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.runs import Labels, States, pairs, print_runs, require_known, run_json, states_of
from mainspring.edges.cli.screen import print_json, say
from mainspring.edges.cli.times import from_now, read_moment

if TYPE_CHECKING:
    from mainspring.app import Application
    from mainspring.services.editing import Edit
    from mainspring.services.reading import RunFilter

_SHOWN = 10


def edit(
    context: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", help="Id of a run, or its first or last characters; or choose runs by options."
        ),
    ] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", help="New priority: high, normal, low or 0 to 9.")
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="New queue; the run comes last in it.")] = None,
    due: Annotated[
        str | None,
        typer.Option("--due", metavar="TIME", help="Come due then: now, in 10m, or 2026-12-01T09:00 (local time)."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="New value of a parameter; the others stay."),
    ] = None,
    of_task: Annotated[str | None, typer.Option("--of-task", help="Choose runs of this task.")] = None,
    in_queue: Annotated[str | None, typer.Option("--in-queue", help="Choose runs in this queue.")] = None,
    of_schedule: Annotated[str | None, typer.Option("--of-schedule", help="Choose runs of this schedule.")] = None,
    state: States = None,
    label: Labels = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Change the runs that options choose; else they are shown.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Change the priority, queue, due time or parameters of a run that has not started; or of all that options choose.

    Runs chosen by options are only shown unless --yes is given. Each change is audited with what was there before.
    """
    from mainspring.errors import InvalidInput
    from mainspring.services.reading import RunFilter

    application = open_existing(context)
    wanted = RunFilter(states_of(state or []), of_task, in_queue, of_schedule, pairs(label or [], "--label") or None)
    chosen = wanted != RunFilter(states=[])
    if (run is not None) == chosen:
        raise InvalidInput(
            "name one run by its id, or choose runs by --of-task, --in-queue, --of-schedule, --state, --label"
        )
    task = application.steering.require(run).task if run is not None else of_task
    wish = _wish(application, task, priority, queue, due, param or [])
    if run is not None:
        after = application.editing.edit(run, wish, actor())
        if as_json:
            print_json(run_json(after))
        else:
            when = f", due {from_now(after.due_at, application.clock.now())}" if after.state == "scheduled" else ""
            say(f"run {after.id} is changed; it is {after.state} in queue {after.queue}{when}")
        return
    require_known(application, wanted)
    if yes:
        _change(application, wanted, wish, as_json)
    else:
        _show(application, wanted, as_json)


def _wish(
    application: Application,
    task: str | None,
    priority: str | None,
    queue: str | None,
    due: str | None,
    param: list[str],
) -> Edit:
    from mainspring.domain.priority import parse_priority
    from mainspring.errors import InvalidInput
    from mainspring.services.editing import Edit

    parameters: dict[str, Any] = {}
    if param:
        if task is None:
            raise InvalidInput("--param needs the runs of one task; choose it with --of-task")
        described = application.reading.tasks().get(task)
        parameters = read_described({} if described is None else described.schema, param)
    level = None if priority is None else parse_priority(priority)
    return Edit(level, queue, None if due is None else _moment(due, application.clock.now()), parameters)


def _moment(text: str, now: datetime) -> datetime:
    from mainspring.domain.duration import parse_duration
    from mainspring.errors import InvalidInput

    if text.strip().lower() == "now":
        return now
    word, _, span = text.strip().partition(" ")
    if word.lower() != "in":
        return read_moment(text, "--due", now)
    try:
        return now + parse_duration(span)
    except (InvalidInput, OverflowError) as error:
        raise InvalidInput(f"--due {text!r}: {error}") from None


def _change(application: Application, wanted: RunFilter, wish: Edit, as_json: bool) -> None:
    done = application.editing.edit_all(wanted, wish, actor())
    if as_json:
        print_json({"changed": done.changed, "passed_by": done.passed_by})
        return
    began = f"; {done.passed_by:,} had started meanwhile" if done.passed_by else ""
    say(f"{done.changed:,} runs are changed{began}")


def _show(application: Application, wanted: RunFilter, as_json: bool) -> None:
    count = application.editing.count(wanted)
    found = application.editing.find(wanted, _SHOWN)
    if as_json:
        print_json({"would_change": count, "runs": [run_json(run) for run in found]})
        return
    if found:
        print_runs(application, found)
    say(f"{count:,} runs would be changed; say --yes to change them" if count else "no run that has not started fits")
