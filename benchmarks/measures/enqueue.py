"""Enqueue: many runs in one call, or one a call; durable when the call returns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.contestants import Contestant
from benchmarks.figures import Figure, least, ratio
from benchmarks.rows import raw_tables
from benchmarks.setting import Setting

BULK = "Bulk enqueue: runs a second"
SINGLES = "Enqueue one at a time: runs a second"
_RAW = "driver into our tables"
_BATCH = 1_000
_THREADS = 16
Calls = dict[str, Callable[[], float]]


def measure_bulk(setting: Setting) -> list[Figure]:
    """Enqueue many by us, by the driver into our tables and by the peers in turns."""
    n, ours = setting.sizes.runs, setting.ours()
    # Huey has no such call.
    peers = [peer for peer in setting.peers(everywhere=True) if not peer.name.startswith("Huey")]
    contestants: Calls = {c.name: partial(_rate, c, n, partial(c.bulk, n)) for c in (ours, *peers)}
    figures = setting.rates(BULK, contestants | {_RAW: partial(_raw, setting, n, _BATCH)}, f"{n:,} runs")
    us = figures[ours.name]
    wanted = least(1.5 if setting.ground.kind == "SQLite" else 1.0)
    against = [ratio(us, figures[peer.name], wanted) for peer in peers]
    return [*figures.values(), ratio(us, figures[_RAW]), *against]


def measure_singles(setting: Setting) -> list[Figure]:
    """Enqueue from one thread and from sixteen, by the driver into our tables and by the peers in turns."""
    n, ours, peers = setting.sizes.singles, setting.ours(), setting.peers()
    many, threads = n * 4, f"{ours.name}, {_THREADS} threads"
    contestants: Calls = {c.name: partial(_rate, c, n, partial(c.singles, n)) for c in (ours, *peers)}
    contestants[threads] = partial(_rate, ours, many, partial(ours.singles, many, _THREADS))
    note = f"{n:,} runs, four times as many from {_THREADS} threads"
    figures = setting.rates(SINGLES, contestants | {_RAW: partial(_raw, setting, n, 1)}, note)
    alone, together, raw = figures[ours.name], figures[threads], figures[_RAW]
    against = [ratio(alone, figures[peer.name]) for peer in peers]
    ratios = [ratio(alone, raw, least(0.6)), ratio(together, alone, least(4.0)), ratio(together, raw)]
    return [*figures.values(), *ratios, *against]


def _rate(contestant: Contestant, n: int, enqueue: Callable[[], float]) -> float:
    contestant.reset()
    try:
        # What a process does once (imports, the first connection) is not what is measured.
        contestant.probe(n)
        return n / enqueue()
    finally:
        contestant.close()


def _raw(setting: Setting, n: int, batch: int) -> float:
    with setting.installed() as ours:
        ours.bulk(1)
        ours.disconnect()
        with raw_tables(ours.address) as tables:
            return n / tables.put(range(2, n + 2), batch)
