"""Put an exchange and its owner's own closures and hours together: the sessions that a schedule goes by."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import lru_cache
from typing import Final

from mainspring.domain.exchanges.days import (
    FIRST_YEAR,
    LAST_YEAR,
    canonical_name,
    closed_because,
    make_session,
    sessions_of,
    zone_of,
)
from mainspring.domain.exchanges.hours import Hours
from mainspring.domain.exchanges.session import Session

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SessionCalendar:
    """The sessions of an exchange, without the days in `closed`, and with the own `hours` of single days.

    `closed` holds days with their labels, `hours` days with opening and close in the exchange's zone; such a day is a
    session even where the exchange itself is closed.
    """

    exchange: str
    closed: tuple[tuple[date, str], ...] = ()
    hours: tuple[tuple[date, time, time], ...] = ()

    def __post_init__(self) -> None:
        """Bring equal calendars to equal values."""
        object.__setattr__(self, "exchange", canonical_name(self.exchange))
        object.__setattr__(self, "closed", tuple(sorted(self.closed)))
        object.__setattr__(self, "hours", tuple(sorted(self.hours)))

    @property
    def zone(self) -> str:
        """Return the time zone of the exchange."""
        return zone_of(self.exchange)

    def of_year(self, year: int) -> tuple[Session, ...]:
        """Return the sessions whose day lies in *year*, in order."""
        if not self.closed and not self.hours:
            return sessions_of(self.exchange, year)
        return _with_own_days(self, year)

    def from_day(self, day: date) -> Iterator[Session]:
        """Yield the sessions of *day* and all later ones, as far as they are known."""
        for year in range(max(day.year, FIRST_YEAR), LAST_YEAR + 1):
            sessions = self.of_year(year)
            yield from sessions[bisect_left(sessions, day, key=_day_of) :]

    def before(self, day: date) -> Session | None:
        """Return the last session before *day*, or None where none is known within a year."""
        for year in (day.year, day.year - 1):
            sessions = self.of_year(year)
            place = bisect_left(sessions, day, key=_day_of)
            if place:
                return sessions[place - 1]
        return None

    def on(self, day: date) -> Session | None:
        """Return the session of *day*, or None where it is closed."""
        sessions = self.of_year(day.year)
        place = bisect_left(sessions, day, key=_day_of)
        return sessions[place] if place < len(sessions) and sessions[place].day == day else None

    def closed_because(self, day: date) -> str | None:
        """Return why *day* is no session, such as `Thanksgiving Day`; None where it is one."""
        if self.on(day) is not None:
            return None
        return dict(self.closed).get(day) or closed_because(self.exchange, day)


def _day_of(session: Session) -> date:
    return session.day


@lru_cache(maxsize=4096)
def _with_own_days(calendar: SessionCalendar, year: int) -> tuple[Session, ...]:
    closed = {day for day, _ in calendar.closed}
    found = {session.day: session for session in sessions_of(calendar.exchange, year) if session.day not in closed}
    for day, opening, close in calendar.hours:
        if day.year == year:
            remark = f"own hours, {opening:%H:%M} to {close:%H:%M}"
            found[day] = make_session(day, Hours(calendar.zone, opening, close, remark=remark))
    return tuple(found[day] for day in sorted(found))
