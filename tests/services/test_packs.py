"""Packs are found, get tables of their own, and hear of each firing exactly once."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table

from mainspring.domain.spec import FanOut
from mainspring.errors import InvalidInput, UnknownName
from mainspring.pack import OccurrenceFired, Pack
from mainspring.services.packs import PackDoor, PackEvents, find_pack, make_tables
from tests.services.arrange import Installation, minutely, short

OWN = MetaData()
HEARD = Table("heard_firings", OWN, Column("id", Integer, primary_key=True), Column("what", String(100)))


class Listening(Pack):
    """A pack that writes down what it hears, and raises where a test says so."""

    name = "listening"

    def __init__(self) -> None:
        self.fails_at: str | None = None
        self.calls: list[str] = []

    def tables(self) -> MetaData:
        return OWN

    def on_occurrence_fired(self, event: OccurrenceFired, connection: Connection) -> None:
        text = f"{short(event.fire_at)} {','.join(run.member for run in event.runs)}"
        self.calls.append(text)
        connection.execute(sqlalchemy.insert(HEARD).values(what=text))
        if text.startswith(self.fails_at or "never"):
            raise RuntimeError("the pack broke")


@pytest.fixture
def pack(installation: Installation) -> Listening:
    pack = Listening()
    make_tables(installation.database, pack)
    make_tables(installation.database, pack)
    # The databases of PostgreSQL are used again by other tests; only our schema is emptied.
    PackDoor(installation.database).write(lambda connection: connection.execute(sqlalchemy.delete(HEARD)))
    return pack


def _heard(installation: Installation) -> list[str]:
    query = sqlalchemy.select(HEARD.c.what).order_by(HEARD.c.id)
    return PackDoor(installation.database).read(lambda connection: list(connection.execute(query).scalars()))


def _fire(installation: Installation) -> None:
    installation.put(minutely(pack="listening", misfire="all", fan_out=FanOut("x", ("a", "b"))))
    installation.fire("12:03")


def test_a_pack_hears_of_each_firing_once_and_in_order(installation: Installation, pack: Listening) -> None:
    _fire(installation)
    events = PackEvents(installation.database, {"listening": pack})
    assert (events.run_once(), events.run_once()) == (3, 0)
    assert _heard(installation) == ["12:01 a,b", "12:02 a,b", "12:03 a,b"]
    assert installation.outbox() == []


def test_a_pack_that_raises_hears_the_same_again_and_what_it_wrote_is_undone(
    installation: Installation, pack: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    _fire(installation)
    events = PackEvents(installation.database, {"listening": pack})
    pack.fails_at = "12:02"
    assert [events.run_once() for _ in range(3)] == [1, 0, 0]
    assert _heard(installation) == ["12:01 a,b"]
    # Said once, not at each call.
    assert len([r for r in caplog.records if "pack_event_failed" in r.getMessage()]) == 1
    pack.fails_at = None
    assert events.run_once() == 2
    assert _heard(installation) == ["12:01 a,b", "12:02 a,b", "12:03 a,b"]
    assert pack.calls == ["12:01 a,b", "12:02 a,b", "12:02 a,b", "12:02 a,b", "12:02 a,b", "12:03 a,b"]


def test_a_pack_that_raises_does_not_keep_others_from_hearing(installation: Installation, pack: Listening) -> None:
    class Broken(Pack):
        name = "broken"

        def on_occurrence_fired(self, event: OccurrenceFired, connection: Connection) -> None:
            raise RuntimeError("always")

    installation.put(minutely("of-broken", pack="broken"))
    installation.put(minutely("of-listening", pack="listening"))
    installation.fire("12:01")
    events = PackEvents(installation.database, {"broken": Broken(), "listening": pack})
    assert events.run_once() == 1
    assert [topic for topic, _ in installation.outbox()] == ["pack:broken"]


def test_messages_for_a_pack_that_is_not_loaded_wait(installation: Installation, pack: Listening) -> None:
    _fire(installation)
    assert PackEvents(installation.database, {}).run_once() == 0
    assert len(installation.outbox()) == 3


def test_the_door_writes_in_one_transaction(installation: Installation, pack: Listening) -> None:
    door = PackDoor(installation.database)

    def half(connection: Connection) -> None:
        connection.execute(sqlalchemy.insert(HEARD).values(what="half"))
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        door.write(half)
    assert _heard(installation) == []


def test_the_door_opens_from_an_event_loop_too(installation: Installation, pack: Listening) -> None:
    import asyncio

    door = PackDoor(installation.database)

    async def both() -> Any:
        await door.awrite(lambda connection: connection.execute(sqlalchemy.insert(HEARD).values(what="x")))
        return await door.aread(lambda connection: list(connection.execute(sqlalchemy.select(HEARD.c.what)).scalars()))

    assert asyncio.run(both()) == ["x"]


def test_a_pack_is_found_by_its_installed_name_or_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("pack_of_tests")
    module.pack, module.number = Listening(), 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pack_of_tests", module)
    assert find_pack("market").name == "market"
    assert find_pack("pack_of_tests:pack").name == "listening"
    with pytest.raises(UnknownName, match=r"unknown pack 'markt'; did you mean 'market'\?"):
        find_pack("markt")
    with pytest.raises(InvalidInput, match="pack 'pack_of_tests:missing' cannot be loaded"):
        find_pack("pack_of_tests:missing")
    with pytest.raises(InvalidInput, match="pack 'no_module:pack' cannot be loaded"):
        find_pack("no_module:pack")
    with pytest.raises(
        InvalidInput, match=r"pack 'pack_of_tests:number' is 5, not an instance of mainspring.pack.Pack"
    ):
        find_pack("pack_of_tests:number")
