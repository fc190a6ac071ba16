"""The short form of `python -m tests.simulation`: all kinds of trouble, exact replay, and bugs that it finds."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import pytest

from tests.simulation import __main__ as command
from tests.simulation.planted import BUGS, Bug
from tests.simulation.profiles import PROFILES
from tests.simulation.simulation import Result, simulate

FEW = 6
"""Seeds that are tried before a planted bug counts as overlooked."""


@cache
def result_of(seed: int) -> Result:
    return simulate(seed)


@pytest.mark.parametrize("seed", range(len(PROFILES)), ids=list(PROFILES))
def test_no_promise_is_broken_whatever_goes_wrong(seed: int) -> None:
    result = result_of(seed)
    assert result.problems == ()
    assert result.runs > 60


def test_every_kind_of_fault_strikes() -> None:
    struck = {what.split()[0] for seed in range(len(PROFILES)) for what in result_of(seed).counts}
    assert {"crash", "error", "lost", "repeat", "slow", "frozen", "killed", "stopped", "clock", "outage"} <= struck


def test_a_seed_replays_exactly_in_another_process_too() -> None:
    command_line = [sys.executable, "-m", "tests.simulation", "--seed", "7"]
    running = [
        subprocess.Popen(
            command_line, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONHASHSEED": hash_seed}
        )
        for hash_seed in ("1", "2")
    ]
    said = [process.communicate(timeout=55)[0] for process in running]
    assert said[0] == said[1]
    assert said[0].startswith("seed 7 (everything)")


def test_another_seed_is_another_story() -> None:
    assert result_of(0).hash != result_of(8).hash


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found_by_its_seed_or_one_of_the_next(bug: Bug) -> None:
    for seed in range(bug.seed, bug.seed + FEW * len(PROFILES), len(PROFILES)):
        problems = simulate(seed, planted=bug.plant).problems
        if any(sign in problem for problem in problems for sign in bug.shows_as):
            return
    pytest.fail(f"{FEW} seeds from {bug.seed} on did not find {bug.name}")


def test_a_failure_says_how_it_is_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    command._tell(Result(42, "calm", "abc", ("I8: run r1 is still ready",), 3, 4, {}))
    said = capsys.readouterr().out
    assert "I8: run r1 is still ready" in said
    assert "python -m tests.simulation --seed 42 --trace" in said
