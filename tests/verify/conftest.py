"""Databases that are filled once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from mainspring.store.database import Database
from tests.servers import PostgresCluster
from tests.verify.world import fill, open_database


@pytest.fixture(scope="session")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, datetime]:
    path = tmp_path_factory.mktemp("verify") / "filled.db"
    return path, fill(f"sqlite:///{path}")


@pytest.fixture(scope="session")
def filled_template(shared_postgres: PostgresCluster) -> Iterator[tuple[str, datetime]]:
    name = shared_postgres.create_database()
    yield name, fill(shared_postgres.url(name))
    shared_postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Database, datetime]]:
    """A database with schedules and runs of every kind, all as it must be, and the time in it."""
    url, now, drop = (_sqlite_copy if request.param == "sqlite" else _postgres_copy)(request, tmp_path)
    database = open_database(url)
    yield database, now
    database.close()
    drop()


def _sqlite_copy(request: pytest.FixtureRequest, folder: Path) -> tuple[str, datetime, Callable[[], None]]:
    path, now = request.getfixturevalue("filled_file")
    shutil.copy(path, folder / "copy.db")
    return f"sqlite:///{folder / 'copy.db'}", now, lambda: None


def _postgres_copy(request: pytest.FixtureRequest, folder: Path) -> tuple[str, datetime, Callable[[], None]]:
    cluster: PostgresCluster = request.getfixturevalue("shared_postgres")
    template, now = request.getfixturevalue("filled_template")
    name = cluster.create_database(template)
    return cluster.url(name), now, lambda: cluster.drop_database(name)
