"""Run all hostile tasks beside innocent ones, and print how each ended: python -m tests.isolation."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.isolation import tasks
from tests.isolation.arrange import CLOCK, Bench, House, how_it_ended, until
from tests.isolation.hostile import HOSTILE, KINDS, LIMIT, MB, bystander, innocent, left_alive, zombies_below

_OVER = 2.0
_ONE = '{"n":1}'


def main() -> int:
    """Run them; return 0 when every one ended as it must, in time, and left nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="kinds to run; all unless given")
    parser.add_argument("--speed", action="store_true", help="measure the speed of warm children instead")
    parser.add_argument("--memory", action="store_true", help="measure how far above its limit memory grows instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        if options.memory:
            return _memory(folder)
        return _speed(folder) if options.speed else _hostile(folder, options.only)


def _hostile(folder: Path, only: list[str]) -> int:
    house = House(folder, [*HOSTILE.values(), innocent, bystander], "tests.isolation.hostile:load")
    house.worker.start()
    failures = 0
    print(f"{'task':<28}{'ended as':<36}{'seconds':>8}  left")
    try:
        house.does(innocent, n=1)
        for kind, variant in HOSTILE:
            if not only or kind in only:
                failures += _one(house, folder / f"{kind}-{variant}", kind, variant)
    finally:
        house.close()
    left = zombies_below(os.getpid())
    print(f"{len(HOSTILE) if not only else len(only) * 3} tasks, {failures} not as they must be, zombies: {len(left)}")
    return 1 if failures or left else 0


def _one(house: House, mark: Path, kind: str, variant: str) -> int:
    mark.mkdir()
    task = HOSTILE[kind, variant]
    run_id = house.enqueue(task, mark=str(mark))
    others = [house.enqueue(which, n=n) for n in range(5) for which in (innocent, bystander)]
    view = house.ends(run_id)
    taken = view.attempts[-1].finished_at - view.attempts[-1].started_at
    ended = how_it_ended(view)
    alive, dead = left_alive(mark), zombies_below(os.getpid())
    limit = task.limits.time_limit
    allowed = (limit.total_seconds() if limit is not None else LIMIT) + _OVER
    unharmed = all(house.ends(other).run.attempt == 1 for other in others)
    good = (
        ended in KINDS[kind].end.split("|") and not alive and not dead and taken.total_seconds() <= allowed and unharmed
    )
    said = f"{len(alive)} alive, {len(dead)} zombies" + ("" if unharmed else ", OTHERS HARMED")
    shown = "" if good else f"   NOT AS IT MUST BE ({KINDS[kind].end or 'succeeded'})"
    print(
        f"{kind + '.' + variant:<28}{ended or 'succeeded':<36}{taken.total_seconds():>8.2f}  {said}{shown}", flush=True
    )
    return 0 if good else 1


def _speed(folder: Path) -> int:
    bench = Bench(folder, "tests.isolation.hostile:load")
    bench.rate(innocent, 50, 4, '{"n":1}')
    for at_once in (1, 2, 4):
        print(f"{at_once} warm children: {bench.rate(innocent, 4000, at_once, _ONE):,.0f} runs/s")
    fresh = replace(innocent, limits=replace(innocent.limits, recycle_after=1))
    print(
        f"a fresh child for each run, the old one ended in good order: {1000 / bench.rate(fresh, 100, 1, _ONE):.1f} ms"
    )
    _kills(bench, folder)
    bench.executor.stop()
    return 0


def _memory(folder: Path) -> int:
    bench, worst = Bench(folder, "tests.isolation.tasks:load"), 0.0
    for limit in (200, 400, 600, 800, 1000):
        for rate in (50, 100, 200):
            hog = replace(tasks.hog, limits=replace(tasks.hog.limits, memory_limit=limit * MB))
            bench.start(hog, f'{{"megabytes": 3000, "per_second": {rate}}}')
            used = int((bench.wait(90).error_message or "").split()[2])
            over = used / (limit * MB) - 1
            worst = max(worst, over)
            print(
                f"limit {limit:>5} MB, growth {rate:>4} MB/s: killed at {used / MB:>7.1f} MB, {over:>6.1%} above",
                flush=True,
            )
    bench.executor.stop()
    print(f"worst: {worst:.1%} above the limit; 10.0% are allowed")
    return 1 if worst > 0.1 else 0


def _kills(bench: Bench, folder: Path) -> None:
    taken = []
    for number in range(15):
        mark = folder / f"kill-{number}"
        mark.mkdir()
        attempt = bench.start(HOSTILE["ignore_signals", "def"], f'{{"mark":"{mark}"}}')
        until(lambda mark=mark: left_alive(mark))
        began = CLOCK.monotonic()
        bench.executor.kill(attempt)
        bench.wait()
        taken.append(bench.ends[-1][0] - began)
        assert not left_alive(mark)
    taken.sort()
    print(f"kill with a grandchild, and a fresh child: p50 {taken[7] * 1000:.1f} ms, max {taken[-1] * 1000:.1f} ms")


if __name__ == "__main__":
    sys.exit(main())
