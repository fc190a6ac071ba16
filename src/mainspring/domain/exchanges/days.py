"""Know the sessions of an exchange, year by year: days from the libraries, hours from our table where it has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

from mainspring.domain.exchanges import library
from mainspring.domain.exchanges.hours import ALIASES, ALL_HOURS, HOURS, Hours, hours_on
from mainspring.domain.exchanges.session import Session
from mainspring.domain.market_days import market_days
from mainspring.domain.zones import instant_of
from mainspring.errors import InvalidInput, nearest, unknown_name

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2099
"""Sessions are known within these years; no data about holidays reaches farther."""
_DAY: Final = timedelta(days=1)
_DAY_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class ExchangeUnknown(InvalidInput):
    """No exchange has that name, or what knows it is not installed here."""

    def __init__(self, name: str) -> None:
        said = unknown_name("exchange", name, exchange_names())
        if not library.is_installed() and nearest(name, exchange_names()) is None:
            said += "; more exchanges are known with mainspring[exchanges] installed"
        super().__init__(said)
        self.name = name


def canonical_name(name: str) -> str:
    """Return the code of an exchange whatever it is called: `B3` is BVMF. Names of the library stay as they are."""
    folded = name.strip().upper()
    return ALIASES.get(folded, folded if folded in HOURS else name.strip())


def exchange_names() -> frozenset[str]:
    """Return the names of all exchanges that are known here."""
    return frozenset(HOURS) | frozenset(ALIASES) | library.names()


def require_exchange(name: str) -> None:
    """Raise `ExchangeUnknown`, with the nearest name, when the exchange called *name* is not known here."""
    if name not in HOURS and name not in library.names():
        raise ExchangeUnknown(name)


def zone_of(name: str) -> str:
    """Return the time zone of the exchange called *name*.

    Raises:
        ExchangeUnknown: it is not known here.
    """
    code = canonical_name(name)
    require_exchange(code)
    return HOURS[code].zone if code in HOURS else library.zone_of(code)


@lru_cache(maxsize=4096)
def sessions_of(code: str, year: int) -> tuple[Session, ...]:
    """Return the sessions of an exchange whose day lies in *year*, in order; none outside the years that are known.

    Raises:
        ExchangeUnknown: it is not known here.
    """
    require_exchange(code)
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return ()
    if code not in HOURS:
        return library.sessions_of(code, year)
    days = tuple(_trading_days(code, year))
    half = _half_days(code, year)
    return tuple(make_session(day, hours_on(code, day, days, day in half)) for day in days)


def make_session(day: date, hours: Hours) -> Session:
    """Return the session of *day* with these hours; a close that is not after the opening is on the next day."""
    end = day if hours.close > hours.open else day + _DAY
    pause = None
    if hours.pause is not None:
        first, last = (instant_of(hours.zone, datetime.combine(day, at)) for at in hours.pause)
        pause = first, last
    return Session(
        day,
        instant_of(hours.zone, datetime.combine(day, hours.open)),
        instant_of(hours.zone, datetime.combine(end, hours.close)),
        pause,
        hours.remark,
    )


def closed_because(code: str, day: date) -> str:
    """Return why *day* is no session of the exchange, such as `Thanksgiving Day` or `Saturday`."""
    if day.weekday() >= 5:
        return _DAY_NAMES[day.weekday()]
    if code not in HOURS or not FIRST_YEAR <= day.year <= LAST_YEAR:
        return "no session"
    return _closed_days(code, day.year).get(day, "no session")


def _trading_days(code: str, year: int) -> Iterator[date]:
    closed = _closed_days(code, year)
    day = date(year, 1, 1)
    while day.year == year:
        if code == ALL_HOURS or (day.weekday() < 5 and day not in closed):
            yield day
        day += _DAY


def _closed_days(code: str, year: int) -> Mapping[date, str]:
    return {} if code == ALL_HOURS else market_days(HOURS[code].holidays or code, year)


def _half_days(code: str, year: int) -> Mapping[date, str]:
    return {} if HOURS[code].half_close is None else market_days(HOURS[code].holidays or code, year, "half_day")
