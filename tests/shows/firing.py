"""Two schedulers and three workers, one of each killed with -9 again and again: every fire time happens exactly once.

The long form: ``python -m tests.shows.firing [--database URL] [--schedules 200] [--seconds 60] [--kill-every 10]``.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from mainspring.clock import SystemClock
from tests import servers
from tests.shows.fleet import TASKS, Fleet, Process, fleet, monotonic, pause, read_effects, wait_for
from tests.shows.order_log import begin_log, left_behind


@dataclass(frozen=True)
class Size:
    """How much the show does."""

    schedules: int
    seconds: int
    kill_every: float
    seed: int = 1


def write_project(folder: Path, url: str, size: Size, start: datetime) -> None:
    """Write schedules that fire every second from *start*, in three queues with three priorities."""
    end = start + timedelta(seconds=size.seconds - 1)
    schedules: dict[str, Any] = {
        f"s{n:03}": {
            "task": "tick",
            "cron": "* * * * * *",
            "start": start.isoformat(),
            "end": end.isoformat(),
            "priority": ("high", "normal", "low")[n % 3],
            "queue": f"q{n % 2}",
            "parameters": {"number": n},
        }
        for n in range(size.schedules)
    }
    settings = {"database": url, "tasks": ["tasks"], "worker": {"slots": 10}, "schedules": schedules}
    (folder / "mainspring.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")


def show(folder: Path, url: str, size: Size) -> str:
    """Run the show and return what `db verify` printed; raise AssertionError where a promise is broken."""
    start = SystemClock().now().replace(microsecond=0) + timedelta(seconds=12 if size.seconds > 20 else 8)
    write_project(folder, url, size, start)
    with fleet(folder) as ours:
        ours.run("db", "upgrade")
        ours.run("apply")
        begin_log(url)
        schedulers = [ours.add(f"scheduler{n}", "scheduler") for n in range(2)]
        workers = [ours.add(f"worker{n}", "worker") for n in range(3)]
        pause(max((start - SystemClock().now()).total_seconds(), 0.0))
        _kill_again_and_again(size, schedulers, workers)
        expected = size.schedules * size.seconds
        wait_for(lambda: _all_done(ours, expected), 60, f"{expected} runs have succeeded")
        verified = ours.run("db", "verify").stdout
        behind = left_behind(url)
        assert not behind, f"claims that left a better run behind: {behind}"
        _judge_effects(folder, expected)
    return verified


def _kill_again_and_again(size: Size, schedulers: list[Process], workers: list[Process]) -> None:
    dice = random.Random(size.seed)
    until = monotonic() + size.seconds
    while monotonic() + size.kill_every <= until + 0.1:
        pause(size.kill_every)
        for process in (dice.choice(schedulers), dice.choice(workers)):
            process.kill9()
            process.start()
    pause(max(until - monotonic(), 0.0))


def _all_done(ours: Fleet, expected: int) -> bool:
    counts = yaml.safe_load(ours.run("status", "--json").stdout)["runs"]
    unfinished = sum(n for state, n in counts.items() if state not in ("succeeded", "failed", "cancelled"))
    return counts.get("succeeded", 0) >= expected and not unfinished


def _judge_effects(folder: Path, expected: int) -> None:
    started = {run_id for run_id, _, what, _ in read_effects(folder / "effects") if what == "start"}
    assert len(started) == expected, f"{len(started)} runs had an effect, not {expected}"


def judge(verified: str, expected: int) -> None:
    """Compare what `db verify` printed with what must be."""
    n = f"{expected:,}"
    assert re.search(rf"^{n} expected, {n} fired, 0 missing, 0 doubled", verified, re.M), verified


def main() -> None:
    """Run the long form."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    options.add_argument("--schedules", type=int, default=200)
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--kill-every", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=int(datetime.now(UTC).timestamp()))  # noqa: TID251
    given = options.parse_args()
    size = Size(given.schedules, given.seconds, given.kill_every, given.seed)
    sys.stdout.write(f"seed {given.seed}\n")
    for kind in ("sqlite", "postgres") if given.database == "both" else (given.database,):
        with tempfile.TemporaryDirectory(prefix="mainspring-firing-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            if kind == "sqlite":
                verified = show(folder, f"sqlite:///{folder / 'mainspring.db'}", size)
            else:
                with servers.postgres_cluster(fsync="on", track_commit_timestamp="on") as cluster:
                    verified = show(folder, cluster.url(cluster.create_database()), size)
            sys.stdout.write(f"{kind}:\n{verified}\n")
            judge(verified, size.schedules * size.seconds)


if __name__ == "__main__":
    main()
