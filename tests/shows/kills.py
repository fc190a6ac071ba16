"""A worker of 10 slots is killed with -9 again and again in the middle of one-second runs: none is lost.

The long form: ``python -m tests.shows.kills [--database sqlite|postgres|both] [--runs 200] [--kills 5]``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import yaml

from tests import servers
from tests.shows.fleet import TASKS, Fleet, fleet, monotonic, pause, read_effects, wait_for

AGAIN_WITHIN = 15.0
"""Seconds from a kill until what it interrupted runs again, with default settings."""
_RECORDED_WITHIN = 0.5
"""Seconds from a task's last effect until its result is surely in the database, on a busy machine."""


@dataclass(frozen=True)
class Result:
    """What was measured."""

    interrupted: int
    longest: float
    """Seconds from a kill to the latest new start of what it interrupted."""


def show(folder: Path, url: str, runs: int, kills: int) -> Result:
    """Run the show; raise AssertionError where a promise is broken."""
    settings = {"database": url, "tasks": ["tasks"]}
    (folder / "mainspring.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "tasks.py").write_text(TASKS + _ENQUEUE.format(runs=runs), encoding="utf-8")
    effects = folder / "effects"
    with fleet(folder) as ours:
        ours.run("db", "upgrade")
        ours.run("enqueue", "fill")
        worker = ours.add("worker", "worker")
        wait_for(lambda: len(read_effects(effects)) >= 10, 30, "ten runs have started")
        killed_at = []
        for _ in range(kills):
            pause(1.3)
            killed_at.append(monotonic())
            worker.kill9()
            worker.start()
            seen = len(read_effects(effects))
            wait_for(lambda seen=seen: len(read_effects(effects)) >= seen + 5, 30, "the next worker works")
        wait_for(lambda: _counts(ours).get("succeeded", 0) == runs + 1, 120, "all runs have succeeded")
        ours.run("db", "verify")
        assert worker.stop() == 0
    return _judge(effects, killed_at, runs)


_ENQUEUE = """

import mainspring


@task(name="fill")
def fill() -> None:
    with mainspring.connect(config=Path(__file__).with_name("mainspring.yaml")) as client:
        client.enqueue_many(second, [{{"number": n}} for n in range({runs})])
"""


def _counts(ours: Fleet) -> dict[str, int]:
    counts: dict[str, int] = yaml.safe_load(ours.run("status", "--json").stdout)["runs"]
    return counts


def _judge(effects: Path, killed_at: list[float], runs: int) -> Result:
    starts: dict[str, list[tuple[int, float]]] = defaultdict(list)
    ends: dict[tuple[str, int], float] = {}
    for run_id, attempt, what, at in read_effects(effects):
        if what == "start":
            starts[run_id].append((attempt, at))
        else:
            ends[run_id, attempt] = at
    assert len(starts) == runs, f"{runs - len(starts)} runs never started"
    waits = []
    for run_id, attempts in starts.items():
        numbers = [attempt for attempt, _ in attempts]
        assert numbers == sorted(set(numbers)), f"run {run_id} started its attempts out of order: {numbers}"
        assert (run_id, numbers[-1]) in ends, f"run {run_id} never ended"
        for (attempt, at), (_, again) in pairwise(attempts):
            ended = ends.get((run_id, attempt))
            # One that had ended is repeated only if the kill came before its result could be recorded.
            assert ended is None or any(ended <= kill <= ended + _RECORDED_WITHIN for kill in killed_at), (
                f"run {run_id} was repeated although attempt {attempt} had ended {again - ended:.1f} s before"
            )
            waits.append(again - min(kill for kill in killed_at if kill >= at))
    assert waits, "no kill interrupted anything"
    assert max(waits) <= AGAIN_WITHIN, f"an interrupted run waited {max(waits):.1f} s"
    return Result(len(waits), max(waits))


def main() -> None:
    """Run the long form."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    options.add_argument("--runs", type=int, default=200)
    options.add_argument("--kills", type=int, default=5)
    given = options.parse_args()
    for kind in ("sqlite", "postgres") if given.database == "both" else (given.database,):
        with tempfile.TemporaryDirectory(prefix="mainspring-kills-") as name:
            folder = Path(name)
            if kind == "sqlite":
                result = show(folder, f"sqlite:///{folder / 'mainspring.db'}", given.runs, given.kills)
            else:
                with servers.postgres_cluster(fsync="on") as cluster:
                    result = show(folder, cluster.url(cluster.create_database()), given.runs, given.kills)
            sys.stdout.write(
                f"{kind}: {given.runs} runs, {given.kills} kills, {result.interrupted} interrupted, 0 lost; "
                f"the latest ran again {result.longest:.1f} s after the kill\n"
            )


if __name__ == "__main__":
    main()
