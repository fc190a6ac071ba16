"""Take over a copied or restored SQLite file."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import is_terminal, print_json, say
from mainspring.edges.cli.wording import many
from mainspring.errors import Conflict, InvalidInput

_QUESTION = """{location} is a copy of {original}.
Make sure that the original no longer runs: both would do the same work.

  continue  go on where the copy stood: what was missed since follows each
            schedule's misfire policy, and unfinished runs run (once more)
  skip      nothing that was due up to now happens any more: fire times
            are recorded as skipped, unfinished runs are cancelled
"""


def adopt(
    context: typer.Context,
    skip: Annotated[
        bool | None,
        typer.Option("--skip/--continue", help="Skip what was due until now, or go on where the copy stood."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take over a copied or restored SQLite file, which starts nothing until then; asks how."""
    from mainspring.services import adoption

    application = open_existing(context)
    database = application.database
    original = adoption.copied_from(database)
    if original is None:
        raise Conflict(f"{database.location} is no copy; there is nothing to adopt")
    if skip is None:
        skip = _ask(_QUESTION.format(location=database.location, original=original))
    done = adoption.adopt(database, application.clock, actor(), skip=skip)
    if as_json:
        print_json({"database": database.location, "how": "skip" if skip else "continue",
                    "skipped": done.skipped, "cancelled": done.cancelled})  # fmt: skip
        return
    say(f"{database.location} is adopted and works from now on")
    if skip:
        say(f"{many(done.skipped, 'fire time')} skipped and {many(done.cancelled, 'unfinished run')} cancelled")


def _ask(question: str) -> bool:
    if not is_terminal():
        raise InvalidInput(
            "say how to adopt the copy: --continue goes on where it stood, --skip leaves out what was due"
        )
    say(question)
    answer = typer.prompt("continue, skip or leave it", default="leave it").strip().lower()
    if answer not in ("continue", "skip"):
        raise typer.Abort
    return bool(answer == "skip")
