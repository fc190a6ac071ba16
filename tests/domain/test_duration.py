"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.duration import DurationInvalid, duration_in_words, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("2 days", timedelta(days=2)),
        ("1 hour, 30 minutes", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("0.25s", timedelta(milliseconds=250)),
        ("500ms", timedelta(milliseconds=500)),
        ("7us", timedelta(microseconds=7)),
        ("1w 2d", timedelta(days=9)),
        (" 10 SECONDS ", timedelta(seconds=10)),
        ("0s", timedelta(0)),
    ],
)
def test_text_says_a_duration(text, expected):
    assert parse_duration(text) == expected


WAY_OUT = 'write a number and a unit, such as "30s", "15m", "1h30m" or "2 days"'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (15, 'duration 15 has no unit; write "15s" for seconds or "15m" for minutes'),
        (1.5, 'duration 1.5 has no unit; write "1.5s" for seconds or "1.5m" for minutes'),
        ("15", 'duration \'15\' has no unit; write "15s" for seconds or "15m" for minutes'),
        ("15x", "duration '15x': unknown unit 'x'; units are w, d, h, m, s, ms and us"),
        ("15 minuts", "duration '15 minuts': unknown unit 'minuts'; did you mean 'minutes'?"),
        ("1 month", "duration '1 month': months and years have no fixed length; use days, or a calendar trigger"),
        ("5m1h", "duration '5m1h': write each unit once, the longest first, such as 1h30m"),
        ("5m5m", "duration '5m5m': write each unit once, the longest first, such as 1h30m"),
        ("-5m", f"duration '-5m' cannot be read; {WAY_OUT}"),
        ("", f"duration '' is empty; {WAY_OUT}"),
        ("soon", f"duration 'soon' cannot be read; {WAY_OUT}"),
        (None, f"duration None is not text; {WAY_OUT}"),
        (True, f"duration True is not text; {WAY_OUT}"),
        ("999999999999999w", "duration '999999999999999w' is too long; the longest is 999999999 days"),
    ],
)
def test_other_values_are_refused_with_the_way_out(value, message):
    with pytest.raises(DurationInvalid) as refused:
        parse_duration(value)
    assert str(refused.value) == message


@given(st.timedeltas(timedelta(0), timedelta(days=10_000)))
def test_what_is_written_is_read_back(duration):
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("duration", "short", "words"),
    [
        (timedelta(minutes=90), "1h30m", "1 hour 30 minutes"),
        (timedelta(days=14), "2w", "2 weeks"),
        (timedelta(days=9), "9d", "9 days"),
        (timedelta(seconds=1, milliseconds=5), "1s5ms", "1 second 5 milliseconds"),
        (timedelta(0), "0s", "0 seconds"),
        (timedelta(minutes=-5), "-5m", "minus 5 minutes"),
    ],
)
def test_durations_are_written_short_and_in_words(duration, short, words):
    assert format_duration(duration) == short
    assert duration_in_words(duration) == words
