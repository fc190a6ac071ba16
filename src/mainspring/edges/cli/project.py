"""Load the project that the global options name."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    import typer

    from mainspring.app import Project
    from mainspring.config import Loaded

_LOADED: Final = "mainspring.loaded"


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """What stands before the command; kept in the context's `obj`."""

    config: Path | None = None
    database: str | None = None
    debug: bool = False
    """Whether to show where errors arise."""


def options_of(context: typer.Context) -> GlobalOptions:
    """Return the global options of this call."""
    return cast("GlobalOptions", context.obj or GlobalOptions())


def load(context: typer.Context, overrides: Mapping[str, object] | None = None) -> Project:
    """Return the project, none of whose code is imported yet."""
    from mainspring.app import load_project

    given = options_of(context)
    project = load_project(given.config, os.environ, {"database": given.database, **(overrides or {})})
    context.meta[_LOADED] = project.loaded
    return project


def redact(context: typer.Context, text: str) -> str:
    """Return *text* without the secrets that the command's configuration, as far as it was loaded, names."""
    from mainspring.config.secrets import SecretBook

    loaded: Loaded | None = context.meta.get(_LOADED)
    return (SecretBook({}) if loaded is None else loaded.secrets).redact(text)


def global_options(context: typer.Context) -> list[str]:
    """Return the global options as words of a command line, for child processes."""
    given = options_of(context)
    words = [] if given.config is None else ["--config", str(given.config)]
    words += [] if given.database is None else ["--database", given.database]
    return [*words, "--debug"] if given.debug else words


def actor() -> str:
    """Return who acts, for the audit: the name of the user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
