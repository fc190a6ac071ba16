"""After a jump of a clock nobody is buried for the length of a lease."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mainspring.domain.states import RunState
from mainspring.domain.tasks import task
from mainspring.ids import SessionId
from mainspring.services.enqueue import Request
from tests.services.clocks import Machine, client_machine, machine, small_machine
from tests.store.arrange import HOUR, SECOND, TTL, claim, open_session, renew

__all__ = ["client_machine", "machine", "small_machine"]


@task(name="demo.task")
def demo() -> None: ...


def _hold(machine: Machine) -> tuple[SessionId, str]:
    """Let a session hold a run; return both."""
    run_id = machine.world.enqueuer.enqueue(Request(demo))
    session = open_session(machine.database, machine.clock.now())
    claim(machine.database, session, now=machine.clock.now())
    return session, run_id


def _rescue(machine: Machine, seconds: int) -> list[int]:
    """Let time pass and the rescuer look each second; return at which seconds it took something back."""
    found = []
    for second in range(1, seconds + 1):
        machine.clock.advance(SECOND)
        if machine.rescuer.run_once().count:
            found.append(second)
    return found


def test_without_a_jump_the_dead_are_buried_when_their_lease_ends(machine: Machine) -> None:
    _hold(machine)
    assert _rescue(machine, 20) == [12]


@pytest.mark.parametrize("by", [timedelta(seconds=3), -timedelta(seconds=3), HOUR, -HOUR])
def test_after_a_jump_of_the_wall_clock_the_rescuer_waits_for_the_length_of_a_lease(
    machine: Machine, by: timedelta
) -> None:
    _, run_id = _hold(machine)
    assert _rescue(machine, 8) == []
    machine.step(by)
    assert _rescue(machine, 20) == [13]  # seen one second after the jump, and twelve later the wait is over
    assert machine.world.look(run_id).state is RunState.READY


def test_a_gain_of_two_seconds_is_no_jump(machine: Machine) -> None:
    _hold(machine)
    assert _rescue(machine, 8) == []
    machine.step(timedelta(seconds=2))
    assert _rescue(machine, 20) == [4]


def test_the_sleep_of_a_laptop_is_no_jump_to_the_rescuer(machine: Machine) -> None:
    _hold(machine)
    assert _rescue(machine, 2) == []
    machine.clock.advance(8 * HOUR)
    assert _rescue(machine, 1) == [1]


def test_a_server_that_jumps_ahead_buries_nobody_before_the_wait_is_over(client_machine: Machine) -> None:
    session, run_id = _hold(client_machine)
    assert _rescue(client_machine, 2) == []
    client_machine.server_jump = HOUR  # every lease seems to have run out
    assert _rescue(client_machine, 11) == []
    assert client_machine.world.look(run_id).state is RunState.RUNNING
    assert not renew(client_machine.database, session, client_machine.clock.now())
    assert _rescue(client_machine, 5) == [2]
    assert client_machine.world.look(run_id).state is RunState.READY


def test_a_server_that_is_set_back_takes_no_lease_and_right_again_buries_nobody_at_once(
    client_machine: Machine,
) -> None:
    session, run_id = _hold(client_machine)
    assert _rescue(client_machine, 1) == []
    client_machine.server_jump = -HOUR
    for _ in range(8):
        assert _rescue(client_machine, 3) == []
        assert renew(client_machine.database, session, client_machine.clock.now())
    client_machine.server_jump = timedelta(0)  # the leases that were given by the wrong clock have all run out
    assert _rescue(client_machine, 12) == []
    assert client_machine.world.look(run_id).state is RunState.RUNNING
    assert _rescue(client_machine, 5) == [1]


def test_on_sqlite_a_jump_takes_no_lease(small_machine: Machine) -> None:
    session, run_id = _hold(small_machine)
    for by in (HOUR, -2 * HOUR, timedelta(days=365)):
        small_machine.step(by)
        assert _rescue(small_machine, 9) == []
        assert renew(small_machine.database, session, small_machine.clock.now())
    assert _rescue(small_machine, int(TTL.total_seconds()) + 8) == [12]
    assert small_machine.world.look(run_id).state is RunState.READY
