"""Strike a scenario at each of its points with each fault, let the world go on, and judge what became of it."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import psycopg
from pysqlite3 import dbapi2 as sqlite

from mainspring.errors import MainspringError, StoreUnavailable
from mainspring.store.database import Tx
from mainspring.verify import verify
from tests.crashpoints.process import Process
from tests.crashpoints.scenarios import Scenario, Story
from tests.crashpoints.world import World
from tests.promises.checker import Violation, unfinished, violations
from tests.promises.evidence import Evidence, gather
from tests.promises.faults import FaultLayer, Point, Repeat, unavailable

T = TypeVar("T")
FAULTS: Final = ("crash", "error", "driver error", "lost reply", "repetition", "pause", "long pause")
"""What strikes: the process dies; the database does not answer; the driver fails; the commit happens and its reply is
lost, for the caller or for the driver, which tries again; the process sleeps for longer than its lease, until others
have begun with what it held, or have ended it."""
_BEGIN: Final = "BEGIN"
_STEP: Final = timedelta(seconds=9)
_MOST_STEPS: Final = 30
_STRUCK, _FAILED, _PASSED = 42, 70, 0


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario with a fault at a point, on a kind of database."""

    place: str
    scenario: str
    point: Point
    fault: str

    def __str__(self) -> str:
        moment = f"{self.point.moment} {self.point.statement}"
        return f"{self.place}, {self.scenario}, {self.fault} at point {self.point.number} ({moment})"


class Layer(FaultLayer):
    """Has a point more: before a transaction begins, when nothing is locked yet."""

    def write(self, work: Callable[[Tx], T], **more: Any) -> T:
        """Run *work* in a transaction, with faults from before it begins until after its commit."""
        self.pass_("before", _BEGIN, True)
        return super().write(work, **more)


def faults_at(point: Point) -> Iterator[str]:
    """Return which faults can strike at *point*: what is committed cannot fail any more, only its reply."""
    yield from ("crash", "pause", "long pause")
    if point.statement == _BEGIN:
        yield "error"
    elif point.moment == "committed":
        yield "lost reply"
        yield "repetition"
    else:
        yield "error"
        yield "driver error"


def prepare(world: World, scenario: Scenario) -> list[Point]:
    """Arrange *scenario*, keep that as its beginning, and return the points that its act passes without a fault."""
    world.place.blank()
    database = world.place.open(world.clock)
    scenario.arrange(Process(world, database, "arranger"))
    world.place.done_with(database)
    world.keep()
    points: list[Point] = []
    database = world.place.open(world.clock)
    try:
        scenario.act(_actor(world, Layer(database, points.append)))
    finally:
        world.place.done_with(database)
    return points


def strike(world: World, scenario: Scenario, points: Sequence[Point], point: Point, fault: str) -> list[Violation]:
    """Strike *scenario* at *point* with *fault*, let the world go on, and return every broken promise."""
    world.restore()
    with _alarms() as alarms:
        try:
            if fault == "crash":
                evidence, said = _crash(world, scenario, points, point)
            else:
                evidence, said = _disturb(world, scenario, points, point, fault)
        except Exception as error:  # whatever nobody foresaw is found, too
            evidence, said = Evidence(), [f"{type(error).__name__}: {error}"]
    return [*violations(evidence), *(Violation("S", scenario.name, text) for text in [*alarms, *said])]


def _actor(world: World, database: Layer) -> Process:
    actor = Process(world, database, "w1")
    return actor.take_over(world.notes["actor"]) if "actor" in world.notes else actor


def _crash(world: World, scenario: Scenario, points: Sequence[Point], point: Point) -> tuple[Evidence, list[str]]:
    """Let a child die at *point*; this process has no database open meanwhile that the child could inherit."""
    child = os.fork()
    if child == 0:
        _live_and_die(world, scenario, point)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    world.place.forget_the_dead()
    database = world.place.open(world.clock, patient=False)
    try:
        fresh = Process(world, database, "w2")
        others = [fresh, *_holders(world, fresh)]
        said = [] if code == _STRUCK else [f"the child ended with {code} instead of dying there"]
        if scenario.asked:
            said += _ask_again(scenario, fresh)
        story = Story("crash", point, _committed(points, point) + scenario.asked)
        return _go_on(world, scenario, story, others, said)
    finally:
        world.place.done_with(database)


def _live_and_die(world: World, scenario: Scenario, point: Point) -> None:
    def strike(passed: Point) -> None:
        if passed.number == point.number:
            os._exit(_STRUCK)

    code = _FAILED
    try:
        scenario.act(_actor(world, Layer(world.place.open(world.clock), strike)))
        code = _PASSED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _disturb(
    world: World, scenario: Scenario, points: Sequence[Point], point: Point, fault: str
) -> tuple[Evidence, list[str]]:
    mine, theirs = world.place.open(world.clock), world.place.open(world.clock, patient=False)
    try:
        fresh = Process(world, theirs, "w2")
        others = [fresh, *_holders(world, fresh)]
        layer = Layer(mine, _Striker(point.number, _blow(fault, world, others)))
        actor = _actor(world, layer)
        failed = _try(scenario.act, actor)
        reached = layer.points >= point.number
        said = [] if reached else ["the point was not reached"]
        if failed and scenario.asked:
            said += _ask_again(scenario, actor)
        times = _committed(points, point) + scenario.asked if failed else 1
        # After some errors of its driver a database tries again by itself.
        if fault != "driver error" and failed != (fault in ("error", "lost reply")):
            said.append(f"the act {'failed' if failed else 'succeeded'} with this fault")
        return _go_on(world, scenario, Story(fault, point, times), [actor, *others], said)
    finally:
        world.place.done_with(mine)
        world.place.done_with(theirs)


def _try(act: Callable[[Process], None], actor: Process) -> bool:
    """Return whether *act* failed for want of a database."""
    try:
        act(actor)
    except StoreUnavailable:
        return True
    return False


def _ask_again(scenario: Scenario, process: Process) -> list[str]:
    try:
        scenario.act(process)
    except MainspringError as error:
        return [f"asked again, it said: {error}"]
    return []


def _holders(world: World, fresh: Process) -> list[Process]:
    hands = world.notes.get("holder")
    return [] if hands is None else [Process(world, fresh.database, "holder").take_over(hands)]


def _committed(points: Sequence[Point], point: Point) -> int:
    """Return whether the first transaction of an act with one was committed at *point*."""
    return int(any(passed.moment == "committed" for passed in points[: point.number]))


class _Striker:
    """Strikes once."""

    def __init__(self, number: int, blow: Callable[[Point], None]) -> None:
        self._number, self._blow = number, blow

    def __call__(self, point: Point) -> None:
        if point.number == self._number:
            self._blow(point)


def _blow(fault: str, world: World, others: Sequence[Process]) -> Callable[[Point], None]:
    def fail(point: Point) -> None:
        if fault == "repetition":
            raise Repeat
        if fault == "driver error":
            raise _driver_error(world.place.name, point)
        raise unavailable(point)

    def pause(point: Point) -> None:
        for _ in range(2):
            world.clock.advance(_STEP)
            for process in others:
                process.round(to_the_end=fault == "long pause")

    return pause if fault.endswith("pause") else fail


def _driver_error(place: str, point: Point) -> Exception:
    if place == "postgres":
        return psycopg.OperationalError("server closed the connection unexpectedly")
    code, message = (5, "database is locked") if point.number % 2 else (13, "database or disk is full")
    error: Exception = sqlite.OperationalError(message)
    error.sqlite_errorcode = code  # type: ignore[attr-defined]
    return error


def _go_on(
    world: World, scenario: Scenario, story: Story, processes: Sequence[Process], said: list[str]
) -> tuple[Evidence, list[str]]:
    """Let *processes* go on until all is quiet, and gather what there is then."""
    database = processes[-1].database
    for _ in range(_MOST_STEPS):
        for process in processes:
            process.round()
        evidence = gather(database)
        if not unfinished(evidence.runs):
            break
        world.clock.advance(_STEP)
    verdict = verify(database, world.clock.now())
    evidence = gather(
        database, world.effects, accepted=frozenset(text for text in world.said if len(text) == 36 and "-" in text),
        findings=[str(finding) for finding in verdict.findings if not finding.warning],
    )  # fmt: skip
    world.looking_at(database)
    return evidence, [*said, *scenario.expect(world, evidence, story)]


@contextmanager
def _alarms() -> Iterator[list[str]]:
    """Collect what is logged as critical: a conflict in the ledger, which must never happen."""
    found: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    listener, root = Listener(logging.CRITICAL), logging.getLogger("mainspring")
    propagate = root.propagate
    root.addHandler(listener)
    root.propagate = False
    try:
        yield found
    finally:
        root.propagate = propagate
        root.removeHandler(listener)
