"""What a measure is given: sizes, places, contestants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import tasks
from benchmarks.contestants import Contestant, Mainspring
from benchmarks.figures import Figure, alternate
from benchmarks.ground import Ground
from benchmarks.trace import Trace


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done."""

    runs: int = 20_000
    """Runs in a drain and in a bulk."""
    singles: int = 2_000
    """Runs that are enqueued one by one."""
    probes: int = 300
    """Runs whose latency is looked at."""
    due: int = 100_000
    """Schedules that come due in one second."""
    stored: int = 1_000_000
    """Schedules, ready runs and scheduled runs that lie in a large database; five times as many have ended."""
    seconds: float = 20.0
    """How long idle processes are watched."""
    rounds: int = 3
    slots: int = 200
    """Slots of workers where ratios are taken."""


QUICK = Sizes(runs=300, singles=30, probes=10, due=200, stored=500, seconds=1.0, rounds=1)
"""Just enough to see that everything works; the figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One kind of database with all that is needed to measure on it."""

    ground: Ground
    folder: Path
    trace: Trace
    sizes: Sizes
    with_peers: bool = False
    others: tuple[Ground, ...] = ()
    """The other kinds of databases of the same run."""

    def ours(self, task: Any = tasks.coroutine) -> Mainspring:
        """Return Mainspring on this ground."""
        return Mainspring(self.ground, self.folder, self.trace, task)

    def peers(self, *, everywhere: bool = False) -> list[Contestant]:
        """Return the peers on this kind of database, or on all, if they take part."""
        if not self.with_peers:
            return []
        from benchmarks.peers.contestants import peers_on

        grounds = (self.ground, *self.others) if everywhere else (self.ground,)
        return [peer for ground in grounds for peer in peers_on(ground, self.folder, self.trace)]

    def figure(self, measure: str, name: str, unit: str, samples: Sequence[float], **more: Any) -> Figure:
        """Return a figure that says on which database it was measured."""
        return Figure(f"{measure}, {self.ground.kind}", name, unit, tuple(samples), **more)

    def rates(
        self, measure: str, contestants: Mapping[str, Callable[[], float]], note: str, unit: str = "runs/s"
    ) -> dict[str, Figure]:
        """Let all contestants measure in turns; return a figure of each by its name."""
        found = alternate(contestants, self.sizes.rounds)
        return {name: self.figure(measure, name, unit, samples, note=note) for name, samples in found.items()}

    @contextmanager
    def installed(self, task: Any = tasks.coroutine) -> Iterator[Mainspring]:
        """Give Mainspring on a new database; it is removed afterwards."""
        ours = self.ours(task)
        try:
            ours.reset()
            yield ours
        finally:
            ours.close()
