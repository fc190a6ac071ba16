"""Clear results that are kept for later runs."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import print_json, say
from mainspring.edges.cli.wording import many


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(no_args_is_help=True, help="Clear results that are kept for later runs.")
    group.callback()(lambda: None)
    group.command("clear")(clear)
    app.add_typer(group, name="cache")


def clear(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of the task.")],
    as_json: AsJson = False,
) -> None:
    """Forget the results that are kept of a task: its next runs compute theirs."""
    count = open_existing(context).caching.clear(task, actor())
    if as_json:
        print_json({"task": task, "cleared": count})
    else:
        say(f"forgot {many(count, 'result')} of {task}")
