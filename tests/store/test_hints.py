"""A hint reaches whoever listens; nobody is harmed when nobody does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mainspring.clock import ManualClock
from mainspring.errors import StoreUnavailable
from mainspring.store.database import Database
from mainspring.store.hints import CANCEL, READY, SCHEDULES, HintReceiver
from mainspring.store.postgres import hints
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.postgres.hints import NotifyReceiver
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.sqlite.hints import SocketReceiver, SocketSender, address_for
from tests.servers import PostgresCluster
from tests.store.arrange import open_session

Open = Callable[[], Database]


class Ear:
    """A receiver with the thread that listens, and what it has heard."""

    def __init__(self, receiver: HintReceiver) -> None:
        self.receiver = receiver
        self.on_hint, self.stop = threading.Event(), threading.Event()
        self.seen: set[str] = set()
        self.thread = threading.Thread(target=receiver.listen, args=(self.on_hint, self.seen, self.stop))

    def hears(self, *topics: str) -> bool:
        """Wait until all *topics* have been heard, at most ten seconds."""
        for _ in range(100):
            if set(topics) <= self.seen:
                return True
            self.on_hint.wait(0.1)
            self.on_hint.clear()
        return False


@contextmanager
def ear(database: Database) -> Iterator[Ear]:
    """Listen to *database* as a live session does."""
    address = database.wake_address("0190a000-0000-7000-8000-0123456789ab")
    open_session(database, wake_address=address)
    listening = Ear(database.receiver(address))
    listening.thread.start()
    if database.dialect == "postgresql":
        # It says so itself as soon as it listens: what was sent before is lost.
        assert listening.on_hint.wait(10)
        listening.on_hint.clear()
    try:
        yield listening
    finally:
        listening.receiver.close()
        listening.thread.join(10)
        assert not listening.thread.is_alive()


def test_a_hint_sent_by_another_process_is_heard_with_its_topic(open_database: Open, database: Database) -> None:
    with ear(database) as listening:
        other = open_database()
        other.sender.send(SCHEDULES)
        other.sender.send(CANCEL)
        assert listening.hears(SCHEDULES, CANCEL)
        assert READY not in listening.seen


def test_sending_when_nobody_listens_is_no_error(database: Database) -> None:
    database.sender.send(READY)
    database.sender.flush()
    # A session that says where it listens, and is gone.
    open_session(database, wake_address=database.wake_address("0190a000-0000-7000-8000-0123456789ab"))
    for _ in range(3):
        database.sender.send(READY)
    database.sender.flush()


def test_a_listener_stops_when_it_is_told_to_though_no_hint_comes(database: Database) -> None:
    with ear(database) as listening:
        listening.stop.set()
        listening.thread.join(5)
        assert not listening.thread.is_alive()


def test_a_receiver_that_never_listened_can_be_closed(database: Database) -> None:
    database.receiver(database.wake_address("0190a000-0000-7000-8000-0123456789ab")).close()


def test_sending_never_raises_when_the_database_is_gone(clock: ManualClock, tmp_path: Path) -> None:
    gone = PostgresDatabase("postgresql://nobody:secret@127.0.0.1:1/none", lease_clock=clock.now)
    gone.sender.send(READY)
    gone.sender.flush()
    gone.close()
    not_migrated = SqliteDatabase(tmp_path / "new.db")
    not_migrated.sender.send(READY)
    not_migrated.close()


def test_a_sender_that_cannot_ask_who_listens_stays_silent() -> None:
    def fail() -> list[str]:
        raise StoreUnavailable("gone")

    sender = SocketSender(fail)
    sender.send(READY)
    sender.close()


def test_a_listener_survives_the_loss_of_its_connection(postgres: PostgresDatabase) -> None:
    with ear(postgres) as listening:
        query = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE query LIKE 'LISTEN%%' AND datname = current_database()"""
        assert postgres.read(lambda tx: tx.raw().execute(query).fetchall()) == [(True,)]
        assert listening.on_hint.wait(10), "a new connection must say: look, you may have missed something"
        postgres.sender.send(READY)
        assert listening.hears(READY)


def test_a_listener_survives_a_restart_of_the_server(
    shared_postgres: PostgresCluster, postgres_cluster: PostgresCluster
) -> None:
    database = PostgresDatabase(postgres_cluster.url())
    from mainspring.store.migrate import upgrade

    upgrade(database)
    with ear(database) as listening:
        postgres_cluster.stop("immediate")
        postgres_cluster.start()
        assert listening.on_hint.wait(20)
        database.sender.send(READY)
        for _ in range(100):
            listening.on_hint.clear()
            if READY in listening.seen:
                break
            listening.on_hint.wait(0.1)
            # The sender's own connection died too; what it had in hand then is lost, the next one is not.
            database.sender.send(READY)
        assert READY in listening.seen
    database.close()


def test_a_listener_that_is_closed_stops_at_once(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    # It would look up from its wait only after a minute.
    monkeypatch.setattr(hints, "_LOOK_UP", 60.0)
    with ear(postgres):
        pass


def test_a_listener_whose_server_does_not_listen_any_more_begins_anew(postgres: PostgresDatabase) -> None:
    connections: list[psycopg.Connection[Any]] = []

    def connect() -> psycopg.Connection[Any]:
        connections.append(postgres.connect_raw())
        return connections[-1]

    receiver = NotifyReceiver(connect, postgres.channel, check_every=0.05)
    rung, seen, stop = threading.Event(), set[str](), threading.Event()
    thread = threading.Thread(target=receiver.listen, args=(rung, seen, stop))
    thread.start()
    try:
        assert rung.wait(10)
        rung.clear()
        # As a pooler does that lends the server's connection to somebody else in between.
        connections[0].execute("UNLISTEN *")
        assert rung.wait(10), "a new connection must say: look, you may have missed something"
        rung.clear()
        postgres.sender.send(READY)
        assert rung.wait(10)
        assert (seen, len(connections)) == ({READY}, 2)
    finally:
        receiver.close()
        thread.join(10)
    assert not thread.is_alive()


def test_a_socket_lies_beside_the_file_where_the_path_is_short_enough() -> None:
    session = "0190a000-0000-7000-8000-0123456789ab"
    assert address_for(Path("/data/m.db"), session) == "/data/m.db-wake/80000123456789ab"
    long = address_for(Path("/data/" + "x" * 100 + "/m.db"), session)
    assert long.endswith("/80000123456789ab")
    assert len(long) <= 100


def test_the_folder_of_sockets_is_for_this_user_alone(tmp_path: Path) -> None:
    receiver = SocketReceiver(str(tmp_path / "m.db-wake" / "s"))
    assert (tmp_path / "m.db-wake").stat().st_mode & 0o777 == 0o700
    receiver.close()
    assert list((tmp_path / "m.db-wake").iterdir()) == []


def test_a_socket_that_a_dead_process_left_behind_is_taken_over(tmp_path: Path) -> None:
    address = str(tmp_path / "s")
    Path(address).touch()
    SocketReceiver(address).close()
    assert not Path(address).exists()


@pytest.mark.parametrize("topic", ["x" * 255, "☂"])
def test_odd_topics_arrive(database: Database, topic: str) -> None:
    with ear(database) as listening:
        database.sender.send(topic)
        assert listening.hears(topic)
