"""Where things are measured: SQLite files, and databases of a PostgreSQL server of our own with durable defaults."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from mainspring.app import Application, ensure_schema, open_database
from mainspring.store import migrate
from servers.postgres import PostgresCluster


class Ground(Protocol):
    """Gives new databases of one kind."""

    kind: str
    """What it is called in figures."""

    def fresh(self) -> str:
        """Return the address of a new database with our tables, empty."""

    def copied(self, address: str) -> str:
        """Return the address of a copy of a database that nobody has open."""

    def drop(self, address: str) -> None:
        """Remove a database: the disk is not endless."""


class SqliteGround:
    """SQLite files in one folder."""

    kind = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def fresh(self) -> str:
        """Return the address of a new file with our tables."""
        address = self._next()
        application = Application(open_database(address))
        ensure_schema(application)
        application.close()
        return address

    def copied(self, address: str) -> str:
        """Return the address of a copy; Mainspring itself would refuse to start work in it."""
        copy = self._next()
        shutil.copyfile(path_of(address), path_of(copy))
        return copy

    def drop(self, address: str) -> None:
        """Remove the file with all that lies beside it."""
        shutil.rmtree(path_of(address).parent)

    def _next(self) -> str:
        self._count += 1
        folder = self._folder / f"sqlite-{self._count}"
        folder.mkdir()
        return f"sqlite:///{folder / 'mainspring.db'}"


class PostgresGround:
    """Databases of one server."""

    kind = "PostgreSQL"

    def __init__(self, cluster: PostgresCluster) -> None:
        self.cluster = cluster
        self._template = cluster.create_database()
        application = Application(open_database(cluster.url(self._template)))
        migrate.upgrade(application.database)
        application.close()

    def fresh(self) -> str:
        """Return the address of a new database with our tables."""
        return self.cluster.url(self.cluster.create_database(self._template))

    def empty(self) -> str:
        """Return the address of a new database without any tables."""
        return self.cluster.url(self.cluster.create_database())

    def copied(self, address: str) -> str:
        """Return the address of a copy."""
        return self.cluster.url(self.cluster.create_database(_name_of(address)))

    def drop(self, address: str) -> None:
        """Drop the database with the connections to it."""
        self.cluster.drop_database(_name_of(address))


def _name_of(address: str) -> str:
    return address.rpartition("/")[2]


def path_of(address: str) -> Path:
    """Return the file that a SQLite address names."""
    return Path(address.removeprefix("sqlite:///"))


@contextmanager
def grounds(folder: Path, kinds: set[str]) -> Iterator[list[Ground]]:
    """Give a ground of each of *kinds*; the server is removed afterwards."""
    with ExitStack() as stack:
        found: list[Ground] = []
        if "sqlite" in kinds:
            found.append(SqliteGround(folder))
        if "postgres" in kinds:
            # All that concerns durability is left as the server has it: fsync and synchronous_commit are on.
            cluster = PostgresCluster(timezone="'UTC'")
            stack.callback(cluster.close)
            found.append(PostgresGround(cluster))
        yield found


@contextmanager
def database_on(ground: Ground, make: Callable[[], str] | None = None) -> Iterator[str]:
    """Give the address of a new database and remove it afterwards."""
    address = (make or ground.fresh)()
    try:
        yield address
    finally:
        ground.drop(address)
