"""Latency: from just before the call that enqueues to the first line of the task."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from benchmarks.contestants import Contestant, Mainspring
from benchmarks.figures import Figure, most, percentile
from benchmarks.measures.drain import drain_once
from benchmarks.processes import Process, running
from benchmarks.setting import Setting
from benchmarks.trace import now, pause, wait_for

TITLE = "Latency from enqueue to start"
_EVERY = 0.05
_PATIENCE = 60.0
_WARMING = 2
"""Runs that only find out whether the worker is there."""
_SETTLE = 1.0
_PARTS = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def measure_latency(setting: Setting) -> list[Figure]:
    """Probe an idle worker, ours and the peers' in turns; then ours at half of what it can drain."""
    samples: dict[str, list[list[float]]] = {}
    for _ in range(setting.sizes.rounds):
        for contestant in (setting.ours(), *setting.peers()):
            samples.setdefault(f"{contestant.name}, idle", []).append(_idle(setting, contestant))
    ours = setting.ours()
    busy = [_at_half_load(setting, ours) for _ in range(setting.sizes.rounds)]
    samples[f"{ours.name}, half load"] = [latencies for latencies, _ in busy]
    load = setting.figure(TITLE, "half load", "runs/s", [rate for _, rate in busy], note="half of its drain, same run")
    return [figure for name, rounds in samples.items() for figure in _figures(setting, name, rounds)] + [load]


def _figures(setting: Setting, name: str, rounds: list[list[float]]) -> list[Figure]:
    ours, busy = name.startswith("Mainspring"), name.endswith("half load")
    note = f"{len(rounds[0])} probes, one each {_EVERY * 1000:g} ms"
    return [
        setting.figure(
            TITLE, f"{name}, {part}", "ms", [percentile(latencies, share) for latencies in rounds], note=note,
            wanted=most(50.0 if busy else 6.0) if ours and part == "p99" else None,
        )
        for part, share in _PARTS.items()
    ]  # fmt: skip


def _idle(setting: Setting, contestant: Contestant) -> list[float]:
    contestant.reset()
    setting.trace.clear(setting.sizes.probes + _WARMING)
    try:
        with running(contestant.start(None)) as (worker,):
            return _probe(setting, contestant, worker)
    finally:
        contestant.close()


def _at_half_load(setting: Setting, ours: Mainspring) -> tuple[list[float], float]:
    """Return the latencies, and how many other runs a second were enqueued meanwhile by another process."""
    rate = drain_once(setting, ours, setting.sizes.slots) / 2
    seconds = setting.sizes.probes * _EVERY + 10 * _SETTLE
    ours.reset()
    setting.trace.clear(setting.sizes.probes + _WARMING)
    try:
        with ExitStack() as stack:
            (worker,) = stack.enter_context(running(ours.start(setting.sizes.slots)))
            feeder = [sys.executable, "-m", "benchmarks.feeder", str(ours.config), f"{rate:.0f}", f"{seconds:.1f}"]
            # The load must not pile up while the worker begins.
            _wait_until_it_works(setting, ours, worker, 1)
            stack.enter_context(running(Process(feeder, setting.folder, setting.trace.path)))
            return _probe(setting, ours, worker), rate
    finally:
        ours.close()


def _probe(setting: Setting, contestant: Contestant, worker: Process) -> list[float]:
    """Return the latencies in milliseconds."""
    _wait_until_it_works(setting, contestant, worker, 0)
    n, began = setting.sizes.probes, now()
    sent: list[float] = []
    for number in range(n):
        pause(max(began + number * _EVERY - now(), 0.0))
        sent.append(contestant.probe(number))

    def all_started() -> bool:
        worker.require_alive()
        return 0 not in setting.trace.starts()[:n]

    wait_for(all_started, _PATIENCE, "every probe starts", 0.05)
    started = setting.trace.instants()
    return [(started[number] - sent[number]) * 1000 for number in range(n)]


def _wait_until_it_works(setting: Setting, contestant: Contestant, worker: Process, which: int) -> None:
    number = setting.sizes.probes + which
    contestant.probe(number)

    def started() -> bool:
        worker.require_alive()
        return bool(setting.trace.starts()[number])

    wait_for(started, _PATIENCE, f"{contestant.name} starts its first run", 0.02)
    pause(_SETTLE)
