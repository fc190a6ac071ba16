"""A memory limit holds within a tenth, also for memory that the system's own limit does not count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mainspring.domain.states import FailureKind
from tests.isolation import tasks
from tests.isolation.arrange import Bench

MB = 1_000_000


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, "tests.isolation.tasks:load")


@pytest.mark.parametrize("limit", [200, 500])
def test_growth_of_200_megabytes_a_second_is_stopped_within_a_tenth_of_the_limit(bench: Bench, limit: int) -> None:
    hog = replace(tasks.hog, limits=replace(tasks.hog.limits, memory_limit=limit * MB))
    try:
        bench.start(hog, '{"megabytes": 2000, "per_second": 200}')
        outcome = bench.wait()
    finally:
        bench.executor.stop()
    assert (outcome.failure_kind, outcome.error_type) == (FailureKind.ERROR, "MemoryLimitExceeded")
    used = int((outcome.error_message or "").split()[2])
    assert limit * MB < used <= 1.1 * limit * MB
