"""Explore long: `python -m tests.model --database sqlite --examples 2000 --steps 60`, on two processes.

`--bugs` plants each fault of `bugs` in turn and says how many examples it takes to find it.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import sys
from collections import Counter

from mainspring.clock import SystemClock
from tests.model.bugs import BUGS, planted
from tests.model.machine import Exploration, Found, explore
from tests.model.share import share, store_of

_DEFAULTS = {"sqlite": (2000, 60), "postgres": (500, 40)}
_CLOCK = SystemClock()


def main() -> int:
    """Run and print figures; return 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--database", choices=sorted(_DEFAULTS), default="sqlite")
    parser.add_argument("--examples", type=int, help="over all processes")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--bugs", action="store_true", help="plant faults and find them")
    given = parser.parse_args()
    examples, steps = given.examples or _DEFAULTS[given.database][0], given.steps or _DEFAULTS[given.database][1]
    if given.bugs:
        return _find_bugs(given.database, given.examples or 150, given.steps or 40, given.seed)
    print(f"{given.database}: {examples} examples of {steps} steps, seed {given.seed}", flush=True)
    began = _CLOCK.monotonic()
    shares = [
        (given.database, -(-examples // given.processes), steps, given.seed + number)
        for number in range(given.processes)
    ]
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        results = pool.starmap(share, shares)
    total: Counter[str] = Counter()
    for counts, report in results:
        total.update(counts)
        if report:
            print(report)
    print(f"{total.pop('examples')} examples, {total.pop('steps')} steps in {_CLOCK.monotonic() - began:.0f} s")
    print(", ".join(f"{name}: {count}" for name, count in sorted(total.items())))
    found = sum(bool(report) for _, report in results)
    print("nothing found" if not found else f"FOUND in {found} of {given.processes} processes")
    return int(found > 0)


def _find_bugs(database: str, examples: int, steps: int, seed: int) -> int:
    logging.disable(logging.CRITICAL)
    missed = 0
    print(f"{database}: at most {examples} examples of {steps} steps for each fault, seed {seed}", flush=True)
    with store_of(database) as store:
        for name, bug in BUGS.items():
            seen = Exploration()
            try:
                with planted(store, bug):
                    explore(store, examples, steps, seed, seen)
            except Found as found:
                how = str(found).splitlines()[0]
                print(f"{name}: found in example {seen.counts['examples']} ({how[:150]})", flush=True)
            else:
                missed += 1
                print(f"{name}: NOT FOUND in {seen.counts['examples']} examples", flush=True)
    print(f"{len(BUGS) - missed} of {len(BUGS)} found")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
