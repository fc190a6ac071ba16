"""List, pause, resume and limit queues."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson, Reason
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import Cell, Column, print_json, print_table, say
from mainspring.edges.cli.times import from_now
from mainspring.edges.cli.wording import state_cell

if TYPE_CHECKING:
    from mainspring.services.queues import Queueing
    from mainspring.services.reading import QueueDepth

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the queue.")]
_COLUMNS = (
    Column("queue"),
    Column("state"),
    Column("ready", right=True),
    Column("running", right=True),
    Column("held", right=True, drop=3),
    Column("limits", drop=4),
    Column("ready by priority", drop=1),
    Column("about", drop=2, flexible=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(no_args_is_help=True, help="List, pause, resume and limit queues.")
    group.command("list")(list_)
    group.command("pause")(pause)
    group.command("resume")(resume)
    group.command("limit")(limit)
    app.add_typer(group, name="queues")


def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List queues with what waits in them and what runs."""
    application = open_existing(context)
    found, now = application.reading.queues(), application.clock.now()
    if as_json:
        print_json({"queues": [queue_json(queue) for queue in found]})
    elif not found:
        say("no queues yet; the first run or `mainspring apply` makes them")
    else:
        print_table(_COLUMNS, [_row(queue, now) for queue in found])


def pause(context: typer.Context, name: NameArgument, reason: Reason = "", as_json: AsJson = False) -> None:
    """Pause a queue: its runs wait where they are; what runs already goes on."""
    _say(_queueing(context).pause(name, actor(), reason), as_json, f"queue {name!r} is paused")


def resume(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """End the pause of a queue; workers claim from it at once."""
    _say(_queueing(context).resume(name, actor()), as_json, f"queue {name!r} is resumed")


def limit(
    context: typer.Context,
    name: NameArgument,
    running: Annotated[
        int | None, typer.Option("--running", min=1, max=100_000, help="Runs of it at the same time, on all workers.")
    ] = None,
    per_key: Annotated[
        int | None, typer.Option("--per-key", min=1, max=100_000, help="The same for each concurrency key alone.")
    ] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Take both limits away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Limit how many runs of a queue run at the same time; what runs already counts and goes on."""
    from mainspring.errors import InvalidInput

    if lift == (running is not None or per_key is not None):
        raise InvalidInput("give --running, --per-key or both, or --lift alone to take the limits away")
    queueing = _queueing(context)
    before = queueing.require(name).limits
    after = queueing.limit(
        name,
        actor(),
        running=None if lift else running or before.running,
        per_key=None if lift else per_key or before.per_key,
    )
    _say(after, as_json, f"queue {name!r} has no limits" if lift else f"queue {name!r} is limited to {after.limits}")


def queue_json(queue: QueueDepth) -> dict[str, Any]:
    """Return a queue as JSON values; the keys are stable."""
    names = ("name", "description", "paused_at", "paused_by", "pause_reason", "ready", "running", "held")
    by_priority = {str(priority): count for priority, count in sorted(queue.ready_by_priority.items(), reverse=True)}
    limits = {"running": queue.limits.running, "per_key": queue.limits.per_key}
    return {**{name: getattr(queue, name) for name in names}, "ready_by_priority": by_priority, "limits": limits}


def _queueing(context: typer.Context) -> Queueing:
    from mainspring.services.queues import Queueing

    application = open_existing(context)
    return Queueing(application.database, application.clock)


def _say(queue: QueueDepth, as_json: bool, said: str) -> None:
    if as_json:
        print_json(queue_json(queue))
    else:
        waiting = f"; {queue.ready:,} ready" if queue.ready else ""
        say(said + waiting)


def _row(queue: QueueDepth, now: datetime) -> tuple[str | Cell, ...]:
    about = queue.description
    if queue.paused_at is not None:
        why = f": {queue.pause_reason}" if queue.pause_reason else ""
        about = f"paused by {queue.paused_by} {from_now(queue.paused_at, now)}{why}"
    state = state_cell("on" if queue.paused_at is None else "paused")
    counts = (f"{queue.ready:,}", f"{queue.running:,}", f"{queue.held:,}")
    return queue.name, state, *counts, str(queue.limits), _by_priority(queue.ready_by_priority), about


def _by_priority(ready: Mapping[int, int]) -> str:
    from mainspring.domain.priority import priority_word

    return ", ".join(f"{priority_word(priority)} {count:,}" for priority, count in sorted(ready.items(), reverse=True))
