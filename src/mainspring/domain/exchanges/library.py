"""Ask `exchange-calendars`, where it is installed, for the sessions of exchanges that our own table does not hold."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Final

from mainspring.domain.exchanges.session import Session

_FIRST_DAY: Final = "2015-01-01"
_LAST_DAY: Final = "2059-12-31"


@lru_cache(maxsize=1)
def is_installed() -> bool:
    """Return whether the library is installed; it is not imported for that."""
    return find_spec("exchange_calendars") is not None


def library_version() -> str | None:
    """Return the version of the library, or None where it is not installed."""
    try:
        return version("exchange-calendars")
    except PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Return the names of the exchanges that the library knows; none where it is not installed."""
    if not is_installed():
        return frozenset()
    import exchange_calendars  # takes half a second and brings pandas: only for those who use it

    return frozenset(exchange_calendars.get_calendar_names(include_aliases=True))


def zone_of(code: str) -> str:
    """Return the time zone of an exchange that the library knows."""
    return str(_calendar(code).tz)


def sessions_of(code: str, year: int) -> tuple[Session, ...]:
    """Return the sessions of a year; none outside what the library has data for."""
    return _by_year(code).get(year, ())


@lru_cache(maxsize=64)
def _calendar(code: str) -> Any:
    import exchange_calendars

    with warnings.catch_warnings():
        # What it does with pandas is for its authors to mend.
        warnings.simplefilter("ignore")
        kind = type(exchange_calendars.get_calendar(code))
        first, last = kind.bound_min(), kind.bound_max()
        start = _FIRST_DAY if first is None else max(_FIRST_DAY, first.date().isoformat())
        end = _LAST_DAY if last is None else min(_LAST_DAY, last.date().isoformat())
        return kind(start=start, end=end)


@lru_cache(maxsize=64)
def _by_year(code: str) -> Mapping[int, tuple[Session, ...]]:
    found: dict[int, list[Session]] = {}
    schedule = _calendar(code).schedule
    columns = ("open", "close", "break_start", "break_end")
    for day, *times in zip(schedule.index, *(schedule[name] for name in columns), strict=True):
        opening, closing, first, last = (None if moment is None else _instant(moment) for moment in times)
        if opening is None or closing is None:
            continue
        pause = None if first is None or last is None else (first, last)
        found.setdefault(day.year, []).append(Session(day.date(), opening, closing, pause))
    return {year: tuple(sessions) for year, sessions in found.items()}


def _instant(moment: Any) -> datetime | None:
    # What is missing is not equal to itself.
    return moment.to_pydatetime().astimezone(UTC) if moment == moment else None
