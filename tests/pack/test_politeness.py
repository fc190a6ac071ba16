from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from mainspring.clock import ManualClock
from mainspring.errors import InvalidInput
from mainspring.pack import HostPolicy, PoliteGate


class Waits:
    """Stands in for sleeping: moves the clock, and remembers by how much."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.seconds = clock, list[float]()

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(round(seconds, 6))
        self.clock.advance(timedelta(seconds=seconds))


async def turns(gate: PoliteGate, host: str, count: int) -> None:
    for _ in range(count):
        async with gate.turn(host):
            pass


def test_after_the_burst_requests_keep_their_distance() -> None:
    clock = ManualClock()
    waits = Waits(clock)
    gate = PoliteGate(clock, [HostPolicy(rate=2, burst=3, concurrency=1)], waits)
    asyncio.run(turns(gate, "a.example", 6))
    assert waits.seconds == [0.5, 0.5, 0.5]


def test_a_quiet_time_gives_the_burst_back_but_no_more() -> None:
    clock = ManualClock()
    waits = Waits(clock)
    gate = PoliteGate(clock, [HostPolicy(rate=2, burst=3, concurrency=1)], waits)
    asyncio.run(turns(gate, "a.example", 3))
    clock.advance(timedelta(hours=1))
    asyncio.run(turns(gate, "a.example", 4))
    assert waits.seconds == [0.5]


def test_the_first_policy_that_fits_a_host_holds_and_hosts_do_not_share() -> None:
    clock = ManualClock()
    waits = Waits(clock)
    slow = HostPolicy("*.slow.example", rate=0.1, burst=1, concurrency=1)
    gate = PoliteGate(clock, [slow, HostPolicy("*", rate=1, burst=1, concurrency=1)], waits)
    asyncio.run(turns(gate, "api.SLOW.example", 2))
    asyncio.run(turns(gate, "fast.example", 2))
    assert waits.seconds == [10.0, 1.0]


def test_no_more_than_the_policy_allows_are_under_way_and_a_failed_one_frees_its_place() -> None:
    async def main() -> tuple[int, bool]:
        gate = PoliteGate(ManualClock(), [HostPolicy(rate=100, burst=100, concurrency=2)])
        release, inside = asyncio.Event(), 0

        async def one() -> None:
            nonlocal inside
            async with gate.turn("a.example"):
                inside += 1
                await release.wait()
                raise ValueError

        tasks = [asyncio.create_task(one()) for _ in range(5)]
        for _ in range(10):
            await asyncio.sleep(0)
        seen = inside
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seen, inside == 5

    assert asyncio.run(main()) == (2, True)


def test_whoever_gives_up_waiting_frees_the_place() -> None:
    async def main() -> None:
        gate = PoliteGate(ManualClock(), [HostPolicy(rate=0.001, burst=1, concurrency=1)])
        async with gate.turn("a.example"):
            pass
        waiting = asyncio.create_task(turns(gate, "a.example", 1))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not gate._line("a.example").under_way.locked()

    asyncio.run(main())


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_a_policy_that_lets_nobody_through_is_refused(numbers: tuple[int, int, int]) -> None:
    rate, burst, concurrency = numbers
    with pytest.raises(InvalidInput, match="politeness for 'a'"):
        HostPolicy("a", rate, burst, concurrency)
