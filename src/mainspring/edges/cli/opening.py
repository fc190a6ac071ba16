"""Open the database that the global options and the configuration name; it is closed with the command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mainspring.edges.cli.project import load, options_of
from mainspring.errors import StoreUnavailable

if TYPE_CHECKING:
    import typer

    from mainspring.app import Application, Project

_PROJECT: Final = "mainspring.project"
_APPLICATION: Final = "mainspring.application"
_SQLITE: Final = "sqlite:///"
PATIENCE: Final = 2.0
"""Seconds for which a server that does not answer is tried again: a person waits."""


def project_of(context: typer.Context) -> Project:
    """Return the project, loaded once in a command; none of its code is imported yet."""
    known: Project | None = context.meta.get(_PROJECT)
    if known is None:
        known = context.meta[_PROJECT] = load(context)
    return known


def open_new(context: typer.Context) -> Application:
    """Return the services on the project's database, made or brought to this release's schema where it is SQLite.

    Raises:
        StoreUnavailable: it cannot be used; a PostgreSQL database is not changed by opening it.
    """
    from mainspring.app import ensure_schema

    application = open_bare(context)
    ensure_schema(application)
    return application


def open_existing(context: typer.Context) -> Application:
    """Return the services on a database that exists already; a command that only looks makes no file.

    Raises:
        StoreUnavailable: it does not exist, or cannot be used.
    """
    missing = missing_file(context)
    if missing is not None:
        raise StoreUnavailable(
            f"there is no database {missing} yet; `mainspring up` makes it, and so do apply, enqueue and db upgrade"
        )
    from mainspring.services.schema import require_some

    require_some(open_bare(context).database)
    return open_new(context)


def missing_file(context: typer.Context) -> Path | None:
    """Return the SQLite file that the project names where it does not exist yet."""
    address = _address(context)
    if not address.startswith(_SQLITE):
        return None
    path = Path(address.removeprefix(_SQLITE).partition("?")[0])
    return None if path.exists() else path


def open_bare(context: typer.Context) -> Application:
    """Return the services on the database, whatever schema it has."""
    known: Application | None = context.meta.get(_APPLICATION)
    if known is None:
        known = context.meta[_APPLICATION] = _without_file(context) or project_of(context).open(PATIENCE)
        context.find_root().call_on_close(known.close)
    return known


def _without_file(context: typer.Context) -> Application | None:
    """Return the services on the database that `--database` names where there is no configuration file at all."""
    given = options_of(context)
    if given.database is None or given.config is not None or not _no_file():
        return None
    from mainspring.app import Application, open_database

    return Application(open_database(given.database, retry_for=PATIENCE))


def _no_file() -> bool:
    from mainspring.config.environment import CONFIG
    from mainspring.config.loading import FILE_NAME

    return not os.environ.get(CONFIG) and not Path(FILE_NAME).exists()


def _address(context: typer.Context) -> str:
    given = options_of(context)
    if given.database is not None and given.config is None and _no_file():
        return given.database
    return project_of(context).database_address()
