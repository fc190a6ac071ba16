"""Graphs of diamonds run while their worker is killed with -9: each node succeeds once, none before what it needs.

With ``--nodes`` a graph of that many is enqueued and drained by one worker instead, and the time is taken.

The long form: ``python -m tests.shows.graphs [--database sqlite|postgres|both] [--diamonds 50] [--kills 5]``,
or with ``--nodes 10000``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mainspring import Graph
from mainspring.app import Application, ensure_schema, open_database
from mainspring.client import Client
from mainspring.domain.states import RunState
from mainspring.domain.tasks import Task
from mainspring.services.reading import RunFilter
from tests import servers
from tests.shows.fleet import Fleet, fleet, monotonic, read_effects, wait_for

WIDTH = 4
"""Nodes in the middle of a diamond."""
TASKS = """
import os, time
from pathlib import Path
from mainspring import Context, task

LEDGER = os.open(Path(__file__).with_name("effects"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@task(name="node")
def node(ctx: Context, seconds: float = 0.0, below: list[int] | None = None) -> int:
    for what in ("start", "end"):
        os.write(LEDGER, f"{ctx.run_id} {ctx.attempt} {what} {time.clock_gettime(time.CLOCK_BOOTTIME)}\\n".encode())
        time.sleep(seconds if what == "start" else 0)
    return 1 + sum(below or [])


@task(name="quick")
async def quick(below: list[int] | None = None) -> int:
    return len(below or [])
"""


@dataclass(frozen=True)
class Result:
    """What was done, and how long it took."""

    nodes: int
    repeated: int
    """Nodes that ran more than once because their worker was killed."""
    enqueued: float
    drained: float


def node(seconds: float = 0.0, below: list[int] | None = None) -> int:
    """Stand for the task of the workers, which has the same name and parameters."""
    raise NotImplementedError


def quick(below: list[int] | None = None) -> int:
    """Stand for the task of the workers."""
    raise NotImplementedError


def diamonds(n: int, seconds: float) -> Graph:
    """Return *n* diamonds, the foot of each the head of the next."""
    task = Task(node, "node")
    graph = Graph()
    head = graph.add(task, seconds=seconds)
    for _ in range(n):
        middle = [graph.add(task, seconds=seconds, below=[head.result]) for _ in range(WIDTH)]
        head = graph.add(task, seconds=seconds, below=middle)
    return graph


def layers(n: int) -> Graph:
    """Return *n* nodes in layers of a hundred, each of which needs two of the layer before and is given one result."""
    task = Task(quick, "quick")
    graph = Graph()
    for place in range(n):
        above = graph.nodes[max(place - 101, 0) : place - 99] if place >= 100 else []
        graph.add(task, after=above, below=above[-1:])
    return graph


def show_kills(folder: Path, url: str, n: int, kills: int, seconds: float = 0.2) -> Result:
    """Run *n* diamonds under kills; raise AssertionError where a promise is broken."""
    with _project(folder, url) as ours, _client(url) as client:
        worker = ours.add("worker", "worker")
        began = monotonic()
        graph = diamonds(n, seconds)
        enqueued = client.enqueue_graph(graph)
        took = monotonic() - began
        for _ in range(kills):
            seen = len(read_effects(folder / "effects"))
            wait_for(lambda seen=seen: len(read_effects(folder / "effects")) >= seen + 7, 60, "the worker works")
            worker.kill9()
            worker.start()
        wait_for(lambda: _unfinished(client, enqueued.id) == 0, 60 + n * seconds * 10, "all nodes have ended")
        drained = monotonic() - began
        runs = [
            (run.id, [enqueued[needed].id for needed in one.needs])
            for one, run in zip(graph.nodes, enqueued, strict=True)
        ]
        results = [run.result(1) for run in enqueued]
        ours.run("db", "verify")
        assert worker.stop() == 0
    repeated = _judge(folder / "effects", runs)
    assert results == _results(graph), "each node was given the results of those above it"
    return Result(len(runs), repeated, took, drained)


def show_size(folder: Path, url: str, n: int) -> Result:
    """Enqueue a graph of *n* nodes, and let one worker drain it; return how long both took."""
    with _project(folder, url) as ours, _client(url) as client:
        worker = ours.add("worker", "worker")
        graph = layers(n)
        wait_for(lambda: client._application.reading.sessions(), 30, "the worker lives")
        began = monotonic()
        enqueued = client.enqueue_graph(graph)
        took = monotonic() - began
        # Counting all of them ten times a second would be measured as well.
        last = list(enqueued)[-1]
        wait_for(lambda: last.state is RunState.SUCCEEDED, 600, "the last node has ended")
        wait_for(lambda: _unfinished(client, enqueued.id) == 0, 60, "all nodes have ended")
        drained = monotonic() - began
        states = client._application.reading.counts(RunFilter(graph=enqueued.id))
        assert states == {RunState.SUCCEEDED: n}
        ours.run("db", "verify")
        assert worker.stop() == 0
    return Result(n, 0, took, drained)


@contextmanager
def _project(folder: Path, url: str) -> Iterator[Fleet]:
    """Give a fleet on a project in *folder*, its database ready."""
    settings = {"database": url, "tasks": ["tasks"]}
    (folder / "mainspring.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")
    with fleet(folder) as ours:
        ours.run("db", "upgrade")
        yield ours


def _client(url: str) -> Client:
    application = Application(open_database(url))
    ensure_schema(application)
    return Client(application)


def _unfinished(client: Client, graph: str) -> int:
    return client._application.graphs.unfinished(graph)


def _results(graph: Graph) -> list[int]:
    found: dict[Any, int] = {}
    for one in graph.in_order():
        below = one.coming().get("below", [])
        found[one] = 1 + sum(found[above] for above in below)  # type: ignore[union-attr]
    return [found[one] for one in graph.nodes]


def _judge(effects: Path, runs: list[tuple[str, list[str]]]) -> int:
    """Compare the effects with the graph; return how many nodes ran again."""
    starts: dict[str, list[float]] = {}
    ends: dict[str, list[float]] = {}
    for run_id, _, what, at in read_effects(effects):
        (starts if what == "start" else ends).setdefault(run_id, []).append(at)
    known = {run_id for run_id, _ in runs}
    assert set(starts) == known, f"{len(known - set(starts))} nodes never ran, {len(set(starts) - known)} are strangers"
    assert set(ends) == known, f"{len(known - set(ends))} nodes never came to their end"
    for run_id, needs in runs:
        for needed in needs:
            assert min(ends[needed]) <= min(starts[run_id]), (
                f"{run_id} began before {needed}, which it needs, had ended"
            )
    return sum(len(found) > 1 for found in starts.values())


def main() -> None:
    """Run the long form."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    options.add_argument("--diamonds", type=int, default=50)
    options.add_argument("--kills", type=int, default=5)
    options.add_argument("--nodes", type=int, default=0)
    given = options.parse_args()

    def show(folder: Path, url: str) -> Result:
        if given.nodes:
            return show_size(folder, url, given.nodes)
        return show_kills(folder, url, given.diamonds, given.kills)

    for kind in ("sqlite", "postgres") if given.database == "both" else (given.database,):
        result = _on(kind, show)
        sys.stdout.write(
            f"{kind}: {result.nodes:,} nodes enqueued in {result.enqueued:.1f} s, drained {result.drained:.1f} s after "
            f"the enqueue began, {result.repeated} ran again after a kill\n"
        )


def _on(kind: str, show: Callable[[Path, str], Result]) -> Result:
    with tempfile.TemporaryDirectory(prefix="mainspring-graphs-") as name:
        folder = Path(name)
        if kind == "sqlite":
            return show(folder, f"sqlite:///{folder / 'mainspring.db'}")
        with servers.postgres_cluster(fsync="on") as cluster:
            return show(folder, cluster.url(cluster.create_database()))


if __name__ == "__main__":
    main()
