"""List and save artifacts of runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.screen import Column, print_json, print_table, say
from mainspring.edges.cli.times import from_now
from mainspring.edges.cli.wording import short_id

_COLUMNS = (
    Column("artifact"),
    Column("name", flexible=True),
    Column("bytes", right=True),
    Column("kind", drop=2),
    Column("run", drop=1),
    Column("saved", drop=3),
)
_KEYS = ("id", "run_id", "attempt", "name", "media_type", "size", "sha256", "location", "created_at")


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(no_args_is_help=True, help="List and save what runs have left behind.")
    group.command("list")(list_)
    group.command("save")(save)
    app.add_typer(group, name="artifacts")


def list_(
    context: typer.Context,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Only those of this run.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Show at most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List artifacts, newest first."""
    application = open_existing(context)
    if run is None:
        found: Any = application.reading.artifacts(limit)
    else:
        found = application.reading.run(application.steering.require(run).id).artifacts[:limit]
    now = application.clock.now()
    if as_json:
        print_json({"artifacts": [{key: one[key] for key in _KEYS} for one in found]})
    elif not found:
        say("no artifacts yet; a task saves one with ctx.artifact(name, data)")
    else:
        rows = [
            (one["id"], one["name"], f"{one['size']:,}", one["media_type"], short_id(one["run_id"]),
             from_now(one["created_at"], now))
            for one in found
        ]  # fmt: skip
        print_table(_COLUMNS, rows)


def save(
    context: typer.Context,
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="Id of an artifact, as lists show it.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="File to write, or folder to write it into.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Copy an artifact into a file of your own."""
    from mainspring.errors import Conflict, InvalidInput, NotFound

    found = open_existing(context).reading.artifact(artifact.strip().lower())
    target = path / Path(found["name"]).name if path.is_dir() else path
    if target.exists() and not force:
        raise Conflict(f"{target} exists already; name another file, or give --force")
    source = Path(found["location"])
    if not source.is_file():
        raise NotFound("file", f"{source} for artifact {found['id']} on this host; it lies where its worker ran")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}") from None
    say(f"saved {found['size']:,} bytes to {target}")
