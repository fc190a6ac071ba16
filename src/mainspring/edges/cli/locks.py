"""List and free the locks that users' code takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import Column, print_json, print_table, say
from mainspring.edges.cli.times import from_now

if TYPE_CHECKING:
    from mainspring.services.locks import LockView

_COLUMNS = (
    Column("lock", flexible=True),
    Column("held by", flexible=True),
    Column("fence", right=True, drop=1),
    Column("since"),
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(no_args_is_help=True, help="List and free locks that your own code takes.")
    group.command("list")(list_)
    group.command("release")(release)
    app.add_typer(group, name="locks")


def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the locks that somebody has taken and not given back."""
    application = open_existing(context)
    found, now = application.locking.list(), application.clock.now()
    if as_json:
        print_json({"locks": [_json(lock) for lock in found]})
    elif not found:
        say("no lock is held")
    else:
        rows = [(lock.name, lock.holder, str(lock.fence), from_now(lock.acquired_at, now)) for lock in found]
        print_table(_COLUMNS, rows)


def release(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the lock.")],
    as_json: AsJson = False,
) -> None:
    """Free a lock whatever its holder does: that one finds it lost at its next renewal."""
    freed = open_existing(context).locking.take_away(name, actor())
    if as_json:
        print_json(_json(freed))
    else:
        say(f"lock {name!r} is free; {freed.holder} held it")


def _json(lock: LockView) -> dict[str, object]:
    return {"name": lock.name, "holder": lock.holder, "fence": lock.fence, "acquired_at": lock.acquired_at}
