"""Know how long runs of a task usually take, from those that have succeeded."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mainspring.store.database import Database
from mainspring.store.durations import recent_durations

ATTEMPTS_LOOKED_AT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Usual:
    """How long runs of a task take; *runs* of them were looked at, 0 means that nothing is known and this is taken."""

    average: timedelta
    p95: timedelta
    runs: int = 0


def usual_durations(database: Database) -> dict[str, Usual]:
    """Return the usual durations by task, from the newest 20,000 attempts that succeeded."""
    return usual(database.read(lambda tx: list(recent_durations(tx, ATTEMPTS_LOOKED_AT))))


def usual(durations: Iterable[tuple[str, timedelta]]) -> dict[str, Usual]:
    """Return average and 95th percentile (the nearest rank) of *durations* by task."""
    by_task: dict[str, list[timedelta]] = defaultdict(list)
    for task, duration in durations:
        by_task[task].append(duration)
    return {task: _of(sorted(found)) for task, found in by_task.items()}


def _of(found: list[timedelta]) -> Usual:
    average = sum(found, timedelta(0)) / len(found)
    return Usual(average, found[math.ceil(0.95 * len(found)) - 1], len(found))
