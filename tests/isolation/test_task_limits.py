"""Limits are checked where a task is made, and described where tasks are."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring.domain.tasks import Limits, task
from mainspring.errors import InvalidInput
from mainspring.services.catalog import describe
from mainspring.testing import run_task

SECOND = timedelta(seconds=1)


def _limits(**options: Any) -> Limits:
    return task(name="t", **options)(lambda: None).limits


def test_without_options_nothing_is_limited_but_the_log() -> None:
    assert _limits() == Limits(
        isolated=False, soft_time_limit=None, time_limit=None, memory_limit=None, cpu_limit=None, recycle_after=500,
        output_limit=10_000_000,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"time_limit": SECOND}, {"memory_limit": "200MB"}, {"cpu_limit": SECOND}, {"isolated": True}]
)
def test_a_limit_that_only_a_process_can_keep_implies_one(options: dict[str, Any]) -> None:
    assert _limits(**options).isolated


@pytest.mark.parametrize("options", [{"soft_time_limit": SECOND}, {"output_limit": "1MB"}, {"recycle_after": 5}])
def test_other_limits_do_not(options: dict[str, Any]) -> None:
    assert not _limits(**options).isolated


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (200_000_000, 200_000_000), ("200MB", 200_000_000), ("200 mb", 200_000_000), ("1GiB", 1_073_741_824),
        ("1.5 GB", 1_500_000_000), ("2048KiB", 2_097_152), ("5000000", 5_000_000), ("200M", 200_000_000),
    ],
)  # fmt: skip
def test_sizes_are_bytes_or_text(written: int | str, size: int) -> None:
    assert _limits(memory_limit=written).memory_limit == size


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time_limit": 5}, "time_limit 5 is not a positive timedelta"),
        ({"soft_time_limit": timedelta(0)}, "soft_time_limit datetime.timedelta(0) is not a positive timedelta"),
        ({"cpu_limit": "1s"}, "cpu_limit '1s' is not a positive timedelta"),
        (
            {"soft_time_limit": SECOND, "time_limit": SECOND},
            "soft_time_limit 0:00:01 must be shorter than time_limit 0:00:01: it is told, then killed",
        ),
        ({"memory_limit": "lots"}, "memory_limit 'lots' is no size; write bytes, '200MB' or '1GiB'"),
        ({"memory_limit": "5iB"}, "memory_limit '5iB' is no size; write bytes, '200MB' or '1GiB'"),
        ({"memory_limit": 1.5}, "memory_limit 1.5 is no size; write bytes, '200MB' or '1GiB'"),
        ({"memory_limit": True}, "memory_limit True is no size"),
        ({"memory_limit": 200}, "memory_limit 200 is below 1000000 bytes, too little for any run"),
        ({"output_limit": "1TB"}, "output_limit 1000000000000 is above 100000000 bytes"),
        ({"recycle_after": 0}, "recycle_after 0 is not a number of runs, 1 or more"),
        ({"isolated": "yes"}, "isolated 'yes' is neither True nor False"),
        ({"isolated": False, "time_limit": SECOND}, "time_limit cannot hold with isolated=False"),
        ({"memory": "1GB"}, "unknown option 'memory'; did you mean 'memory_limit'?"),
    ],
)
def test_what_cannot_hold_is_refused_where_it_is_written(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        _limits(**options)
    assert said in str(refused.value)


def test_the_description_of_a_task_has_its_limits() -> None:
    described = describe(task(name="t", time_limit=SECOND, memory_limit="1GB")(lambda: None))
    assert described.policies["limits"] == {
        "isolated": True, "soft_time_limit": None, "time_limit": 1.0, "silence_limit": None,
        "memory_limit": 1_000_000_000, "cpu_limit": None, "recycle_after": 500, "output_limit": 10_000_000,
    }  # fmt: skip


def test_the_task_of_the_guide_can_be_made() -> None:
    page = Path(__file__).parents[2] / "docs/guides/limits.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    made: dict[str, Any] = {"__name__": "guide"}
    exec(compile(code, str(page), "exec"), made)
    assert made["convert"].limits.memory_limit == 1_000_000_000
    assert run_task(made["convert"], path="a.txt").result == "A.TXT"
