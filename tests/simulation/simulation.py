"""Simulate the whole service for some virtual minutes, with faults, from one seed; then judge it by the promises."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from mainspring.app import Application, Project, WorkerProcess, bury_process, make_scheduler
from mainspring.config import load
from mainspring.errors import MainspringError
from mainspring.services import adoption
from mainspring.services.catalog import Catalog
from mainspring.store.database import Database
from mainspring.store.migrate import upgrade
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.verify import verify
from tests.promises.checker import violations
from tests.promises.evidence import Evidence, begin_history, gather
from tests.simulation.kernel import SECOND, Kernel, Stuck
from tests.simulation.people import People, first_schedules
from tests.simulation.profiles import CLOCKS_CHANGE, NOON, PROFILES, Profile, profile_of
from tests.simulation.tasks import STAGE, TASKS
from tests.simulation.world import CALM, Process, Trace, World, simulated

FAULTY_SECONDS: Final = 90
QUIET_SECONDS: Final = 90
"""Within this, after the faults have ended, everything has come to its end."""
_CONFIGURATION: Final = """
data_dir: data
worker: {slots: 8, drain: 5s}
"""
SCHEDULERS: Final = 2
WORKERS: Final = (3, 2)


@dataclass(frozen=True)
class Result:
    """What a seed led to."""

    seed: int
    profile: str
    hash: str
    problems: tuple[str, ...]
    runs: int
    steps: int
    counts: dict[str, int]

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        verdict = "; ".join(self.problems[:5]) or "ok"
        return (
            f"seed {self.seed} ({self.profile}) {self.hash} {self.runs} runs, {self.steps} steps [{faults}]: {verdict}"
        )


class Simulation:
    """One world from its beginning to its judgement."""

    def __init__(self, seed: int, profile: Profile, world: World) -> None:
        self.seed, self.profile, self.world = seed, profile, world
        self.problems: list[str] = []
        self._project = _project()
        self._over = False
        self.people = People(world, Process(world, "people", mortal=False), profile)
        self._supervisor = Process(world, "supervisor", mortal=False)
        self._hooks: list[Callable[[], object]] = []

    def run(self) -> None:
        """Live through the faults, then through a quiet time; all is judged in between and at the end."""
        world = self.world
        STAGE.effect, STAGE.spend, STAGE.luck = world.effect, world.spend, world.random.random
        self.people.begin(first_schedules(world))
        for number in range(SCHEDULERS):
            self._keep(f"scheduler{number + 1}", self._make_scheduler)
        for number in range(WORKERS[self.seed // len(PROFILES) % 2]):
            self._keep(f"worker{number + 1}", self._make_worker)
        self._go_on("client", self.people.client)
        self._go_on("operator", self.people.operator)
        world.spend(3)
        world.faults = self.profile.faults
        self._begin_trouble()
        for begun in range(0, FAULTY_SECONDS, 60):
            world.spend(min(60, FAULTY_SECONDS - begun))
            self._judge(quiet=False)
        self._end_trouble()
        waited = 0
        while waited < QUIET_SECONDS and self.people.unfinished():
            world.spend(3)
            waited += 3
        world.spend(3)
        self._over = True
        self._judge(quiet=True)

    # The processes, and whoever starts them again.

    def _keep(self, name: str, make: Callable[[Process], Any]) -> None:
        world = self.world

        def watch() -> None:
            count = 0
            while not self._over:
                count += 1
                process = Process(world, f"{name}.{count}")
                process.offset = timedelta(seconds=world.random.choice((0.0, world.random.uniform(-1, 1))))
                world.kernel.spawn(process, "start", lambda: self._start(process, make))  # noqa: B023
                process.ended.wait()
                if world.random.random() < 0.5:
                    self._bury(process)
                world.spend(world.random.random() * 2)

        self._go_on(f"keeper of {name}", watch)

    def _start(self, process: Process, make: Callable[[Process], Any]) -> None:
        try:
            process.service = make(process)
            process.service.start()
            process.ready = True
        except MainspringError as error:
            self.world.note(process, f"did not start: {type(error).__name__}")
            self.world.crash(process, "failed start")

    def _bury(self, process: Process) -> None:
        try:
            bury_process(Application(self._supervisor.database, self._supervisor.clock), process.pid)  # type: ignore[arg-type]
        except MainspringError as error:
            self.world.note("supervisor", type(error).__name__)

    def _make_scheduler(self, process: Process) -> Any:
        return make_scheduler(Application(process.database, process.clock), process.name)  # type: ignore[arg-type]

    def _make_worker(self, process: Process) -> Any:
        application = Application(process.database, process.clock)  # type: ignore[arg-type]
        return WorkerProcess(application, self._project, process.name)

    def _stop(self, process: Process) -> None:
        try:
            process.service.stop()
        except MainspringError as error:
            self.world.note(process, f"did not stop well: {type(error).__name__}")
        self.world.crash(process, "stopped")

    # What goes wrong from outside.

    def _begin_trouble(self) -> None:
        for name, mean, do in (
            ("killer", self.profile.kill_every, self._kill),
            ("restarter", self.profile.restart_every, self._restart),
            ("freezer", self.profile.freeze_every, self._freeze),
            ("outage", self.profile.outage_every, self._outage),
            ("stepper", self.profile.step_every, self._step),
            ("reboot", self.profile.reboot_every, self._reboot),
        ):
            if mean:
                self._go_on(name, lambda mean=mean, do=do: self._now_and_then(mean, do))  # type: ignore[misc]

    def _now_and_then(self, mean: float, do: Callable[[], object]) -> None:
        world = self.world
        while True:
            world.spend(world.random.expovariate(1 / mean))
            if world.faults is CALM:
                return
            do()

    def _victim(self) -> Process | None:
        alive = [p for p in self.world.processes if p.mortal and p.ready and not p.dead]
        return self.world.random.choice(alive) if alive else None

    def _kill(self) -> None:
        if (process := self._victim()) is not None:
            self.world.crash(process, "killed")

    def _restart(self) -> None:
        if (process := self._victim()) is not None:
            process.ready = False
            self.world.kernel.spawn(process, "stop", lambda: self._stop(process))

    def _freeze(self) -> None:
        if (process := self._victim()) is not None:
            self.world.freeze(process, self.world.random.choice((0.5, 4.0, 11.0, 13.0, 20.0, 40.0)))

    def _outage(self) -> None:
        seconds = self.world.random.choice((0.3, 3.0, 9.0, 14.0, 30.0))
        self.world.count("outage")
        self.world.note("database", f"unavailable {seconds}")
        self.world.unavailable_until = self.world.kernel.now + int(seconds * SECOND)

    def _step(self) -> None:
        if (process := self._victim()) is not None:
            seconds = self.world.random.choice((-3600.0, -90.0, -20.0, -2.0, 0.0, 2.0, 20.0, 45.0))
            self.world.count("clock step")
            self.world.note(process, f"clock {seconds}")
            process.offset = timedelta(seconds=seconds)

    def _reboot(self) -> None:
        world = self.world
        for process in [p for p in world.processes if p.mortal and not p.dead]:
            world.crash(process, "went down")
        world.boot += 1
        world.booted_at = world.kernel.now - 5 * SECOND
        world.count("reboot")

    def _end_trouble(self) -> None:
        world = self.world
        world.faults, world.unavailable_until = CALM, 0
        self.people.over = True
        for process in world.processes:
            process.frozen_until = min(process.frozen_until, world.kernel.now)
            process.offset = min(process.offset, timedelta(0)) * 0
        world.note("world", "is quiet")
        self.people.settle()

    # The judgement.

    def _judge(self, *, quiet: bool) -> None:
        world = self.world
        evidence = self._evidence(quiet)
        if quiet:
            verdict = verify(world.inner, world.latest)
            evidence = replace(evidence, findings=[str(finding) for finding in verdict.findings if not finding.warning])
            _note_tables(world.trace, evidence)
        found = [str(violation) for violation in violations(evidence)] + world.findings
        self.problems += [problem for problem in found if problem not in self.problems]
        if found:
            raise Stop

    def _evidence(self, quiet: bool) -> Evidence:
        return replace(
            gather(self.world.inner),
            effects=tuple(self.world.effects),
            accepted=frozenset(self.people.accepted),
            deaths=tuple(self.world.deaths) if self.profile.judge_recovery else (),
            quiet=quiet,
        )

    def _go_on(self, name: str, work: Callable[[], object]) -> None:
        self.world.kernel.spawn(self.world if "keeper" not in name else self._supervisor, name, work)


class Stop(Exception):
    """Enough is known."""


def simulate(
    seed: int,
    show: Callable[[str], None] | None = None,
    profile: Profile | None = None,
    planted: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Result:
    """Simulate *seed* on SQLite and return what came of it; *planted* puts a bug into the product meanwhile."""
    name, chosen = profile_of(seed)
    folder = Path(tempfile.mkdtemp(prefix="mainspring-simulation-", dir=_fast_folder()))
    shutil.copyfile(_template(), folder / "sim.db")
    kernel, trace = Kernel(seed), Trace(show)
    start = Random(seed).choice((NOON, NOON, *CLOCKS_CHANGE))
    world: World | None = None
    database = SqliteDatabase(folder / "sim.db", lease_clock=lambda: world.lease_clock())  # type: ignore[union-attr]
    # A copy of a file without a home is a database of its own, not one that was moved.
    adoption.settle(database)
    world = World(kernel, database, start, trace)
    problems: list[str] = []
    try:
        with simulated(world, Random(seed)), planted():
            simulation = Simulation(seed, profile or chosen, world)
            try:
                kernel.run(simulation.run, world)
            except Stop:
                problems = simulation.problems
            except Stuck as stuck:
                problems = [f"stuck: {stuck}"]
        runs = _count(database)
    finally:
        database.close()
        shutil.rmtree(folder, ignore_errors=True)
    return Result(seed, name, trace.hash, tuple(problems), runs, kernel.steps, world.counts)


def _count(database: Database) -> int:
    return len(gather(database).runs)


def _note_tables(trace: Trace, evidence: Evidence) -> None:
    for table in (evidence.runs, evidence.occurrences, evidence.attempts):
        for row in table:
            trace.add(0, "table", repr(row))
    for change in evidence.history:
        trace.add(0, "table", repr(change._replace(at=0)))


def _fast_folder() -> str | None:
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None


@cache
def _template() -> Path:
    """Return an empty database with the schema and the history of runs, made once for this process."""
    folder = Path(tempfile.mkdtemp(prefix="mainspring-simulation-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = SqliteDatabase(folder / "template.db")
    upgrade(made)
    begin_history(made)
    made.close()
    return folder / "template.db"


@cache
def _project() -> Project:
    folder = Path(tempfile.mkdtemp(prefix="mainspring-simulation-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "mainspring.yaml").write_text(_CONFIGURATION, encoding="utf-8")
    project = Project(load(folder / "mainspring.yaml", {}))
    project.__dict__["catalog"] = Catalog(TASKS)
    return project
