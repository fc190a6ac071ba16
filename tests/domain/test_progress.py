"""How long work still takes is told from what was done lately, and not told where nobody can know."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from mainspring.domain.cache import Cache
from mainspring.domain.progress import Pace, Progress, is_stalled, rounded, time_left
from mainspring.domain.size import Size, parse_size, size_in_words
from mainspring.domain.tasks import Context, task
from mainspring.errors import InvalidInput

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def after(*reports: tuple[float, float], total: float | None = 100) -> Progress:
    pace = Pace()
    for at, done in reports:
        pace.add(at, done)
    return Progress(reports[-1][1], total, "", pace.gained, pace.span)


def test_steady_work_takes_as_long_as_its_pace_says() -> None:
    assert time_left(after((0, 0), (10, 20))) == 40 * SECOND
    assert time_left(after((0, 40), (30, 50), (60, 60))) == 2 * MINUTE


def test_only_the_last_minute_counts() -> None:
    slow = [(float(n), float(n) / 100) for n in range(600)]
    fast = [(600.0 + n, 6.0 + n / 2) for n in range(100)]
    assert time_left(after(*slow, *fast)) == pytest.approx(2 * (100 - fast[-1][1]) * SECOND, rel=0.02)


def test_work_that_reports_seldom_is_judged_by_its_last_reports() -> None:
    assert time_left(after((0, 0), (300, 10), (600, 20), (900, 30))) == 35 * MINUTE


def test_nobody_can_tell_at_the_first_report_without_a_total_or_without_a_gain() -> None:
    assert time_left(after((0, 5))) is None
    assert time_left(after((0, 5), (10, 10), total=None)) is None
    assert time_left(after((0, 5), (10, 10), total=0)) is None
    assert time_left(after((0, 5), (10, 10), total=-3)) is None
    assert time_left(after((0, 5), (10, 5))) is None
    assert time_left(after((5, 5), (5, 10))) is None


def test_work_that_went_backwards_begins_anew() -> None:
    assert time_left(after((0, 0), (10, 50), (11, 2))) is None
    assert time_left(after((0, 0), (10, 50), (11, 2), (13, 6))) == 47 * SECOND


def test_what_is_done_takes_no_more_time_even_beyond_the_total() -> None:
    assert time_left(after((0, 0), (10, 100))) == timedelta(0)
    assert time_left(after((0, 0), (10, 130))) == timedelta(0)


def test_time_passes_and_a_stall_makes_it_longer_until_nobody_can_tell() -> None:
    said = after((0, 0), (20, 20))
    assert time_left(said, 5 * SECOND) == 75 * SECOND
    assert time_left(said, 25 * SECOND) == 155 * SECOND
    assert not is_stalled(said, 60 * SECOND)
    assert is_stalled(said, 61 * SECOND)
    assert time_left(said, 61 * SECOND) is None
    assert time_left(said, -5 * SECOND) == 80 * SECOND


def test_an_answer_beyond_all_time_is_none() -> None:
    assert time_left(after((0, 0), (10, 1e-9), total=1e12)) is None


def test_an_estimate_is_said_as_exactly_as_it_deserves() -> None:
    given = [1 * SECOND, 12 * SECOND, 119 * SECOND, 170 * SECOND, 200 * MINUTE]
    assert [rounded(span) for span in given] == [5 * SECOND, 10 * SECOND, 2 * MINUTE, 3 * MINUTE, 195 * MINUTE]


def test_the_share_that_is_done_stays_within_its_bounds() -> None:
    assert [Progress(d, 10).share for d in (-1, 0, 5, 11)] == [0, 0, 0.5, 1]
    assert Progress(1).share is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("256MB", 256_000_000), ("1GiB", 2**30), (5, 5), ("1.5 kB", 1_500), ("7", 7), ("2 TB", 2 * 10**12)],
)
def test_a_size_is_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "1 X", "-5", "1,5MB", "5ib", None, True, 1.5])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(InvalidInput, match="is no size; write bytes, '200MB' or '1GiB'"):
        parse_size(text)


def test_a_size_is_said_in_its_largest_unit() -> None:
    assert [size_in_words(n) for n in (0, 999, 1_500, 256_000_000, 20 * 10**9)] == [
        "0 bytes", "999 bytes", "1.5 kB", "256 MB", "20 GB",
    ]  # fmt: skip
    assert f"{Size(256_000_000)} {json.dumps(Size(5))}" == "256MB 5"


# --- what a task may say


def test_equal_parameters_have_equal_keys_and_only_the_fields_named_count() -> None:
    cache, some = Cache(HOUR), Cache(HOUR, fields=["day"])
    assert cache.key("t", "v1", {"a": 1, "b": [2]}) == cache.key("t", "v1", {"b": [2], "a": 1})
    keys = {cache.key("t", "v1", {"a": 1}), cache.key("t", "v2", {"a": 1}), cache.key("u", "v1", {"a": 1}),
            cache.key("t", "v1", {"a": 2})}  # fmt: skip
    assert len(keys) == 4
    assert some.key("t", "v", {"day": "x", "token": 1}) == some.key("t", "v", {"day": "x", "token": 2})
    assert some.key("t", "v", {"day": "x"}) != some.key("t", "v", {"day": "y"})


@pytest.mark.parametrize("ttl", [timedelta(0), -SECOND, 60, None])
def test_a_cache_needs_a_time_to_live(ttl: object) -> None:
    with pytest.raises(InvalidInput, match="write a positive timedelta"):
        Cache(ttl)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cache": HOUR}, "write cache=Cache\\(ttl=timedelta\\(hours=1\\)\\)"),
        ({"cache": Cache(HOUR, fields=["dya"])}, "unknown parameter 'dya'; did you mean 'day'"),
        ({"silence_limit": 300}, "silence_limit 300 is not a positive timedelta"),
        ({"silence_limit": SECOND / 2}, "is below a second"),
    ],
)
def test_an_option_that_cannot_be_is_refused_where_the_task_is_made(options: dict[str, object], said: str) -> None:
    def report(day: str, ctx: Context) -> None:
        """Have a parameter."""

    with pytest.raises(InvalidInput, match=f"task '.*report': .*{said}"):
        task(**options)(report)  # type: ignore[call-overload]


def test_fields_are_a_list() -> None:
    with pytest.raises(InvalidInput, match="write a list of names"):
        Cache(HOUR, fields="day")
