"""Cron fields: APScheduler's defaults, 0 is Monday."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mainspring.domain.triggers import FieldsInvalid, FieldsTrigger, parse_fields, trigger_from_json
from mainspring.encoding import canonical, decode

NEW_YEAR = datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)  # 1 January 2026 is a Thursday


def first(count: int = 1, **fields: object) -> list[str]:
    trigger, moment, found = parse_fields(fields), NEW_YEAR, []
    for _ in range(count):
        moment = trigger.next_after(moment)
        assert moment is not None
        found.append(f"{moment:%a %m-%d %H:%M:%S}")
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"hour": 9}, "Thu 01-01 09:00:00"),
        ({"minute": 5}, "Thu 01-01 00:05:00"),
        ({"second": 7}, "Thu 01-01 00:00:07"),
        ({"day_of_week": 0}, "Mon 01-05 00:00:00"),
        ({"day_of_week": 6, "hour": "9"}, "Sun 01-04 09:00:00"),
        ({"day_of_week": "Sun", "hour": 9}, "Sun 01-04 09:00:00"),
        ({"month": "feb"}, "Sun 02-01 00:00:00"),
        ({"month": 2, "hour": 3}, "Sun 02-01 03:00:00"),
        ({"day": "last"}, "Sat 01-31 00:00:00"),
        ({"day": "last fri", "hour": 18}, "Fri 01-30 18:00:00"),
        ({"day": "2nd tue"}, "Tue 01-13 00:00:00"),
        ({"week": 3}, "Mon 01-12 00:00:00"),
        ({"day": "1-7", "day_of_week": "mon"}, "Mon 01-05 00:00:00"),
        ({"hour": "8-18/4", "minute": "30"}, "Thu 01-01 08:30:00"),
    ],
)
def test_fields_name_their_first_time(fields, expected):
    assert first(**fields) == [expected]


def test_finer_fields_are_least_and_coarser_ones_every():
    assert first(3, hour=9) == ["Thu 01-01 09:00:00", "Fri 01-02 09:00:00", "Sat 01-03 09:00:00"]
    assert first(2, month=1) == ["Thu 01-01 00:00:00", "Fri 01-01 00:00:00"]
    assert first(2, minute=30) == ["Thu 01-01 00:30:00", "Thu 01-01 01:30:00"]


def test_zero_to_four_is_monday_to_friday():
    assert [time[:3] for time in first(6, day_of_week="0-4", hour=9)] == ["Thu", "Fri", "Mon", "Tue", "Wed", "Thu"]


def test_a_year_that_is_over_never_fires_again():
    assert parse_fields({"year": 2020}).next_after(NEW_YEAR) is None
    assert parse_fields({"year": "2020,2028"}).next_after(NEW_YEAR) == datetime(2028, 1, 1, tzinfo=UTC)


def test_the_order_of_fields_does_not_matter_and_survives_storing():
    trigger = parse_fields({"minute": 5, "hour": 3, "day_of_week": "mon"}, "Europe/Berlin")
    assert trigger == parse_fields({"day_of_week": "mon", "hour": 3, "minute": "5"}, "Europe/Berlin")
    assert trigger == FieldsTrigger((("minute", "5"), ("hour", "3"), ("day_of_week", "mon")), "Europe/Berlin")
    assert trigger_from_json(decode(canonical(trigger.to_json()))) == trigger


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"hour": 570},
            "fields: hour 570 is outside 0-23; if you wrote 9:30, YAML read it as base 60: give hour and minute apart",
        ),
        ({"hour": 24}, "fields: hour 24 is outside 0-23"),
        ({"day_of_week": 7}, "fields: day_of_week 7 is outside 0-6; 0 is Monday and 6 is Sunday here"),
        ({"hours": 5}, "fields: unknown field 'hours'; did you mean 'hour'?"),
        ({}, 'fields: none is given; write at least one, such as {hour: "9"}'),
        (
            {"day": 31, "month": 2},
            "fields {month: 2, day: 31}: name a date that never comes; no year has such a day",
        ),
        ({"hour": "17-9"}, "fields: hour 17-9 runs backwards; write 17-23,0-9"),
        ({"hour": "nine"}, "fields: hour 'nine' is not a number; use 0-23"),
        ({"hour": ""}, "fields: hour '(nothing)' is not a number; use 0-23"),
        ({"month": "jann"}, "fields: month 'jann' is not a number; use 1-12 or jan-dec"),
        (
            {"minute": "*/90"},
            "fields: minute */90: the step 90 is not a number from 1 to 60; for longer steps use an interval (every)",
        ),
        ({"hour": [9, 10]}, "fields: hour [9, 10] is neither a number nor text"),
        ({"hour": True}, "fields: hour True is neither a number nor text"),
        ("9", 'fields \'9\': write a mapping, such as {hour: "9-17", day_of_week: "0-4"}'),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_way_out(fields, message):
    with pytest.raises(FieldsInvalid) as refused:
        parse_fields(fields)
    assert str(refused.value) == message
