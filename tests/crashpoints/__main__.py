"""Strike every point of every scenario with every fault: `python -m tests.crashpoints`."""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing

from mainspring.clock import SystemClock
from tests.crashpoints.plants import PLANTS
from tests.crashpoints.scenarios import SCENARIOS, Scenario
from tests.crashpoints.sweep import FAULTS, Case, faults_at, prepare, strike
from tests.crashpoints.world import Place, PostgresPlace, SqlitePlace, World
from tests.servers import PostgresCluster

_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep, print a table, and return 1 if a promise was broken."""
    options = _options().parse_args(arguments)
    logging.disable(logging.ERROR)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    chosen = random.Random(seed)
    clock, totals, broken = SystemClock(), Counter[str](), list[tuple[Case, str]]()
    began = clock.monotonic()
    if options.plant:
        PLANTS[options.plant]()
    print(f"seed {seed}", flush=True)
    _print_row("", "points", *FAULTS, "seconds")
    for place in _places(options.database, options.server):
        with closing(place):
            for scenario in SCENARIOS:
                if options.scenario in (None, scenario.name):
                    totals += _sweep(place, scenario, chosen, options.every, broken)
    _print_row("all", *(totals[name] for name in ("points", *FAULTS)), f"{clock.monotonic() - began:.1f}")
    for case, sentence in broken[:_SHOWN]:
        print(f"VIOLATION {case}: {sentence}")
    struck = sum(totals[fault] for fault in FAULTS)
    print(f"{struck} faults struck, {len(broken)} violations, seed {seed}, {clock.monotonic() - began:.0f} s")
    return 1 if broken or not struck else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crashpoints", description=__doc__)
    parser.add_argument("--seed", type=int, help="chooses the cases where not all are tried")
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--scenario", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="strike one of N cases, chosen by the seed; 0: none"
    )
    parser.add_argument("--server", help="address of a PostgreSQL server to use; without one, one is started")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="put this bug into the product first")
    return parser


def _places(wanted: str, server: str | None) -> Iterator[Place]:
    if wanted in ("sqlite", "both"):
        yield SqlitePlace()
    if wanted in ("postgres", "both"):
        cluster = None if server else PostgresCluster()
        yield PostgresPlace(server or cluster.socket_url(), cluster)  # type: ignore[union-attr]


def _sweep(
    place: Place, scenario: Scenario, chosen: random.Random, every: int, broken: list[tuple[Case, str]]
) -> Counter[str]:
    clock = SystemClock()
    began, world, struck = clock.monotonic(), World(place), Counter[str]()
    with closing(world):
        points = prepare(world, scenario)
        cases = [(point, fault) for point in points for fault in faults_at(point)]
        for point, fault in sorted(chosen.sample(cases, -(-len(cases) // every) if every else 0), key=cases.index):
            struck[fault] += 1
            case = Case(place.name, scenario.name, point, fault)
            broken += [(case, str(violation)) for violation in strike(world, scenario, points, point, fault)]
    seconds = f"{clock.monotonic() - began:.1f}"
    _print_row(f"{place.name}: {scenario.name}", len(points), *(struck[fault] for fault in FAULTS), seconds)
    return struck + Counter(points=len(points))


def _print_row(name: str, *columns: object) -> None:
    print(f"{name:<32}" + "".join(f"{column!s:>13}" for column in columns), flush=True)


if __name__ == "__main__":
    sys.exit(main())
