"""A service that refuses what is too fast, and one that is down: a real worker uses it as much as it may, and no more.

The long form: ``python -m tests.shows.resources [--database sqlite|postgres|both] [--show declared|learnt|breaker]``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import func, select

from mainspring.app import open_database
from mainspring.store.schema import attempts
from tests import servers
from tests.shows.fleet import Fleet, fleet, monotonic, pause, wait_for
from tests.shows.service import Service, serve

COOL_DOWN = 5.0
THRESHOLD = 5
DOWN_FOR = 30.0
PAUSE = 7

TASKS = """
import urllib.request
from pathlib import Path

import mainspring
from mainspring import task


@task(name="ask", uses=["service"], max_retries=3)
def ask(n: int, url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:
        answer.read()
    return n


@task(name="fill")
def fill(url: str, runs: int) -> None:
    with mainspring.connect(config=Path(__file__).with_name("mainspring.yaml")) as client:
        client.enqueue_many(ask, [{"n": n, "url": url} for n in range(runs)])
"""


@dataclass(frozen=True)
class Place:
    """Where a show runs: a folder, and the address of its database."""

    folder: Path
    url: str

    def write(self, resources: dict[str, Any]) -> None:
        """Write the project."""
        settings = {"database": self.url, "tasks": ["tasks"], "resources": resources}
        (self.folder / "mainspring.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        (self.folder / "tasks.py").write_text(TASKS, encoding="utf-8")

    def charged_failures(self) -> int:
        """Return how many tries were charged to runs although they did not succeed."""
        database = open_database(self.url)
        counted = select(func.count()).where(attempts.c.charged, attempts.c.outcome != "succeeded")
        try:
            return int(database.read(lambda tx: tx.core(counted).scalar()) or 0)
        finally:
            database.close()


def declared(place: Place, runs: int = 500) -> str:
    """With the rate declared nothing is refused, and nine tenths of it are used."""
    service = Service(allowed=5, retry_after=PAUSE)
    place.write({"service": {"rate": "5/s"}})
    with serve(service) as address, _working(place, address, runs) as ours:
        wait_for(lambda: len(service.times(200)) >= runs, runs / 5 * 1.5 + 30, "all requests are answered")
        wait_for(lambda: counts(ours).get("succeeded", 0) == runs + 1, 30, "all runs have succeeded")
        ours.run("db", "verify")
    answered = service.times(200)
    rate = (len(answered) - 1) / (answered[-1] - answered[0])
    refused = len(service.times(429))
    assert refused == 0, f"{refused} requests were refused although the rate is declared"
    assert rate >= 0.9 * 5, f"only {rate:.2f}/s of 5/s were used"
    assert place.charged_failures() == 0
    return f"declared: {runs} runs, no refusal, {rate:.2f}/s of 5/s"


def learnt(place: Place, after: float = 60.0, window: float = 30.0) -> str:
    """Of a service about which nothing is declared the rate is learnt, at one refusal per pause."""
    service = Service(allowed=5, retry_after=PAUSE)
    place.write({})
    with serve(service) as address, _working(place, address, 1_000):
        wait_for(lambda: service.seen, 60, "the first request arrives")
        began = service.seen[0][0]
        pause(began + after + window - monotonic())
    got = [at for at in service.times(200) if began + after <= at < began + after + window]
    refused = service.times(429)
    gaps = [later - earlier for earlier, later in pairwise(refused)]
    assert refused, "nothing was refused: there was nothing to learn"
    assert all(gap >= PAUSE for gap in gaps), f"more than one request went over the limit in a pause: {gaps}"
    rate = len(got) / window
    assert rate >= 0.6 * 5, f"after {after:g} s only {rate:.2f}/s of 5/s were used"
    assert place.charged_failures() == 0, "a refusal was charged"
    return f"learnt: {len(refused)} refusals, none within {PAUSE} s of another; {rate:.2f}/s of 5/s after {after:g} s"


def breaker(place: Place, runs: int = 200) -> str:
    """While the service is down its runs wait; one probes it each time it has cooled down; in the end all succeed."""
    service = Service(down=True)
    rule = {"failures": THRESHOLD, "cool_down": f"{COOL_DOWN:g}s"}
    place.write({"service": {"concurrency": 10, "breaker": rule}})
    with serve(service) as address, _working(place, address, runs) as ours:
        wait_for(lambda: len(service.seen) >= THRESHOLD, 60, "requests fail")
        began = service.seen[0][0]
        pause(began + COOL_DOWN / 2 - monotonic())
        opened = len(service.seen)
        held = counts(ours).get("held", 0)
        assert held == runs, f"{held} of {runs} runs are held while the breaker is open"
        before = place.charged_failures()
        pause(began + DOWN_FOR - monotonic())
        service.down = False
        wait_for(lambda: counts(ours).get("succeeded", 0) == runs + 1, 60, "all runs have succeeded")
        ours.run("db", "verify")
    probes = [at for at, status in service.seen[opened:] if status == 500]
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert 0 < len(probes) <= DOWN_FOR / COOL_DOWN, f"{len(probes)} probes in {DOWN_FOR:g} s"
    assert all(gap >= COOL_DOWN for gap in gaps), f"more than one probe a cool-down: {gaps}"
    assert before <= THRESHOLD, f"{before} tries were charged before the breaker opened"
    assert place.charged_failures() == before, "a try was charged while the breaker was open"
    return f"breaker: {runs} runs held, {len(probes)} probes in {DOWN_FOR:g} s, {before} tries charged, all succeeded"


SHOWS: dict[str, Callable[[Place], str]] = {"declared": declared, "learnt": learnt, "breaker": breaker}


@contextmanager
def _working(place: Place, address: str, runs: int) -> Iterator[Fleet]:
    """Give a fleet with `mainspring up`, and the runs that ask the service at *address* enqueued."""
    with fleet(place.folder) as ours:
        ours.run("db", "upgrade")
        ours.run("enqueue", "fill", "-p", f"url={address}", "-p", f"runs={runs}")
        ours.add("up", "up")
        yield ours


def counts(ours: Fleet) -> dict[str, int]:
    """Return how many runs are in each state."""
    found: dict[str, int] = yaml.safe_load(ours.run("status", "--json").stdout)["runs"]
    return found


def main() -> None:
    """Run the long form."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    options.add_argument("--show", choices=[*SHOWS, "all"], default="all")
    given = options.parse_args()
    for kind in ("sqlite", "postgres") if given.database == "both" else (given.database,):
        for name in SHOWS if given.show == "all" else (given.show,):
            with tempfile.TemporaryDirectory(prefix="mainspring-resources-") as folder:
                sys.stdout.write(f"{kind}: {_run(kind, Path(folder), SHOWS[name])}\n")
                sys.stdout.flush()


def _run(kind: str, folder: Path, show: Callable[[Place], str]) -> str:
    if kind == "sqlite":
        return show(Place(folder, f"sqlite:///{folder / 'mainspring.db'}"))
    with servers.postgres_cluster(fsync="on") as cluster:
        return show(Place(folder, cluster.url(cluster.create_database())))


if __name__ == "__main__":
    main()
