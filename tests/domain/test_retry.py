"""Delays between tries grow as they were told to, and end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.retry import MAX_DELAY, Backoff, GiveUp, Jitter, RetryAfter, after_failure
from mainspring.errors import InvalidInput

SECOND = timedelta(seconds=1)
EXACT = Backoff(jitter="none")


def test_without_jitter_the_delays_are_2_4_8_16_seconds() -> None:
    assert [EXACT.delay(n, "run") for n in range(4)] == [2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND]


def test_a_delay_never_exceeds_its_maximum_however_many_tries() -> None:
    backoff = Backoff(maximum=60 * SECOND, jitter="none")
    assert [backoff.delay(n, "run") for n in (4, 5, 6, 500, 10**9)] == [
        32 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND,
    ]  # fmt: skip
    assert EXACT.delay(10**9, "run") == MAX_DELAY == timedelta(days=1)


def test_a_delay_that_no_number_can_hold_is_the_maximum() -> None:
    assert Backoff(factor=1e6, jitter="none").delay(10_000, "run") == MAX_DELAY
    assert Backoff(base=timedelta(0), factor=1e6, jitter="none").delay(10_000, "run") == timedelta(0)


def test_a_factor_of_one_waits_equally_long_each_time() -> None:
    assert [Backoff(factor=1.0, jitter="none").delay(n, "run") for n in range(3)] == [2 * SECOND] * 3


@given(
    base=st.timedeltas(timedelta(0), timedelta(hours=1)),
    factor=st.floats(1, 1e6),
    jitter=st.sampled_from(["none", "equal", "full"]),
    retry=st.integers(0, 10_000),
    seed=st.text(st.characters(codec="utf-8"), max_size=10),
)
def test_jitter_stays_within_its_bounds_and_is_the_same_every_time(
    base: timedelta, factor: float, jitter: Jitter, retry: int, seed: str
) -> None:
    backoff = Backoff(base, factor, jitter=jitter)
    whole = Backoff(base, factor, jitter="none").delay(retry, seed)
    least = {"none": whole, "equal": whole / 2, "full": timedelta(0)}[jitter]
    delay = backoff.delay(retry, seed)
    assert least - timedelta(microseconds=1) <= delay <= whole <= MAX_DELAY
    assert delay == backoff.delay(retry, seed)


def test_jitter_spreads_runs_and_tries() -> None:
    backoff = Backoff(jitter="full")
    assert len({backoff.delay(3, f"run-{n}") for n in range(100)}) == 100
    assert backoff.delay(0, "run") * 8 != backoff.delay(3, "run")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base": -SECOND}, "must not be negative"),
        ({"maximum": -SECOND}, "must not be negative"),
        ({"factor": 0.5}, "factor 0.5 must be at least 1 and finite"),
        ({"factor": float("nan")}, "factor nan must be at least 1 and finite"),
        ({"factor": float("inf")}, "factor inf must be at least 1 and finite"),
        ({"jitter": "some"}, "jitter 'some' is not known; write none, equal or full"),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Backoff(**options)  # type: ignore[arg-type]


def test_a_backoff_comes_back_equal() -> None:
    backoff = Backoff(timedelta(milliseconds=1500), 3.5, timedelta(hours=2), "full")
    assert Backoff.from_json(backoff.to_json()) == backoff


def test_the_delays_of_a_run_with_three_retries() -> None:
    decisions = [after_failure(EXACT, tries=n, max_tries=4, seed="run") for n in (1, 2, 3, 4)]
    assert decisions == [
        RetryAfter(2 * SECOND), RetryAfter(4 * SECOND), RetryAfter(8 * SECOND),
        GiveUp("tried 4 times, the most that is allowed"),
    ]  # fmt: skip


def test_a_run_with_a_single_try_gives_up_at_once() -> None:
    assert after_failure(EXACT, tries=1, max_tries=1, seed="run") == GiveUp("tried once, the most that is allowed")


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        (timedelta(minutes=5), timedelta(minutes=5)),
        (timedelta(0), timedelta(0)),
        (-SECOND, timedelta(0)),
        (timedelta(days=30), MAX_DELAY),
    ],
)
def test_a_delay_that_was_asked_for_is_honoured_within_a_day(asked: timedelta, delay: timedelta) -> None:
    assert after_failure(EXACT, tries=1, max_tries=4, seed="run", asked=asked) == RetryAfter(delay)


def test_asking_for_a_delay_adds_no_try() -> None:
    assert isinstance(after_failure(EXACT, tries=4, max_tries=4, seed="run", asked=SECOND), GiveUp)
