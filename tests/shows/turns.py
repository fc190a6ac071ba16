"""One customer's hundred thousand runs do not delay another's ten: ``python -m tests.shows.turns [--runs N]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

import mainspring
from mainspring.app import Application, open_database
from mainspring.services.enqueue import Request
from tests import servers
from tests.shows.fleet import fleet, monotonic, read_effects, wait_for

FEW = 10
TASKS = """
import os, time
from pathlib import Path
from mainspring import Context, task

LEDGER = os.open(Path(__file__).with_name("effects"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@task(name="serve", fair="{customer}")
def serve(customer: str, ctx: Context) -> None:
    time.sleep(0.01)
    os.write(LEDGER, f"{customer} {ctx.attempt} end {time.clock_gettime(time.CLOCK_BOOTTIME)}\\n".encode())
"""


@dataclass(frozen=True)
class Result:
    """How long each customer waited, from the enqueue of the second one's runs; seconds."""

    first: float
    """Until the last of the many had ended, as their pace says where not all of them were waited for."""
    second: float
    """Until the last of the few had ended."""

    @property
    def share(self) -> float:
        """Return what part of the many's time the few needed."""
        return self.second / self.first


@mainspring.task(name="serve", fair="{customer}")
def serve(customer: str) -> None:
    """Stand for the worker's task, to enqueue its runs."""


def show(folder: Path, url: str, runs: int) -> Result:
    """Enqueue *runs* of one key and then ten of another, and let one worker with ten slots work."""
    settings = {"database": url, "tasks": ["tasks"], "worker": {"slots": 10}}
    (folder / "mainspring.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")
    effects = folder / "effects"
    with fleet(folder) as ours:
        ours.run("db", "upgrade")
        application = Application(open_database(url))
        try:
            application.enqueuer.enqueue_many(Request(serve, {"customer": "A"}) for _ in range(runs))
            worker = ours.add("worker", "worker")
            wait_for(lambda: len(read_effects(effects)) > 20, 60, "the worker works")
            began, before = monotonic(), len(read_effects(effects))
            application.enqueuer.enqueue_many(Request(serve, {"customer": "B"}) for _ in range(FEW))
            wait_for(lambda: _ends(effects, "B") and len(_ends(effects, "B")) == FEW, 120, "the few have ended")
        finally:
            application.close()
        second = max(_ends(effects, "B")) - began
        some = min(runs, before + max(2_000, runs // 10))
        wait_for(lambda: len(read_effects(effects)) >= some, 600, f"{some} runs have ended")
        ends = sorted(_ends(effects, "A"))
        pace = (len(ends) - before) / (ends[-1] - began)
        worker.stop()
    return Result((runs - before) / pace, second)


def _ends(effects: Path, customer: str) -> list[float]:
    return [at for who, _, _, at in read_effects(effects) if who == customer]


def judge(result: Result, share: float = 0.01) -> None:
    """Fail when the few needed more than *share* of the time that the many need."""
    assert result.share <= share, f"{result.second:.2f} s of {result.first:.1f} s are {result.share:.1%}"


def main() -> None:
    """Run the long form on both databases."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=100_000)
    given = options.parse_args()
    for kind in ("sqlite", "postgres"):
        with tempfile.TemporaryDirectory(prefix="mainspring-turns-") as name:
            result = _run(kind, Path(name), given.runs)
        sys.stdout.write(
            f"{kind}: {given.runs:,} runs of one key take {result.first:.1f} s; ten of another, enqueued after them, "
            f"ended within {result.second:.2f} s ({result.share:.2%})\n"
        )
        sys.stdout.flush()
        judge(result)


def _run(kind: str, folder: Path, runs: int) -> Result:
    if kind == "sqlite":
        return show(folder, f"sqlite:///{folder / 'mainspring.db'}", runs)
    with servers.postgres_cluster(fsync="on") as cluster:
        return show(folder, cluster.url(cluster.create_database()), runs)


if __name__ == "__main__":
    main()
