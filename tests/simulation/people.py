"""Those who use the simulated service: they enqueue, cancel, retry, edit, pause and trigger, and break things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Final

from mainspring.app import Application
from mainspring.domain.spec import FanOut, Misfire, MisfirePolicy, OverlapPolicy, ScheduleSpec
from mainspring.domain.states import RunState
from mainspring.domain.triggers import parse_cron
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.errors import MainspringError, StoreUnavailable
from mainspring.ids import RunId
from mainspring.services.enqueue import Request
from mainspring.store.runs import RunFilter
from tests.simulation.kernel import SECOND
from tests.simulation.profiles import Profile
from tests.simulation.tasks import TASKS
from tests.simulation.world import Process, World

_ZONES: Final = ("UTC", "Europe/Berlin", "Europe/London", "Australia/Lord_Howe")


def first_schedules(world: World) -> list[ScheduleSpec]:
    """Return the schedules of this world: each policy once, with rules that the seed decides."""
    chance = world.random
    zone = chance.choice(_ZONES)

    def every(seconds: float) -> IntervalTrigger:
        return IntervalTrigger(timedelta(seconds=seconds), world.start - timedelta(seconds=chance.randrange(60)))

    quick = {"seconds": 0.2, "trouble": 0.05}
    return [
        ScheduleSpec("steady", "sim.work", every(chance.choice((3, 5, 7))), parameters=quick),
        ScheduleSpec("once", "sim.once", every(11), parameters=quick, misfire=Misfire(MisfirePolicy.SKIP)),
        ScheduleSpec("wall", "sim.wave", parse_cron("*/10 * * * * *", zone), zone, parameters=quick,
                     misfire=Misfire(MisfirePolicy.ALL, cap=5)),
        ScheduleSpec("fixed", "sim.work", parse_cron("15,45 0-5,12-15 * * *".replace("15,45", "0-59"), zone), zone),
        ScheduleSpec("fan", "sim.work", every(20), parameters={"seconds": 0.1}, jitter=timedelta(seconds=4),
                     fan_out=FanOut("member", ("a", "b", "c"))),
        ScheduleSpec("alone", "sim.work", every(4), parameters={"seconds": 5.0}, overlap=OverlapPolicy.SKIP),
        ScheduleSpec("next", "sim.wave", every(6), parameters={"seconds": 7.0}, overlap=OverlapPolicy.QUEUE_ONE),
        ScheduleSpec("newest", "sim.wave", every(9), parameters={"seconds": 12.0}, expires=timedelta(seconds=20),
                     overlap=OverlapPolicy.CANCEL_RUNNING),
    ]  # fmt: skip


@dataclass
class People:
    """A client and an operator, on a process that no fault ends; whatever the database refuses they let be."""

    world: World
    process: Process
    profile: Profile
    accepted: list[str] = field(default_factory=list)
    """Runs whose enqueue was acknowledged."""
    over: bool = False

    def __post_init__(self) -> None:
        self._application = Application(self.process.database, self.process.clock)  # type: ignore[arg-type]

    def begin(self, specs: list[ScheduleSpec]) -> None:
        """Write the schedules."""
        for spec in specs:
            self._application.scheduling.put(spec, "file", "owner")

    def client(self) -> None:
        """Enqueue and steer runs until it is over."""
        chance = self.world.random
        while not self.over:
            self._pause(1.5)
            if self.over:
                return
            roll = chance.random()
            if roll < 0.7:
                self._try(self._enqueue)
            elif roll < 0.9:
                self._try(self._cancel)
            else:
                self._try(self._retry)

    def operator(self) -> None:
        """Edit, pause, resume and trigger schedules until it is over."""
        names = [schedule.name for schedule in self._application.scheduling.all()]
        chance = self.world.random
        while not self.over:
            self._pause(6)
            if self.over:
                return
            name, roll = chance.choice(names), chance.random()
            scheduling = self._application.scheduling
            if roll < 0.25 or not self.profile.edits:
                self._try(lambda: self.accepted.extend(scheduling.trigger(name, "operator")))  # noqa: B023
            elif roll < 0.5:
                self._try(partial(self._edit, name))
            elif roll < 0.75:
                until = self.process.clock.now() + timedelta(seconds=chance.randrange(5, 60))
                self._try(partial(scheduling.pause, name, "operator", "", chance.choice((None, until))))
            else:
                self._try(partial(scheduling.resume, name, "operator"))

    def settle(self) -> None:
        """Disable all schedules, so that what is left can come to its end."""
        for schedule in self._application.scheduling.all():
            self.insist(partial(self._disable, schedule.name))

    def insist(self, work: Callable[[], object]) -> None:
        """Do *work* until the database takes it."""
        while True:
            try:
                work()
                return
            except StoreUnavailable:
                self._pause(0.5)

    def unfinished(self) -> int:
        """Return how many runs have not ended."""
        wanted = RunFilter(states=tuple(s for s in RunState if s not in (
            RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)))  # fmt: skip
        return len(self._application.reading.runs(wanted, 1_000))

    def _disable(self, name: str) -> None:
        spec = self._application.scheduling.require(name).spec
        if spec.enabled:
            self._application.scheduling.put(replace(spec, enabled=False), "file", "owner")

    def _pause(self, mean: float) -> None:
        self.world.kernel.sleep(1 + int(self.world.random.expovariate(1 / mean) * SECOND))

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except MainspringError as error:
            self.world.note("people", type(error).__name__)

    def _enqueue(self) -> None:
        chance, now = self.world.random, self.process.clock.now()
        requests = [
            Request(
                chance.choice(TASKS),
                {
                    "seconds": round(chance.random() * chance.choice((1, 3, 12)), 3),
                    "trouble": chance.choice((0.0, 0.0, 0.4)),
                },
                priority=chance.choice((2, 5, 8)),
                due_at=chance.choice((None, None, now + timedelta(seconds=chance.random() * 20))),
                expires=chance.choice((None, None, timedelta(seconds=15))),
            )
            for _ in range(chance.choice((1, 1, 1, 5)))
        ]
        self.accepted += self._application.enqueuer.enqueue_many(requests, by=chance.choice((None, "client")))

    def _some_run(self, *states: RunState) -> RunId | None:
        found = self._application.reading.runs(RunFilter(states=states), 30)
        return self.world.random.choice(found).id if found else None

    def _cancel(self) -> None:
        run_id = self._some_run(RunState.READY, RunState.RUNNING, RunState.SCHEDULED, RunState.WAITING)
        if run_id is not None:
            self._application.steering.cancel(run_id, "client", "changed my mind")

    def _retry(self) -> None:
        run_id = self._some_run(RunState.FAILED)
        if run_id is not None:
            self._application.steering.retry(run_id, "client")

    def _edit(self, name: str) -> None:
        spec = self._application.scheduling.require(name).spec
        seconds = self.world.random.choice((4, 6, 8, 13))
        trigger = IntervalTrigger(timedelta(seconds=seconds), self.world.start)
        self._application.scheduling.put(replace(spec, trigger=trigger), "file", "operator")
