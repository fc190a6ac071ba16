"""The feed of upcoming runs: what RFC 5545 wants of it, and what is in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.calendars import CalendarRule
from mainspring.domain.occurrences import Pause
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.triggers import IntervalTrigger, parse_cron, parse_session
from mainspring.services.ical import MOST_EVENTS, PER_SCHEDULE, Upcoming, calendar_text, upcoming

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


def spec(name: str, trigger: Any = None, **more: Any) -> ScheduleSpec:
    return ScheduleSpec(name, "work.add", trigger or parse_cron("0 9 * * *"), **more)


def read(text: str) -> list[dict[str, str]]:
    """Return the events of a document, unfolded and unescaped, by the rules of the standard."""
    assert text.endswith("\r\n")
    lines = text.replace("\r\n ", "").split("\r\n")
    assert (lines[0], lines[-2]) == ("BEGIN:VCALENDAR", "END:VCALENDAR")
    events: list[dict[str, str]] = []
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        if line == "BEGIN:VEVENT":
            events.append({})
        elif events:
            events[-1][name] = unescaped(value)
    return events


def unescaped(value: str) -> str:
    found, signs = "", iter(value)
    for sign in signs:
        found += {"n": "\n"}.get(escaped := next(signs), escaped) if sign == "\\" else sign
    return found


def test_events_are_in_utc_with_what_people_want_to_know() -> None:
    events = upcoming([(spec("bell", parse_session("XNYS close"), description="Marks"), None)], NOW, NOW + WEEK)

    found = read(calendar_text(events, NOW))

    assert [one["DTSTART"] for one in found] == [
        "20261123T210000Z",
        "20261124T210000Z",
        "20261125T210000Z",
        "20261127T180000Z",
    ]
    assert found[-1]["UID"] == "bell-20261127T180000Z@mainspring"
    assert found[-1]["DTSTAMP"] == "20261123T120000Z"
    assert found[-1]["DESCRIPTION"] == (
        "Marks\nwhen XNYS closes (America/New_York)\nhalf-day, closes at 13:00\nTask: work.add"
    )


def test_the_same_fire_time_has_the_same_uid_whenever_it_is_looked_at() -> None:
    texts = [calendar_text(upcoming([(spec("a"), None)], at, NOW + WEEK), at) for at in (NOW, NOW + timedelta(hours=1))]
    first, second = ([one["UID"] for one in read(text)] for text in texts)
    assert first == second
    assert len(set(first)) == 7


def test_disabled_paused_and_barred_fire_times_are_left_out() -> None:
    pause = Pause(NOW, NOW + timedelta(days=5))
    found = upcoming(
        [
            (spec("off", enabled=False), None),
            (spec("paused"), pause),
            (spec("barred", calendars=CalendarRule(("weekends",))), None),
        ],
        NOW,
        NOW + WEEK,
    )
    assert [(one.fire_at.day, one.spec.name) for one in found] == [
        (28, "barred"), (29, "barred"), (29, "paused"), (30, "paused"),
    ]  # fmt: skip


def test_no_schedule_buries_the_others_and_the_feed_is_bounded() -> None:
    minutely = IntervalTrigger(timedelta(minutes=1), NOW)
    busy = [(spec(f"m{n}", minutely), None) for n in range(15)]
    found = upcoming([*busy, (spec("daily"), None)], NOW, NOW + WEEK)
    assert len(found) == MOST_EVENTS
    alone = upcoming([busy[0], (spec("daily"), None)], NOW, NOW + WEEK)
    assert sum(one.spec.name == "m0" for one in alone) == PER_SCHEDULE
    assert sum(one.spec.name == "daily" for one in alone) == 7


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=120))
def test_any_name_is_folded_within_75_octets_and_read_back(name: str) -> None:
    text = calendar_text([Upcoming(NOW, spec(name))], NOW)
    assert max(len(line.encode()) for line in text.split("\r\n")) <= 75
    (event,) = read(text)
    assert event["SUMMARY"] == name


def test_control_characters_of_a_description_do_not_get_out() -> None:
    text = calendar_text([Upcoming(NOW, spec("a", description="one\r\ntwo\x07\nBEGIN:VEVENT"))], NOW)
    (event,) = read(text)
    assert event["DESCRIPTION"].startswith("one\ntwo\nBEGIN:VEVENT\n")
