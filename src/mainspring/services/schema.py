"""Say which schema the database has, and bring it to that of this release."""

from __future__ import annotations

from mainspring.store import migrate
from mainspring.store.database import Database
from mainspring.store.migrate import SchemaStatus

__all__ = ["SchemaStatus", "require_some", "status", "upgrade"]


def status(database: Database) -> SchemaStatus:
    """Return which schema *database* has, and which one this release needs."""
    return migrate.status(database)


def upgrade(database: Database) -> SchemaStatus:
    """Bring *database* to the schema of this release under a lock; return which schema it had before.

    Raises:
        SchemaOutdated: its schema is newer than this release.
    """
    return migrate.upgrade(database)


def require_some(database: Database) -> None:
    """Refuse a database that holds nothing of Mainspring: it is likely not the one that was meant.

    Raises:
        SchemaOutdated: says what to do.
    """
    if migrate.status(database).current is None:
        migrate.require_current(database)
