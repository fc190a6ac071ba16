"""Several worker processes on one database: they must not stand in each other's way."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks.contestants import require_succeeded
from benchmarks.figures import Figure, least, ratio
from benchmarks.processes import running
from benchmarks.pump import QUEUE
from benchmarks.setting import Setting
from benchmarks.trace import wait_for
from mainspring.services.queues import Queueing

TITLE = "Several worker processes: runs a second together"
_ACTOR = "benchmark"
_PATIENCE = 300.0


def measure_workers(setting: Setting) -> list[Figure]:
    """Drain with one, two and (on PostgreSQL) four processes in turns."""
    counts = (1, 2) if setting.ground.kind == "SQLite" else (1, 2, 4)
    contestants = {f"{k} worker{'s' if k > 1 else ''}": partial(_drain, setting, k) for k in counts}
    figures = setting.rates(TITLE, contestants, f"{setting.sizes.runs:,} runs, {setting.sizes.slots} slots each")
    one, *more = figures.values()
    return [one, *more, *(ratio(figure, one, least(1.0)) for figure in more)]


def _drain(setting: Setting, processes: int) -> float:
    """Return the runs a second; all processes are there before the first run may start."""
    n = setting.sizes.runs
    with setting.installed() as ours, ExitStack() as stack:
        setting.trace.clear(n)
        queueing = Queueing(ours.application.database, ours.application.clock)
        queueing.pause(QUEUE, _ACTOR)
        ours.bulk(n)
        workers = [stack.enter_context(running(ours.start(setting.sizes.slots)))[0] for _ in range(processes)]
        wait_for(lambda: len(ours.live_sessions()) == processes, 60.0, f"{processes} workers are ready", 0.05)
        queueing.resume(QUEUE, _ACTOR)

        def all_started() -> bool:
            for worker in workers:
                worker.require_alive()
            return setting.trace.count() >= n

        wait_for(all_started, _PATIENCE, f"{n} runs start")
        ended = wait_for(ours.is_idle, _PATIENCE, f"{n} runs end", 0.001)
        setting.trace.require_each_once()
        require_succeeded(ours.application.database, n)
        return n / (ended - setting.trace.first())
