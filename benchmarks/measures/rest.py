"""What is taken while nothing happens: memory, processor time, and the time to start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from benchmarks.contestants import Mainspring
from benchmarks.figures import Figure, most, wanting
from benchmarks.multiply import key, multiply
from benchmarks.processes import Process, cpu_of, mainspring, running
from benchmarks.setting import Setting
from benchmarks.trace import now, pause, wait_for
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.triggers import parse_cron

MEMORY = "Memory of an idle `mainspring up`"
START = "Start"
STORED = "Schedules stored, none of them due"
_START_BOUNDS = {"`mainspring up` ready": 3.0, "`import mainspring`": 0.15, "`mainspring --help`": 0.4}
_READY = 60.0
_LOOK_EVERY = 0.02


def measure_memory(setting: Setting) -> list[Figure]:
    """Add up the memory of all processes of ``mainspring up`` once they are idle."""
    samples = [_idle_memory(setting) for _ in range(setting.sizes.rounds)]
    return [setting.figure(MEMORY, "all processes, PSS", "MB", samples, wanted=most(200.0))]


def _idle_memory(setting: Setting) -> float:
    with setting.installed() as ours, running(ours.process("up")) as (process,):
        _wait_until_up(ours, process)
        pause(setting.sizes.seconds / 2)
        return process.pss_megabytes()


def _wait_until_up(ours: Mainspring, process: Process) -> float:
    def both() -> bool:
        process.require_alive()
        return {name.partition(" ")[0] for name in ours.live_sessions()} == {"worker", "scheduler"}

    return wait_for(both, _READY, "worker and scheduler are ready", _LOOK_EVERY)


def measure_start(setting: Setting) -> list[Figure]:
    """Take the processor time of an import, of the help, and of all processes until they are ready."""
    contestants: dict[str, Callable[[], float]] = {"`mainspring up` ready": partial(_cpu_until_up, setting)}
    if setting.ground.kind == "SQLite" or not setting.others:
        # They open no database: once is enough.
        python = [sys.executable, "-c", "import mainspring"]
        contestants["`import mainspring`"] = partial(cpu_of, python, setting.folder)
        contestants["`mainspring --help`"] = partial(cpu_of, mainspring("--help"), setting.folder)
    figures = setting.rates(START, contestants, "Processor time, Python's own start included", "s")
    return [wanting(figure, most(_START_BOUNDS[name])) for name, figure in figures.items()]


def _cpu_until_up(setting: Setting) -> float:
    with setting.installed() as ours, running(ours.process("up")) as (process,):
        _wait_until_up(ours, process)
        return process.cpu_seconds()


def measure_stored(setting: Setting) -> list[Figure]:
    """Watch a scheduler with very many schedules, none of them due for months."""
    n = setting.sizes.stored
    with setting.installed() as ours:
        _store(ours, n)
        watched = [_watch(setting, ours) for _ in range(setting.sizes.rounds)]
    note = f"{n:,} schedules"
    return [
        setting.figure(STORED, "ready after", "s", [ready for ready, _ in watched], note=note, wanted=most(3.0)),
        setting.figure(STORED, "of one core", "%", [share for _, share in watched], note=note, wanted=most(1.0)),
    ]


def _watch(setting: Setting, ours: Mainspring) -> tuple[float, float]:
    """Return after how many seconds the scheduler was ready, and the part of a core that it takes, in percent."""
    before, began = ours.live_sessions(), now()
    with running(ours.process("scheduler")) as (scheduler,):
        ready = wait_for(lambda: bool(ours.live_sessions() - before), _READY, "the scheduler is ready", _LOOK_EVERY)
        pause(2.0)
        cpu, at = scheduler.cpu_seconds(), now()
        pause(setting.sizes.seconds)
        return ready - began, 100 * (scheduler.cpu_seconds() - cpu) / (now() - at)


def _store(ours: Mainspring, n: int) -> None:
    application = ours.application
    month = (application.clock.now() + timedelta(days=150)).month
    spec = ScheduleSpec("s0", "benchmarks.tasks.coroutine", parse_cron(f"0 0 1 {month} *"), parameters={"number": 0})
    application.scheduling.apply([spec], "file", "benchmark")
    changed = {"id": key(application.database), "name": "'s' || g.n"}
    multiply(application.database, "schedules", "name = 's0'", range(1, n), changed)
