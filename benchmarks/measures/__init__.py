"""What is measured, each measure a function from a setting to its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from benchmarks.figures import Figure
from benchmarks.measures.claim import measure_claim
from benchmarks.measures.drain import measure_drain
from benchmarks.measures.due import measure_due
from benchmarks.measures.enqueue import measure_bulk, measure_singles
from benchmarks.measures.latency import measure_latency
from benchmarks.measures.rest import measure_memory, measure_start, measure_stored
from benchmarks.measures.workers import measure_workers
from benchmarks.setting import Setting

MEASURES: Final[Mapping[str, Callable[[Setting], list[Figure]]]] = {
    "drain": measure_drain,
    "workers": measure_workers,
    "bulk": measure_bulk,
    "singles": measure_singles,
    "latency": measure_latency,
    "due": measure_due,
    "stored": measure_stored,
    "claim": measure_claim,
    "memory": measure_memory,
    "start": measure_start,
}
"""By the name that ``--only`` takes, in the order in which they are made."""
