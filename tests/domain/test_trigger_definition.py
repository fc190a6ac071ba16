"""From what people write in a schedule to a trigger, and from storage back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest

from mainspring.domain.triggers import (
    CalendarIntervalTrigger,
    DateTrigger,
    DstRule,
    IntervalTrigger,
    TriggerInvalid,
    parse_cron,
    trigger_from_definition,
    trigger_from_json,
)
from mainspring.errors import InvalidInput

SAO_PAULO = "America/Sao_Paulo"


def test_other_keys_of_the_schedule_are_not_looked_at():
    trigger = trigger_from_definition({"task": "market.quotes", "cron": "0 9 * * *", "jitter": "30s"}, SAO_PAULO)
    assert trigger == parse_cron("0 9 * * *", SAO_PAULO)


def test_an_interval_counts_from_its_anchor_in_real_time():
    trigger = trigger_from_definition({"every": "1h30m", "anchor": "2026-01-01T00:00"}, SAO_PAULO)
    assert trigger == IntervalTrigger(timedelta(minutes=90), datetime(2026, 1, 1, 3, tzinfo=UTC))
    assert trigger.next_after(datetime(2026, 1, 1, 3, tzinfo=UTC)) == datetime(2026, 1, 1, 4, 30, tzinfo=UTC)
    assert trigger.next_after(datetime(2025, 12, 31, 20, tzinfo=UTC)) == datetime(2025, 12, 31, 21, tzinfo=UTC)


def test_an_interval_is_exact_to_the_microsecond_after_years():
    anchor = datetime(2000, 1, 1, 0, 0, 0, 123457, tzinfo=UTC)
    trigger = IntervalTrigger(timedelta(seconds=7, microseconds=1), anchor)
    found = trigger.next_after(datetime(2026, 1, 1, tzinfo=UTC))
    assert found is not None
    assert (found - anchor) % timedelta(seconds=7, microseconds=1) == timedelta()
    assert trigger.next_after(found) == found + timedelta(seconds=7, microseconds=1)
    assert trigger.next_after(found - timedelta(microseconds=1)) == found


def test_an_interval_without_an_anchor_counts_from_creation():
    created = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert trigger_from_definition({"every": "1h"}, created_at=created) == IntervalTrigger(timedelta(hours=1), created)


def test_a_date_fires_once():
    trigger = trigger_from_definition({"at": "2026-12-01T09:00"}, SAO_PAULO)
    at = datetime(2026, 12, 1, 12, tzinfo=UTC)
    assert trigger == DateTrigger(at, SAO_PAULO)
    assert trigger.next_after(at - timedelta(microseconds=1)) == at
    assert trigger.next_after(at) is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (datetime(2026, 12, 1, 9), datetime(2026, 12, 1, 12, tzinfo=UTC)),
        (date(2026, 12, 1), datetime(2026, 12, 1, 3, tzinfo=UTC)),
        ("2026-12-01 09:00:30", datetime(2026, 12, 1, 12, 0, 30, tzinfo=UTC)),
        ("2026-12-01T09:00+02:00", datetime(2026, 12, 1, 7, tzinfo=UTC)),
        (datetime(2026, 12, 1, 9, tzinfo=UTC), datetime(2026, 12, 1, 9, tzinfo=UTC)),
    ],
)
def test_a_date_without_an_offset_is_local(written, expected):
    assert trigger_from_definition({"at": written}, SAO_PAULO) == DateTrigger(expected, SAO_PAULO)


def test_a_date_in_a_gap_is_its_end_and_in_a_fold_the_first():
    gap = trigger_from_definition({"at": "2026-03-29T02:30"}, "Europe/Berlin")
    assert gap == DateTrigger(datetime(2026, 3, 29, 1, tzinfo=UTC), "Europe/Berlin")
    fold = {"at": "2026-10-25T02:30"}
    assert trigger_from_definition(fold, "Europe/Berlin") == DateTrigger(
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "Europe/Berlin"
    )
    assert trigger_from_definition(fold, "Europe/Berlin", DstRule(fold="last")) == DateTrigger(
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "Europe/Berlin"
    )
    with pytest.raises(TriggerInvalid, match="at 2026-03-29T02:30 does not exist in Europe/Berlin: clocks skip it"):
        trigger_from_definition({"at": "2026-03-29T02:30"}, "Europe/Berlin", DstRule(gap="skip"))


def fire_days(body: dict[str, object], count: int, anchor: object = None) -> list[str]:
    trigger = trigger_from_definition({"calendar": body, "anchor": anchor}, SAO_PAULO)
    moment, found = datetime(2026, 1, 1, tzinfo=UTC), []
    for _ in range(count):
        moment = trigger.next_after(moment)
        found.append(f"{moment - timedelta(hours=3):%Y-%m-%d}")
    return found


def test_every_month_on_the_31st_falls_on_the_last_day_of_short_months():
    assert fire_days({"months": 1, "day": 31}, 4) == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]


def test_every_month_on_the_31st_can_skip_short_months():
    assert fire_days({"months": 1, "day": 31, "short_month": "skip"}, 3) == ["2026-01-31", "2026-03-31", "2026-05-31"]


def test_other_calendar_intervals():
    assert fire_days({"days": 10}, 3, "2026-01-04") == ["2026-01-04", "2026-01-14", "2026-01-24"]
    assert fire_days({"weeks": 2, "weekday": "fri"}, 2, "2026-01-01") == ["2026-01-02", "2026-01-16"]
    assert fire_days({"weeks": 1, "weekday": 0}, 2) == ["2026-01-05", "2026-01-12"]
    assert fire_days({"months": 3, "day": 15}, 3, date(2025, 11, 1)) == ["2026-02-15", "2026-05-15", "2026-08-15"]
    assert fire_days({"years": 1, "month": 2, "day": 29, "short_month": "skip"}, 2) == ["2028-02-29", "2032-02-29"]
    assert fire_days({"years": 1, "month": "february", "day": 29}, 2) == ["2026-02-28", "2027-02-28"]
    assert fire_days({"months": 1}, 2, "2025-05-20") == ["2026-01-20", "2026-02-20"]


def test_an_anchor_that_means_nothing_makes_no_difference():
    first = trigger_from_definition({"calendar": {"months": 1, "day": 5}}, created_at=datetime(2024, 1, 1, tzinfo=UTC))
    assert first == trigger_from_definition(
        {"calendar": {"months": 1, "day": 5}}, created_at=datetime(2026, 7, 8, tzinfo=UTC)
    )
    assert first == CalendarIntervalTrigger(1, "months", time(), date(1999, 9, 9), 5)


TRIGGERS = [
    parse_cron("*/15 9-17 * * 1-5", SAO_PAULO, DstRule("skip", "last")),
    parse_cron("H H * * *", seed="quotes"),
    trigger_from_definition({"fields": {"hour": "9-17", "day_of_week": "0-4"}}, SAO_PAULO, DstRule(fold="both")),
    IntervalTrigger(timedelta(seconds=1, microseconds=1), datetime(2026, 1, 1, 1, 2, 3, 4, tzinfo=UTC)),
    trigger_from_definition({"calendar": {"years": 3, "month": 2, "day": 29, "time": "02:30:15"}}, SAO_PAULO),
    trigger_from_definition({"at": "2026-12-01T09:00:00.5"}, SAO_PAULO),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.to_json()["kind"])
def test_storing_and_reading_back_gives_an_equal_trigger(trigger):
    back = trigger_from_json(trigger.to_json())
    assert back == trigger
    assert hash(back) == hash(trigger)
    assert back.to_json() == trigger.to_json()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"kind": "corn"}, "stored trigger: unknown kind 'corn'; did you mean 'cron'?"),
        ({"kind": "cron"}, "stored trigger of kind 'cron' lacks 'text'"),
        ([], "stored trigger [] is not a mapping"),
        (
            {"kind": "date", "at": "soon", "zone": "UTC"},
            "stored trigger of kind 'date' cannot be read: Invalid isoformat string: 'soon'",
        ),
    ],
)
def test_a_stored_form_that_is_damaged_is_refused(body, message):
    with pytest.raises(TriggerInvalid) as refused:
        trigger_from_json(body)
    assert str(refused.value) == message


ONE_OF = "write exactly one of cron, fields, every, calendar, session or at"


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({}, f"no trigger is given; {ONE_OF}"),
        ({"corn": "0 9 * * *"}, f"no trigger is given; {ONE_OF}; did you mean 'cron'?"),
        ({"cron": "0 9 * * *", "every": "5m"}, f"several triggers are given (cron, every); {ONE_OF}"),
        ({"cron": "0 9 * * *", "anchor": "2026-01-01"}, "anchor goes with every or calendar, not with cron"),
        ({"every": 15}, 'duration 15 has no unit; write "15s" for seconds or "15m" for minutes'),
        ({"every": "10ms"}, "every 10ms is too short; the shortest interval is 100ms"),
        ({"every": "1h", "anchor": "noon"}, "anchor 'noon' is not a date and time; write it as 2026-12-01T09:00"),
        ({"at": "soon"}, "at 'soon' is not a date and time; write it as 2026-12-01T09:00"),
        ({"at": 20261201}, "at 20261201 is not a date and time; write it as 2026-12-01T09:00"),
        ({"at": "0001-01-01"}, "at 0001-01-01: the year 1 is outside 1900-9900"),
        ({"calendar": "monthly"}, "calendar 'monthly': write a mapping, such as {months: 1, day: 31, time: \"09:00\"}"),
        (
            {"calendar": {"month": 1, "day": 3}},
            "calendar: write exactly one of days, weeks, months or years; none is given",
        ),
        (
            {"calendar": {"months": 1, "days": 3}},
            "calendar: write exactly one of days, weeks, months or years; several are given (days, months)",
        ),
        ({"calendar": {"months": 1, "dya": 3}}, "calendar: unknown key 'dya'; did you mean 'day'?"),
        (
            {"calendar": {"days": 1, "time": 1050}},
            'calendar: time 1050 is a number; YAML reads 17:30 without quotes as base 60: write "17:30"',
        ),
        (
            {"calendar": {"days": 1, "time": "25:00"}},
            "calendar: time '25:00' is not a time of day; write it as \"09:00\"",
        ),
        ({"calendar": {"days": 0}}, "calendar: days 0 is outside 1-3660"),
        ({"calendar": {"days": "many"}}, "calendar: days 'many' is not a whole number"),
        ({"calendar": {"months": 1, "day": 32}}, "calendar: day 32 is outside 1-31"),
        ({"calendar": {"months": 1, "day": 0}}, "calendar: day 0 is outside 1-31"),
        ({"calendar": {"weeks": 1, "day": 3}}, "calendar: day 3 goes with months or years, not with weeks"),
        ({"calendar": {"weeks": 1, "weekday": "fryday"}}, "calendar: unknown weekday 'fryday'; did you mean 'Friday'?"),
        ({"calendar": {"weeks": 1, "weekday": 7}}, "calendar: weekday 7 is outside 0-6; write its name"),
        ({"calendar": {"months": 1, "weekday": "fri"}}, "calendar: weekday goes with weeks, not with months"),
        ({"calendar": {"months": 1, "month": "jan"}}, "calendar: month goes with years, not with months"),
        (
            {"calendar": {"months": 1, "day": 31, "short_month": "first"}},
            "calendar: short_month 'first' is not known; choose last or skip",
        ),
        (
            {"calendar": {"months": 12, "day": 31, "short_month": "skip"}, "anchor": "2026-02-01"},
            "calendar: day 31 never comes every 12 months from 2026-02-01; write short_month: last, or another day",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_way_out(definition, message):
    with pytest.raises(InvalidInput) as refused:
        trigger_from_definition(definition, SAO_PAULO)
    assert str(refused.value) == message
