"""The verifier's own fire times agree with those of the triggers, and where it matters they are written out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.triggers import DstRule, TriggerInvalid, parse_cron, parse_fields, trigger_from_definition
from mainspring.encoding import decode
from mainspring.verify.look import instant, micros
from mainspring.verify.rules import rule_of
from mainspring.verify.spec import read_version
from mainspring.verify.walls import ZoneUnknown, zone_info

ZONES = (
    "UTC", "Africa/Cairo", "Africa/Casablanca", "America/New_York", "America/Sao_Paulo", "America/St_Johns",
    "Antarctica/Casey", "Antarctica/Troll", "Asia/Gaza", "Asia/Kolkata", "Asia/Tehran", "Australia/Lord_Howe",
    "Europe/Berlin", "Europe/Dublin", "Pacific/Apia", "Pacific/Norfolk",
)  # fmt: skip
MINUTES = st.sampled_from(["*", "*/15", "*/7", "0", "30", "0,30", "59", "10-20/5", "H", "H/20", "H(0-29)"])
HOURS = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "0-3", "1,2", "23", "H(0-4)", "22-23/1"])
DAYS = st.sampled_from(["*", "*/2", "1-15", "L", "LW", "29-31", "H", "1,L"])
MONTHS = st.sampled_from(["*", "*", "*", "3-11", "OCT", "*/2"])
WEEKDAYS = st.sampled_from(["*", "*", "SUN", "7", "MON-FRI", "SAT-SUN", "SUN#1", "7L", "*/3", "H", "0/2"])
SECONDS = st.sampled_from(["", "0 ", "30 ", "*/20 ", "5,59 "])
FIELD_VALUES = {
    "month": ["*", "3-11", "*/2", "mar"],
    "day": ["*", "last", "1st sun", "last sat", "*/2", "1-15", "last fri, 3"],
    "week": ["*/2", "1-20"],
    "day_of_week": ["0-4", "sun", "sat,sun", 6],
    "hour": ["*", "0-3", "*/2", 1, 2, "9-17/4", 23],
    "minute": ["*", "*/20", "0,30", 15, 59],
    "second": ["0", "*/15", 30],
}


@lru_cache
def changes_of(zone: str, year: int) -> list[datetime]:
    """Return the hours of a year in which clocks of the zone change, from a look every six hours."""
    where = zone_info(zone)
    hours = [datetime(year, 1, 1, tzinfo=UTC) + n * timedelta(hours=6) for n in range(1461)]
    offsets = [hour.astimezone(where).utcoffset() for hour in hours]
    return [hour for hour, before, after in zip(hours[1:], offsets, offsets[1:], strict=False) if before != after]


@st.composite
def windows(draw: st.DrawFn, zone: str) -> tuple[datetime, datetime]:
    year = draw(st.integers(1993, 2036))
    around = draw(st.sampled_from(changes_of(zone, year) or [datetime(year, 6, 1, tzinfo=UTC)]))
    before, after = draw(st.integers(0, 4_000)), draw(st.integers(0, 4_000))
    second = timedelta(seconds=draw(st.integers(0, 59)))
    return around - timedelta(minutes=before) + second, around + timedelta(minutes=after) + second


def dst_rules() -> st.SearchStrategy[DstRule]:
    return st.builds(DstRule, st.sampled_from(["after", "skip"]), st.sampled_from(["first", "both", "last"]))


def cron_texts() -> st.SearchStrategy[str]:
    parts = st.tuples(MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS)
    return st.builds(lambda second, rest: second + " ".join(rest), SECONDS, parts)


def assert_agrees(trigger, after, until):
    expected = []
    moment = trigger.next_after(after)
    while moment is not None and moment <= until:
        expected.append(moment)
        moment = trigger.next_after(moment)
    assert [instant(found) for found in rule_of(trigger.to_json())(micros(after), micros(until))] == expected


@settings(max_examples=300)
@given(data=st.data(), zone=st.sampled_from(ZONES), text=cron_texts(), dst=dst_rules())
def test_cron_text_agrees_with_the_trigger_around_changes_of_clocks(data, zone, text, dst):
    try:
        trigger = parse_cron(text, zone, dst, seed=data.draw(st.sampled_from(["a", "nightly"])))
    except TriggerInvalid:
        assume(False)
    assert_agrees(trigger, *data.draw(windows(zone)))


@settings(max_examples=150)
@given(data=st.data(), zone=st.sampled_from(ZONES), dst=dst_rules())
def test_cron_fields_agree_with_the_trigger_around_changes_of_clocks(data, zone, dst):
    names = data.draw(st.lists(st.sampled_from(sorted(FIELD_VALUES)), min_size=1, max_size=4, unique=True))
    fields = {name: data.draw(st.sampled_from(FIELD_VALUES[name])) for name in names}
    try:
        trigger = parse_fields(fields, zone, dst)
    except TriggerInvalid:
        assume(False)
    assert_agrees(trigger, *data.draw(windows(zone)))


@settings(max_examples=150)
@given(data=st.data(), zone=st.sampled_from(ZONES), dst=dst_rules())
def test_calendar_intervals_agree_with_the_trigger_around_changes_of_clocks(data, zone, dst):
    unit = data.draw(st.sampled_from(["days", "weeks", "months", "years"]))
    after, until = data.draw(windows(zone))
    definition = {
        unit: data.draw(st.integers(1, 3)),
        "time": data.draw(st.sampled_from(["00:00", "00:30", "01:30", "02:00", "02:15:20", "03:00", "23:59"])),
        "short_month": data.draw(st.sampled_from(["last", "skip"])),
        "anchor": (after + timedelta(days=data.draw(st.integers(-800, 800)))).date().isoformat(),
    }
    if unit in ("months", "years") and data.draw(st.booleans()):
        definition["day"] = data.draw(st.integers(1, 31))
    try:
        trigger = trigger_from_definition({"calendar": definition}, zone, dst)
    except TriggerInvalid:
        assume(False)
    assert_agrees(trigger, after - timedelta(days=data.draw(st.integers(0, 60))), until)


@given(st.integers(100_000, 10**12), st.datetimes(datetime(1995, 1, 1), datetime(2035, 1, 1)))
def test_intervals_agree_with_the_trigger(every_us, anchor):
    every = timedelta(microseconds=every_us)
    trigger = trigger_from_definition({"every": f"{every_us / 1e6:.6f}s"}, created_at=anchor.replace(tzinfo=UTC))
    start = datetime(2026, 3, 1, tzinfo=UTC)
    assert_agrees(trigger, start, start + 20 * every)


BERLIN_SPRING = "2026-03-28T22:00", "2026-03-29T06:00"
BERLIN_AUTUMN = "2026-10-24T22:00", "2026-10-25T04:00"


@pytest.mark.parametrize(
    ("text", "gap", "fold", "window", "found"),
    [
        ("30 2 * * *", "after", "first", BERLIN_SPRING, ["2026-03-29T01:00"]),
        ("30 2 * * *", "skip", "first", BERLIN_SPRING, []),
        ("0,30 2,3 * * *", "after", "first", BERLIN_SPRING, ["2026-03-29T01:00", "2026-03-29T01:30"]),
        ("30 * * * *", "after", "first", ("2026-03-28T23:40", "2026-03-29T02:00"),
         ["2026-03-29T00:30", "2026-03-29T01:30"]),
        ("30 2 * * *", "after", "first", BERLIN_AUTUMN, ["2026-10-25T00:30"]),
        ("30 2 * * *", "after", "last", BERLIN_AUTUMN, ["2026-10-25T01:30"]),
        ("30 2 * * *", "after", "both", BERLIN_AUTUMN, ["2026-10-25T00:30", "2026-10-25T01:30"]),
        ("30 */2 * * *", "after", "first", BERLIN_AUTUMN,
         ["2026-10-24T22:30", "2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T03:30"]),
        ("15 30 2 * * *", "after", "first", BERLIN_SPRING, ["2026-03-29T01:00"]),
    ],
)  # fmt: skip
def test_gaps_and_folds_in_berlin(text, gap, fold, window, found):
    rule = rule_of({"kind": "cron", "text": text, "zone": "Europe/Berlin", "dst": {"gap": gap, "fold": fold}})
    after, until = (micros(datetime.fromisoformat(moment + "+00:00")) for moment in window)
    assert [f"{instant(moment):%Y-%m-%dT%H:%M}" for moment in rule(after, until)] == found


def test_a_day_that_a_zone_left_out_fires_at_its_end():
    # Samoa went from 29 December 2011 straight to 31 December.
    rule = rule_of(
        {"kind": "cron", "text": "0 12 * * *", "zone": "Pacific/Apia", "dst": {"gap": "after", "fold": "first"}}
    )
    after, until = (micros(datetime(2011, 12, day, tzinfo=UTC)) for day in (29, 32 - 1))
    assert [f"{instant(moment):%dT%H:%M}" for moment in rule(after, until)] == ["29T22:00", "30T10:00", "30T22:00"]


def test_a_year_of_minutes_is_counted_in_full():
    rule = rule_of(
        {"kind": "cron", "text": "* * * * *", "zone": "America/New_York", "dst": {"gap": "after", "fold": "first"}}
    )
    after, until = (micros(datetime(year, 1, 1, tzinfo=UTC)) for year in (2026, 2027))
    assert sum(1 for _ in rule(after, until)) == 365 * 24 * 60


def test_start_and_end_bound_the_fire_times():
    start, end = datetime(2026, 1, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, 5, tzinfo=UTC)
    spec = ScheduleSpec("s", "t", parse_cron("0 * * * *"), start_at=start, end_at=end)
    version = read_version(1, spec.to_text(), enabled=True, effective_at=0)
    found = version.fire_times(micros(datetime(2025, 12, 1, tzinfo=UTC)), micros(datetime(2026, 2, 1, tzinfo=UTC)))
    assert [instant(moment).hour for moment in found] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "trigger",
    [
        {"kind": "moon"},
        {"kind": "cron", "text": "* * *", "zone": "UTC", "dst": {"gap": "after", "fold": "first"}},
        {"kind": "fields", "fields": {"fortnight": "1"}, "zone": "UTC", "dst": {"gap": "after", "fold": "first"}},
        {"kind": "cron", "text": "0 0 * * *", "zone": "Europe/Bonn", "dst": {"gap": "after", "fold": "first"}},
    ],
)
def test_a_stored_trigger_that_cannot_be_read_is_an_error(trigger):
    with pytest.raises((ValueError, KeyError)):
        rule_of(trigger)


@pytest.mark.parametrize("name", ["", "../etc", "Europe", "Europe/Bonn"])
def test_only_zones_of_the_tzdata_package_are_known(name):
    with pytest.raises(ZoneUnknown):
        zone_info(name)


def test_members_are_told_apart_by_the_texts_that_the_scheduler_gives_them():
    from mainspring.domain.spec import FanOut
    from mainspring.services.schedule_runs import member_text

    members = ("PETR4", 7, 1.5, True, {"b": [1, "é"], "a": None}, [1, 2], "")
    spec = ScheduleSpec("s", "t", parse_cron("0 * * * *"), fan_out=FanOut("m", members))
    version = read_version(1, spec.to_text(), enabled=True, effective_at=0)
    assert version.members == tuple(sorted(member_text(member) for member in decode(spec.to_text())["fan_out"]["over"]))
