"""List, get and delete artifacts of runs."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import Column, print_json, print_table, say
from mainspring.edges.cli.times import from_now
from mainspring.edges.cli.wording import many, short_id

if TYPE_CHECKING:
    from mainspring.app import Application

_MOST: Final = 10_000
Artifact = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="Id of an artifact, as lists show it; with --run also its name.")
]
OfRun = Annotated[
    str | None, typer.Option("--run", metavar="RUN", help="The run that saved it: then the newest of a name is meant.")
]
_COLUMNS = (
    Column("artifact"),
    Column("name", flexible=True),
    Column("bytes", right=True),
    Column("kind", drop=2),
    Column("run", drop=1),
    Column("saved", drop=3),
    Column("expires", drop=4),
)
_KEYS = ("id", "run_id", "attempt", "name", "media_type", "size", "sha256", "location", "created_at", "expires_at")


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(no_args_is_help=True, help="List, get and delete the files that runs have left behind.")
    group.command("list")(list_)
    group.command("get")(get)
    group.command("delete")(delete)
    group.command("prune")(prune)
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
             from_now(one["created_at"], now), _expiry(one, now))
            for one in found
        ]  # fmt: skip
        print_table(_COLUMNS, rows)


def get(
    context: typer.Context,
    artifact: Artifact,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="File to write, folder to write it into, or - for standard output.")
    ] = Path(),
    run: OfRun = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Copy an artifact into a file of your own; its content is checked against what was saved."""
    from mainspring.errors import Conflict, InvalidInput

    application = open_existing(context)
    found = _find(application, artifact, run)
    pieces = application.artifacts.read(found)
    if str(path) == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    target = path / found["name"] if path.is_dir() else path
    if target.exists() and not force:
        raise Conflict(f"{target} exists already; name another file, or give --force")
    # Beside the target first: what is damaged or cut off replaces nothing.
    part = target.with_name(f".{target.name[:200]}.{found['id'][-12:]}.part")
    try:
        with part.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        part.replace(target)
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    say(f"saved {found['size']:,} bytes to {target}")


def delete(context: typer.Context, artifact: Artifact, run: OfRun = None, as_json: AsJson = False) -> None:
    """Delete an artifact; its run stays."""
    application = open_existing(context)
    found = _find(application, artifact, run)
    application.artifacts.delete(found, actor())
    if as_json:
        print_json({"deleted": {key: found[key] for key in _KEYS}})
    else:
        say(f"deleted {found['name']} ({found['size']:,} bytes)")


def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete artifacts whose time is over, and files that saves which were killed have left; workers do so as well."""
    application = open_existing(context)
    files, now = application.artifacts, application.clock.now()
    if dry_run:
        old, orphans = files.expired(now, _MOST), list(files.orphans(now))
        body: dict[str, Any] = {
            "expired": [{key: one[key] for key in _KEYS} for one in old], "orphans": orphans,
            "bytes": sum(one["size"] for one in old), "dry_run": True,
        }  # fmt: skip
        counts = len(old), body["bytes"], len(orphans), 0
    else:
        done = files.delete_expired(now)
        counts = done.expired, done.size, files.delete_orphans(now), done.failed
        names = ("expired", "bytes", "orphans", "failed")
        body = {**dict(zip(names, counts, strict=True)), "dry_run": False}
    if as_json:
        print_json(body)
        return
    expired, size, rest, failed = counts
    would = "would delete" if dry_run else "deleted"
    say(f"{would} {many(expired, 'artifact')} ({size:,} bytes) and {many(rest, 'orphaned file')}")
    if failed:
        say(f"{many(failed, 'file')} could not be deleted; the log says why", "yellow")


def _find(application: Application, artifact: str, run: str | None) -> dict[str, Any]:
    from mainspring.errors import InvalidInput
    from mainspring.ids import is_id

    if run is None and not is_id(artifact.strip().lower()):
        raise InvalidInput(f"{artifact!r} is no id of an artifact; with --run it is a name")
    of_run = None if run is None else application.steering.require(run).id
    return application.artifacts.find(artifact, of_run)


def _expiry(artifact: dict[str, Any], now: datetime) -> str:
    return "" if artifact["expires_at"] is None else from_now(artifact["expires_at"], now)
