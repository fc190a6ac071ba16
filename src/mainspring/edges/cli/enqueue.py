"""Enqueue a run of a task by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.edges.cli.opening import open_new, project_of
from mainspring.edges.cli.options import AsJson, Timeout, Wait
from mainspring.edges.cli.parameters import read_parameters
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.runs import pairs, run_json
from mainspring.edges.cli.screen import print_json, say
from mainspring.edges.cli.times import from_now, read_moment
from mainspring.edges.cli.waiting import read_timeout, wait_for

if TYPE_CHECKING:
    from mainspring.app import Project


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command("enqueue")(enqueue)


def complete_task(incomplete: str) -> list[str]:
    """Return the tasks of the project in this folder that begin with *incomplete*."""
    import os

    from mainspring.app import load_project
    from mainspring.errors import MainspringError

    try:
        names = load_project(None, os.environ).catalog.names
    except MainspringError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def enqueue(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of the task.", autocompletion=complete_task)],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; lists and mappings as JSON."),
    ] = None,
    params_json: Annotated[
        str | None, typer.Option("--params-json", metavar="JSON", help="All parameters as one JSON object.")
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", help="Queue; a route or the task decides unless given.")
    ] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", help="high, normal, low or 0 (last) to 9 (first).")
    ] = None,
    delay: Annotated[str | None, typer.Option("--delay", help="Come due this much later (30s, 5m, 1h30m).")] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Come due then: 2026-12-01T09:00, local unless it says.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="Cancel it unless it has started this long after coming due.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="A label, for filters.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute the result, whatever an earlier run has left in the cache.")
    ] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Enqueue a run of a task of this project; prints the id of the run.

    Parameters are read as the types that the task's function names: --param count=3 --param 'tickers=["PETR4"]'.
    """
    from mainspring.app import register as describe
    from mainspring.domain.priority import parse_priority
    from mainspring.services.enqueue import Request

    longest = read_timeout(timeout, wait)
    project = project_of(context)
    found = project.catalog.require(task)
    parameters = found.validate(read_parameters(found, param or [], params_json))
    now = project.clock.now()
    request = Request(
        found,
        parameters,
        queue=_queue(project, queue),
        priority=None if priority is None else parse_priority(priority),
        due_at=_due_at(delay, at, now),
        expires=_expires(expires),
        labels=pairs(label or [], "--label"),
        fresh=fresh,
    )
    application = open_new(context)
    describe(application, project)
    run_id = application.enqueuer.enqueue(request, actor())
    if wait:
        if not as_json:
            say(run_id)
        wait_for(application, [run_id], longest, as_json)
        return
    run = application.steering.require(run_id)
    if as_json:
        print_json(run_json(run))
        return
    say(run_id)
    if request.due_at is not None and run.due_at > now:
        say(f"comes due {from_now(run.due_at, application.clock.now())}", "dim")


def _queue(project: Project, name: str | None) -> str | None:
    from mainspring.config.loading import DEFAULT
    from mainspring.domain.queue_order import QueueOrder
    from mainspring.errors import InvalidInput, UnknownName

    if name is None:
        return None
    if len(QueueOrder.parse(name).names) > 1 or ":" in name:
        raise InvalidInput(f"--queue {name!r} names more than one queue")
    written = any(where.startswith("queues") and source != DEFAULT for where, source in project.loaded.sources.items())
    if written and name not in project.queues:
        raise UnknownName("queue", name, project.queues)
    return name


def _due_at(delay: str | None, at: str | None, now: datetime) -> datetime | None:
    from mainspring.domain.duration import parse_duration
    from mainspring.errors import InvalidInput

    if delay is not None and at is not None:
        raise InvalidInput("--delay and --at exclude each other; give one of them")
    if at is not None:
        return read_moment(at, "--at", now)
    if delay is None:
        return None
    try:
        return now + parse_duration(delay)
    except InvalidInput as error:
        raise InvalidInput(f"--delay: {error}") from None
    except OverflowError:
        raise InvalidInput(f"--delay {delay!r} lies outside the years that can be used") from None


def _expires(text: str | None) -> timedelta | None:
    from mainspring.domain.duration import parse_duration
    from mainspring.errors import InvalidInput

    if text is None:
        return None
    try:
        span = parse_duration(text)
    except InvalidInput as error:
        raise InvalidInput(f"--expires: {error}") from None
    if not span:
        raise InvalidInput("--expires 0s would cancel the run at once; give it some time")
    return span
