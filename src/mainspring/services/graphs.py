"""Enqueue graphs of runs as a whole, cancel them as a whole, and show the graph around a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import update

from mainspring.clock import Clock
from mainspring.domain.dependencies import Need
from mainspring.domain.graph import MOST_NODES, Graph, Node
from mainspring.domain.routes import Route
from mainspring.domain.runs import NewRun
from mainspring.domain.states import FINAL, RunState
from mainspring.encoding import encode
from mainspring.errors import InvalidInput, NotFound
from mainspring.ids import RunId, is_id, uuid7
from mainspring.services.directory import Directory
from mainspring.services.enqueue import Maker, Request
from mainspring.store import keys, needs, queueing
from mainspring.store import runs as stored
from mainspring.store.database import Database, Tx
from mainspring.store.hints import CANCEL, READY, SCHEDULES
from mainspring.store.needs import Neighbour
from mainspring.store.runs import RunFilter, StoredRun
from mainspring.store.schedules import write_audit
from mainspring.store.schema import runs as runs_table

AT_ONCE: Final = 20_000
"""Nodes that one transaction takes."""
_BATCH: Final = 5_000
_NOT_YET: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""When the first runs of a graph are due as long as the rest of it is being written."""


class GraphEnqueuer:
    """Puts graphs of runs into the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._directory = Directory(database, clock)

    def enqueue(self, graph: Graph) -> tuple[str, dict[Node, RunId]]:
        """Enqueue all runs of *graph*, checked before any is written; return its id and those of its runs.

        None of them starts before all are durable. Up to 20,000 nodes are one transaction.

        Raises:
            InvalidInput: it is empty or too large, its nodes wait for each other in a circle, or parameters do not fit.
            DuplicateRun: a run of it must be alone and is not.
        """
        if not graph.nodes:
            raise InvalidInput("the graph has no nodes; add some with Graph.add")
        if len(graph.nodes) > MOST_NODES:
            raise InvalidInput(
                f"the graph has {len(graph.nodes):,} nodes, more than {MOST_NODES:,}; enqueue it in parts"
            )
        graph_id, now = uuid7(), self._clock.now()
        made = _runs_of(graph, graph_id, self._directory.routes, now)
        _check_alone(made)
        runs = list(made.values())
        if len(runs) <= AT_ONCE:
            self._database.write(lambda tx: _insert(tx, runs, now))
        else:
            self._in_parts(graph_id, runs, now)
        self._database.sender.send(READY)
        return graph_id, {node: run.id for node, run in made.items()}

    def _in_parts(self, graph_id: str, runs: Sequence[NewRun], now: datetime) -> None:
        held = [run if run.needs else replace(run, due_at=_NOT_YET) for run in runs]
        for start in range(0, len(held), AT_ONCE):
            self._database.write(partial(_insert, runs=held[start : start + AT_ONCE], now=now))
        self._database.write(lambda tx: _open(tx, graph_id, now))
        self._database.sender.send(SCHEDULES)


def _insert(tx: Tx, runs: Sequence[NewRun], now: datetime) -> None:
    # Its keys only reject: all runs are made, or none.
    keys.settle(tx, runs, now)
    for start in range(0, len(runs), _BATCH):
        queueing.insert_runs(tx, runs[start : start + _BATCH], now)


def _open(tx: Tx, graph_id: str, now: datetime) -> None:
    first = (runs_table.c.root_id == graph_id) & (runs_table.c.state == RunState.SCHEDULED.value)
    tx.core(update(runs_table).where(first, runs_table.c.due_at == _NOT_YET).values(due_at=now))


def _runs_of(graph: Graph, graph_id: str, routes: Sequence[Route], now: datetime) -> dict[Node, NewRun]:
    """Return the runs of *graph*, each after all that it needs: their ids ascend in that order."""
    made: dict[Node, NewRun] = {}
    maker = Maker(routes, now)
    for node in graph.in_order():
        options = node.options
        coming = node.coming()
        gives = _gives(coming)
        request = Request(
            node.task, node.given(), options.queue, options.priority, None, options.expires,
            None if options.max_retries is None else options.max_retries + 1, options.labels,
            fresh=not options.cache, unique=options.unique,
            needs=tuple(
                Need(made[needed].id, policy, encode(gives[needed]) if needed in gives else None)
                for needed, policy in node.needs.items()
            ),
            coming=frozenset(coming), graph=graph_id,
        )  # fmt: skip
        made[node] = maker.make(request)
    return made


def _check_alone(made: Mapping[Node, NewRun]) -> None:
    """Refuse a graph that can never be made because of its unique keys, or only in part."""
    first: dict[tuple[str, str], Node] = {}
    for node, run in made.items():
        if run.key is not None and (other := first.setdefault((run.key.scope, run.key.key), node)) is not node:
            raise InvalidInput(f"{other.name} and {node.name} have the same unique key; leave one of them out")
    if first and len(made) > AT_ONCE:
        raise InvalidInput(
            f"{next(iter(first.values())).name} is unique, and the graph has {len(made):,} nodes, more than the "
            f"{AT_ONCE:,} of one transaction; enqueue it in parts"
        )


def _gives(coming: Mapping[str, Node | list[Node]]) -> dict[Node, dict[str, list[int] | None]]:
    """Return which parameters the result of each node fills: None, or its places in a list."""
    found: dict[Node, dict[str, list[int] | None]] = {}
    for name, nodes in coming.items():
        if isinstance(nodes, Node):
            found.setdefault(nodes, {})[name] = None
            continue
        for place, node in enumerate(nodes):
            places = found.setdefault(node, {}).setdefault(name, [])
            if places is not None:
                places.append(place)
    return found


@dataclass(frozen=True, slots=True)
class GraphCancelled:
    """What became of a wish to cancel a graph."""

    graph: str
    ended: int
    asked: int

    def in_words(self) -> str:
        """Return the answer in a sentence."""
        asked = f"; {self.asked} are under way and were asked to cancel" if self.asked else ""
        return f"{self.ended} runs of graph {self.graph} are cancelled{asked}"


@dataclass(frozen=True, slots=True)
class Branch:
    """A run in the tree around another one, with what comes after it on its side."""

    run: Neighbour
    branches: tuple[Branch, ...] = ()
    more: int = 0
    """Neighbours that were left out."""
    again: bool = False
    """Whether it stands in the tree already, with all that follows."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A run with what it needs, and what needs it."""

    run: StoredRun
    needs: Branch
    dependants: Branch


class Graphs:
    """Looks at graphs of runs, and steers them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def require(self, graph: str) -> str:
        """Return the id of a graph.

        Raises:
            NotFound: no run belongs to it.
        """
        text = graph.strip().lower()
        if not is_id(text) or not self._database.read(lambda tx: stored.list_runs(tx, RunFilter(graph=text), 1)):
            raise NotFound("graph", graph)
        return text

    def unfinished(self, graph: str) -> int:
        """Return how many runs of a graph have not ended."""
        wanted = RunFilter(graph=self.require(graph))
        counts = self._database.read(lambda tx: stored.count_by_state(tx, wanted))
        return sum(n for state, n in counts.items() if state not in FINAL)

    def cancel(self, graph: str, actor: str, reason: str = "") -> GraphCancelled:
        """Cancel what has not started of a graph, and ask what runs to stop.

        Raises:
            NotFound: there is no such graph.
        """
        found, now = self.require(graph), self._clock.now()
        why = f"cancelled by {actor}: {reason}" if reason else f"cancelled by {actor}"

        def work(tx: Tx) -> queueing.Cancelled:
            # The last first: none is cancelled because another one was.
            ids = needs.unfinished_of_graph(tx, found, MOST_NODES)
            done = queueing.cancel(tx, sorted(ids), why, now)
            write_audit(tx, now, actor, "graph.cancel", found, {"reason": reason, "asked": len(done.asked)})
            return done

        done = self._database.write(work)
        if done.asked:
            self._database.sender.send(CANCEL)
        if done.released:
            self._database.sender.send(READY)
        return GraphCancelled(found, len(done.ended), len(done.asked))

    def tree(self, run: StoredRun, depth: int = 3, width: int = 20) -> Tree:
        """Return the graph around *run*: at most *depth* steps each way, *width* runs beside each other."""

        def look(tx: Tx) -> Tree:
            return Tree(run, _grow(tx, run, depth, width, up=True), _grow(tx, run, depth, width, up=False))

        return self._database.read(look)


def _grow(tx: Tx, run: StoredRun, depth: int, width: int, *, up: bool) -> Branch:
    root = Neighbour(run.id, run.task, run.state, "", {})
    beside: dict[RunId, list[Neighbour]] = {}
    level = [run.id]
    for _ in range(depth):
        found = needs.neighbours(tx, level, up=up, most=_MOST_SHOWN)
        fresh = set(level)
        for own, neighbour in found:
            beside.setdefault(own, []).append(neighbour)
        level = sorted({n.id for own, n in found if own in fresh and n.id not in beside})
        if not level or len(beside) > _MOST_SHOWN:
            break
    return _branch(root, beside, set(), width)


_MOST_SHOWN: Final = 2_000
"""Edges of each step that a tree looks at."""


def _branch(run: Neighbour, beside: Mapping[RunId, list[Neighbour]], seen: set[RunId], width: int) -> Branch:
    if run.id in seen:
        return Branch(run, again=bool(beside.get(run.id)))
    seen.add(run.id)
    around = beside.get(run.id, [])
    shown: Iterable[Neighbour] = around[:width]
    return Branch(run, tuple(_branch(one, beside, seen, width) for one in shown), max(len(around) - width, 0))


def branch_json(branch: Branch) -> dict[str, Any]:
    """Return a branch as JSON values."""
    return {
        "id": branch.run.id,
        "task": branch.run.task,
        "state": branch.run.state,
        "policy": branch.run.policy or None,
        "gives": branch.run.gives,
        "again": branch.again,
        "more": branch.more,
        "branches": [branch_json(one) for one in branch.branches],
    }
