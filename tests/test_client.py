"""Callers enqueue runs from their own code and wait for what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring import Client, RunFailed, connect, task
from mainspring.app import Application
from mainspring.client import ResultTimeout
from mainspring.clock import ManualClock
from mainspring.domain.runs import Ended
from mainspring.domain.states import RunState
from mainspring.errors import Conflict, InvalidInput, NotFound, ParametersInvalid, StoreUnavailable
from mainspring.ids import uuid7
from mainspring.store.migrate import SchemaOutdated, upgrade
from mainspring.store.sqlite.database import SqliteDatabase
from tests.store.arrange import HOUR, MINUTE, NOON, claim, finish, open_session, outcome


@task(name="add")
def add(a: int, b: int = 1) -> int:
    return a + b


class SteppingClock(ManualClock):
    """A clock that whoever waits moves on; something may happen meanwhile."""

    def __init__(self) -> None:
        super().__init__(NOON)
        self.waited: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def wait(self, signal: Any, timeout: float) -> bool:
        self.waited.append(timeout)
        self.advance(timedelta(seconds=timeout))
        self.meanwhile()
        return bool(signal.is_set())


class World:
    """A client and the worker that serves it by hand."""

    def __init__(self, folder: Path) -> None:
        self.clock = SteppingClock()
        self.database = SqliteDatabase(folder / "mainspring.db", lease_clock=lambda: NOON)
        upgrade(self.database)
        self.client = Client(Application(self.database, self.clock), actor="ann")
        self.session = open_session(self.database)

    def work(self, ended: Ended = Ended.SUCCEEDED, **changes: Any) -> None:
        """Claim a run and end it."""
        (claimed,) = claim(self.database, self.session)
        finish(self.database, self.session, outcome(claimed, ended, **changes))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A client on an empty database."""
    world = World(tmp_path)
    with world.client:
        yield world


def test_a_result_is_waited_for_ever_more_patiently(world: World) -> None:
    run = world.client.enqueue(add, a=2)
    assert run.state is RunState.READY

    def at_last() -> None:
        if len(world.clock.waited) == 12:
            world.work(result="3")

    world.clock.meanwhile = at_last
    assert run.result() == 3
    assert world.clock.waited[0] == 0.02
    assert world.clock.waited[-1] == 0.5
    assert (run.state, run.wait()) == (RunState.SUCCEEDED, RunState.SUCCEEDED)


def test_a_wait_ends_when_its_time_is_over_and_the_run_goes_on(world: World) -> None:
    run = world.client.enqueue(add, a=2)
    with pytest.raises(ResultTimeout, match=f"run {run.id} is ready; it has not ended within 1.5 s and goes on"):
        run.result(timeout=1.5)
    assert sum(world.clock.waited) == pytest.approx(1.5)
    assert run.state is RunState.READY


def test_a_timeout_of_zero_only_looks(world: World) -> None:
    run = world.client.enqueue(add, a=2)
    with pytest.raises(ResultTimeout):
        run.result(timeout=0)
    world.work(result="3")
    assert run.result(timeout=0) == 3


def test_a_failed_run_raises_with_its_message(world: World) -> None:
    run = world.client.enqueue(add, a=2)
    world.work(Ended.FAILED)
    with pytest.raises(RunFailed, match=f"run {run.id} failed: it broke") as caught:
        run.result()
    assert (caught.value.run_id, caught.value.state, caught.value.message) == (run.id, RunState.FAILED, "it broke")
    assert run.wait() is RunState.FAILED


def test_a_cancelled_run_raises_with_its_reason(world: World) -> None:
    run = world.client.enqueue(add, a=2)
    run.cancel("not needed")
    with pytest.raises(RunFailed, match=f"run {run.id} cancelled: cancelled by ann: not needed"):
        run.result()
    with pytest.raises(Conflict, match="is cancelled and cannot be cancelled"):
        run.cancel()


def test_options_go_with_the_run(world: World) -> None:
    run = world.client.enqueue_with(
        add, {"a": 1}, queue="slow", priority="high", delay=MINUTE, expires=HOUR, max_retries=0, labels={"x": "y"}
    )
    found = world.client._application.steering.require(run.id)
    assert (found.queue, found.priority, found.state, found.max_tries) == ("slow", 8, RunState.SCHEDULED, 1)
    assert (found.due_at, found.expires_at, found.labels) == (NOON + MINUTE, NOON + MINUTE + HOUR, {"x": "y"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"due_at": NOON, "delay": MINUTE}, "give due_at or delay, not both"),
        ({"due_at": datetime(2026, 3, 2)}, "has no time zone; instants are aware"),
        ({"priority": "urgent"}, "priority 'urgent' is not known"),
        ({"queue": "no spaces"}, "queue 'no spaces' is not usable"),
        ({"max_retries": -1}, "-1 retries are out of range"),
    ],
)
def test_options_that_cannot_be_used_are_refused(world: World, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        world.client.enqueue_with(add, {"a": 1}, **options)
    assert world.client._application.reading.counts() == {}


def test_only_tasks_are_enqueued(world: World) -> None:
    with pytest.raises(InvalidInput, match="is no task; decorate the function with @task"):
        world.client.enqueue(print)  # type: ignore[arg-type]


def test_wrong_parameters_are_refused_where_they_are_given(world: World) -> None:
    with pytest.raises(ParametersInvalid, match="parameter 'a' is missing"):
        world.client.enqueue(add)


def test_many_runs_are_enqueued_in_order_or_not_at_all(world: World) -> None:
    with pytest.raises(ParametersInvalid):
        world.client.enqueue_many(add, [{"a": 1}, {"a": "x"}])
    runs = world.client.enqueue_many(add, ({"a": n} for n in range(3)))
    assert [run.id for run in runs] == [r.id for r in claim(world.database, world.session, 10)]


def test_a_run_is_found_again_by_its_id(world: World) -> None:
    run = world.client.enqueue(add, a=2)
    assert world.client.run(run.id) == run
    with pytest.raises(NotFound):
        world.client.run(uuid7())


def test_callers_inside_an_event_loop_do_not_hold_it_up(world: World) -> None:
    async def caller() -> Any:
        run = await world.client.aenqueue(add, a=2)
        await asyncio.to_thread(world.work, result="3")
        return await run.aresult(timeout=10)

    assert asyncio.run(caller()) == 3


# --- connect


def test_connect_makes_a_sqlite_file_ready(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'new' / 'mainspring.db'}"
    with connect(address) as client:
        run = client.enqueue(add, a=1)
    with connect(address) as client:
        assert client.run(run.id).state is RunState.READY


def test_connect_reads_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mainspring.yaml").write_text("database: sqlite:///here.db\n")
    with connect(config=tmp_path / "mainspring.yaml") as client:
        client.enqueue(add, a=1)
    assert (tmp_path / "here.db").exists()


def test_a_postgres_database_without_the_schema_is_refused_with_the_way_out(postgres_database: str) -> None:
    with pytest.raises(SchemaOutdated, match="run `mainspring db upgrade`"):
        connect(postgres_database)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mysql://host/db", "database addresses of kind 'mysql' are not known"),
        ("here.db", "database addresses of kind 'here.db' are not known"),
    ],
)
def test_an_address_of_another_kind_is_refused(address: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        connect(address)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("these are notes, and long enough to have been a header " * 4)
    with pytest.raises(StoreUnavailable, match=r"notes\.db"):
        connect(f"sqlite:///{tmp_path / 'notes.db'}")
