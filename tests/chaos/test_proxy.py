"""The proxy fails exactly as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mainspring.clock import SystemClock
from tests.chaos.proxy import Proxy

_CLOCK, _NEVER = SystemClock(), threading.Event()


@pytest.fixture
def proxy(postgres_database: str) -> Iterator[Proxy]:
    given = conninfo_to_dict(postgres_database)
    made = Proxy((str(given["host"]), int(str(given["port"]))))
    made.add("link")
    yield made
    made.close()


@pytest.fixture
def through(postgres_database: str, proxy: Proxy) -> str:
    return make_conninfo(postgres_database, port=proxy.links["link"].port)


def _numbers(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY n")]


def _make_table(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE numbers (n int)")


def test_bytes_pass_unchanged_in_both_directions(through: str) -> None:
    with psycopg.connect(through) as connection:
        text = "ß" * 300_000
        assert connection.execute("SELECT %s::text", (text,)).fetchone() == (text,)


def test_an_armed_link_loses_the_reply_of_a_commit_that_has_happened(
    postgres_database: str, through: str, proxy: Proxy
) -> None:
    _make_table(postgres_database)
    with psycopg.connect(through, autocommit=True) as connection:
        connection.execute("SELECT 1")
        proxy.arm("link")
        with pytest.raises(psycopg.OperationalError), connection.transaction():
            connection.execute("INSERT INTO numbers VALUES (7)")
    assert _numbers(postgres_database) == [7]
    assert proxy.lost_replies("link") == 1


def test_a_link_that_has_lost_one_reply_works_again(postgres_database: str, through: str, proxy: Proxy) -> None:
    _make_table(postgres_database)
    proxy.arm("link")
    for n in (1, 2):
        try:
            with psycopg.connect(through) as connection:
                connection.execute("INSERT INTO numbers VALUES (%s)", (n,))
        except psycopg.OperationalError:
            assert n == 1
    assert _numbers(postgres_database) == [1, 2]
    assert proxy.lost_replies("link") == 1


def test_a_cut_breaks_open_connections_and_lets_new_ones_in(through: str, proxy: Proxy) -> None:
    with psycopg.connect(through, autocommit=True) as connection:
        connection.execute("SELECT 1")
        assert proxy.cut("link") == 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with psycopg.connect(through) as connection:
        assert connection.execute("SELECT 2").fetchone() == (2,)


def test_a_silent_link_answers_nothing_until_it_is_cut(through: str, proxy: Proxy) -> None:
    answers: list[object] = []

    def ask(connection: psycopg.Connection[tuple[int]]) -> None:
        try:
            answers.append(connection.execute("SELECT 1").fetchone())
        except psycopg.OperationalError:
            answers.append("broken")

    with psycopg.connect(through, autocommit=True) as connection:
        proxy.set_mode("link", "silent")
        thread = threading.Thread(target=ask, args=(connection,))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert answers == []
        proxy.set_mode("link", "pass")
        thread.join(10)
    assert answers == ["broken"]


def test_a_slow_link_takes_its_time(through: str, proxy: Proxy) -> None:
    with psycopg.connect(through, autocommit=True) as connection:
        proxy.set_mode("link", "delay")
        began = _CLOCK.monotonic()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert _CLOCK.monotonic() - began >= 0.1
