"""Drain: how fast one worker process works off no-op runs that wait when it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks import pump, tasks
from benchmarks.contestants import Contestant, Mainspring, require_succeeded
from benchmarks.figures import Figure, least, ratio
from benchmarks.ground import database_on
from benchmarks.processes import Process, running
from benchmarks.recording import calls_of, recorder, replay
from benchmarks.setting import Setting
from benchmarks.trace import wait_for

TITLE = "Drain: runs a second, one worker process"
_PATIENCE = 300.0


def measure_drain(setting: Setting) -> list[Figure]:
    """Drain with coroutines and functions, the raw loop and the peers in turns."""
    slots, n = setting.sizes.slots, setting.sizes.runs
    ours = [setting.ours(tasks.coroutine), setting.ours(tasks.function)]
    peers = setting.peers()
    contestants: dict[str, Callable[[], float]] = {
        c.name: partial(drain_once, setting, c, slots) for c in (*ours, *peers)
    }
    contestants |= {f"{c.name}, default slots": partial(drain_once, setting, c, None) for c in ours}
    with raw_loop(setting) as raw:
        note = f"{n:,} runs, {slots} slots unless said otherwise"
        figures = setting.rates(TITLE, contestants | {"raw loop": raw}, note)
    coroutine, function = (figures[c.name] for c in ours)
    against = [figures[peer.name] for peer in peers]
    return [*figures.values(), *_ratios(setting, coroutine, function, figures["raw loop"], against)]


def _ratios(setting: Setting, coroutine: Figure, function: Figure, raw: Figure, peers: list[Figure]) -> list[Figure]:
    on_sqlite = setting.ground.kind == "SQLite"
    found = [
        ratio(coroutine, raw, least(0.4) if on_sqlite else None),
        ratio(function, raw, least(0.5) if on_sqlite else None),
    ]
    return found + [ratio(coroutine, peer, least(6.0 if on_sqlite else 1.2)) for peer in peers]


def drain_once(setting: Setting, contestant: Contestant, slots: int | None) -> float:
    """Return the runs a second from the first start until nothing waits or runs."""
    n = setting.sizes.runs
    contestant.reset()
    setting.trace.clear(n)
    contestant.bulk(n)
    try:
        with running(contestant.start(slots)) as (process,):
            ended = _worked_off(setting, contestant, process)
        setting.trace.require_each_once()
        if isinstance(contestant, Mainspring):
            require_succeeded(contestant.application.database, n)
        return n / (ended - setting.trace.first())
    finally:
        contestant.close()


def _worked_off(setting: Setting, contestant: Contestant, process: Process) -> float:
    def all_started() -> bool:
        process.require_alive()
        return setting.trace.count() >= setting.sizes.runs

    wait_for(all_started, _PATIENCE, f"{contestant.name} starts {setting.sizes.runs} runs")
    return wait_for(contestant.is_idle, _PATIENCE, f"{contestant.name} ends its runs", look_every=0.001)


@contextmanager
def raw_loop(setting: Setting) -> Iterator[Callable[[], float]]:
    """Give a function that returns the runs a second of the worker's statements without the worker, batch = slots."""
    n, slots, ground = setting.sizes.runs, setting.sizes.slots, setting.ground
    with setting.installed() as ours:
        ours.bulk(n)
        ours.disconnect()
        with recorder(ours.address) as database:
            session = pump.open_session(database, slots)
        with database_on(ground, lambda: ground.copied(ours.address)) as untouched:
            with recorder(ours.address) as database:
                calls = calls_of(database, lambda on: pump.drain(on, session, slots))
            yield lambda: n / replay(ground, untouched, calls, lambda copy: require_succeeded(copy, n))
