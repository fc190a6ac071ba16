"""A wrong wall clock fires nothing that is not due, nothing twice, and loses nothing."""

from __future__ import annotations

import logging
import os
import socket
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy

from mainspring.clock import ManualClock
from mainspring.domain.spec import Misfire, MisfirePolicy
from mainspring.domain.states import RunState
from mainspring.domain.tasks import task
from mainspring.errors import StoreUnavailable
from mainspring.services.clock_guard import ClockGuard, ClockInDoubt, require_sound
from mainspring.services.enqueue import Request
from mainspring.services.fire import Firer
from mainspring.store.schema import occurrences, schedules
from tests.services.arrange import cron, every, minutely, when
from tests.services.clocks import Machine, client_machine, machine, small_machine
from tests.store.arrange import HOUR, MINUTE, NOON, SECOND, open_session, together

__all__ = ["client_machine", "machine", "small_machine"]
YEAR = timedelta(days=365)
ALL = Misfire(MisfirePolicy.ALL, cap=1_000)


@task(name="demo.task")
def demo() -> None: ...


def _fire_times(machine: Machine, name: str = "s1") -> list[datetime]:
    return [run.fire_at for run in machine.world.runs(name) if run.fire_at is not None]


def test_a_steady_clock_is_believed_and_costs_one_row_for_each_boot(machine: Machine) -> None:
    machine.world.put(minutely())
    machine.look()
    machine.faulty.writes.clear()
    assert machine.tick(59).fired == 0
    assert machine.faulty.writes == []
    assert machine.tick().fired == 1
    machine.restart()
    machine.look()
    assert machine.faulty.writes == []
    assert machine.audit() == []


@pytest.mark.parametrize("jump", [timedelta(seconds=61), HOUR, timedelta(hours=24), YEAR])
def test_nothing_fires_at_the_tick_at_which_the_clock_has_jumped_ahead(machine: Machine, jump: timedelta) -> None:
    machine.world.put(minutely())
    machine.tick()
    machine.step(jump)
    result = machine.tick()
    assert (result.refused, result.fired, result.decided) == (True, 0, 0)
    assert machine.mark() == NOON
    assert machine.audit() == [("scheduler s1", "clock.doubt")]


def test_a_gain_of_a_minute_is_no_jump(machine: Machine) -> None:
    machine.world.put(minutely())
    machine.tick()
    machine.step(MINUTE)
    assert machine.tick().fired == 1


def test_small_gains_add_up_to_a_jump(small_machine: Machine) -> None:
    small_machine.tick()
    for _ in range(2):
        small_machine.step(timedelta(seconds=30))
        assert not small_machine.tick().refused
    small_machine.step(timedelta(seconds=1))
    assert small_machine.tick().refused


@pytest.mark.parametrize("jump", [timedelta(seconds=61), HOUR, timedelta(hours=24)])
def test_without_a_server_a_jump_of_up_to_a_day_is_believed_after_three_ticks(
    small_machine: Machine, jump: timedelta
) -> None:
    small_machine.world.put(minutely(misfire="skip"))
    small_machine.tick()
    small_machine.step(jump)
    assert [small_machine.tick().refused for _ in range(5)] == [True, True, True, False, False]
    assert small_machine.mark() > NOON
    assert small_machine.audit() == [("scheduler s1", "clock.doubt"), ("scheduler s1", "clock.trusted")]


@pytest.mark.parametrize(
    ("misfire", "ledger"),
    [
        ("skip", [("12:01", "12:59", 59, "skipped", "missed"), ("13:00", "13:00", 1, "fired", None)]),
        ("latest", [("12:01", "12:59", 59, "coalesced", None), ("13:00", "13:00", 1, "fired", None)]),
        (
            Misfire(MisfirePolicy.ALL, cap=2),
            [
                ("12:01", "12:58", 58, "skipped", "missed"),
                ("12:59", "12:59", 1, "fired", None),
                ("13:00", "13:00", 1, "fired", None),
            ],
        ),
    ],
)
def test_what_a_healed_jump_left_behind_is_caught_up_with_by_the_misfire_policy(
    small_machine: Machine, misfire: str, ledger: list[object]
) -> None:
    small_machine.world.put(minutely(misfire=misfire))
    small_machine.tick()  # 12:00:01
    small_machine.step(HOUR)
    assert small_machine.tick(3).refused  # 13:00:04
    small_machine.tick()  # 13:00:05
    assert small_machine.world.ledger() == ledger


def test_without_a_server_a_jump_of_a_year_is_believed_only_when_a_person_says_so(small_machine: Machine) -> None:
    small_machine.world.put(every(HOUR))
    small_machine.tick()
    small_machine.step(YEAR)
    assert small_machine.tick(100).refused
    assert (small_machine.mark(), _fire_times(small_machine)) == (NOON, [])
    small_machine.confirm()
    result = small_machine.tick()
    assert (result.refused, result.fired) == (False, 1)
    assert result.decided == 365 * 24
    assert _fire_times(small_machine) == [datetime(2027, 3, 2, 12, 0, tzinfo=UTC)]
    assert small_machine.audit() == [
        ("scheduler s1", "clock.doubt"), ("ann", "clock.confirm"), ("scheduler s1", "clock.trusted"),
    ]  # fmt: skip


def test_a_jump_that_is_undone_leaves_no_trace_in_the_ledger(machine: Machine) -> None:
    machine.world.put(minutely(misfire=ALL))
    machine.tick()
    machine.step(YEAR)
    assert machine.tick(10).refused
    machine.step(-YEAR)
    assert [machine.tick().refused for _ in range(4)] == [True, True, True, False]
    machine.tick(120)
    assert machine.world.fired() == ["12:01", "12:02"]
    assert machine.state().ahead == ()


def test_a_second_jump_begins_the_three_ticks_anew_and_both_are_added_up(small_machine: Machine) -> None:
    small_machine.tick()
    small_machine.step(timedelta(hours=20))
    assert small_machine.tick(3).refused
    small_machine.step(timedelta(hours=3))
    assert [small_machine.tick().refused for _ in range(4)] == [True, True, True, False]
    small_machine.step(timedelta(hours=20))
    assert small_machine.tick(2).refused
    small_machine.step(timedelta(hours=5))
    assert small_machine.tick(50).refused


def test_ticks_are_a_second_apart_however_often_the_clock_is_looked_at(small_machine: Machine) -> None:
    small_machine.tick()
    small_machine.step(HOUR)
    assert all(small_machine.look().refused for _ in range(20))
    small_machine.clock.advance(SECOND / 2)
    assert all(small_machine.look().refused for _ in range(20))
    assert [small_machine.tick().refused for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("back", [timedelta(minutes=2), HOUR, YEAR])
def test_a_clock_that_goes_back_fires_nothing_twice_and_loses_nothing(machine: Machine, back: timedelta) -> None:
    machine.world.put(minutely(misfire=ALL))
    for _ in range(3):
        machine.pass_by(MINUTE)
    machine.step(-back)
    for _ in range(3):
        machine.pass_by(MINUTE)
    # Where a server tells the time, nothing fires while it says another; elsewhere what comes after the marks does.
    passed = ["12:01", "12:02", "12:03"]
    assert machine.world.fired() == ([*passed, "12:04"] if back < HOUR and machine.kind == "sqlite" else passed)
    # Right again: what came meanwhile was noticed late, and all of it fires once.
    machine.step(back)
    machine.tick(4)
    assert machine.world.fired() == ["12:01", "12:02", "12:03", "12:04", "12:05", "12:06"]
    assert [row[3] for row in machine.world.ledger()] == ["fired"] * 6


def test_without_a_server_a_clock_that_went_back_fires_as_it_comes_to_the_mark_again(small_machine: Machine) -> None:
    small_machine.world.put(minutely(misfire=ALL))
    small_machine.pass_by(MINUTE)
    small_machine.pass_by(MINUTE)
    small_machine.step(-HOUR)
    for _ in range(62):
        small_machine.pass_by(MINUTE)
    assert small_machine.world.fired() == ["12:01", "12:02", "12:03", "12:04"]
    assert small_machine.audit() == []


def test_back_and_forth_fires_each_minute_once(small_machine: Machine) -> None:
    small_machine.world.put(minutely(misfire=ALL))
    for by in (HOUR, -HOUR, -HOUR, HOUR, timedelta(hours=3), -timedelta(hours=3), timedelta(minutes=5)):
        small_machine.step(by)
        small_machine.tick(7)
    fired = _fire_times(small_machine)
    assert fired == sorted(set(fired))
    # Every minute up to the mark has an outcome, and each one fired: the policy is all, and none was ever skipped.
    minutes = (small_machine.mark() - NOON) // MINUTE
    assert fired == [NOON + n * MINUTE for n in range(1, minutes + 1)]
    assert small_machine.mark() == when("15:00")


def test_the_sleep_of_a_laptop_is_no_jump(machine: Machine) -> None:
    machine.world.put(every(HOUR, misfire="latest"))
    machine.tick()
    machine.clock.advance(timedelta(days=30))
    result = machine.look()
    assert (result.refused, result.fired, result.decided) == (False, 1, 30 * 24)


@pytest.mark.parametrize("jump", [HOUR, YEAR])
def test_a_restart_forgets_no_jump(machine: Machine, jump: timedelta) -> None:
    machine.world.put(minutely())
    machine.tick()
    machine.step(jump)
    for _ in range(20):  # a supervisor that starts a dying scheduler again and again
        open_session(machine.database, machine.clock.now(), "scheduler")
        machine.restart()
        assert machine.look().refused
        assert machine.tick(2).refused
    assert machine.mark() == NOON


def test_a_jump_while_no_scheduler_ran_is_noticed_when_one_starts(small_machine: Machine) -> None:
    small_machine.world.put(minutely())
    small_machine.tick()
    small_machine.clock.advance(2 * HOUR)
    small_machine.step(YEAR)
    small_machine.restart()
    assert small_machine.tick(20).refused
    small_machine.step(-YEAR)
    assert [small_machine.tick().refused for _ in range(4)] == [True, True, True, False]
    # Two hours were missed, as without a jump; the latest of them fired.
    assert small_machine.world.ledger() == [
        ("12:01", "13:59", 119, "coalesced", None),
        ("14:00", "14:00", 1, "fired", None),
    ]


def test_a_downtime_without_a_jump_is_no_doubt(machine: Machine) -> None:
    machine.world.put(minutely())
    machine.tick()
    machine.clock.advance(timedelta(days=3))
    machine.restart()
    assert machine.look().fired == 1


def test_after_another_boot_a_later_time_may_be_a_downtime_and_fires_by_the_misfire_policy(
    small_machine: Machine,
) -> None:
    small_machine.world.put(minutely())
    small_machine.tick()
    small_machine.step(timedelta(days=10))
    small_machine.boot()
    result = small_machine.look()
    assert (result.refused, result.fired, result.decided) == (False, 1, 10 * 24 * 60)


def test_after_another_boot_a_time_before_the_last_use_is_waited_for(small_machine: Machine) -> None:
    small_machine.world.put(minutely())
    for _ in range(3):
        small_machine.pass_by(MINUTE)
    small_machine.clock.step_wall(datetime(1970, 1, 1, tzinfo=UTC))  # the battery of the clock is empty
    small_machine.boot()
    assert small_machine.tick(10).refused
    (problem,) = small_machine.state().problems()
    assert "1970-01-01T00:00:10+00:00, but the database was used at 2026-03-02T12:03:00+00:00" in problem
    small_machine.clock.step_wall(when("12:10"))  # the network tells the time
    assert [small_machine.tick().refused for _ in range(4)] == [True, True, True, False]
    assert small_machine.world.fired()[-1] == "12:10"


def test_after_another_boot_a_time_before_the_last_heartbeat_is_waited_for_too(small_machine: Machine) -> None:
    open_session(small_machine.database, NOON + HOUR)
    small_machine.boot()
    assert small_machine.look().refused
    small_machine.confirm()
    assert not small_machine.look().refused


def test_a_database_that_was_never_used_is_no_reason_to_doubt(machine: Machine) -> None:
    machine.clock.step_wall(machine.clock.now() if machine.kind == "postgres" else NOON - YEAR)
    assert not machine.look().refused


def test_a_host_whose_clock_differs_from_the_server_s_never_fires(client_machine: Machine) -> None:
    machine = client_machine
    machine.world.put(minutely())
    machine.step(timedelta(days=2))
    machine.restart()
    assert machine.tick(150).refused
    (problem,) = machine.state().problems()
    assert "the wall clock is 2d ahead of that of the database's server" in problem
    machine.step(timedelta(days=-2))
    assert [machine.tick().refused for _ in range(4)] == [True, True, True, False]
    assert machine.world.fired() == ["12:02"]


@pytest.mark.parametrize("by", [timedelta(seconds=61), timedelta(seconds=-61)])
def test_a_server_whose_clock_drifts_off_is_noticed_within_seconds(client_machine: Machine, by: timedelta) -> None:
    client_machine.world.put(minutely())
    client_machine.tick()
    client_machine.server_jump = by
    assert client_machine.tick(6).refused
    client_machine.server_jump = timedelta(0)
    assert [client_machine.tick().refused for _ in range(4)] == [True, True, False, False]


def test_a_difference_of_a_minute_to_the_server_is_let_be(client_machine: Machine) -> None:
    client_machine.server_jump = timedelta(seconds=60)
    client_machine.restart()
    assert not client_machine.tick(10).refused


def test_a_server_that_jumps_along_is_a_witness_for_a_day_at_most(client_machine: Machine) -> None:
    client_machine.world.put(every(HOUR, misfire="skip"))
    client_machine.tick()
    client_machine.step(HOUR, server=True)
    assert [client_machine.tick().refused for _ in range(4)] == [True, True, True, False]
    client_machine.step(YEAR, server=True)
    assert client_machine.tick(20).refused
    client_machine.restart()
    assert client_machine.tick(20).refused
    client_machine.confirm()
    assert not client_machine.tick().refused


def test_a_person_may_confirm_a_clock_that_differs_from_the_server_s_and_nothing_else(client_machine: Machine) -> None:
    machine = client_machine
    machine.step(timedelta(minutes=10))
    assert machine.tick(10).refused
    machine.confirm()
    assert not machine.tick().refused
    machine.restart()
    assert not machine.tick(10).refused
    machine.step(timedelta(minutes=10))
    assert machine.tick(10).refused
    machine.step(timedelta(minutes=-20))  # right after all
    assert [machine.tick().refused for _ in range(4)] == [True, True, True, False]


def test_another_host_with_a_right_clock_goes_on_firing(client_machine: Machine) -> None:
    wrong = client_machine
    wrong.world.put(minutely())
    wrong.step(YEAR)
    right = ManualClock(NOON)
    other = wrong.open()
    firer = Firer(other, right, ClockGuard(other, right, "scheduler s2", "boot-2"))
    for _ in range(121):
        right.advance(SECOND)
        wrong.tick()
        firer.run_once()
    assert wrong.world.fired() == ["12:01", "12:02"]


def test_a_confirmation_is_for_the_time_that_was_confirmed(small_machine: Machine) -> None:
    small_machine.tick()
    small_machine.step(2 * YEAR)
    assert small_machine.tick().refused
    small_machine.step(-YEAR)
    small_machine.confirm()
    small_machine.step(YEAR)
    assert small_machine.tick(10).refused
    small_machine.step(-YEAR)
    small_machine.tick()
    assert not small_machine.tick(3).refused


def test_the_way_back_from_a_wrong_time_is_no_jump_of_its_own(small_machine: Machine) -> None:
    small_machine.world.put(minutely(misfire=ALL))
    small_machine.pass_by(MINUTE)
    small_machine.step(-YEAR)
    small_machine.tick(100)
    small_machine.restart()
    small_machine.tick(19)
    small_machine.step(YEAR)  # 12:02:59
    assert [small_machine.tick().refused for _ in range(4)] == [True, True, True, False]
    assert small_machine.world.fired() == ["12:01", "12:02", "12:03"]


def test_a_process_that_cannot_write_its_belief_down_does_not_fire(small_machine: Machine) -> None:
    small_machine.world.put(minutely())
    small_machine.tick()
    small_machine.step(HOUR)
    small_machine.tick(3)
    small_machine.faulty.before_write = _fail
    small_machine.clock.advance(SECOND)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            small_machine.firer.run_once()
    assert small_machine.mark() == NOON
    small_machine.faulty.before_write = lambda: None
    small_machine.tick()
    assert small_machine.world.fired() == ["13:00"]


def _fail() -> None:
    raise StoreUnavailable("the database is down")


def test_a_doubt_is_said_at_once_and_each_minute_and_shown_while_it_lasts(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    open_session(machine.database, NOON, "scheduler", host=socket.gethostname(), pid=os.getpid())
    machine.tick()
    machine.step(YEAR)
    machine.tick(121)
    said = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(said) == 3
    assert "nothing fires and nothing expires" in said[0].getMessage()
    (one,) = machine.state().doubters
    assert (one.who, one.cause, one.since) == ("scheduler s1", "ahead" if machine.kind == "sqlite" else "disagrees",
                                               NOON + YEAR + 2 * SECOND)  # fmt: skip
    problem, *_ = machine.state().problems()
    assert problem.startswith(
        f"scheduler s1 on {socket.gethostname()} does not believe its clock, and fires nothing: the wall clock"
    )
    machine.step(-YEAR)
    machine.tick(4)
    assert machine.state().doubters == ()
    assert list(machine.state().problems()) == []
    (body,) = machine.audit_bodies("clock.trusted")
    assert (body["seconds"], body["confirmed_by"]) == (124, None)


def test_a_process_that_ends_in_doubt_takes_its_doubt_back(small_machine: Machine) -> None:
    open_session(small_machine.database, NOON, "scheduler", host=socket.gethostname(), pid=os.getpid())
    small_machine.tick()
    small_machine.step(YEAR)
    small_machine.tick()
    assert len(small_machine.state().doubters) == 1
    small_machine.guard.close()
    assert small_machine.state().doubters == ()
    # The jump itself is not forgotten.
    assert len(list(small_machine.state().problems())) == 1


def test_in_doubt_nothing_expires_and_only_what_has_surely_come_due_is_staged(machine: Machine) -> None:
    world = machine.world
    hopeful = world.enqueuer.enqueue(Request(demo, expires=10 * MINUTE))
    soon = world.enqueuer.enqueue(Request(demo, due_at=NOON + 30 * SECOND))
    later = world.enqueuer.enqueue(Request(demo, due_at=NOON + 2 * HOUR))
    machine.tick()
    machine.step(YEAR)
    machine.tick(28)  # 12:00:29 in truth
    states = [world.look(run_id).state for run_id in (hopeful, soon, later)]
    assert states == [RunState.READY, RunState.SCHEDULED, RunState.SCHEDULED]
    machine.tick()
    assert [world.look(run_id).state for run_id in (hopeful, soon, later)] == [
        RunState.READY, RunState.READY, RunState.SCHEDULED,
    ]  # fmt: skip
    machine.step(-YEAR)
    machine.tick(4)
    assert world.look(hopeful).state is RunState.READY
    machine.pass_by(10 * MINUTE)
    assert world.look(hopeful).state is RunState.CANCELLED


@pytest.mark.parametrize(
    ("zone", "start", "fired"),
    [
        # New York goes from 02:00 to 03:00 on 8 March 2026: the fire time in the gap is at its end.
        ("America/New_York", datetime(2026, 3, 8, 6, 58, tzinfo=UTC), datetime(2026, 3, 8, 7, 0, tzinfo=UTC)),
        # And back from 02:00 to 01:00 on 1 November 2026: the first of both.
        ("America/New_York", datetime(2026, 11, 1, 5, 28, tzinfo=UTC), datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
    ],
)
def test_the_nights_of_a_change_of_summer_time_are_no_jumps(
    machine: Machine, zone: str, start: datetime, fired: datetime
) -> None:
    machine.step(start - machine.clock.now(), server=True)
    machine.world.put(cron("30 2 * * *" if start.month == 3 else "30 1 * * *", zone=zone))
    for _ in range(180):
        machine.clock.advance(MINUTE)
        assert not machine.look().refused
    assert _fire_times(machine) == [fired]


def test_a_jump_between_the_judgement_and_the_plan_fires_nothing(small_machine: Machine) -> None:
    small_machine.world.put(minutely())
    small_machine.tick(60)
    looks = 0

    def jump() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:  # the look for due schedules, after the clock was judged
            small_machine.step(YEAR)

    small_machine.faulty.before_read = jump
    small_machine.clock.advance(MINUTE)
    assert small_machine.firer.run_once().decided == 1
    assert small_machine.mark() == when("12:02")


def test_two_schedulers_of_a_machine_heal_together_and_fire_once(small_machine: Machine) -> None:
    machine = small_machine
    machine.world.put(minutely(misfire=ALL))
    guards = [ClockGuard(machine.open(), machine.clock, f"scheduler s{n}", machine.boot_id) for n in (1, 2)]
    firers = [Firer(machine.open(), machine.clock, guard) for guard in guards]
    together(*[firer.run_once for firer in firers])
    machine.step(10 * MINUTE)
    for _ in range(5):
        machine.clock.advance(SECOND)
        together(*[firer.run_once for firer in firers])
    assert machine.world.fired() == [f"12:{n:02}" for n in range(1, 11)]


def test_what_is_done_once_is_refused_while_the_clock_is_surely_wrong(machine: Machine) -> None:
    machine.tick()
    require_sound(machine.database, machine.clock, machine.boot_id)
    machine.step(YEAR)
    with pytest.raises(ClockInDoubt, match="nothing was changed"):
        require_sound(machine.database, machine.clock, machine.boot_id)
    machine.confirm()
    require_sound(machine.database, machine.clock, machine.boot_id)


def test_no_instant_has_two_rows_after_all_kinds_of_steps(machine: Machine) -> None:
    machine.world.put(minutely(misfire="latest"))
    for by in (HOUR, -HOUR, YEAR, -YEAR, -timedelta(days=2), timedelta(days=2), timedelta(seconds=50)):
        machine.step(by)
        machine.tick(6)
        machine.restart()
        machine.tick(6)
    rows = machine.database.read(lambda tx: tx.core(sqlalchemy.select(occurrences)).all())
    spans = sorted((row.fire_at, row.until_at, row.n) for row in rows)
    assert all(one[1] < other[0] for one, other in pairwise(spans))
    mark = machine.mark()
    assert sum(n for _, _, n in spans) == (mark - NOON) // MINUTE
    next_at = machine.database.read(lambda tx: tx.core(sqlalchemy.select(schedules.c.next_at)).scalar_one())
    assert next_at == mark + MINUTE
