"""Enqueue runs from your own code and wait for their results."""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from mainspring.domain.dependencies import Need, OnFailure, policy_named
from mainspring.domain.graph import Graph, Node
from mainspring.domain.priority import parse_priority
from mainspring.domain.states import FINAL, RunState
from mainspring.domain.tasks import Task
from mainspring.errors import InvalidInput, MainspringError
from mainspring.ids import RunId, is_id

if TYPE_CHECKING:
    from mainspring.app import Application
    from mainspring.clock import Clock
    from mainspring.domain.unique import Unique
    from mainspring.services.enqueue import Request
    from mainspring.services.locks import Lock

_FIRST_LOOK: Final = 0.02
_SLOWEST_LOOK: Final = 0.5


class RunFailed(MainspringError):
    """A run whose result was waited for ended as failed or cancelled."""

    def __init__(self, run_id: str, state: RunState, message: str | None) -> None:
        super().__init__(f"run {run_id} {state}: {message}" if message else f"run {run_id} {state}")
        self.run_id, self.state, self.message = run_id, state, message


class ResultTimeout(MainspringError):
    """A run had not ended when the time to wait for it was over; it goes on."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was enqueued."""

    id: RunId
    _client: Client
    existing: bool = field(default=False, compare=False)
    """Whether it was there already when it was asked for, as it was or changed (see `Unique`)."""

    @property
    def state(self) -> RunState:
        """Return the state in which it is now."""
        return self._client._application.reading.result(self.id)[0].state

    def wait(self, timeout: float | None = None) -> RunState:
        """Return its final state once it has ended.

        Raises:
            ResultTimeout: it has not within *timeout* seconds.
        """
        return self._client._wait(self.id, timeout)[0]

    def result(self, timeout: float | None = None) -> Any:
        """Return what its function returned, once it has succeeded.

        Raises:
            RunFailed: it ended otherwise.
            ResultTimeout: it has not ended within *timeout* seconds.
        """
        state, value, message = self._client._wait(self.id, timeout)
        if state is not RunState.SUCCEEDED:
            raise RunFailed(self.id, state, message)
        return value

    def cancel(self, reason: str = "") -> None:
        """Cancel it if it has not started; ask it to stop if it is under way."""
        self._client._application.steering.cancel(self.id, self._client.actor, reason)

    async def aresult(self, timeout: float | None = None) -> Any:
        """`result`, without holding up the event loop."""
        return await asyncio.to_thread(self.result, timeout)


class EnqueuedGraph:
    """A graph that was enqueued; ``graph[node]`` is the run of a node."""

    def __init__(self, graph_id: str, runs: Mapping[Node, Run], client: Client) -> None:
        self.id, self._runs, self._client = graph_id, runs, client

    def __getitem__(self, node: Node) -> Run:
        return self._runs[node]

    def __iter__(self) -> Iterator[Run]:
        """Return its runs in the order in which the nodes were added."""
        return iter([self._runs[node] for node in sorted(self._runs, key=lambda node: node.place)])

    def __len__(self) -> int:
        return len(self._runs)

    def cancel(self, reason: str = "") -> None:
        """Cancel what has not started of it, and ask what runs to stop."""
        self._client._application.graphs.cancel(self.id, self._client.actor, reason)


class Enqueueing(ABC):
    """What can be asked of a client, on its own or inside a transaction of yours."""

    _clock: Clock

    @abstractmethod
    def _place(self, requests: Iterable[Request]) -> list[Run]:
        """Enqueue runs in order."""

    def enqueue(self, task: Task[..., Any], /, **parameters: Any) -> Run:
        """Enqueue one run of *task* and return it once it is durable.

        Raises:
            ParametersInvalid: the parameters do not fit the task's function; nothing was written.
        """
        return self.enqueue_with(task, parameters)

    def enqueue_with(
        self,
        task: Task[..., Any],
        parameters: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        priority: int | str | None = None,
        due_at: datetime | None = None,
        delay: timedelta | None = None,
        expires: timedelta | None = None,
        max_retries: int | None = None,
        labels: Mapping[str, str] | None = None,
        cache: bool = True,
        unique: Unique | None = None,
        after: Iterable[Run | str] = (),
        on_failure: str = OnFailure.STOP,
    ) -> Run:
        """Enqueue one run with options; see `enqueue`.

        Args:
            task: the task, a decorated function.
            parameters: the function's parameters by name.
            queue: the queue, instead of the one that routes or the task say.
            priority: high, normal, low or 0 to 9.
            due_at: an aware instant before which it does not start; not together with *delay*.
            delay: how long from now it comes due.
            expires: cancel it if it has not started this long after it came due.
            max_retries: tries after the first.
            labels: texts to find it by.
            cache: whether it may take over a result that is kept; what it computes is kept all the same.
            unique: which runs are the same, instead of what the task says; together with *after* only to reject.
            after: runs, or their ids, that must have ended before it starts; not together with *due_at* or *delay*.
            on_failure: what becomes of it when one of these does not succeed: stop (it is cancelled), go_on, or
                compensate (it runs only then).

        Raises:
            InvalidInput: a value cannot be used; nothing was written.
            DuplicateRun: it must be alone and is not; nothing was written.
            NotFound: a run in *after* does not exist.
        """
        given = {"queue": queue, "priority": priority, "due_at": due_at, "delay": delay, "expires": expires,
                 "max_retries": max_retries, "labels": labels, "cache": cache, "unique": unique,
                 "after": after, "on_failure": on_failure}  # fmt: skip
        return self._place(self._requests(task, [parameters or {}], given))[0]

    def enqueue_many(
        self,
        task: Task[..., Any],
        each: Iterable[Mapping[str, Any]],
        *,
        queue: str | None = None,
        priority: int | str | None = None,
        due_at: datetime | None = None,
        delay: timedelta | None = None,
        expires: timedelta | None = None,
        max_retries: int | None = None,
        labels: Mapping[str, str] | None = None,
        cache: bool = True,
        unique: Unique | None = None,
        after: Iterable[Run | str] = (),
        on_failure: str = OnFailure.STOP,
    ) -> list[Run]:
        """Enqueue a run of *task* for each mapping of parameters, in order; options as in `enqueue_with`.

        *each* is read as it is written, 5,000 in a transaction: those of a transaction are all checked before it
        begins. What was committed before a failure stays.

        Raises:
            BulkInterrupted: not all are enqueued; it carries the ids of those that are.
        """
        given = {"queue": queue, "priority": priority, "due_at": due_at, "delay": delay, "expires": expires,
                 "max_retries": max_retries, "labels": labels, "cache": cache, "unique": unique,
                 "after": after, "on_failure": on_failure}  # fmt: skip
        return self._place(self._requests(task, each, given))

    def _requests(
        self, task: Task[..., Any], each: Iterable[Mapping[str, Any]], given: Mapping[str, Any]
    ) -> Iterator[Request]:
        from mainspring.services.enqueue import Request

        if not isinstance(task, Task):
            raise InvalidInput(f"{task!r} is no task; decorate the function with @task")
        due_at, delay, retries, priority = given["due_at"], given["delay"], given["max_retries"], given["priority"]
        if due_at is not None and delay is not None:
            raise InvalidInput("give due_at or delay, not both")
        if delay is not None:
            due_at = self._clock.now() + delay
        needs = _needs(given["after"], given["on_failure"])
        if needs and due_at is not None:
            raise InvalidInput("give after, or due_at or delay, not both: it comes due when what it needs has ended")
        options: dict[str, Any] = {
            "queue": given["queue"],
            "priority": None if priority is None else parse_priority(priority),
            "due_at": due_at,
            "expires": given["expires"],
            "max_tries": None if retries is None else retries + 1,
            "labels": dict(given["labels"] or {}),
            "unique": given["unique"],
            "fresh": not given["cache"],
            "needs": needs,
        }
        return (Request(task, dict(parameters), **options) for parameters in each)


def _needs(after: Iterable[Run | str], on_failure: str) -> tuple[Need, ...]:
    policy = policy_named(on_failure)
    if isinstance(after, (str, Run)):
        after = [after]
    ids = [run.id if isinstance(run, Run) else RunId(str(run).lower()) for run in after]
    for run_id in ids:
        if not is_id(run_id):
            raise InvalidInput(f"after {run_id!r} is not the id of a run")
    return tuple(Need(run_id, policy) for run_id in dict.fromkeys(ids))


class Client(Enqueueing):
    """A connection to an installation; threads may share it. Close it, or use it in a ``with`` block."""

    def __init__(self, application: Application, actor: str = "client") -> None:
        self._application, self.actor = application, actor
        self._clock = application.clock

    def _place(self, requests: Iterable[Request]) -> list[Run]:
        return [Run(p.run_id, self, p.existing) for p in self._application.enqueuer.place(requests)]

    def enqueue_graph(self, graph: Graph) -> EnqueuedGraph:
        """Enqueue all runs of *graph* and return it once it is durable; no run starts before that.

        Raises:
            InvalidInput: its nodes wait for each other in a circle, or parameters do not fit; nothing was written.
            DuplicateRun: a run of it must be alone and is not; nothing was written.
        """
        if not isinstance(graph, Graph):
            raise InvalidInput(f"{graph!r} is no graph; build one with Graph(), chain() or group()")
        graph_id, ids = self._application.graph_enqueuer.enqueue(graph)
        return EnqueuedGraph(graph_id, {node: Run(run_id, self) for node, run_id in ids.items()}, self)

    def inside(self, connection: Any) -> Inside:
        """Return what enqueues inside the transaction of *connection*: both commit, or neither.

        Args:
            connection: to the same PostgreSQL database a psycopg connection, or a SQLAlchemy connection or session; to
                the same SQLite file one of `mainspring.sqlite.connect`, or of SQLAlchemy with its ``engine``.

        Raises:
            InvalidInput: it leads elsewhere, is asynchronous, or is not safe beside Mainspring's own.
        """
        return Inside(self, connection)

    def lock(self, name: str, *, ttl: timedelta = timedelta(seconds=30), wait: timedelta = timedelta(0)) -> Lock:
        """Take the lock of this name for a ``with`` block: no other process has it meanwhile.

        Its lease is renewed in the background; a holder that dies loses it after *ttl*.

        Args:
            name: what is locked, in your words.
            ttl: how long it outlives a holder that says no more.
            wait: how long to wait until it is free.

        Raises:
            LockHeld: it was not free within *wait*.
            LockLost: at the end of the block, if it was lost meanwhile.
        """
        return self._application.locking.acquire(name, ttl, wait)

    async def aenqueue(self, task: Task[..., Any], /, **parameters: Any) -> Run:
        """`enqueue`, without holding up the event loop."""
        return await asyncio.to_thread(self.enqueue_with, task, parameters)

    def run(self, run_id: str) -> Run:
        """Return the run of this id.

        Raises:
            NotFound: there is none.
        """
        return Run(self._application.steering.require(run_id).id, self)

    def close(self) -> None:
        """Close the connection; hints that are under way are sent first."""
        self._application.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, run_id: RunId, timeout: float | None) -> tuple[RunState, Any, str | None]:
        clock, never = self._application.clock, threading.Event()
        until = None if timeout is None else clock.monotonic() + timeout
        pause = _FIRST_LOOK
        while True:
            run, value = self._application.reading.result(run_id)
            if run.state in FINAL:
                return run.state, value, run.failure_message or run.state_reason
            if until is not None and clock.monotonic() >= until:
                raise ResultTimeout(f"run {run_id} is {run.state}; it has not ended within {timeout:g} s and goes on")
            clock.wait(never, pause if until is None else min(pause, max(until - clock.monotonic(), 0.0)))
            pause = min(pause * 1.5, _SLOWEST_LOOK)


class Inside(Enqueueing):
    """Enqueues inside a transaction of yours: commit it, and the runs are there; undo it, and they never were."""

    def __init__(self, client: Client, connection: Any) -> None:
        self._client, self._connection, self._clock = client, connection, client._clock

    def _place(self, requests: Iterable[Request]) -> list[Run]:
        placed = self._client._application.place_in(self._connection, requests)
        return [Run(p.run_id, self._client, p.existing) for p in placed]


def connect(address: str | None = None, *, config: Path | str | None = None) -> Client:
    """Connect to an installation: the database at *address*, or the one that ``mainspring.yaml`` (or *config*) names.

    A SQLite file is made and brought to this release's schema when necessary; a PostgreSQL database must be ready.

    Raises:
        InvalidInput: the address or configuration cannot be used.
        StoreUnavailable: the database cannot be reached or has another schema.
    """
    from mainspring import app

    if address is not None:
        application = app.Application(app.open_database(address))
    else:
        application = app.load_project(None if config is None else Path(config), os.environ).open()
    try:
        app.ensure_schema(application)
    except BaseException:
        application.close()
        raise
    return Client(application)


__all__ = ["Client", "EnqueuedGraph", "Inside", "ResultTimeout", "Run", "RunFailed", "connect"]
