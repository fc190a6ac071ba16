"""The judge of the kills notices what it must, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shows.kills import Result, _judge


def ledger(folder: Path, *rows: tuple[str, int, str, float]) -> Path:
    """Write an effect ledger."""
    path = folder / "effects"
    path.write_text("".join(f"{run} {attempt} {what} {at}\n" for run, attempt, what, at in rows), encoding="ascii")
    return path


def test_an_interrupted_run_that_runs_again_is_measured(tmp_path: Path) -> None:
    rows = [("a", 1, "start", 10.0), ("a", 2, "start", 22.0), ("a", 2, "end", 23.0)]
    assert _judge(ledger(tmp_path, *rows), [10.5], 1) == Result(1, 11.5)


def test_one_killed_between_its_end_and_its_record_may_be_repeated(tmp_path: Path) -> None:
    rows = [("a", 1, "start", 10.0), ("a", 1, "end", 11.0), ("a", 2, "start", 22.0), ("a", 2, "end", 23.0)]
    assert _judge(ledger(tmp_path, *rows), [11.1], 1).interrupted == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("a", 1, "start", 10.0), ("a", 1, "end", 11.0), ("a", 2, "start", 12.0), ("a", 2, "end", 13.0)], "repeated"),
        ([("a", 1, "start", 10.0)], "never ended"),
        ([("a", 1, "start", 10.0), ("a", 2, "start", 40.0), ("a", 2, "end", 41.0)], "waited"),
        ([("a", 2, "start", 10.0), ("a", 1, "start", 12.0), ("a", 1, "end", 13.0)], "out of order"),
    ],
    ids=["repeated without a kill", "lost", "too late", "attempts out of order"],
)
def test_a_broken_promise_is_found(tmp_path: Path, rows: list[tuple[str, int, str, float]], said: str) -> None:
    # The kill long before it excuses nothing.
    with pytest.raises(AssertionError, match=said):
        _judge(ledger(tmp_path, *rows), [5.0, 10.2], 1)
