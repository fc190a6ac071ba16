"""Know special days: holidays of countries and exchanges, weekends, weekdays and lists of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

from mainspring.domain.exchanges.hours import HOURS_VERSION
from mainspring.domain.exchanges.library import library_version
from mainspring.domain.market_days import holidays_version, language_of, market_days
from mainspring.domain.zones import tzdata_version
from mainspring.errors import InvalidInput, UnknownName

WEEKDAYS: Final = "weekdays"
WEEKENDS: Final = "weekends"
_DAY_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EXCHANGE_ALIASES: Final = {"B3": "BVMF", "NYSE": "XNYS"}


class CalendarInvalid(InvalidInput):
    """A calendar of one's own cannot be used."""


class CalendarBook:
    """Names of calendars and the days they hold. A calendar is a set of days; a country's or exchange's, its holidays.

    *lists* are the owner's calendars: name to days with labels. They may not take the name of a built-in one.
    """

    __slots__ = ("_lists",)

    def __init__(self, lists: Mapping[str, Mapping[date, str]] | None = None) -> None:
        self._lists = lists or {}

    def require(self, name: str) -> None:
        """Raise `UnknownName`, with the nearest valid name, when no calendar is called *name*."""
        if name not in self._lists and not _is_built_in(name):
            raise UnknownName("calendar", name, self.names())

    def names(self) -> frozenset[str]:
        """Return all names: own lists, `weekdays`, `weekends`, exchanges, countries and their subdivisions."""
        return frozenset(self._lists) | built_in_names()

    def label(self, name: str, day: date) -> str | None:
        """Return what *day* is in the calendar *name*, such as `Christmas Day`, or None when it is not in it."""
        if name in self._lists:
            return self._lists[name].get(day)
        if name in (WEEKDAYS, WEEKENDS):
            return _DAY_NAMES[day.weekday()] if (day.weekday() >= 5) == (name == WEEKENDS) else None
        self.require(name)
        return _holidays(name, day.year).get(day)


_NO_LISTS: Final = CalendarBook()


@dataclass(frozen=True, slots=True)
class CalendarRule:
    """Which days a schedule keeps to: those in one of the `include` calendars, none of the `exclude` calendars."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether the rule bars any day at all."""
        return bool(self.include or self.exclude)

    def refusal(self, day: date, book: CalendarBook = _NO_LISTS) -> str | None:
        """Return why *day* is barred, in words such as `Christmas Day (BVMF)`, or None when it is not.

        Raises:
            UnknownName: a calendar of the rule is neither built in nor in *book*.
        """
        for name in self.exclude:
            label = book.label(name, day)
            if label is not None:
                return f"{label} ({name})"
        if self.include and all(book.label(name, day) is None for name in self.include):
            return f"{_DAY_NAMES[day.weekday()]} {day.isoformat()} is not in {' or '.join(self.include)}"
        return None

    def require_known(self, book: CalendarBook = _NO_LISTS) -> None:
        """Raise `UnknownName` for the first calendar that is neither built in nor in *book*."""
        for name in (*self.include, *self.exclude):
            book.require(name)


def own_calendar(name: str, days: object) -> dict[date, str]:
    """Return the list *days* of the calendar *name* as days with labels.

    A member is a date, ISO text, or a mapping `{date: 2026-12-31, name: "Closed for stocktaking"}`.

    Raises:
        CalendarInvalid: the name is taken or a member cannot be read.
    """
    if not name or not isinstance(name, str):
        raise CalendarInvalid(f"calendar name {name!r} is not text")
    if _is_built_in(name):
        raise CalendarInvalid(f"calendar {name!r}: the name is that of a built-in calendar; choose another")
    if isinstance(days, (str, Mapping)) or not isinstance(days, Iterable):
        raise CalendarInvalid(f"calendar {name!r}: write a list of dates, such as [2026-12-24, 2026-12-31]")
    return dict(_own_day(name, member) for member in days)


def _own_day(name: str, member: object) -> tuple[date, str]:
    label: object = "closed"
    written = member
    if isinstance(member, Mapping):
        extra = sorted(str(key) for key in member if key not in ("date", "name"))
        if extra or "date" not in member:
            raise CalendarInvalid(
                f"calendar {name!r}: {dict(member)!r} must have the key date, may have name, and no other"
            )
        written, label = member["date"], member.get("name", "closed")
    if isinstance(written, str):
        try:
            written = date.fromisoformat(written.strip())
        except ValueError:
            pass
    # A datetime is a date too, but its time would be lost in silence.
    if type(written) is not date:
        raise CalendarInvalid(f"calendar {name!r}: {written!r} is not a date; write it as 2026-12-31")
    if not isinstance(label, str) or not label:
        raise CalendarInvalid(f"calendar {name!r}: the name of {written} is not text: {label!r}")
    return written, label


def calendar_versions() -> dict[str, str]:
    """Return the versions of the data that fire times and calendars are computed from.

    These are `holidays`, `tzdata`, our table of trading hours, and `exchange-calendars` where it is installed.
    """
    known = {"exchanges": HOURS_VERSION, "holidays": holidays_version(), "tzdata": tzdata_version()}
    library = library_version()
    return known if library is None else {"exchange-calendars": library, **known}


@lru_cache(maxsize=1)
def _exchanges() -> frozenset[str]:
    import holidays  # takes 70 ms: only for those who use its calendars

    return frozenset(holidays.list_supported_financial(include_aliases=True)) | frozenset(_EXCHANGE_ALIASES)


@lru_cache(maxsize=1)
def _countries() -> Mapping[str, frozenset[str]]:
    import holidays  # takes 70 ms: only for those who use its calendars

    return {code: frozenset(parts) for code, parts in holidays.list_supported_countries(include_aliases=False).items()}


@lru_cache(maxsize=1)
def built_in_names() -> frozenset[str]:
    """Return the names of the calendars that need no list."""
    parts = {f"{code}-{part}" for code, inside in _countries().items() for part in inside}
    return frozenset({WEEKDAYS, WEEKENDS}) | _exchanges() | frozenset(_countries()) | parts


def _is_built_in(name: str) -> bool:
    return name in (WEEKDAYS, WEEKENDS) or name in built_in_names()


@lru_cache(maxsize=4096)
def _holidays(name: str, year: int) -> Mapping[date, str]:
    if name in _exchanges():
        return market_days(_EXCHANGE_ALIASES.get(name, name), year)
    import holidays  # takes 70 ms: only for those who use its calendars

    country, _, part = name.partition("-")
    language = language_of(country, financial=False)
    return dict(holidays.country_holidays(country, subdiv=part or None, years=year, language=language))
