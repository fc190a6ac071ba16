"""Simulate many seeds, or one of them with its trace: `python -m tests.simulation --seeds 500 --from 1`."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from mainspring.clock import SystemClock
from tests.simulation.simulation import Result, simulate

_FIXED = {"PYTHONHASHSEED": "0"}


def main() -> int:
    """Return 1 if a seed broke a promise; say how to replay it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=50, help="how many seeds")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="print every step of --seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    given = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of texts differs from process to process, and with it what the product does first.
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], os.environ | _FIXED)
    if given.seed is not None:
        result = simulate(given.seed, show=print if given.trace else None)
        print(result)
        return 1 if result.problems else 0
    return _many(range(given.first, given.first + given.seeds), given.jobs)


def _many(seeds: range, jobs: int) -> int:
    clock = SystemClock()
    began, failed, runs, faults = clock.monotonic(), 0, 0, 0
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done, result in enumerate(pool.map(simulate, seeds, chunksize=1), 1):
            runs, faults = runs + result.runs, faults + sum(result.counts.values())
            if result.problems:
                failed += 1
                _tell(result)
            if done % 100 == 0:
                print(f"{done} seeds, {failed} failed, {clock.monotonic() - began:.0f} s", flush=True)
    seconds = clock.monotonic() - began
    print(
        f"{len(seeds)} seeds from {seeds.start}: {runs} runs, {faults} faults, {failed} seeds failed, {seconds:.0f} s"
    )
    return 1 if failed else 0


def _tell(result: Result) -> None:
    print(f"FAILED {result}")
    for problem in result.problems[:10]:
        print(f"  {problem}")
    print(f"  replay: python -m tests.simulation --seed {result.seed} --trace", flush=True)


if __name__ == "__main__":
    sys.exit(main())
