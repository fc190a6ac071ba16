"""Fire times by exchange sessions: rules, words, errors, and brute force as a second opinion."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.exchanges import SessionCalendar
from mainspring.domain.triggers import SessionTrigger, TriggerInvalid, parse_session, trigger_from_json
from mainspring.domain.triggers.session import Place, Point
from mainspring.testing.oracle import SessionHours, fire_times
from tests.domain.test_exchanges import expected_sessions, our_sessions

THANKSGIVING = datetime(2026, 11, 25, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULES = [
    "XNYS open",
    "XNYS open + 4h",
    "XNYS close - 15m",
    "XNYS close + 30m on the last session of the month",
    "XNYS open - 1h on the first session of the quarter",
    "XNYS every 5m while open",
    "XNYS every 45m from open + 10m to close - 10m",
    "XNYS every 1h from close - 5h to close + 2h",
    "XNYS every 7m from open to open + 5h on the last session of the week",
    "XTKS every 25m while open",
    "XTKS open + 3h on the first session of the year",
    "XETR close - 1h on the last session of the year",
    "XPAR every 30m from open - 30m to close + 30m",
]


def first_ones(rule: str, count: int, after: datetime = THANKSGIVING) -> list[str]:
    trigger, moment, found = parse_session(rule), after, []
    for _ in range(count):
        moment = trigger.next_after(moment)  # type: ignore[assignment]
        found.append(f"{moment:%a %d %H:%M}")
    return found


def test_a_point_counts_from_the_close_of_a_half_day_too() -> None:
    assert first_ones("XNYS close - 15m", 3) == ["Wed 25 20:45", "Fri 27 17:45", "Mon 30 20:45"]


def test_a_short_session_that_does_not_reach_the_point_names_nothing() -> None:
    assert first_ones("XNYS open + 4h", 3) == ["Wed 25 18:30", "Mon 30 18:30", "Tue 01 18:30"]


def test_repetitions_end_with_the_session() -> None:
    friday = datetime(2026, 11, 27, 17, 45, tzinfo=UTC)
    assert first_ones("XNYS every 5m while open", 3, friday) == ["Fri 27 17:50", "Fri 27 17:55", "Mon 30 14:30"]
    assert first_ones("XNYS every 30m from open + 10m to close - 10m", 2, friday) == ["Mon 30 14:40", "Mon 30 15:10"]
    assert first_ones("XNYS every 5m from open to open + 6h", 2, friday + 10 * MINUTE) == [
        "Fri 27 18:00",
        "Mon 30 14:30",
    ]


def test_nothing_repeats_during_the_pause_at_noon() -> None:
    morning = datetime(2026, 11, 27, 1, 45, tzinfo=UTC)
    assert first_ones("XTKS every 30m while open", 4, morning) == [
        "Fri 27 02:00",
        "Fri 27 03:30",
        "Fri 27 04:00",
        "Fri 27 04:30",
    ]


def test_the_last_session_of_a_period_is_found_before_its_end() -> None:
    assert first_ones("B3 close + 30m on the last session of the month", 3) == [
        "Mon 30 21:25",
        "Wed 30 21:25",  # the 31st of December is no session
        "Fri 29 21:25",
    ]
    assert first_ones("XNYS open on the first session of the week", 2, datetime(2026, 9, 3, 20, tzinfo=UTC)) == [
        "Tue 08 13:30",  # Monday is Labor Day
        "Mon 14 13:30",
    ]


def test_own_closures_move_the_last_session() -> None:
    own = {"mine": {date(2026, 11, 30): "Audit"}}
    body = {"exchange": "XNYS", "at": "last session of the month, close", "closed": ["mine"]}
    assert parse_session(body, own).next_after(THANKSGIVING) == datetime(2026, 11, 27, 18, tzinfo=UTC)


@pytest.mark.parametrize("rule", RULES)
def test_storing_and_reading_back_gives_an_equal_trigger(rule: str) -> None:
    trigger = parse_session(rule)
    assert trigger_from_json(trigger.to_json()) == trigger
    assert hash(trigger_from_json(trigger.to_json())) == hash(trigger)


@pytest.mark.parametrize("rule", RULES)
def test_brute_force_over_the_other_source_finds_the_same_fire_times(rule: str) -> None:
    trigger = parse_session(rule)
    sessions = list(expected_sessions(trigger.exchange))
    # The first and last periods of the source are cut off.
    after, until = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    assert _walk(trigger, after, until) == fire_times(trigger.to_json(), after, until, sessions)


points = st.builds(
    Point, st.sampled_from(("open", "close")), st.integers(-600, 600).map(lambda minutes: minutes * MINUTE)
)
places = st.builds(Place, st.sampled_from(("first", "last")), st.sampled_from(("week", "month", "quarter", "year")))


@settings(max_examples=40, deadline=None)
@given(
    exchange=st.sampled_from(("XNYS", "XTKS", "BVMF", "XHKG", "24/7")),
    start=points,
    every=st.none() | st.integers(30, 900).map(lambda minutes: minutes * MINUTE),
    stop=st.none() | points,
    place=st.none() | places,
    begin=st.integers(0, 700).map(lambda days: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=days)),
)
def test_any_rule_agrees_with_brute_force_and_only_goes_forward(
    exchange: str, start: Point, every: timedelta | None, stop: Point | None, place: Place | None, begin: datetime
) -> None:
    trigger = SessionTrigger(SessionCalendar(exchange), start, every, None if every is None else stop, place)
    calendar = trigger.calendar
    sessions = [
        SessionHours(one.day, one.open_at, one.close_at, one.pause)
        for year in range(2022, 2029)
        for one in calendar.of_year(year)
    ]
    until = begin + timedelta(days=20)
    found = _walk(trigger, begin, until)
    assert found == fire_times(trigger.to_json(), begin, until, sessions)
    assert found == sorted(set(found))


def _walk(trigger: SessionTrigger, after: datetime, until: datetime) -> list[datetime]:
    found, moment = [], trigger.next_after(after)
    while moment is not None and moment <= until:
        found.append(moment)
        moment = trigger.next_after(moment)
    return found


def test_sixty_years_ahead_there_are_fire_times_and_past_the_data_there_are_none() -> None:
    trigger = parse_session("B3 close - 15m")
    assert trigger.next_after(datetime(2086, 6, 1, tzinfo=UTC)) == datetime(2086, 6, 3, 19, 45, tzinfo=UTC)
    assert trigger.next_after(datetime(2099, 12, 31, 23, tzinfo=UTC)) is None
    assert trigger.next_after(datetime(9999, 1, 1, tzinfo=UTC)) is None
    assert trigger.next_after(datetime(1970, 1, 1, tzinfo=UTC)) == our_first("BVMF")


def our_first(code: str) -> datetime:
    first = SessionCalendar(code).of_year(2000)[0]
    return first.close_at - 15 * MINUTE


def test_a_session_has_one_key_however_its_close_moves() -> None:
    trigger = parse_session("XNYS close - 15m")
    by_old_data, by_new_data = datetime(2026, 11, 27, 20, 45, tzinfo=UTC), datetime(2026, 11, 27, 17, 45, tzinfo=UTC)
    assert trigger.local_key(by_old_data) == trigger.local_key(by_new_data) == "2026-11-27"
    assert parse_session("XNYS every 5m while open").local_key(by_new_data) is None


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("XNYS close - 15m", "15 minutes before XNYS closes (America/New_York)"),
        ("NYSE open", "when XNYS opens (America/New_York)"),
        ("B3: every 5m while open", "every 5 minutes while BVMF is open (America/Sao_Paulo)"),
        (
            "XLON every 1h from open + 10m to close - 10m",
            "every hour from 10 minutes after XLON opens to 10 minutes before it closes (Europe/London)",
        ),
        (
            "XLON every 1h from close - 2h to close",
            "every hour from 2 hours before XLON closes to it closes (Europe/London)",
        ),
        (
            "XNYS last session of the month, close + 30m",
            "30 minutes after XNYS closes, on the last session of the month (America/New_York)",
        ),
        ("24/7 every 6h while open", "every 6 hours while 24/7 is open"),
    ],
)
def test_in_words(rule: str, words: str) -> None:
    assert parse_session(rule).in_words() == words


FORMS = (
    'write "open + 5m", "close - 15m", "every 5m while open", "every 30m from open + 10m to close - 10m" or '
    '"close + 30m on the last session of the month"'
)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("XNYX close", "session: unknown exchange 'XNYX'; did you mean 'XNYS'?"),
        ("XNYS", f"session: it is not said when; {FORMS}"),
        ("XNYS opn + 5m", f"session: 'opn + 5m' cannot be read; {FORMS}"),
        ("XNYS close - 15", 'session: duration \'15\' has no unit; write "15s" for seconds or "15m" for minutes'),
        (
            "XNYS open + 8h",
            "session: open + 8h lies after the close: a session of XNYS is 6h30m long; count from the close instead",
        ),
        (
            "XNYS close - 7h",
            "session: close - 7h lies before the open: a session of XNYS is 6h30m long; count from the open instead",
        ),
        (
            "XNYS open + 30h",
            "session: open + 1d6h is more than a day away from the open; use the first or last session of a period, "
            "or cron text",
        ),
        (
            "XNYS every 5m from close to open",
            "session: never fires: a session of XNYS is 6h30m long, and nothing lies between its start and its end",
        ),
        ("XNYS every 2d while open", "session: every 2d is longer than a day; leave out every"),
        ("XNYS every 1ms while open", "session: every 1ms is too short; the shortest is 100ms"),
        (
            "XNYS open on the last session of the fortnight",
            "session: last session of the fortnight: write week, month, quarter or year",
        ),
        ({"at": "open"}, "session: exchange is missing; write its code, such as XNYS or B3"),
        ({"exchange": "XNYS", "att": "open"}, "session: unknown key 'att'; did you mean 'at'?"),
        (
            {"exchange": "XNYS", "at": "open", "closed": ["US"]},
            "session: closed: unknown calendar of your own 'US'; there is no calendar of your own yet; built-in ones "
            "go under calendars: exclude",
        ),
        (
            {"exchange": "XNYS", "at": "open", "closed": "mine"},
            "session: closed: write a list of calendars of your own, such as [my-closures]",
        ),
        (
            {"exchange": "XNYS", "at": "open", "hours": {"2026-12-24": "12:00-09:30"}},
            "session: hours: 2026-12-24: 12:00-09:30 closes before it opens",
        ),
        (
            {"exchange": "XNYS", "at": "open", "hours": {"Christmas": "9-12"}},
            'session: hours: Christmas: 9-12 cannot be read; write a day with hours, such as 2026-12-24: "09:30-12:00"',
        ),
        (5, 'session 5: write text such as "XNYS close - 15m", or a mapping'),
    ],
)
def test_what_cannot_be_used_is_refused_in_plain_words(written: Any, message: str) -> None:
    with pytest.raises(TriggerInvalid) as refused:
        parse_session(written)
    assert str(refused.value) == message


def test_a_stored_rule_of_an_exchange_that_is_not_known_here_can_be_read_and_said() -> None:
    body = parse_session("XNYS close - 15m").to_json() | {"exchange": "XMOON"}
    assert trigger_from_json(body).in_words() == "15 minutes before XMOON closes"


def test_days_left_out_are_named() -> None:
    until = THANKSGIVING + timedelta(days=6)
    assert list(parse_session("XNYS close - 15m").left_out(THANKSGIVING, until)) == [
        (date(2026, 11, 26), "XNYS is closed: Thanksgiving Day")
    ]
    assert list(parse_session("XNYS open + 4h").left_out(THANKSGIVING, until)) == [
        (date(2026, 11, 26), "XNYS is closed: Thanksgiving Day"),
        (
            date(2026, 11, 27),
            "XNYS is open too short on Fri 27 Nov 2026 for open + 4h: half-day, closes at 13:00",
        ),
    ]
    assert list(parse_session("XNYS open on the last session of the month").left_out(THANKSGIVING, until)) == []


def test_an_own_closure_is_named_on_a_weekend_too_where_the_exchange_never_closes() -> None:
    body = {"exchange": "24/7", "at": "open", "closed": ["mine"]}
    trigger = parse_session(body, {"mine": {date(2026, 11, 28): "Move"}})
    assert list(trigger.left_out(THANKSGIVING, THANKSGIVING + timedelta(days=6))) == [
        (date(2026, 11, 28), "24/7 is closed: Move")
    ]


def test_a_half_day_is_remarked_on() -> None:
    trigger = parse_session("XNYS close - 15m")
    assert trigger.remark(datetime(2026, 11, 27, 17, 45, tzinfo=UTC)) == "half-day, closes at 13:00"
    assert trigger.remark(datetime(2026, 11, 30, 20, 45, tzinfo=UTC)) == ""


def test_the_sessions_of_this_test_are_not_taken_from_what_is_tested() -> None:
    assert list(expected_sessions("XNYS"))[:3] == our_sessions("XNYS")[:3]
