"""The world of the simulated service: its processes with clocks of their own, a database that fails, lost messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any, Final, TypeVar

import mainspring.clock
import mainspring.ids
from mainspring.clock import EPOCH
from mainspring.errors import MainspringError, StoreUnavailable
from mainspring.store.database import Database, Tx
from tests.promises.evidence import Death, Effect
from tests.promises.faults import FaultLayer, Point, Repeat, unavailable
from tests.simulation.kernel import SECOND, Crashed, Event, Kernel, Lock, Queue, Thread, Threading
from tests.simulation.tasks import Pause

T = TypeVar("T")
TURN_SECONDS: Final = 10.0
"""As long as a process waits for its turn to write (see the turnstile of the store)."""


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong; the rates are per point that a process passes in the database."""

    crash: float = 0.0
    error: float = 0.0
    """The database says that it is not there: before a statement, or before a commit."""
    lost_reply: float = 0.0
    """It commits, and the caller hears of an error."""
    repeat: float = 0.0
    """It commits, and the driver, which did not hear, does the work again."""
    slow: float = 0.0
    """A statement takes seconds; whoever writes holds up all others."""
    freeze: float = 0.0
    """The process stands still for longer than its lease just before it would begin to write (a rate per write)."""
    switch: float = 0.02
    """Somebody else goes on between two statements."""
    hint_lost: float = 0.0
    hint_doubled: float = 0.0
    hint_late: float = 0.0


CALM: Final = Faults()


class Trace:
    """What happened, in order, as one hash."""

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        self._hash, self._show = sha256(), show
        self.lines = 0

    def add(self, now: int, who: object, what: str) -> None:
        """Note a step."""
        line = f"{now / SECOND:.6f} {who} {what}"
        self._hash.update(line.encode() + b"\n")
        self.lines += 1
        if self._show is not None:
            self._show(line)

    @property
    def hash(self) -> str:
        """Return the hash of all that was noted."""
        return self._hash.hexdigest()[:32]


@dataclass
class World:
    """One host with one database and all that the processes on it share."""

    kernel: Kernel
    inner: Database
    start: datetime
    trace: Trace
    faults: Faults = CALM
    boot: int = 1
    booted_at: int = -1_000 * SECOND
    unavailable_until: int = 0
    processes: list[Process] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    latest: datetime = EPOCH
    """The latest time that any process ever took for the present."""

    dead = False
    frozen_until = 0

    def __post_init__(self) -> None:
        self.random: Random = self.kernel.random
        self.turn = Lock(self.kernel)
        self.receivers: dict[str, Receiver] = {}
        self.kernel.on_death = self._on_death

    def __str__(self) -> str:
        return "world"

    @property
    def boot_seconds(self) -> float:
        """Return what the boot clock of the host shows."""
        return (self.kernel.now - self.booted_at) / SECOND

    def lease_clock(self) -> datetime:
        """Return the boot clock as the store wants it."""
        return EPOCH + timedelta(microseconds=self.kernel.now - self.booted_at)

    def true_time(self) -> datetime:
        """Return the time that a right clock shows."""
        return self.start + timedelta(microseconds=self.kernel.now)

    def note(self, who: object, what: str) -> None:
        """Note a step in the trace."""
        self.trace.add(self.kernel.now, who, what)

    def count(self, what: str) -> None:
        """Count something that went wrong on purpose."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def crash(self, process: Process, how: str) -> None:
        """End *process* at once: nothing that it still does has any effect."""
        if process.dead:
            return
        process.dead = True
        self.count(how)
        self.note(process, how)
        for session_id in process.session_ids():
            self.deaths.append(Death(session_id, how, self.boot_seconds))
        for address in [a for a, receiver in self.receivers.items() if receiver.process is process]:
            del self.receivers[address]
        process.ended.set()
        for owner in (process, *process.children):
            self.kernel.doom(owner)

    def freeze(self, process: Process, seconds: float) -> None:
        """Let *process* stand still."""
        self.count("frozen")
        self.note(process, f"frozen {seconds:.3f}")
        process.frozen_until = self.kernel.now + int(seconds * SECOND)

    def effect(self, run_id: str, attempt: int, what: str) -> None:
        """Write down what a task did outside the database."""
        fiber = self.kernel._me()
        self.effects.append(Effect(run_id, attempt, what, fiber.owner.pid, self.boot_seconds))
        self.note(fiber, f"{what} {run_id} {attempt}")

    def spend(self, seconds: float) -> None:
        """Let time pass for the fiber that asks."""
        self.kernel.sleep(round(seconds * SECOND))

    def _on_death(self, fiber: Any, error: BaseException) -> None:
        self.findings.append(f"the thread {fiber} died of {error!r}")


class Process:
    """A process of the service: it can crash, stand still and have a wrong clock."""

    def __init__(self, world: World, name: str, *, mortal: bool = True) -> None:
        self.world, self.name, self.mortal = world, name, mortal
        self.dead, self.frozen_until = False, 0
        self.offset = timedelta(0)
        world.processes.append(self)
        self.pid = len(world.processes)
        self.clock = Clock(self)
        self.database = SimulatedDatabase(self)
        self.service: Any = None
        self.ready = False
        self.ended = Event(world.kernel)
        self.children: list[Any] = []

    def __str__(self) -> str:
        return self.name

    def session_ids(self) -> list[str]:
        """Return the session of the service in this process, if it has one."""
        holder = getattr(self.service, "worker", self.service)
        session = getattr(holder, "_session", None)
        return [session.id] if session is not None and session.id else []


class Clock:
    """The clocks of one process: its wall clock may be wrong, the boot clock is the host's."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world

    def now(self) -> datetime:
        """Return the wall-clock time of this process."""
        now = self._world.true_time() + self._process.offset
        self._world.latest = max(self._world.latest, now)
        return now

    def monotonic(self) -> float:
        """Return seconds since boot."""
        return self._world.boot_seconds

    def wait(self, signal: Any, timeout: float) -> bool:
        """Wait until *signal* is set or *timeout* seconds have passed; return whether it is set."""
        if isinstance(signal, Event):
            return signal.wait(timeout)
        self._world.kernel.sleep(max(round(timeout * SECOND), 20))
        return bool(signal.is_set())


class SimulatedDatabase:
    """The database as one process sees it: a real one, behind one turn to write for all, with faults."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world
        self._layer = FaultLayer(process.world.inner, self._strike)
        self.dialect, self.location = process.world.inner.dialect, "simulated"
        self.sender = Sender(process)

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Do what the database behind does."""
        return self._world.inner.within(seconds)

    def write(self, work: Callable[[Tx], T]) -> T:
        """Run *work* in one transaction, when it is this process's turn."""
        return self._call("write", getattr(work, "__qualname__", "work"), lambda: self._in_turn(work))

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run *work* on one look."""
        return self._call("read", getattr(work, "__qualname__", "work"), lambda: self._layer.read(work))

    def lease_now(self) -> datetime | None:
        """Return the time by which leases are judged."""
        return self._world.inner.lease_now()

    def wake_address(self, session_id: str) -> str:
        """Return the address of a session."""
        return f"sim:{session_id}"

    def receiver(self, address: str) -> Receiver:
        """Return a receiver of hints."""
        return Receiver(self._process, address)

    def tidy(self) -> None:
        """Do nothing: the file lives shorter than a checkpoint is worth."""

    def table_names(self) -> set[str]:
        """Return the names of the tables."""
        return self._world.inner.table_names()

    def close(self) -> None:
        """Do nothing: the database is shared."""

    def _call(self, kind: str, name: str, call: Callable[[], T]) -> T:
        world, fiber = self._world, self._world.kernel._me()
        if self._process.dead:
            raise Crashed
        try:
            result = call()
        except MainspringError as error:
            world.note(fiber, f"{kind} {name} {type(error).__name__}")
            raise
        if kind == "write":
            world.note(fiber, f"{kind} {name}")
        return result

    def _in_turn(self, work: Callable[[Tx], T]) -> T:
        world, turn = self._world, self._world.turn
        if self._process.mortal and world.faults.freeze and world.random.random() < world.faults.freeze:
            world.freeze(self._process, 12.5 + 10 * world.random.random())
            world.kernel.sleep(1)
        if not turn.acquire(timeout=TURN_SECONDS):
            raise StoreUnavailable("no turn to write: another process holds it")
        try:
            return self._layer.write(work)
        finally:
            turn.release()

    def _strike(self, point: Point) -> None:
        world, process, faults = self._world, self._process, self._world.faults
        if process.dead:
            raise Crashed
        luck = world.random.random()
        if luck < faults.switch:
            world.kernel.sleep(1 + int(world.random.random() * 4_000))
        if world.kernel.now < world.unavailable_until and point.moment != "committed":
            raise unavailable(point)
        if faults is CALM:
            return
        luck = world.random.random() / (1.0 if point.writing else 0.1)
        if luck < faults.crash:
            if process.mortal:
                world.crash(process, f"crash {point.moment}")
                raise Crashed
            return
        luck -= faults.crash
        if luck < faults.error and point.moment != "committed":
            world.count(f"error {point.moment}")
            raise unavailable(point)
        luck -= faults.error
        if luck < faults.slow and point.moment != "committed":
            world.count("slow")
            world.kernel.sleep(int(world.random.random() * 6 * SECOND))
        if point.moment == "committed":
            self._after_commit(point)

    def _after_commit(self, point: Point) -> None:
        world, faults = self._world, self._world.faults
        luck = world.random.random()
        if luck < faults.lost_reply:
            world.count("lost reply")
            raise unavailable(point)
        if luck < faults.lost_reply + faults.repeat:
            world.count("repeat")
            raise Repeat


class Sender:
    """Sends hints through a network that loses, doubles and delays them."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world

    def send(self, topic: str) -> None:
        """Send a hint to all who listen."""
        world = self._world
        if self._process.dead:
            return
        for receiver in list(world.receivers.values()):
            if world.random.random() < world.faults.hint_lost:
                world.count("hint lost")
                continue
            times = 2 if world.random.random() < world.faults.hint_doubled else 1
            for _ in range(times):
                late = world.random.random() < world.faults.hint_late
                delay = int(world.random.random() * (5 * SECOND if late else 3_000))
                world.kernel.call_at(world.kernel.now + delay, lambda to=receiver: to.deliver(topic))

    def flush(self) -> None:
        """Return at once."""

    def close(self) -> None:
        """Do nothing."""


class Receiver:
    """Receives the hints for one session."""

    def __init__(self, process: Process, address: str) -> None:
        self.process, self._address = process, address
        self._inbox: list[str] = []
        self._rung = Event(process.world.kernel)
        self._closed = False
        process.world.receivers[address] = self

    def deliver(self, topic: str) -> None:
        """Put a hint into the inbox."""
        if not self._closed and not self.process.dead:
            self._inbox.append(topic)
            self._rung.set()

    def listen(self, on_hint: Any, seen: set[str], stop: Any) -> None:
        """Until *stop* or `close`: add each topic to *seen*, then set *on_hint*."""
        while not (stop.is_set() or self._closed):
            self._rung.wait(5.0)
            self._rung.clear()
            inbox, self._inbox = self._inbox, []
            for topic in inbox:
                seen.add(topic)
                on_hint.set()

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        self.process.world.receivers.pop(self._address, None)
        self._rung.set()


class SimulatedLoop:
    """In the place of the worker's event loop: each coroutine is driven by a fiber of its own."""

    def __init__(self, world: World) -> None:
        self._world = world

    def submit(self, executions: Sequence[Any]) -> None:
        """Start *executions*."""
        for execution in executions:
            Thread(self._world.kernel, self._serve, name="coroutine", args=(execution,)).start()

    def stop(self) -> None:
        """Do nothing: what is left ends with its process."""

    def _serve(self, execution: Any) -> None:
        cancelled, running = Event(self._world.kernel), execution.coroutine()
        execution.started_as(cancelled.set)
        try:
            self._drive(running, cancelled)
        finally:
            # The coroutine of a process that is no more has nothing left to do, whatever it says to that.
            with contextlib.suppress(BaseException):
                running.close()

    def _drive(self, running: Coroutine[Any, Any, None], cancelled: Event) -> None:
        interrupt = False
        while True:
            try:
                pause = running.throw(asyncio.CancelledError()) if interrupt else running.send(None)
            except StopIteration:
                return
            assert isinstance(pause, Pause)
            interrupt = cancelled.wait(pause.seconds)
            cancelled.clear()


_EXPECTED: Final = ("clock_in_doubt",)
"""What is said aloud because a fault was noticed as it should be."""


class _Wrong(logging.Handler):
    """Takes down what the product itself calls impossible."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        unusual = error is not None and not isinstance(error, MainspringError | Crashed)
        impossible = record.levelno >= logging.CRITICAL and not record.getMessage().startswith(_EXPECTED)
        if impossible or unusual:
            fiber = self._world.kernel.current
            said = record.getMessage() + (f": {error!r}" if error else "")
            self._world.findings.append(f"{fiber} at {self._world.kernel.now / SECOND:.3f} s said {said}")


@contextmanager
def simulated(world: World, random: Random) -> Iterator[None]:
    """Put virtual threads, time, ids and chance into the product, in this process, while the block lasts."""
    from tests.simulation.children import SimulatedChildren as children  # it knows this module

    undo: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, value: Any) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    stands_for: dict[int, Any] = {
        id(mainspring.clock.boot_id): lambda: f"boot-{world.boot}",
        id(mainspring.clock.lease_clock_now): world.lease_clock,
    }
    threads, chance = Threading(world.kernel), Random(random.random())
    names = {
        "threading": threads,
        "random": chance,
        "SimpleQueue": lambda: Queue(world.kernel),
        "LoopExecutor": lambda *_, **__: SimulatedLoop(world),
        "IsolatedExecutor": lambda code, folder, trusted_for: children(world, trusted_for),
        "os": _Os(world),
    }
    for module in _modules("mainspring.runtime", "mainspring.services", "mainspring.app"):
        for name, value in list(vars(module).items()):
            if id(value) in stands_for:
                put(module, name, stands_for[id(value)])
            elif name in names and not name.startswith("__"):
                put(module, name, names[name])
    put(mainspring.ids, "_random", chance.randbytes)
    put(mainspring.ids, "_last", 0)
    put(mainspring.ids, "time", SimpleNamespace(time_ns=lambda: _nanos(world)))
    log, handler = logging.getLogger("mainspring"), _Wrong(world)
    put(log, "propagate", False)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)


def _modules(*prefixes: str) -> list[ModuleType]:
    return [module for name, module in sorted(sys.modules.items()) if name.startswith(prefixes)]


def _nanos(world: World) -> int:
    return (world.true_time() - EPOCH) // timedelta(microseconds=1) * 1_000


class _Os:
    """The module `os`, but for the number of the process that asks."""

    def __init__(self, world: World) -> None:
        self._world = world

    def getpid(self) -> int:
        fiber = self._world.kernel.current
        return 0 if fiber is None else int(getattr(fiber.owner, "pid", 0))

    def __getattr__(self, name: str) -> Any:
        import os

        return getattr(os, name)


NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
