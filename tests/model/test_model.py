"""The short form of `python -m tests.model`, and the faults that it found once."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import psycopg
import pytest
from pysqlite3 import dbapi2 as driver

from tests.model.bugs import BUGS, planted
from tests.model.compare import Mismatch
from tests.model.found import FOUND, OPEN
from tests.model.kept import KEPT
from tests.model.machine import Exploration, explore, replay
from tests.model.store import Store, postgres_store, sqlite_store
from tests.servers import PostgresCluster


@pytest.fixture(scope="module")
def sqlite() -> Iterator[Store]:
    with sqlite_store() as store:
        yield store


@pytest.fixture(scope="module")
def postgres(shared_postgres: PostgresCluster) -> Iterator[Store]:
    name = shared_postgres.create_database()
    with postgres_store(shared_postgres.url(name)) as store:
        yield store
    shared_postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Thousands of warnings about lost sessions would say nothing here.
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(300)
def test_a_sqlite_file_holds_what_the_model_predicts(sqlite: Store) -> None:
    seen = Exploration()
    explore(sqlite, 50, 40, None, seen)
    assert seen.counts["claimed"] > 0


@pytest.mark.timeout(300)
def test_a_postgresql_database_holds_what_the_model_predicts(postgres: Store) -> None:
    seen = Exploration()
    explore(postgres, 20, 40, None, seen)
    assert seen.counts["claimed"] > 0


@pytest.mark.parametrize("bug", BUGS)
def test_the_model_finds(bug: str, store: Store) -> None:
    replay(store, KEPT[bug])
    with planted(store, BUGS[bug]), pytest.raises((Mismatch, driver.IntegrityError, psycopg.IntegrityError)):
        replay(store, KEPT[bug])


@pytest.mark.parametrize("fault", FOUND)
def test_a_fault_that_was_found_is_mended_or_known(fault: str, store: Store) -> None:
    try:
        replay(store, FOUND[fault], frozenset())
    except Mismatch:
        if fault not in OPEN:
            raise
    else:
        assert fault not in OPEN, "it is mended: take it out of OPEN in tests/model/found.py"
