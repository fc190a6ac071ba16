"""Plan the faults of one run from a seed: what strikes when, for how long, and how hard the run has to be."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["sqlite", "postgres"]

LEASE: Final = 12.0
_FULL_FORM: Final = 10.0
"""Minutes for which the numbers below stand; other lengths are in proportion."""
_RUNS: Final = 15_000
_COUNTS: Final[Mapping[Kind, Mapping[str, int]]] = {
    "sqlite": {"kill": 150, "stop": 30, "full": 5, "clock": 5},
    "postgres": {"kill": 150, "stop": 30, "full": 5, "clock": 5, "proxy": 30, "server": 15},
}
_MUST_INTERRUPT: Final = 20
_SHORTEST_PROOF: Final = 0.1
"""The part of the full form from which on each class of faults has to meet running attempts."""
_VICTIMS: Final = {
    "worker": 36,
    "up worker": 12,
    "child": 24,
    "scheduler": 12,
    "up scheduler": 5,
    "up": 5,
    "up tree": 4,
    "client": 2,
}
_FROZEN: Final = {"worker": 45, "worker tree": 25, "up worker": 15, "scheduler": 15}
_YEAR: Final = 365 * 86_400.0
_STEPS: Final[Mapping[Kind, tuple[float, ...]]] = {
    # SQLite has no clock of its own: there a scheduler believes a jump of up to a day after three seconds, fires ahead,
    # and has nothing left to fire when the clock is set back. So that comes last.
    "sqlite": (-3600.0, _YEAR, -3600.0, _YEAR, 3600.0),
    "postgres": (3600.0, _YEAR, -3600.0, 3600.0, _YEAR),
}
_CUTS: Final = ("cut", "half-open", "delay", "cut after commit")


@dataclass(frozen=True, order=True)
class Fault:
    """Something that strikes *at* seconds after the beginning and lasts *length* seconds."""

    at: float
    kind: str
    what: str
    """Who is hit, or how."""
    length: float = 0.0
    dice: float = 0.0
    """Chooses among several that could be hit; 0 to 1."""
    step: float = 0.0
    """By how many seconds a clock is wrong."""


@dataclass(frozen=True)
class Plan:
    """All that one run does."""

    kind: Kind
    seed: int
    seconds: float
    faults: tuple[Fault, ...]
    runs_at_least: int
    must_interrupt: Mapping[str, int]

    def count(self, kind: str) -> int:
        """Return how many faults of *kind* are planned."""
        return sum(1 for fault in self.faults if fault.kind == kind)


def make_plan(kind: Kind, seed: int, minutes: float, *, without: frozenset[str] = frozenset()) -> Plan:
    """Return the plan for *minutes*; equal seeds give equal plans. Fault kinds in *without* cannot be had here."""
    share, seconds = minutes / _FULL_FORM, minutes * 60
    faults: list[Fault] = []
    for fault_kind, count in _COUNTS[kind].items():
        # Each kind has dice of its own: to leave one out does not change the others.
        dice = random.Random(f"{seed} {fault_kind}")
        wanted = max(round(count * share), 1)
        if fault_kind not in without:
            faults += [_fault(fault_kind, n, wanted, seconds, dice, _STEPS[kind]) for n in range(wanted)]
    return Plan(kind, seed, seconds, tuple(sorted(faults)), int(_RUNS * share), _least(faults, share))


def _fault(kind: str, n: int, wanted: int, seconds: float, dice: random.Random, steps: Sequence[float]) -> Fault:
    # Evenly spread, each somewhere in the middle of its own stretch; the first seconds belong to the start.
    stretch = (seconds - 2) / wanted
    at = 1 + stretch * (n + dice.uniform(0.2, 0.8))
    if kind == "kill":
        return Fault(at, kind, _drawn(_VICTIMS, dice), dice=dice.random())
    if kind == "stop":
        # Early in its stretch: with one frozen at a time, enough others are left.
        at = 1 + stretch * (n + dice.uniform(0.0, 0.2))
        return Fault(at, kind, _drawn(_FROZEN, dice), LEASE + dice.uniform(1.5, 3.5), dice.random())
    if kind == "full":
        greedily = n % 2 == 1
        return Fault(at, kind, "disk, greedily" if greedily else "disk", 15.0 if greedily else 7.0)
    if kind == "clock":
        return Fault(
            at,
            kind,
            "scheduler",
            dice.uniform(20.0, 28.0),
            step=steps[(n + (0 if wanted > 1 else dice.randrange(2))) % len(steps)],
        )
    if kind == "proxy":
        how = _CUTS[n % len(_CUTS)]
        lengths = {"half-open": LEASE + dice.uniform(2.0, 6.0), "delay": dice.uniform(4.0, 8.0)}
        return Fault(at, kind, how, lengths.get(how, 0.0), dice.random())
    # Most servers come back at once, some only after all leases have run out.
    return Fault(at, kind, ("kill -9", "immediate")[n % 2], LEASE + 2 if n % 5 == 4 else 0.0)


def _drawn(weights: Mapping[str, int], dice: random.Random) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]


def _least(faults: list[Fault], share: float) -> dict[str, int]:
    """Return how many running attempts each class of faults has to interrupt, in proportion to the length.

    In a form of seconds a class may strike once or twice, and whether that meets anything is chance.
    """
    least = min(max(int(_MUST_INTERRUPT * share), 1), _MUST_INTERRUPT)
    struck = Counter(fault.kind for fault in faults)
    struck["kill of a child"] = sum(fault.what == "child" for fault in faults)
    few = share < _SHORTEST_PROOF
    classes = {kind for kind, times in struck.items() if times > (2 if few else 0)} - {"clock"}
    return {kind: min(least, struck[kind]) if kind == "kill of a child" else least for kind in classes}
