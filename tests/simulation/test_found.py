"""What simulated seeds have found, each in as few steps as show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mainspring.clock import ManualClock
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.services.fire import Firer
from mainspring.services.schedules import Scheduling
from mainspring.store.migrate import upgrade
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.verify import verify

SIX = timedelta(seconds=6)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "m.db", lease_clock=clock.now)
    upgrade(made)
    yield made
    made.close()


def test_a_pause_that_waited_for_its_turn_begins_after_what_fired_meanwhile(
    database: SqliteDatabase, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seed 222: the pause was dated before fire times that had fired while it waited to write.
    scheduling = Scheduling(database, clock)
    scheduling.put(ScheduleSpec("s", "t", IntervalTrigger(SIX, clock.now())), "file", "owner")
    clock.advance(timedelta(seconds=7))
    settle = scheduling._firer.settle

    def late(due, now):
        clock.advance(timedelta(seconds=20))
        Firer(database, clock).run_once()
        return settle(due, now)

    monkeypatch.setattr(scheduling._firer, "settle", late)
    scheduling.pause("s", "operator")
    assert verify(database, clock.now()).lines()[-1] == "consistent"


def test_a_stretch_that_a_clock_ahead_let_grow_before_an_edit_is_no_error(
    database: SqliteDatabase, clock: ManualClock
) -> None:
    # Seed 82: the stretch began long before the edit, and ended less than a second after it.
    scheduling, ahead = Scheduling(database, clock), ManualClock(clock.now())
    spec = ScheduleSpec("s", "t", IntervalTrigger(SIX, clock.now()))
    scheduling.put(spec, "file", "owner")
    scheduling.pause("s", "operator")
    for seconds in (7, 6, 6):
        clock.advance(timedelta(seconds=seconds))
        ahead.advance(timedelta(seconds=seconds))
        Firer(database, clock).run_once()
    ahead.advance(timedelta(seconds=6))
    Firer(database, ahead).run_once()
    clock.advance(timedelta(seconds=4))
    scheduling.put(replace(spec, trigger=IntervalTrigger(timedelta(seconds=13), clock.now())), "file", "owner")
    assert verify(database, ahead.now()).lines()[-1] == "consistent"
