"""Days that schedules keep or leave out."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime

import pytest

from mainspring.domain.calendars import CalendarBook, CalendarInvalid, CalendarRule, calendar_versions, own_calendar
from mainspring.errors import UnknownName

CHRISTMAS = date(2026, 12, 25)  # a Friday
BOOK = CalendarBook({"stocktaking": own_calendar("stocktaking", [{"date": date(2026, 12, 28), "name": "Stocktaking"}])})


@pytest.mark.parametrize(
    ("calendar", "day", "reason"),
    [
        ("BVMF", CHRISTMAS, "Christmas Day (BVMF)"),
        ("B3", CHRISTMAS, "Christmas Day (B3)"),
        ("B3", date(2026, 2, 16), "Carnival (B3)"),
        ("B3", date(2026, 12, 24), "Christmas Eve (B3)"),
        ("XNYS", date(2026, 11, 26), "Thanksgiving Day (XNYS)"),
        ("NYSE", date(2026, 7, 3), "Independence Day (observed) (NYSE)"),
        ("BR", date(2026, 9, 7), "Independence Day (BR)"),
        ("BR-SP", date(2026, 7, 9), "Constitutionalist Revolution (BR-SP)"),
        ("US", date(2026, 7, 4), "Independence Day (US)"),
        ("DE-BY", date(2026, 1, 6), "Epiphany (DE-BY)"),
        ("weekends", date(2026, 12, 26), "Saturday (weekends)"),
        ("weekdays", CHRISTMAS, "Friday (weekdays)"),
        ("stocktaking", date(2026, 12, 28), "Stocktaking (stocktaking)"),
    ],
)
def test_an_excluded_day_is_refused_with_its_name(calendar, day, reason):
    assert CalendarRule(exclude=(calendar,)).refusal(day, BOOK) == reason


@pytest.mark.parametrize(
    ("calendar", "day"),
    [("B3", date(2026, 12, 23)), ("NYSE", date(2026, 2, 17)), ("BR", date(2026, 7, 9)), ("weekends", CHRISTMAS)],
)
def test_other_days_are_not_refused(calendar, day):
    assert CalendarRule(exclude=(calendar,)).refusal(day) is None


def test_only_included_days_pass():
    rule = CalendarRule(include=("weekdays",), exclude=("B3", "stocktaking"))
    assert rule.refusal(date(2026, 12, 26), BOOK) == "Saturday 2026-12-26 is not in weekdays"
    assert rule.refusal(CHRISTMAS, BOOK) == "Christmas Day (B3)"
    assert rule.refusal(date(2026, 12, 28), BOOK) == "Stocktaking (stocktaking)"
    assert rule.refusal(date(2026, 12, 29), BOOK) is None


def test_a_day_in_one_of_several_included_calendars_passes():
    rule = CalendarRule(include=("weekends", "BR"))
    assert rule.refusal(CHRISTMAS) is None
    assert rule.refusal(date(2026, 12, 26)) is None
    assert rule.refusal(date(2026, 12, 23)) == "Wednesday 2026-12-23 is not in weekends or BR"


def test_a_rule_without_calendars_is_false_and_refuses_nothing():
    assert not CalendarRule()
    assert CalendarRule(exclude=("B3",))
    assert CalendarRule().refusal(CHRISTMAS) is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("BVFM", "BVMF"), ("BR-SPP", "BR-SP"), ("wekends", "weekends"), ("stocktakin", "stocktaking"), ("b3", "B3")],
)
def test_an_unknown_calendar_is_refused_with_the_nearest_name(name, nearest):
    rule = CalendarRule(include=("weekdays",), exclude=(name,))
    with pytest.raises(UnknownName) as refused:
        rule.require_known(BOOK)
    assert str(refused.value) == f"unknown calendar {name!r}; did you mean {nearest!r}?"
    with pytest.raises(UnknownName):
        rule.refusal(CHRISTMAS, BOOK)


def test_own_calendars_are_lists_of_dates():
    written = [date(2026, 12, 24), "2026-12-28", {"date": "2026-12-31", "name": "Closed for stocktaking"}]
    assert own_calendar("closures", written) == {
        date(2026, 12, 24): "closed",
        date(2026, 12, 28): "closed",
        date(2026, 12, 31): "Closed for stocktaking",
    }


@pytest.mark.parametrize(
    ("name", "days", "message"),
    [
        ("B3", [], "calendar 'B3': the name is that of a built-in calendar; choose another"),
        ("mine", "2026-12-24", "calendar 'mine': write a list of dates, such as [2026-12-24, 2026-12-31]"),
        ("mine", 5, "calendar 'mine': write a list of dates, such as [2026-12-24, 2026-12-31]"),
        ("mine", ["24.12.2026"], "calendar 'mine': '24.12.2026' is not a date; write it as 2026-12-31"),
        (
            "mine",
            [datetime(2026, 12, 24, 9)],
            "calendar 'mine': datetime.datetime(2026, 12, 24, 9, 0) is not a date; write it as 2026-12-31",
        ),
        (
            "mine",
            [{"day": "2026-12-24"}],
            "calendar 'mine': {'day': '2026-12-24'} must have the key date, may have name, and no other",
        ),
        ("mine", [{"date": "2026-12-24", "name": 5}], "calendar 'mine': the name of 2026-12-24 is not text: 5"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(name, days, message):
    with pytest.raises(CalendarInvalid) as refused:
        own_calendar(name, days)
    assert str(refused.value) == message


def test_versions_of_the_data_are_known():
    versions = calendar_versions()
    assert set(versions) - {"exchange-calendars"} == {"exchanges", "holidays", "tzdata"}
    assert all(versions.values())


def test_the_holidays_are_loaded_only_when_asked_for():
    code = "import sys, mainspring.domain.calendars; print({'holidays', 'exchange_calendars'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
