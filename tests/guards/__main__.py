"""Take each guard of the product away and see whether its test notices: `python -m tests.guards`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from mainspring.clock import SystemClock
from tests.guards.guards import GUARDS, Guard
from tests.guards.mutate import Copy, Result, whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; return 1 if a guard can be missing without notice, or could not be taken away."""
    options = _options().parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    guards = [guard for guard in GUARDS if options.name in guard.name]
    if options.some:
        guards = sorted(random.Random(seed).sample(guards, min(options.some, len(guards))), key=GUARDS.index)
        print(f"seed {seed}")
    clock = SystemClock()
    began = clock.monotonic()
    with tempfile.TemporaryDirectory() as folder, _copies(Path(folder), options.at_once) as copies:
        if not options.trust and (said := whole(copies[0], guards)) is not None:
            print(said)
            print("the tests fail while every guard is there: nothing can be said")
            return 1
        results = [_print(result) for result in _take_away(copies, guards)]
    survived = sum(not result.caught for result in results)
    print(f"{len(results)} guards, {survived} survived, {clock.monotonic() - began:.0f} s")
    return 1 if survived or not results else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.guards", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="only guards whose name holds this")
    parser.add_argument("--some", type=int, metavar="N", help="only N guards, chosen by the seed")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="how many copies of the tree to work in")
    parser.add_argument("--trust", action="store_true", help="do not run the tests with all guards first")
    return parser


@contextmanager
def _copies(folder: Path, n: int) -> Iterator[list[Copy]]:
    yield [Copy(folder / f"copy{i}") for i in range(max(n, 1))]


def _take_away(copies: Sequence[Copy], guards: Sequence[Guard]) -> Iterator[Result]:
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def work(guard: Guard) -> Result:
        copy = free.get()
        try:
            return copy.without(guard)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        yield from pool.map(work, guards)


def _print(result: Result) -> Result:
    word = "caught" if result.caught else "SURVIVES"
    print(f"{word:<9} {result.guard.name:<52} {result.guard.test.partition('::')[2][:90]}", flush=True)
    if not result.caught:
        print(f"          {result.guard.file}: {result.said}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
