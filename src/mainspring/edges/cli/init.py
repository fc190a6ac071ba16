"""Start a project: write files that run as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import typer

from mainspring.edges.cli.screen import say

_FILES: Final = {
    "mainspring.yaml": "mainspring.yaml",
    "tasks.py": "tasks.py",
    ".gitignore": "gitignore",
    ".env.example": "env.example",
}
"""Path in the project to the name of the file that is copied there."""


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command("init")(init)


def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIRECTORY]", help="Folder of the project.")] = Path(),
    pack: Annotated[str | None, typer.Option("--pack", help="Start with this pack, such as market.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist already.")] = False,
) -> None:
    """Write a commented starter project that runs; files that exist already are never replaced unasked."""
    from mainspring.errors import Conflict

    contents = starter_files(pack)
    _refuse_no_folder(directory)
    existing = [name for name in contents if (directory / name).exists()]
    if existing and not force:
        verb = "exists" if len(existing) == 1 else "exist"
        raise Conflict(
            f"{', '.join(existing)} {verb} already in {_shown(directory)}; nothing was written; name another folder, "
            "or replace with --force"
        )
    for name in contents:
        _write(directory / name, contents[name])
    say(f"wrote {', '.join(contents)} to {_shown(directory)}")
    say()
    for line in _next_steps(directory, pack):
        say(line)


def starter_files(pack: str | None) -> dict[str, str]:
    """Return the files of a new project by their paths, those of the pack of this name if one is given.

    Raises:
        UnknownName: no installed pack has this name.
    """
    here = files("mainspring.edges.cli") / "starter"
    plain = {path: (here / name).read_text(encoding="utf-8") for path, name in _FILES.items()}
    if pack is None:
        return plain
    from mainspring.services.packs import find_pack

    found = find_pack(pack)
    given: Mapping[str, str] = found.starter_files()
    if given:
        return {".gitignore": plain[".gitignore"], **given}
    return {**plain, "mainspring.yaml": f"packs: [{pack}]\n\n{plain['mainspring.yaml']}"}


def _refuse_no_folder(directory: Path) -> None:
    from mainspring.errors import InvalidInput

    for place in (directory, *directory.parents):
        if place.exists() and not place.is_dir():
            raise InvalidInput(f"{place} is a file; name a folder")


def _write(path: Path, text: str) -> None:
    from mainspring.errors import InvalidInput

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None


def _shown(directory: Path) -> str:
    return "this folder" if directory.absolute() == Path.cwd() else str(directory)


def _next_steps(directory: Path, pack: str | None) -> list[str]:
    steps = [] if directory.absolute() == Path.cwd() else [f"cd {os.path.relpath(directory)}"]
    steps += ["mainspring validate", "mainspring up"]
    if pack is None:
        steps += ["mainspring enqueue tasks.greet --param name=world --wait     # in another terminal"]
    else:
        steps += ["mainspring schedules list                                    # in another terminal"]
    steps += ["mainspring status"]
    return ["next:", *(f"  {step}" for step in steps)]
