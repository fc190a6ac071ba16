"""Give tests a worker with children; starting one takes a second, so that tests of a module share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests import servers
from tests.isolation import hostile, tasks
from tests.isolation.arrange import House

_SHARED: list[House] = []


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A worker with ordinary tasks, already warm."""
    house = House(tmp_path_factory.mktemp("house"), tasks.ALL, "tests.isolation.tasks:load")
    yield from _kept(house, lambda: house.does(tasks.double, x=1))


@pytest.fixture(scope="module")
def hostile_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A worker with hostile tasks, already warm."""
    known = [*hostile.HOSTILE.values(), hostile.innocent, hostile.bystander]
    house = House(tmp_path_factory.mktemp("hostile"), known, "tests.isolation.hostile:load")
    yield from _kept(house, lambda: house.does(hostile.innocent, n=1))


@pytest.fixture(autouse=True)
def a_fork_server_may_outlive_the_test_that_started_it() -> Iterator[None]:
    """Tell the check for what is left running of the servers of shared workers: one that rested is started anew."""
    yield
    servers.GUARDED_PIDS.update(house.server for house in _SHARED if house.server is not None)


def _kept(house: House, warm_up: Callable[[], object]) -> Iterator[House]:
    house.worker.start()
    _SHARED.append(house)
    try:
        warm_up()
        yield house
    finally:
        _SHARED.remove(house)
        house.close()
