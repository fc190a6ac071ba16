"""What holds for every trigger, zone and moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.triggers import (
    CalendarIntervalTrigger,
    CronInvalid,
    DstRule,
    FieldsInvalid,
    IntervalTrigger,
    Trigger,
    parse_cron,
    parse_fields,
    trigger_from_json,
)
from mainspring.domain.zones import zone
from mainspring.encoding import canonical, decode
from mainspring.testing.oracle import fire_times

ZONES = st.sampled_from(
    [
        "UTC",
        "America/Sao_Paulo",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Africa/Casablanca",
        "America/St_Johns",
        "Asia/Tehran",
    ]
)
RULES = st.builds(DstRule, st.sampled_from(["after", "skip"]), st.sampled_from(["first", "both", "last"]))
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2037, 12, 1), timezones=st.just(UTC))


@st.composite
def terms(draw: st.DrawFn, low: int, high: int) -> str:
    kind = draw(st.sampled_from(["*", "value", "range", "step", "star step"]))
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    step = draw(st.integers(1, 7))
    return {"*": "*", "value": f"{first}", "range": f"{first}-{last}", "step": f"{first}-{last}/{step}"}.get(
        kind, f"*/{step}"
    )


def field(low: int, high: int) -> st.SearchStrategy[str]:
    return st.lists(terms(low, high), min_size=1, max_size=3).map(",".join)


@st.composite
def crons(draw: st.DrawFn) -> Trigger:
    parts = [field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)]
    if draw(st.booleans()):
        parts.insert(0, st.sampled_from(["0", "7", "5,50", "*/20", "58-59"]))
    try:
        return parse_cron(" ".join(draw(part) for part in parts), draw(ZONES), draw(RULES))
    except CronInvalid:
        return parse_cron("30 2 * * *", draw(ZONES), draw(RULES))


@st.composite
def field_triggers(draw: st.DrawFn) -> Trigger:
    limits = {
        "month": (1, 12),
        "day": (1, 28),
        "week": (1, 53),
        "day_of_week": (0, 6),
        "hour": (0, 23),
        "minute": (0, 59),
    }
    names = draw(st.lists(st.sampled_from(sorted(limits)), min_size=1, unique=True))
    try:
        return parse_fields({name: draw(field(*limits[name])) for name in names}, draw(ZONES), draw(RULES))
    except FieldsInvalid:
        return parse_fields({"hour": 2}, draw(ZONES), draw(RULES))


intervals = st.builds(IntervalTrigger, st.timedeltas(timedelta(minutes=1), timedelta(days=40)), MOMENTS)
calendar_intervals = st.builds(
    CalendarIntervalTrigger,
    st.integers(1, 9),
    st.sampled_from(["days", "weeks", "months", "years"]),
    st.times().map(lambda time: time.replace(microsecond=0)),
    st.dates(datetime(1990, 1, 1).date(), datetime(2037, 1, 1).date()),
    zone=ZONES,
    dst=RULES,
)
triggers = st.one_of(crons(), field_triggers(), intervals, calendar_intervals)


@given(triggers, MOMENTS)
def test_fire_times_are_strictly_increasing_and_pure(trigger, moment):
    for _ in range(20):
        found = trigger.next_after(moment)
        if found is None:
            return
        assert found > moment
        assert found.tzinfo is UTC
        assert trigger.next_after(moment) == found
        moment = found


@given(triggers, MOMENTS)
def test_the_next_fire_time_is_the_same_from_any_moment_before_it(trigger, moment):
    found = trigger.next_after(moment)
    if found is not None:
        assert trigger.next_after(found - timedelta(microseconds=1)) == found
        assert trigger.next_after(moment + (found - moment) / 2) == found


@given(triggers, MOMENTS)
@settings(max_examples=60)
def test_fire_times_agree_with_brute_force_over_a_day(trigger, moment):
    until = moment + timedelta(days=1)
    found = []
    later = trigger.next_after(moment)
    while later is not None and later <= until:
        found.append(later)
        later = trigger.next_after(later)
    assert found == fire_times(trigger.to_json(), moment, until)


@given(triggers)
def test_storing_and_reading_back_gives_an_equal_trigger(trigger):
    back = trigger_from_json(decode(canonical(trigger.to_json())))
    assert back == trigger
    assert hash(back) == hash(trigger)
    assert back.in_words() == trigger.in_words()


@given(crons(), MOMENTS)
def test_local_keys_are_distinct_for_distinct_fire_times(trigger, moment):
    keys = []
    for _ in range(10):
        found = trigger.next_after(moment)
        if found is None:
            break
        keys.append(trigger.local_key(found))
        moment = found
    known = [key for key in keys if key is not None]
    assert len(set(known)) == len(known)
    assert known in ([], keys)


@given(MOMENTS, ZONES)
def test_a_time_that_really_happens_fires_at_that_time(moment, name):
    found = parse_cron("17 * * * *", name).next_after(moment)
    assert found is not None
    assert found.astimezone(zone(name)).minute == 17
    assert found - moment <= timedelta(hours=2)
