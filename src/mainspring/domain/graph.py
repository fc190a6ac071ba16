"""Build graphs of runs that depend on each other, to be enqueued as a whole."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from mainspring.domain.dependencies import OnFailure, policy_named
from mainspring.domain.priority import parse_priority
from mainspring.domain.tasks import Task
from mainspring.domain.unique import Unique
from mainspring.errors import InvalidInput

MOST_NODES: Final = 100_000
_SHOWN: Final = 12
"""Nodes of a circle that its error names."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a node of the same graph will return; stands for a parameter until then."""

    node: Node

    def __repr__(self) -> str:
        return f"<result of {self.node.name}>"


class _Previous:
    def __repr__(self) -> str:
        return "previous"


previous: Final = _Previous()
"""In a `chain` the result of the step before; in the last step of a `group` the list of its members' results."""

Step = Task[..., Any] | tuple[Task[..., Any], Mapping[str, Any]]
"""A task, or a task with its parameters."""


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What else may be said of the run of a node; see `Client.enqueue_with`."""

    queue: str | None = None
    priority: int | None = None
    expires: timedelta | None = None
    max_retries: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    cache: bool = True
    unique: Unique | None = None


class Node:
    """A run of a graph that has not been enqueued yet; made by `Graph.add`."""

    __slots__ = ("_graph", "needs", "options", "parameters", "place", "task")

    def __init__(
        self, graph: Graph, place: int, task: Task[..., Any], parameters: Mapping[str, Any], options: NodeOptions
    ) -> None:
        self._graph, self.place, self.task, self.parameters, self.options = graph, place, task, parameters, options
        self.needs: dict[Node, OnFailure] = {}

    @property
    def name(self) -> str:
        """Return how messages call it."""
        return f"node {self.place + 1} ({self.task.name})"

    @property
    def result(self) -> Result:
        """What its run will return: give it to a later node as a parameter, alone or in a list of results."""
        return Result(self)

    def after(self, *nodes: Node, on_failure: str = OnFailure.STOP) -> Node:
        """Let it start only when *nodes* have ended; return the node itself.

        Raises:
            InvalidInput: one of them belongs to another graph, or is this node.
        """
        policy = policy_named(on_failure)
        for node in nodes:
            self._graph._require(node)
            if node is self:
                raise InvalidInput(f"{self.name} cannot wait for itself")
            self.needs[node] = policy
        return self

    def given(self) -> dict[str, Any]:
        """Return the parameters that are known already."""
        return {name: value for name, value in self.parameters.items() if not _coming(value)}

    def coming(self) -> dict[str, Node | list[Node]]:
        """Return the parameters that results of other nodes will fill, and whose."""
        return {name: _nodes_of(value) for name, value in self.parameters.items() if _coming(value)}

    def __repr__(self) -> str:
        return f"<{self.name}>"


def _coming(value: Any) -> bool:
    return isinstance(value, Result) or (
        isinstance(value, (list, tuple)) and any(isinstance(item, (Result, Node)) for item in value)
    )


def _nodes_of(value: Any) -> Node | list[Node]:
    if isinstance(value, Result):
        return value.node
    return [item.node if isinstance(item, Result) else item for item in value]


class Graph:
    """Runs that depend on each other: add nodes, then give it to `Client.enqueue_graph`."""

    def __init__(self) -> None:
        """Begin an empty graph."""
        self.nodes: list[Node] = []
        """In the order in which they were added."""

    def add(
        self,
        task: Task[..., Any],
        /,
        *,
        after: Node | Iterable[Node] = (),
        on_failure: str = OnFailure.STOP,
        **parameters: Any,
    ) -> Node:
        """Add a run of *task* that starts when the nodes in *after*, and those whose results it is given, have ended.

        Args:
            task: the task, a decorated function.
            after: nodes to wait for.
            on_failure: what becomes of it when one of them does not succeed: stop, go_on or compensate.
            parameters: the function's parameters; ``node.result``, or a list of these, is filled in when it starts.

        Raises:
            InvalidInput: a value cannot be used.
        """
        return self.add_with(task, parameters, after=after, on_failure=on_failure)

    def add_with(
        self,
        task: Task[..., Any],
        parameters: Mapping[str, Any] | None = None,
        *,
        after: Node | Iterable[Node] = (),
        on_failure: str = OnFailure.STOP,
        queue: str | None = None,
        priority: int | str | None = None,
        expires: timedelta | None = None,
        max_retries: int | None = None,
        labels: Mapping[str, str] | None = None,
        cache: bool = True,
        unique: Unique | None = None,
    ) -> Node:
        """`add` with options; they mean what they do in `Client.enqueue_with`."""
        if not isinstance(task, Task):
            raise InvalidInput(f"{task!r} is no task; decorate the function with @task")
        if len(self.nodes) >= MOST_NODES:
            raise InvalidInput(f"a graph has at most {MOST_NODES:,} nodes; enqueue this one in parts")
        rank = None if priority is None else parse_priority(priority)
        options = NodeOptions(queue, rank, expires, max_retries, dict(labels or {}), cache, unique)
        node = Node(self, len(self.nodes), task, dict(parameters or {}), options)
        wanted = [after] if isinstance(after, Node) else list(after)
        node.after(*wanted, on_failure=on_failure)
        for name, value in node.parameters.items():
            self._require_results(node, name, value, on_failure)
        self.nodes.append(node)
        return node

    def _require_results(self, node: Node, name: str, value: Any, on_failure: str) -> None:
        """Let *node* wait for those whose results it is given; refuse results where they cannot be filled in."""
        if _coming(value):
            if isinstance(value, (list, tuple)) and not all(isinstance(item, (Result, Node)) for item in value):
                raise InvalidInput(
                    f"{node.name}: parameter {name!r} mixes results and other values; "
                    "give the results a parameter of their own"
                )
            found = _nodes_of(value)
            node.after(*([found] if isinstance(found, Node) else dict.fromkeys(found)), on_failure=on_failure)
        elif isinstance(value, (Node, _Previous)) or _holds_result(value):
            way = "write node.result" if isinstance(value, Node) else "give it a parameter of its own"
            raise InvalidInput(f"{node.name}: parameter {name!r} = {value!r} cannot be filled with a result; {way}")

    def _require(self, node: Any) -> None:
        if not isinstance(node, Node):
            raise InvalidInput(f"{node!r} is no node; give what Graph.add returned")
        if node._graph is not self:
            raise InvalidInput(f"{node.name} belongs to another graph; a node waits for nodes of its own graph")

    def in_order(self) -> list[Node]:
        """Return the nodes so that each comes after all that it needs.

        Raises:
            InvalidInput: some wait for each other in a circle.
        """
        left = {node: len(node.needs) for node in self.nodes}
        dependants: dict[Node, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for needed in node.needs:
                dependants[needed].append(node)
        free = deque(node for node in self.nodes if not node.needs)
        order: list[Node] = []
        while free:
            order.append(free.popleft())
            for node in dependants[order[-1]]:
                left[node] -= 1
                if left[node] == 0:
                    free.append(node)
        if len(order) < len(self.nodes):
            raise InvalidInput(_circle_in_words({node for node, n in left.items() if n > 0}))
        return order


def _holds_result(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_result(item) for item in value.values())
    if isinstance(value, (list, tuple, set)):
        return any(_holds_result(item) for item in value)
    return isinstance(value, (Result, Node, _Previous))


def _circle_in_words(stuck: set[Node]) -> str:
    """Return the sentence that names a circle among nodes each of which needs another of them."""
    node = min(stuck, key=lambda n: n.place)
    path: dict[Node, None] = {}
    while node not in path:
        path[node] = None
        node = next(needed for needed in node.needs if needed in stuck)
    walked = list(path)
    # Each step went to what is needed; told the other way round it reads in the order of work.
    circle = [node, *reversed(walked[walked.index(node) :])]
    names = [one.name for one in circle]
    if len(names) > _SHOWN:
        names = [*names[: _SHOWN - 1], f"… {len(names) - _SHOWN} more …", names[-1]]
    return f"the nodes of the graph wait for each other in a circle: {' → '.join(names)}; take one of these edges out"


def chain(steps: Sequence[Step], *, on_failure: str = OnFailure.STOP) -> Graph:
    """Return a graph in which each step starts when the one before has ended.

    A step is a task, or a task with its parameters; the parameter whose value is `previous` is given the result of the
    step before.

    Raises:
        InvalidInput: there is no step, or a value cannot be used.
    """
    if not steps:
        raise InvalidInput("a chain has at least one step")
    graph, last = Graph(), None
    for step in steps:
        task, parameters = _parts(step)
        if last is None:
            last = graph.add_with(task, parameters)
            continue
        filled = {name: last.result if value is previous else value for name, value in parameters.items()}
        last = graph.add_with(task, filled, after=last, on_failure=on_failure)
    return graph


def group(members: Sequence[Step], *, then: Step | None = None, on_failure: str = OnFailure.STOP) -> Graph:
    """Return a graph of *members* beside each other, and a final run *then* that starts when all have ended.

    The parameter of *then* whose value is `previous` is given the list of the members' results, in order.

    Raises:
        InvalidInput: there is no member, or a value cannot be used.
    """
    if not members:
        raise InvalidInput("a group has at least one member")
    graph = Graph()
    made = [graph.add_with(*_parts(member)) for member in members]
    if then is not None:
        task, parameters = _parts(then)
        results = [node.result for node in made]
        filled = {name: results if value is previous else value for name, value in parameters.items()}
        graph.add_with(task, filled, after=made, on_failure=on_failure)
    return graph


def _parts(step: Any) -> tuple[Task[..., Any], Mapping[str, Any]]:
    if isinstance(step, Task):
        return step, {}
    if isinstance(step, tuple) and len(step) == 2 and isinstance(step[1], Mapping):
        return step[0], step[1]
    raise InvalidInput(f"{step!r} is no step; write a task, or (task, {{parameters}})")
