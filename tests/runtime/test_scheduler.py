"""The scheduler sleeps until the next fire time, wakes for edits, and never spins."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy

from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.states import RunState
from mainspring.domain.tasks import task
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.runtime.scheduler import Scheduler
from mainspring.services.clock_guard import confirm
from mainspring.services.schedules import Scheduling
from mainspring.services.standstill import MaintenanceMode
from mainspring.store.runs import RunFilter
from mainspring.store.schema import metadata
from tests.runtime.arrange import Fleet, until
from tests.services.arrange import Faulty, minutely
from tests.store.arrange import NOON, SECOND

SCHEDULES = metadata.tables["schedules"]


def _runs(fleet: Fleet) -> int:
    return len(fleet.reading.runs(RunFilter(), 1_000))


def _put(fleet: Fleet, spec: ScheduleSpec) -> None:
    Scheduling(fleet.database, fleet.clock).put(spec, "test", "tester")


def test_a_schedule_is_fired_at_its_time_and_not_before(fleet: Fleet) -> None:
    _put(fleet, minutely())
    fleet.scheduler()
    fleet.passes(59)
    assert _runs(fleet) == 0
    fleet.passes(1)
    until(lambda: _runs(fleet) == 1)
    fleet.passes(60)
    until(lambda: _runs(fleet) == 2)


def test_a_schedule_of_half_a_second_is_fired_twice_a_second(fleet: Fleet) -> None:
    _put(fleet, ScheduleSpec("half", "demo.task", IntervalTrigger(timedelta(milliseconds=500), NOON)))
    fleet.scheduler()
    for n in range(1, 7):
        fleet.passes(0.5)
        until(lambda n=n: _runs(fleet) == n)  # type: ignore[misc]


def test_a_new_schedule_wakes_the_scheduler_at_once(fleet: Fleet) -> None:
    faulty = Faulty(fleet.database)
    fleet.scheduler(database=faulty)
    looked: list[int] = []
    faulty.before_read = lambda: looked.append(1)
    _put(fleet, minutely())
    # The clock stands still: only the hint can have made it look.
    until(lambda: looked)
    assert fleet.clock.now() == NOON


def test_a_scheduled_run_is_staged_when_it_comes_due(fleet: Fleet) -> None:
    @task(name="quick")
    def quick() -> None: ...

    fleet.scheduler()
    run_id = fleet.enqueue(quick, due_at=NOON + 30 * SECOND)
    assert fleet.run(run_id).state is RunState.SCHEDULED
    fleet.passes(29)
    assert fleet.run(run_id).state is RunState.SCHEDULED
    fleet.passes(1)
    fleet.becomes(run_id, RunState.READY)


def test_an_idle_scheduler_looks_once_a_second(fleet: Fleet) -> None:
    _put(fleet, minutely())
    scheduler = fleet.scheduler()
    calls: list[int] = []
    inner = scheduler._firer.run_once
    scheduler._firer.run_once = lambda: (calls.append(1), inner())[1]  # type: ignore[method-assign]
    fleet.passes(50)
    # On a busy machine its thread does not come to every pass.
    assert 30 <= len(calls) <= 60
    assert fleet.clock.useless_waits < 10


def test_a_schedule_that_cannot_be_fired_makes_nobody_spin_and_delays_nobody(fleet: Fleet) -> None:
    for name in ("broken", "well"):
        _put(fleet, minutely(name))
    change = sqlalchemy.update(SCHEDULES).where(SCHEDULES.c.name == "broken").values(spec="{}")
    fleet.database.write(lambda tx: tx.core(change))
    scheduler = fleet.scheduler()
    fleet.passes(60)
    until(lambda: _runs(fleet) == 1)
    calls: list[int] = []
    inner = scheduler._firer.run_once
    scheduler._firer.run_once = lambda: (calls.append(1), inner())[1]  # type: ignore[method-assign]
    fleet.passes(40)
    assert len(calls) <= 50
    fleet.passes(20)
    until(lambda: _runs(fleet) == 2)


def test_a_scheduler_starts_although_a_schedule_cannot_be_read(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("broken", "well"):
        _put(fleet, minutely(name))
    table = SCHEDULES.c
    change = sqlalchemy.update(SCHEDULES).where(table.name == "broken").values(spec="{}", computed_with="older")
    fleet.database.write(lambda tx: tx.core(change))
    fleet.scheduler()
    fleet.passes(60)
    until(lambda: _runs(fleet) == 1)
    assert any("schedule_not_read" in record.getMessage() for record in caplog.records)


def test_a_long_backlog_does_not_keep_a_scheduler_from_stopping(small_fleet: Fleet) -> None:
    _put(small_fleet, ScheduleSpec("quick", "demo.task", IntervalTrigger(timedelta(milliseconds=100), NOON)))
    small_fleet.clock.step_wall(NOON + timedelta(hours=30))
    scheduler = Scheduler(small_fleet.database, small_fleet.clock, "s1")
    scheduler.start()
    scheduler.stop()
    thread = scheduler._fire._thread
    assert thread is not None
    assert not thread.is_alive()
    marks = small_fleet.database.read(lambda tx: tx.core(sqlalchemy.select(SCHEDULES.c.next_at)).scalar())
    assert marks < small_fleet.clock.now()


def test_a_scheduler_in_doubt_of_its_clock_looks_once_a_second_and_hears_a_person_within_a_poll(
    small_fleet: Fleet,
) -> None:
    fleet = small_fleet
    _put(fleet, minutely())
    scheduler = fleet.scheduler()
    fleet.passes(1)
    fleet.clock.step_wall(NOON + timedelta(days=2))
    calls: list[int] = []
    inner = scheduler._firer.run_once
    scheduler._firer.run_once = lambda: (calls.append(1), inner())[1]  # type: ignore[method-assign]
    fleet.passes(30)
    assert (_runs(fleet), 25 <= len(calls) <= 40, fleet.clock.useless_waits < 10) == (0, True, True)
    confirm(fleet.database, fleet.clock, "ann")
    fleet.passes(1)
    until(lambda: _runs(fleet) == 1)


def test_in_doubt_of_the_clock_what_comes_due_is_staged_by_the_boot_clock(small_fleet: Fleet) -> None:
    @task(name="quick")
    def quick() -> None: ...

    fleet = small_fleet
    fleet.scheduler()
    soon, later = (fleet.enqueue(quick, due_at=NOON + n * SECOND) for n in (30, 3_600))
    fleet.passes(1)
    fleet.clock.step_wall(NOON + timedelta(days=2))
    fleet.passes(28)
    assert [fleet.run(run_id).state for run_id in (soon, later)] == [RunState.SCHEDULED] * 2
    fleet.passes(2)
    fleet.becomes(soon, RunState.READY)
    assert fleet.run(later).state is RunState.SCHEDULED


def test_two_schedulers_fire_each_fire_time_once(fleet: Fleet) -> None:
    for n in range(10):
        _put(fleet, ScheduleSpec(f"s{n}", "demo.task", IntervalTrigger(SECOND, NOON)))
    fleet.scheduler()
    fleet.scheduler()
    for second in range(1, 6):
        fleet.passes(1)
        until(lambda n=second: _runs(fleet) == 10 * n)  # type: ignore[misc]


def test_nothing_fires_while_the_installation_stands_still(fleet: Fleet) -> None:
    _put(fleet, minutely())
    mode = MaintenanceMode(fleet.database, fleet.clock)
    mode.begin("ana")
    fleet.scheduler()
    fleet.passes(61)
    assert _runs(fleet) == 0
    mode.end("ana")
    fleet.passes(1)
    until(lambda: _runs(fleet) == 1)
