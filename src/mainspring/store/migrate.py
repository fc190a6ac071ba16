"""Say which schema a database has, and bring it to that of this release."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.schema import CreateSchema

from mainspring.errors import StoreUnavailable
from mainspring.ids import uuid7
from mainspring.store.database import Database, Tx
from mainspring.store.schema import SCHEMA_VERSION, meta

_ALEMBIC = threading.Lock()
"""Alembic keeps what it works on in module globals: one upgrade at a time in a process."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The schema of a database beside that of this release."""

    current: str | None
    """None where there is no schema yet."""
    wanted: str = SCHEMA_VERSION

    @property
    def is_current(self) -> bool:
        """Return whether this release can work on the database."""
        return self.current == self.wanted


class SchemaOutdated(StoreUnavailable):
    """The database has not the schema that this release needs."""


def status(database: Database) -> SchemaStatus:
    """Return which schema *database* has."""
    if "meta" not in database.table_names():
        return SchemaStatus(None)
    query = sqlalchemy.select(meta.c.value).where(meta.c.key == "schema_version")
    return SchemaStatus(database.read(lambda tx: tx.core(query).scalar()))


def require_current(database: Database) -> None:
    """Refuse to work on another schema than this release's.

    Raises:
        SchemaOutdated: says what to do.
    """
    found = status(database)
    if found.is_current:
        return
    if found.current is None:
        raise SchemaOutdated(f"{database.location} has no Mainspring tables yet; run `mainspring db upgrade`")
    if found.current < found.wanted:
        raise SchemaOutdated(
            f"{database.location} has schema {found.current}, this release needs {found.wanted}; "
            "run `mainspring db upgrade`"
        )
    raise SchemaOutdated(
        f"{database.location} has schema {found.current}, newer than this release's {found.wanted}; "
        "install the newer release"
    )


def upgrade(database: Database) -> SchemaStatus:
    """Bring *database* to the schema of this release under a lock; return which schema it had before."""
    before = status(database)
    if before.is_current:
        return before
    if before.current is not None and before.current > before.wanted:
        require_current(database)
    database.write(_migrate)
    return before


def _migrate(tx: Tx) -> None:
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
        command.upgrade(config, "head")
    _write_meta(tx, "schema_version", SCHEMA_VERSION)
    if tx.core(sqlalchemy.select(meta.c.value).where(meta.c.key == "installation_id")).scalar() is None:
        _write_meta(tx, "installation_id", uuid7())
        _write_meta(tx, "min_app_version", "0.1.0")


def _prepare_postgres(tx: Tx) -> str:
    schema = str(tx.connection.get_execution_options()["schema_translate_map"][None])
    # Two that upgrade at once take turns; the lock ends with the transaction.
    tx.connection.execute(
        sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"mainspring {schema}"}
    )
    tx.connection.execute(sqlalchemy.text("SET LOCAL statement_timeout = 0"))
    tx.connection.execute(CreateSchema(schema, if_not_exists=True))
    return schema


def _write_meta(tx: Tx, key: str, value: str) -> None:
    tx.core(sqlalchemy.delete(meta).where(meta.c.key == key))
    tx.core(sqlalchemy.insert(meta).values(key=key, value=value))


def installation_id(database: Database) -> str:
    """Return the id that tells this installation from others."""
    query = sqlalchemy.select(meta.c.value).where(meta.c.key == "installation_id")
    found: Any = database.read(lambda tx: tx.core(query).scalar())
    return str(found)
