"""A schedule's description is one value: it is stored whole and comes back equal."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.calendars import CalendarRule
from mainspring.domain.spec import (
    FanOut,
    Misfire,
    MisfirePolicy,
    OverlapPolicy,
    ScheduleSpec,
    spec_from_text,
)
from mainspring.domain.triggers import DateTrigger, IntervalTrigger, parse_cron
from mainspring.errors import MainspringError, UnknownName

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FULL = ScheduleSpec(
    name="quotes ☂",
    task="market.quotes",
    trigger=parse_cron("H 9-17 * * 1-5", "America/Sao_Paulo", seed="quotes ☂"),
    zone="America/Sao_Paulo",
    description='says "hello" \\ שלום',
    enabled=False,
    start_at=NOON,
    end_at=NOON + timedelta(days=300, microseconds=1),
    jitter=timedelta(seconds=30, microseconds=1),
    calendars=CalendarRule(("weekdays",), ("B3", "closures")),
    own_calendars={"closures": {date(2026, 12, 24): "Christmas Eve"}},
    misfire=Misfire(MisfirePolicy.ALL, timedelta(seconds=5), 7, timedelta(days=1)),
    overlap=OverlapPolicy.QUEUE_ONE,
    parameters={"depth": 3, "nested": {"a": [1, None, "x"]}},
    fan_out=FanOut("ticker", ("PETR4", "VALE3")),
    queue="scraping",
    priority=8,
    max_tries=4,
    expires=timedelta(hours=1),
    labels={"team": "data"},
    pack="market",
)
PLAIN = ScheduleSpec(name="s", task="t", trigger=IntervalTrigger(MINUTE, NOON))


@pytest.mark.parametrize("spec", [FULL, PLAIN, ScheduleSpec(name="d", task="t", trigger=DateTrigger(NOON))])
def test_a_spec_comes_back_equal(spec: ScheduleSpec) -> None:
    assert spec_from_text(spec.to_text()) == spec
    assert spec_from_text(spec.to_text()).to_text() == spec.to_text()


def test_equal_specs_have_equal_text_whatever_the_order_of_their_mappings() -> None:
    def spec(*keys: str) -> ScheduleSpec:
        return ScheduleSpec(name="s", task="t", trigger=PLAIN.trigger, parameters=dict.fromkeys(keys, 1))

    assert spec("a", "b").to_text() == spec("b", "a").to_text()
    assert list(json.loads(FULL.to_text())) == sorted(json.loads(FULL.to_text()))


def test_a_different_spec_has_a_different_text() -> None:
    from dataclasses import fields, replace

    changes = {
        "name": "x", "task": "x", "trigger": DateTrigger(NOON), "zone": "Asia/Tokyo", "description": "x",
        "enabled": True, "start_at": None, "end_at": None, "jitter": MINUTE, "calendars": CalendarRule(),
        "own_calendars": {}, "misfire": Misfire(), "overlap": OverlapPolicy.ALLOW, "parameters": {}, "fan_out": None,
        "queue": None, "priority": None, "max_tries": None, "expires": None, "labels": {}, "pack": None,
    }  # fmt: skip
    assert set(changes) == {field.name for field in fields(ScheduleSpec)}
    texts = {replace(FULL, **{name: value}).to_text() for name, value in changes.items()}  # type: ignore[arg-type]
    assert len(texts | {FULL.to_text()}) == len(changes) + 1


def test_a_stored_text_that_cannot_be_read_is_refused() -> None:
    broken = FULL.to_text().replace('"kind":"cron"', '"kind":"crom"')
    with pytest.raises(MainspringError, match="did you mean 'cron'"):
        spec_from_text(broken)


def test_fire_times_begin_with_the_start_and_end_with_the_end() -> None:
    spec = ScheduleSpec(name="s", task="t", trigger=PLAIN.trigger, start_at=NOON + MINUTE, end_at=NOON + 2 * MINUTE)
    assert spec.next_after(NOON - timedelta(days=9)) == NOON + MINUTE
    assert spec.next_after(NOON + MINUTE) == NOON + 2 * MINUTE
    assert spec.next_after(NOON + 2 * MINUTE) is None


def test_a_start_between_two_fire_times_waits_for_the_next() -> None:
    spec = ScheduleSpec(name="s", task="t", trigger=PLAIN.trigger, start_at=NOON + timedelta(seconds=1))
    assert spec.next_after(NOON - MINUTE) == NOON + MINUTE


def test_a_start_after_the_end_never_fires() -> None:
    spec = ScheduleSpec(name="s", task="t", trigger=PLAIN.trigger, start_at=NOON + 9 * MINUTE, end_at=NOON)
    assert spec.next_after(NOON - MINUTE) is None


def test_a_calendar_is_asked_for_the_local_day() -> None:
    spec = ScheduleSpec(
        name="s", task="t", trigger=PLAIN.trigger, zone="America/Sao_Paulo",
        calendars=CalendarRule(exclude=("closures",)), own_calendars={"closures": {date(2026, 3, 2): "Stocktaking"}},
    )  # fmt: skip
    assert spec.refusal(datetime(2026, 3, 2, 2, 59, tzinfo=UTC)) is None
    assert spec.refusal(datetime(2026, 3, 2, 3, 0, tzinfo=UTC)) == "Stocktaking (closures)"
    assert spec.refusal(datetime(2026, 3, 3, 2, 59, tzinfo=UTC)) == "Stocktaking (closures)"
    assert spec.refusal(datetime(2026, 3, 3, 3, 0, tzinfo=UTC)) is None


def test_an_unknown_calendar_is_named_with_the_nearest_one() -> None:
    spec = ScheduleSpec(name="s", task="t", trigger=PLAIN.trigger, calendars=CalendarRule(exclude=("weekend",)))
    with pytest.raises(UnknownName, match="did you mean 'weekends'"):
        spec.refusal(NOON)


def test_a_fan_out_gives_its_members_and_nothing_gives_one() -> None:
    assert FULL.members() == ("PETR4", "VALE3")
    assert PLAIN.members() == (None,)


@given(st.timedeltas(timedelta(0), timedelta(days=3650)), st.timedeltas(timedelta(0), timedelta(days=3650)))
def test_durations_come_back_to_the_microsecond(jitter: timedelta, expires: timedelta) -> None:
    spec = ScheduleSpec(name="s", task="t", trigger=PLAIN.trigger, jitter=jitter, expires=expires)
    again = spec_from_text(spec.to_text())
    assert (again.jitter, again.expires) == (jitter, expires)


@given(st.datetimes(datetime(1900, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)))
def test_jitter_never_reaches_its_bound(fire_at: datetime) -> None:
    spec = ScheduleSpec(name="s", task="t", trigger=PLAIN.trigger, jitter=timedelta(seconds=10))
    assert timedelta(0) <= spec.jitter_for(fire_at) < timedelta(seconds=10)
