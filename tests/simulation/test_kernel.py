"""Virtual threads: one at a time, in an order that the seed decides, and gone when their process is."""

from __future__ import annotations

import pytest

from tests.simulation.kernel import SECOND, Condition, Crashed, Event, Kernel, Lock, Queue, RLock, Stuck, Thread


class Owner:
    dead, frozen_until, pid = False, 0, 1

    def __str__(self) -> str:
        return "owner"


OWNER = Owner()


def order_of(seed: int) -> list[tuple[str, int]]:
    kernel, seen = Kernel(seed), []

    def main() -> None:
        def work(name: str) -> None:
            for _ in range(3):
                kernel.sleep(100)
                seen.append((name, kernel.now))

        threads = [Thread(kernel, work, name=name, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    kernel.run(main, OWNER)
    return seen


def test_a_seed_decides_the_order_and_only_it() -> None:
    assert order_of(1) == order_of(1)
    assert len({tuple(name for name, _ in order_of(seed)) for seed in range(20)}) > 5


def test_time_passes_only_while_everybody_waits() -> None:
    kernel, seen = Kernel(1), []

    def main() -> None:
        event = Event(kernel)
        assert not event.wait(3_600)
        seen.append(kernel.now // SECOND)

    kernel.run(main, OWNER)
    assert seen == [3_600]


def test_who_waits_is_woken_before_time() -> None:
    kernel, seen = Kernel(1), []

    def main() -> None:
        event, queue, condition = Event(kernel), Queue(kernel), Condition(kernel)
        ready: list[int] = []

        def wait_for_condition() -> None:
            with condition:
                seen.append(condition.wait_for(lambda: ready, 60))

        Thread(kernel, lambda: seen.append(event.wait(60))).start()
        Thread(kernel, lambda: seen.append(queue.get())).start()
        Thread(kernel, wait_for_condition).start()
        kernel.sleep(SECOND)
        event.set()
        queue.put("item")
        with condition:
            ready.append(1)
            condition.notify_all()
        kernel.sleep(SECOND)

    kernel.run(main, OWNER)
    assert sorted(map(str, seen)) == ["True", "[1]", "item"]
    assert kernel.now < 3 * SECOND


@pytest.mark.parametrize("kind", [Lock, RLock])
def test_a_lock_lets_one_in_at_a_time_and_its_wait_can_end(kind: type[Lock]) -> None:
    kernel, inside, most = Kernel(3), [], []

    def main() -> None:
        lock = kind(kernel)

        def work() -> None:
            with lock:
                inside.append(1)
                most.append(len(inside))
                kernel.sleep(SECOND)
                inside.pop()

        threads = [Thread(kernel, work) for _ in range(3)]
        for thread in threads:
            thread.start()
        kernel.sleep(SECOND // 2)
        assert not lock.acquire(timeout=0.1)
        for thread in threads:
            thread.join()
        assert lock.acquire(timeout=0.1)

    kernel.run(main, OWNER)
    assert most == [1, 1, 1]


def test_the_threads_of_a_dead_process_unwind_and_do_nothing_more() -> None:
    kernel, seen = Kernel(1), []

    class Other(Owner):
        pass

    other = Other()

    def main() -> None:
        def work() -> None:
            try:
                kernel.sleep(60 * SECOND)
                seen.append("went on")
            except Crashed:
                seen.append("crashed")
                raise

        kernel.spawn(other, "work", work)
        kernel.sleep(SECOND)
        other.dead = True
        kernel.doom(other)
        kernel.sleep(SECOND)
        assert seen == ["crashed"]

    kernel.run(main, OWNER)


def test_a_frozen_process_goes_on_where_it_stood() -> None:
    kernel, seen = Kernel(1), []

    class Other(Owner):
        frozen_until = 30 * SECOND

    def main() -> None:
        kernel.spawn(Other(), "work", lambda: seen.append(kernel.now // SECOND))
        kernel.sleep(60 * SECOND)

    kernel.run(main, OWNER)
    assert seen == [30]


def test_a_world_in_which_everybody_waits_for_ever_is_stuck() -> None:
    kernel = Kernel(1)
    with pytest.raises(Stuck, match="nobody will ever run again"):
        kernel.run(lambda: Event(kernel).wait(), OWNER)


def test_what_the_first_thread_raises_is_raised() -> None:
    def main() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Kernel(1).run(main, OWNER)
