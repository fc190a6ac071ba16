"""Runs that are enqueued inside a user's transaction are there with it or not at all, and only where that is safe."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from pysqlite3 import dbapi2 as pysqlite3
from sqlalchemy.orm import Session

import mainspring.sqlite
from mainspring import Client, DuplicateRun, LockLost, Unique, task
from mainspring.app import Application
from mainspring.clock import ManualClock
from mainspring.domain.states import RunState
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.store.database import Database
from mainspring.store.migrate import upgrade
from mainspring.store.sqlite.database import SqliteDatabase
from tests.servers import PostgresCluster
from tests.store.arrange import count
from tests.store.conftest import Open


@task(name="joined.send")
def send(to: str) -> None:
    """Send."""


@dataclass
class World:
    """A client, and ways to a table of the user's in the same database."""

    client: Client
    database: Database
    connect: Callable[[], Any]
    engine: Callable[[], sqlalchemy.Engine]
    mark: str
    """How a parameter is written for the driver."""
    hints: list[str] = field(default_factory=list)

    def insert(self, connection: Any, name: str) -> None:
        query = f"INSERT INTO users_orders (name) VALUES ({self.mark})"
        if isinstance(connection, (sqlalchemy.Connection, Session)):
            connection.execute(sqlalchemy.text("INSERT INTO users_orders (name) VALUES (:name)"), {"name": name})
        else:
            connection.execute(query, (name,))

    def orders(self) -> int:
        query = sqlalchemy.text("SELECT count(*) FROM users_orders")
        return int(self.database.read(lambda tx: tx.plain.execute(query).scalar_one()))

    def both(self) -> tuple[int, int]:
        """Return how many orders and how many runs there are."""
        return self.orders(), count(self.database, "runs")


@pytest.fixture
def world(open_database: Open, clock: ManualClock, request: pytest.FixtureRequest) -> Iterator[World]:
    """A client on an empty database that holds a table of the user's."""
    database = open_database()
    client = Client(Application(database, clock))
    made: list[Any] = []
    if isinstance(database, SqliteDatabase):
        path = database.path
        world = World(
            client, database, lambda: mainspring.sqlite.connect(path), lambda: mainspring.sqlite.engine(path), "?"
        )
    else:
        url = request.getfixturevalue("postgres_store_url")
        address = url.replace("postgresql://", "postgresql+psycopg://")
        world = World(client, database, lambda: psycopg.connect(url), lambda: sqlalchemy.create_engine(address), "%s")
    real = world.connect

    def connect() -> Any:
        made.append(real())
        return made[-1]

    world.connect = connect
    world.database.sender.send = world.hints.append  # type: ignore[method-assign]
    drop, create = "DROP TABLE IF EXISTS users_orders", "CREATE TABLE users_orders (name text)"
    for query in (drop, create):
        database.write(lambda tx, query=query: tx.plain.execute(sqlalchemy.text(query)))  # type: ignore[misc]
    yield world
    for connection in made:
        connection.close()
    database.write(lambda tx: tx.plain.execute(sqlalchemy.text(drop)))


@contextmanager
def _driver(world: World) -> Iterator[Any]:
    connection = world.connect()
    yield connection
    connection.close()


@contextmanager
def _core(world: World) -> Iterator[Any]:
    engine = world.engine()
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@contextmanager
def _session(world: World) -> Iterator[Any]:
    engine = world.engine()
    with Session(engine) as session:
        yield session
    engine.dispose()


WAYS = pytest.mark.parametrize("way", [_driver, _core, _session])


@WAYS
def test_both_commit_or_neither(world: World, way: Any) -> None:
    with way(world) as connection:
        world.insert(connection, "one")
        run = world.client.inside(connection).enqueue(send, to="ann")
        assert world.both() == (0, 0)
        connection.rollback()
        assert world.both() == (0, 0)
        run = world.client.inside(connection).enqueue_with(send, {"to": "bob"}, priority=9)
        world.insert(connection, "two")
        connection.commit()
        assert world.both() == (1, 1)
        assert (run.state, run.existing) == (RunState.READY, False)
        connection.commit()


@WAYS
def test_an_undone_savepoint_takes_its_runs_along(world: World, way: Any) -> None:
    with way(world) as connection:
        inside = world.client.inside(connection)
        inside.enqueue(send, to="kept")
        if way is _driver:
            connection.execute("SAVEPOINT s")
            inside.enqueue(send, to="undone")
            connection.execute("ROLLBACK TO SAVEPOINT s")
        else:
            nested = connection.begin_nested()
            inside.enqueue(send, to="undone")
            nested.rollback()
        inside.enqueue_many(send, [{"to": "x"}, {"to": "y"}])
        connection.commit()
    assert world.both() == (0, 3)


@WAYS
def test_unique_keys_hold_inside_and_are_undone_with_the_rest(world: World, way: Any) -> None:
    unique, options = Unique(), {"to": "ann"}
    with way(world) as connection:
        world.client.inside(connection).enqueue_with(send, options, unique=unique)
        connection.rollback()
        first = world.client.inside(connection).enqueue_with(send, options, unique=unique)
        same = world.client.inside(connection).enqueue_with(send, options, unique=Unique(on_conflict="existing"))
        connection.commit()
        assert (same.id, same.existing) == (first.id, True)
        again = world.client.inside(connection).enqueue_with(
            send, options, unique=Unique(on_conflict="replace"), priority=9
        )
        connection.commit()
        assert again.id == first.id
        with pytest.raises(DuplicateRun):
            world.client.inside(connection).enqueue_with(send, options, unique=unique)
        connection.rollback()
    assert world.both() == (0, 1)


@WAYS
def test_a_run_enqueued_inside_may_wait_for_others(world: World, way: Any) -> None:
    before = world.client.enqueue(send, to="before")
    with way(world) as connection:
        inside = world.client.inside(connection)
        first = inside.enqueue(send, to="first")
        after = inside.enqueue_with(send, {"to": "after"}, after=[before, first])
        connection.commit()
    assert (first.state, after.state) == ("ready", "waiting")


def test_workers_hear_of_the_commit_where_it_can_be_known(world: World) -> None:
    for way in (_session, *([_driver, _core] if world.database.dialect == "sqlite" else [])):
        with way(world) as connection:
            world.client.inside(connection).enqueue(send, to="ann")
            assert world.hints == []
            connection.commit()
            assert world.hints == ["ready"], way
            connection.commit()
            assert world.hints == ["ready"]
            world.hints.clear()


def test_a_lock_is_checked_inside_the_transaction(world: World) -> None:
    ttl = timedelta(minutes=1)
    with _driver(world) as connection:
        lock = world.client.lock("orders", ttl=ttl)
        world.insert(connection, "one")
        lock.check(connection)
        connection.commit()
        world.client._application.locking.take_away("orders", "ann")
        with pytest.raises(LockLost):
            lock.check(connection)
        connection.rollback()
        lock.release()


def test_a_process_that_is_killed_before_its_commit_leaves_neither(world: World, tmp_path: Path) -> None:
    address = (
        world.database.location if world.database.dialect == "sqlite" else world.database._url  # type: ignore[attr-defined]
    )
    script = tmp_path / "dies.py"
    script.write_text(
        f"""
import os, sys
import psycopg
import mainspring.sqlite
from mainspring import connect, task

@task(name="joined.send")
def send(to): pass

address, die = sys.argv[1], sys.argv[2]
client = connect(address)
own = mainspring.sqlite.connect(address) if address.startswith("sqlite") else psycopg.connect(address)
own.execute("INSERT INTO users_orders (name) VALUES ({world.mark})", ("one",))
client.inside(own).enqueue(send, to="ann")
if die == "before": os.kill(os.getpid(), 9)
own.commit()
os.kill(os.getpid(), 9)
""",
        encoding="utf-8",
    )
    for die, both in (("before", (0, 0)), ("after", (1, 1))):
        done = subprocess.run([sys.executable, str(script), address, die], check=False, timeout=60)
        assert done.returncode == -9
        assert world.both() == both


# -- what is refused --


def test_a_connection_of_another_library_is_refused_with_the_reason(world: World, tmp_path: Path) -> None:
    for connection, said in (
        (
            importlib.import_module("sqlite3").connect(tmp_path / "own.db"),
            "two SQLite libraries in one process drop each other's locks",
        ),
        (pysqlite3.connect(str(tmp_path / "own.db")), "takes no turns with others; open the file with"),
        (object(), "a builtins.object is no connection to"),
    ):
        if world.database.dialect == "sqlite":
            with pytest.raises(InvalidInput) as caught:
                world.client.inside(connection).enqueue(send, to="ann")
            assert said in str(caught.value)
            assert "mainspring.sqlite.connect(path)" in str(caught.value)
        else:
            with pytest.raises(InvalidInput, match=r"is no connection to postgresql://.*; give a psycopg connection"):
                world.client.inside(connection).enqueue(send, to="ann")
    assert world.both() == (0, 0)


def test_a_connection_to_another_file_is_refused(world: World, tmp_path: Path) -> None:
    if not isinstance(world.database, SqliteDatabase):
        pytest.skip("files are SQLite's")
    connection = mainspring.sqlite.connect(tmp_path / "other.db")
    with pytest.raises(InvalidInput, match=r"leads to .*other\.db, and Mainspring's runs are in .*mainspring\.db"):
        world.client.inside(connection).enqueue(send, to="ann")
    connection.close()


def test_a_connection_to_another_database_is_refused(
    world: World, shared_postgres: PostgresCluster, migrated_database: str
) -> None:
    if world.database.dialect != "postgresql":
        pytest.skip("servers are PostgreSQL's")
    empty = shared_postgres.create_database()
    with psycopg.connect(shared_postgres.url(empty)) as connection:
        with pytest.raises(InvalidInput, match=f"leads to database '{empty}' on .*, which has no schema 'mainspring'"):
            world.client.inside(connection).enqueue(send, to="ann")
        connection.execute("CREATE SCHEMA mainspring; CREATE TABLE mainspring.meta (key text, value text)")
        connection.execute("INSERT INTO mainspring.meta VALUES ('installation_id', 'another')")
        with pytest.raises(InvalidInput, match="which holds another installation; the runs of this client are in"):
            world.client.inside(connection).enqueue(send, to="ann")
    shared_postgres.drop_database(empty)


def test_a_connection_that_commits_each_statement_alone_is_refused(
    world: World, request: pytest.FixtureRequest
) -> None:
    if world.database.dialect != "postgresql":
        pytest.skip("connections to a file begin by themselves")
    url = request.getfixturevalue("postgres_store_url")
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        with pytest.raises(InvalidInput, match="is in autocommit mode: nothing would commit together"):
            world.client.inside(connection).enqueue(send, to="ann")
        with connection.transaction():
            world.client.inside(connection).enqueue(send, to="ann")
        assert world.both() == (0, 1)
        with pytest.raises(psycopg.errors.UndefinedTable), connection.transaction():
            connection.execute("SELECT * FROM nothing")
    with psycopg.connect(url) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM nothing")
        with pytest.raises(InvalidInput, match="the transaction of this connection has failed; roll it back first"):
            world.client.inside(connection).enqueue(send, to="ann")


def test_an_asynchronous_connection_is_refused(world: World) -> None:
    class AsyncConnection:
        pass

    with pytest.raises(InvalidInput, match="AsyncConnection is asynchronous; give the synchronous one"):
        world.client.inside(AsyncConnection()).enqueue(send, to="ann")


# -- connections of our own kind --


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Any]:
    """A connection to a file with a table."""
    connection = mainspring.sqlite.connect(tmp_path / "own.db")
    connection.execute("CREATE TABLE t (n INTEGER)")
    connection.commit()
    yield connection
    connection.close()


def test_it_is_as_durable_as_ours(own: Any) -> None:
    for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("mmap_size", 0), ("foreign_keys", 1)):
        assert own.execute(f"PRAGMA {pragma}").fetchone() == (value,)


def test_it_reads_without_a_transaction_and_begins_one_to_write(own: Any) -> None:
    assert own.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert not own.in_transaction
    own.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
    assert own.in_transaction
    own.rollback()
    with own:
        assert own.in_transaction
        own.cursor().execute("INSERT INTO t VALUES (3)")
    with pytest.raises(pysqlite3.ProgrammingError), own:
        own.executemany("INSERT INTO t VALUES (?)", [(4,), (4, 4)])
    own.execute("BEGIN")
    own.execute("INSERT INTO t VALUES (5)")
    own.execute("COMMIT")
    own.executescript("INSERT INTO t VALUES (6); INSERT INTO t VALUES (7);")
    assert not own.in_transaction
    assert own.execute("SELECT n FROM t ORDER BY n").fetchall() == [(3,), (5,), (6,), (7,)]


def test_writers_take_turns_with_it_however_its_transaction_ends(own: Any) -> None:
    other = SqliteDatabase(own.path, turn_within=0.05)
    endings: list[Callable[[], Any]] = [
        own.commit, own.rollback, lambda: own.execute("COMMIT"), lambda: own.execute("ROLLBACK"),
    ]  # fmt: skip
    for end in endings:
        own.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(StoreUnavailable, match="no turn to write"):
            other.write(lambda tx: tx.plain.execute(sqlalchemy.text("INSERT INTO t VALUES (2)")))
        end()
        other.write(lambda tx: tx.plain.execute(sqlalchemy.text("INSERT INTO t VALUES (2)")))
    own.execute("INSERT INTO t VALUES (1)")
    own.close()
    other.write(lambda tx: tx.plain.execute(sqlalchemy.text("INSERT INTO t VALUES (2)")))
    other.close()


def test_a_statement_that_fails_leaves_no_turn_behind(own: Any) -> None:
    with pytest.raises(pysqlite3.OperationalError):
        own.executescript("INSERT INTO nothing VALUES (1)")
    other = SqliteDatabase(own.path, turn_within=0.05)
    other.write(lambda tx: tx.plain.execute(sqlalchemy.text("INSERT INTO t VALUES (2)")))
    other.close()


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.store.sqlite.safety.mount_of", lambda path, mounts: ("/mnt", "nfs4"))
    with pytest.raises(StoreUnavailable, match="lies on a network file system"):
        mainspring.sqlite.connect(tmp_path / "own.db")


def test_a_client_on_the_same_file_goes_on_beside_it(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "both.db")
    upgrade(database)
    client = Client(Application(database))
    with client, mainspring.sqlite.connect(f"sqlite:///{tmp_path}/both.db") as own:
        client.inside(own).enqueue(send, to="ann")
        assert count(database, "runs") == 0
    own.close()
    database = SqliteDatabase(tmp_path / "both.db")
    assert count(database, "runs") == 1
    database.close()
