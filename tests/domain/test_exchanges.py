"""The days and hours of exchanges, against a source that shares nothing with ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mainspring.domain.exchanges import ExchangeUnknown, SessionCalendar, exchange_names, library, require_exchange
from mainspring.domain.exchanges.days import closed_because, sessions_of, zone_of
from mainspring.domain.exchanges.hours import ALIASES, HOURS, easter
from mainspring.testing.oracle import SessionHours

# Made once from exchange-calendars 4.13.2, which is no dependency of ours: every session from 2022 to 2027.
EXPECTED: dict[str, Any] = json.loads(Path(__file__).with_name("exchange_sessions.json").read_text())


def expected_sessions(code: str) -> Iterator[SessionHours]:
    known = EXPECTED[code]
    zone, closed = ZoneInfo(known["zone"]), set(known["closed"])
    day, until = date(2022, 1, 1), date.fromisoformat(known["until"])
    while day <= until:
        if day.weekday() < 5 and day.isoformat() not in closed:
            spans = _hours_of(known, day).replace(" without ", "-").split("-")
            times = [datetime.combine(day, time.fromisoformat(text), zone).astimezone(UTC) for text in spans]
            yield SessionHours(day, times[0], times[1], (times[2], times[3]) if times[2:] else None)
        day += timedelta(days=1)


def _hours_of(known: dict[str, Any], day: date) -> str:
    for when, hours in known["other_hours"].items():
        if day.isoformat() == when or day.isoformat() <= when.partition("until ")[2]:
            return str(hours)
    return str(known["hours"])


def our_sessions(code: str) -> list[SessionHours]:
    last = EXPECTED[code]["until"]
    found = [one for year in range(2022, 2028) for one in sessions_of(code, year) if one.day.isoformat() <= last]
    return [SessionHours(one.day, one.open_at, one.close_at, one.pause) for one in found]


@pytest.mark.parametrize("code", sorted(set(EXPECTED) - {"BVMF"}))
def test_every_session_of_six_years_is_that_of_the_other_source(code: str) -> None:
    assert our_sessions(code) == list(expected_sessions(code))


def test_the_days_and_openings_of_b3_are_those_of_the_other_source() -> None:
    ours = [(one.day, one.opens) for one in our_sessions("BVMF")]
    assert ours == [(one.day, one.opens) for one in expected_sessions("BVMF")]
    assert len(ours) > 1480


@pytest.mark.parametrize(
    ("day", "close"),
    [
        (date(2026, 3, 6), "17:55"),  # the last Friday before clocks change in New York
        (date(2026, 3, 9), "17:00"),
        (date(2026, 10, 30), "17:00"),
        (date(2026, 11, 3), "17:55"),  # the 2nd is All Souls' Day
        (date(2027, 3, 12), "17:55"),
        (date(2027, 3, 15), "17:00"),
    ],
)
def test_b3_closes_with_new_york(day: date, close: str) -> None:
    session = SessionCalendar("B3").on(day)
    assert session is not None
    assert f"{session.close_at.astimezone(ZoneInfo('America/Sao_Paulo')):%H:%M}" == close


def test_b3_opens_at_noon_plus_one_on_ash_wednesday() -> None:
    days = [
        (session.day, session.remark)
        for year in range(2022, 2028)
        for session in sessions_of("BVMF", year)
        if session.remark
    ]
    wednesdays = ["2022-03-02", "2023-02-22", "2024-02-14", "2025-03-05", "2026-02-18", "2027-02-10"]
    assert days == [(date.fromisoformat(day), "Ash Wednesday, opens at 13:00") for day in wednesdays]


def test_easter_is_on_the_days_that_tables_give() -> None:
    found = [f"{easter(year):%m-%d}" for year in (2000, 2008, 2011, 2026, 2038, 2049, 2076, 2099)]
    assert found == ["04-23", "03-23", "04-24", "04-05", "04-25", "04-18", "04-19", "04-12"]


def test_the_german_exchanges_close_early_on_their_last_day_of_the_year() -> None:
    last = sessions_of("XETR", 2026)[-1]
    assert (last.day, last.remark) == (date(2026, 12, 30), "half-day, closes at 14:00")
    assert last.close_at == datetime(2026, 12, 30, 13, tzinfo=UTC)


def test_korea_opens_late_on_its_first_day_of_the_year() -> None:
    first, second = sessions_of("XKRX", 2026)[:2]
    assert (first.day, first.open_at) == (date(2026, 1, 2), datetime(2026, 1, 2, 1, tzinfo=UTC))
    assert second.open_at == datetime(2026, 1, 5, 0, tzinfo=UTC)


def test_crypto_trades_every_day_around_the_clock() -> None:
    calendar = SessionCalendar("24/7")
    session = calendar.on(date(2026, 12, 25))
    assert session is not None
    assert (session.open_at, session.close_at) == (
        datetime(2026, 12, 25, tzinfo=UTC),
        datetime(2026, 12, 26, tzinfo=UTC),
    )
    assert len(calendar.of_year(2028)) == 366


def test_why_an_exchange_is_closed() -> None:
    calendar = SessionCalendar("NYSE", closed=((date(2026, 11, 30), "Audit"),))
    assert calendar.closed_because(date(2026, 11, 26)) == "Thanksgiving Day"
    assert calendar.closed_because(date(2026, 11, 28)) == "Saturday"
    assert calendar.closed_because(date(2026, 11, 30)) == "Audit"
    assert calendar.closed_because(date(2026, 11, 27)) is None
    assert closed_because("XNYS", date(2150, 1, 5)) == "no session"


def test_own_closures_and_own_hours_change_the_sessions() -> None:
    calendar = SessionCalendar(
        "XNYS",
        closed=((date(2026, 11, 30), "Audit"),),
        hours=((date(2026, 11, 26), time(10), time(12)), (date(2026, 11, 28), time(9), time(9, 30))),
    )
    days = [session.day.day for session in calendar.of_year(2026) if session.day >= date(2026, 11, 25)][:5]
    assert days == [25, 26, 27, 28, 1]
    thanksgiving = calendar.on(date(2026, 11, 26))
    assert thanksgiving is not None
    assert (thanksgiving.open_at.hour, thanksgiving.close_at.hour) == (15, 17)
    assert thanksgiving.remark == "own hours, 10:00 to 12:00"


def test_the_session_before_is_found_across_the_year() -> None:
    before = SessionCalendar("XNYS").before(date(2026, 1, 2))
    assert before is not None
    assert before.day == date(2025, 12, 31)


def test_sessions_are_known_for_a_century_and_no_longer() -> None:
    assert len(sessions_of("XNYS", 2086)) > 245
    assert sessions_of("XNYS", 2099) != ()
    assert (sessions_of("XNYS", 2100), sessions_of("XNYS", 1999)) == ((), ())


@pytest.mark.parametrize("code", sorted(HOURS))
def test_every_exchange_of_the_table_has_sessions_in_order(code: str) -> None:
    sessions = sessions_of(code, 2026)
    assert len(sessions) >= 230
    for before, after in pairwise(sessions):
        assert before.open_at < before.close_at <= after.open_at
        assert before.pause is None or before.open_at < before.pause[0] < before.pause[1] < before.close_at


def test_an_unknown_exchange_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(ExchangeUnknown, match="unknown exchange 'XNYX'; did you mean 'XNYS'"):
        require_exchange("XNYX")
    assert {"XNYS", "B3", "NASDAQ", "24/7", "LSE"} <= exchange_names()
    assert set(ALIASES.values()) <= set(HOURS)


class Stamp(datetime):
    """A datetime that can do what pandas' can."""

    def to_pydatetime(self) -> datetime:
        return self


class FakeLibrary(ModuleType):
    """As much of exchange-calendars as is asked for: one exchange that opens on the evening before."""

    def get_calendar_names(self, include_aliases: bool) -> list[str]:
        return ["XDAX", "XNYS"]

    def get_calendar(self, code: str) -> Any:
        return FakeCalendar("", "")


class FakeCalendar:
    tz = ZoneInfo("Asia/Tokyo")

    def __init__(self, start: str, end: str) -> None:
        self.asked = start, end

    @staticmethod
    def bound_min() -> None:
        return None

    @staticmethod
    def bound_max() -> Any:
        return Stamp(2026, 12, 31)

    @property
    def schedule(self) -> Any:
        assert self.asked == ("2015-01-01", "2026-12-31")
        columns: dict[str, Any] = {
            "open": [Stamp(2026, 1, 5, 22, tzinfo=UTC)],
            "close": [Stamp(2026, 1, 6, 6, tzinfo=UTC)],
            "break_start": [NotATime()],
            "break_end": [NotATime()],
        }
        return Schedule(columns)


class Schedule(dict[str, Any]):
    index = (Stamp(2026, 1, 6),)


class NotATime:
    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def fake_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cached = (library.is_installed, library.names, library._calendar, library._by_year, sessions_of)
    module = FakeLibrary("exchange_calendars")
    module.__spec__ = SimpleNamespace(name="exchange_calendars")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "exchange_calendars", module)
    for one in cached:
        one.cache_clear()
    yield
    for one in cached:
        one.cache_clear()


@pytest.mark.usefixtures("fake_library")
def test_the_library_gives_the_sessions_of_exchanges_that_the_table_has_not() -> None:
    require_exchange("XDAX")
    assert zone_of("XDAX") == "Asia/Tokyo"
    (session,) = sessions_of("XDAX", 2026)
    assert (session.day, session.open_at, session.close_at, session.pause) == (
        date(2026, 1, 6),
        datetime(2026, 1, 5, 22, tzinfo=UTC),
        datetime(2026, 1, 6, 6, tzinfo=UTC),
        None,
    )
    assert sessions_of("XDAX", 2027) == ()
    assert SessionCalendar("XDAX").closed_because(date(2026, 1, 7)) == "no session"
    # What the table knows comes from the table.
    assert len(sessions_of("XNYS", 2026)) == 251


def test_the_library_itself_is_read_where_it_is_installed() -> None:
    pytest.importorskip("exchange_calendars", reason="mainspring[exchanges] is not installed")
    calendar = SessionCalendar("XBKK")
    assert calendar.zone == "Asia/Bangkok"
    session = calendar.on(date(2026, 1, 5))
    assert session is not None
    assert session.open_at == datetime(2026, 1, 5, 3, tzinfo=UTC)
    assert calendar.on(date(2026, 1, 4)) is None
