"""Maintenance: nothing fires and nothing is claimed until a time or an end, and each change is audited."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mainspring.errors import Conflict, InvalidInput
from mainspring.services.standstill import MaintenanceMode, StandstillWatch
from tests.services.arrange import Installation


@pytest.fixture
def mode(installation: Installation) -> MaintenanceMode:
    return MaintenanceMode(installation.database, installation.clock)


def test_it_begins_and_ends_once(mode: MaintenanceMode) -> None:
    mode.begin("ana", "repairs")
    found = mode.current()
    assert found is not None
    assert (found.by, found.reason, found.until) == ("ana", "repairs", None)
    with pytest.raises(Conflict, match="ana has begun maintenance already"):
        mode.begin("bo")
    mode.end("bo")
    assert mode.current() is None
    with pytest.raises(Conflict, match="no maintenance to end"):
        mode.end("bo")


def test_it_ends_by_itself(mode: MaintenanceMode, installation: Installation) -> None:
    now = installation.clock.now()
    with pytest.raises(InvalidInput, match="not in the future"):
        mode.begin("ana", until=now)
    mode.begin("ana", until=now + timedelta(hours=1))
    installation.clock.advance(timedelta(minutes=59))
    assert mode.current() is not None
    installation.clock.advance(timedelta(minutes=1))
    assert mode.current() is None
    mode.begin("bo")


def test_a_process_knows_within_a_second(mode: MaintenanceMode, installation: Installation) -> None:
    watch = StandstillWatch(installation.database, installation.clock)
    assert not watch.in_force()
    mode.begin("ana")
    installation.clock.advance(timedelta(seconds=1))
    assert watch.in_force()
    mode.end("ana")
    assert watch.in_force()
    installation.clock.advance(timedelta(seconds=1))
    assert not watch.in_force()
