"""Say which schema a database has, and bring it to that of this release."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.schema import CreateSchema

from mainspring.errors import StoreUnavailable
from mainspring.ids import uuid7
from mainspring.store.database import Database, Tx
from mainspring.store.schema import MIN_APP_VERSION, SCHEMA_VERSION, meta
from mainspring.version import VERSION

_ALEMBIC = threading.Lock()
"""Alembic keeps what it works on in module globals: one upgrade at a time in a process."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The schema of a database beside that of this release."""

    current: str | None
    """None where there is no schema yet."""
    wanted: str = SCHEMA_VERSION
    oldest_release: str = MIN_APP_VERSION
    """The oldest release that may work on it, as the database says."""

    @property
    def is_current(self) -> bool:
        """Return whether this release can work on the database: on its own schema, and on newer ones that allow it."""
        return self.current is not None and self.current >= self.wanted and not self.is_too_new

    @property
    def is_too_new(self) -> bool:
        """Return whether the database belongs to releases that this one cannot work beside."""
        return _numbers(self.oldest_release) > _numbers(VERSION)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


class SchemaOutdated(StoreUnavailable):
    """The database has not the schema that this release needs."""


def status(database: Database) -> SchemaStatus:
    """Return which schema *database* has."""
    if "meta" not in database.table_names():
        return SchemaStatus(None)
    query = sqlalchemy.select(meta.c.key, meta.c.value).where(meta.c.key.in_(("schema_version", "min_app_version")))
    found = {row.key: row.value for row in database.read(lambda tx: tx.core(query).all())}
    oldest = found.get("min_app_version", MIN_APP_VERSION)
    return SchemaStatus(found.get("schema_version"), oldest_release=oldest)


def require_current(database: Database) -> None:
    """Refuse to work on a schema that this release does not know or that does not know this release.

    Raises:
        SchemaOutdated: says what to do.
    """
    found = status(database)
    if found.is_current:
        return
    if found.current is None:
        raise SchemaOutdated(f"{database.location} has no Mainspring tables yet; run `mainspring db upgrade`")
    if found.is_too_new:
        raise SchemaOutdated(
            f"{database.location} has schema {found.current} of a newer release, which works with Mainspring "
            f"{found.oldest_release} and later; this is {VERSION}: install a newer one"
        )
    raise SchemaOutdated(
        f"{database.location} has schema {found.current}, this release needs {found.wanted}; "
        "run `mainspring db upgrade`"
    )


def upgrade(database: Database) -> SchemaStatus:
    """Bring *database* to the schema of this release under a lock; return which schema it had before.

    Processes of the release before go on working meanwhile and afterwards, unless the new schema says otherwise.
    """
    before = status(database)
    if before.is_current:
        return before
    if before.is_too_new:
        require_current(database)
    database.write(_migrate)
    return before


def _migrate(tx: Tx, to: str = SCHEMA_VERSION) -> None:
    # Alembic is slow to import and needed once in the life of a database.
    from alembic import command
    from alembic.config import Config

    # SQLAlchemy now counts itself in a transaction, so that Alembic leaves beginning and committing to us.
    tx.core(sqlalchemy.text("SELECT 1"))
    schema = _prepare_postgres(tx) if tx.dialect == "postgresql" else None
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = tx.connection
    config.attributes["schema"] = schema
    with _ALEMBIC:
        command.upgrade(config, to)
    _write_meta(tx, "schema_version", to)
    _write_meta(tx, "min_app_version", MIN_APP_VERSION)
    if tx.core(sqlalchemy.select(meta.c.value).where(meta.c.key == "installation_id")).scalar() is None:
        _write_meta(tx, "installation_id", uuid7())


def _prepare_postgres(tx: Tx) -> str:
    schema = str(tx.connection.get_execution_options()["schema_translate_map"][None])
    # Two that upgrade at once take turns; the lock ends with the transaction, which a pooler keeps on one connection.
    tx.connection.execute(
        sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"mainspring {schema}"}
    )
    tx.allow(None)
    tx.connection.execute(CreateSchema(schema, if_not_exists=True))
    return schema


def _write_meta(tx: Tx, key: str, value: str) -> None:
    tx.core(sqlalchemy.delete(meta).where(meta.c.key == key))
    tx.core(sqlalchemy.insert(meta).values(key=key, value=value))


def renew_installation_id(tx: Tx) -> None:
    """Tell this installation from the one whose copy it was."""
    _write_meta(tx, "installation_id", uuid7())


def installation_id(database: Database) -> str:
    """Return the id that tells this installation from others."""
    query = sqlalchemy.select(meta.c.value).where(meta.c.key == "installation_id")
    found: Any = database.read(lambda tx: tx.core(query).scalar())
    return str(found)
