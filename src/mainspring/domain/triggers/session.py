"""Fire by the sessions of an exchange: at open and close, during sessions, on the first or last one of a period."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal

from mainspring.domain.duration import duration_in_words, every_in_words, format_duration
from mainspring.domain.exchanges import LAST_YEAR, ExchangeUnknown, Session, SessionCalendar, say_day
from mainspring.domain.triggers.interval import SHORTEST
from mainspring.domain.triggers.trigger import Trigger, TriggerInvalid, utc
from mainspring.domain.triggers.words import in_zone
from mainspring.domain.zones import local_wall

Edge = Literal["open", "close"]
Which = Literal["first", "last"]
Period = Literal["week", "month", "quarter", "year"]

EDGES: Final = ("open", "close")
WHICH: Final = ("first", "last")
PERIODS: Final = ("week", "month", "quarter", "year")
_DAY: Final = timedelta(days=1)
_ZERO: Final = timedelta()
_MICROSECOND: Final = timedelta(microseconds=1)
_VERBS: Final = {"open": "opens", "close": "closes"}


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of a session: its open or close, moved by `offset`, at most a day."""

    edge: Edge
    offset: timedelta = _ZERO

    def __post_init__(self) -> None:
        """Refuse offsets of more than a day."""
        if abs(self.offset) > _DAY:
            raise TriggerInvalid(
                f"session: {self} is more than a day away from the {self.edge}; use the first or last session of a "
                "period, or cron text"
            )

    def __str__(self) -> str:
        """Return the point as it is written, such as `close - 15m`."""
        if not self.offset:
            return self.edge
        return f"{self.edge} {'-' if self.offset < _ZERO else '+'} {format_duration(abs(self.offset))}"

    def of(self, session: Session) -> datetime:
        """Return the instant of the point."""
        return (session.open_at if self.edge == "open" else session.close_at) + self.offset

    def exists_in(self, session: Session) -> bool:
        """Return whether a point counted into the session from one edge does not lie beyond the other edge."""
        if self.edge == "open":
            return self.of(session) <= session.close_at
        return self.of(session) >= session.open_at

    def in_words(self, exchange: str) -> str:
        """Return the point in words, such as `15 minutes before XNYS closes`."""
        said = f"{exchange} {_VERBS[self.edge]}"
        if not self.offset:
            return said
        return f"{duration_in_words(abs(self.offset))} {'before' if self.offset < _ZERO else 'after'} {said}"

    def to_json(self) -> dict[str, object]:
        """Return the point as JSON values; `offset_us` is in microseconds."""
        return {"edge": self.edge, "offset_us": self.offset // _MICROSECOND}


@dataclass(frozen=True, slots=True)
class Place:
    """Which sessions count: the first or last one of each week, month, quarter or year."""

    which: Which
    period: Period

    def holds(self, calendar: SessionCalendar, day: date) -> bool:
        """Return whether *day*, were it a session, would be the one."""
        if self.which == "first":
            other = calendar.before(day)
        else:
            other = next(calendar.from_day(day + _DAY), None)
        return other is None or self._key(other.day) != self._key(day)

    def in_words(self) -> str:
        """Return the place in words, such as `last session of the month`."""
        return f"{self.which} session of the {self.period}"

    def _key(self, day: date) -> tuple[int, int]:
        if self.period == "week":
            week = day.isocalendar()
            return week.year, week.week
        months = {"month": 1, "quarter": 3, "year": 12}[self.period]
        return day.year, (day.month - 1) // months


@dataclass(frozen=True, slots=True)
class SessionTrigger(Trigger):
    """Fire once in each session, at `start`, or `every` so often from `start` to `stop`.

    Without a `stop` repetitions end before the close; with one, a repetition that falls on it still fires. There is
    none during an exchange's pause at noon. A single point that a short session does not reach names nothing on that
    day; repetitions end with the session where `stop` counts from the open. With a `place` only those sessions count.
    Make one with `parse_session`.
    """

    calendar: SessionCalendar
    start: Point
    every: timedelta | None = None
    stop: Point | None = None
    place: Place | None = None

    def __post_init__(self) -> None:
        """Refuse combinations that mean nothing; the exchange may be one that this host does not know."""
        if self.every is not None and self.every < SHORTEST:
            raise TriggerInvalid(f"session: every {format_duration(self.every)} is too short; the shortest is 100ms")
        if self.stop is not None and self.every is None:
            raise TriggerInvalid("session: from … to … goes with every, such as every 30m from open to close - 10m")

    @property
    def exchange(self) -> str:
        """Return the code of the exchange."""
        return self.calendar.exchange

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire time strictly after *moment*, in UTC, or None when no later session is known.

        Raises:
            ExchangeUnknown: this host does not know the exchange.
        """
        moment = utc(moment)
        if moment.year > LAST_YEAR + 1:
            return None
        # A session may begin on the day before its name, and a point lie a day away from it.
        nearby = local_wall(self.calendar.zone, max(moment, _EARLIEST)).date() - 3 * _DAY
        best: datetime | None = None
        for session in self._sessions(nearby):
            if best is not None and self._begins(session) >= best:
                break
            found = self._first_in(session, moment)
            if found is not None and (best is None or found < best):
                best = found
            if best is not None and self.every is None:
                break
        return best

    def in_words(self) -> str:
        """Return the rule in English, with the zone of the exchange."""
        said = self._when() + (f", on the {self.place.in_words()}" if self.place is not None else "")
        own = [
            text
            for days, text in (
                (self.calendar.closed, "own closures left out"),
                (self.calendar.hours, "own hours on some days"),
            )
            if days
        ]
        return "".join([said, *(f", {text}" for text in own), self._zone_words()])

    def local_key(self, fire_at: datetime) -> str | None:
        """Return the day in the exchange's zone, where a session fires once: newer data may move its close."""
        if self.every is not None:
            return None
        # The day of the session, not that of the fire time, which an offset may push past midnight.
        return local_wall(self.calendar.zone, utc(fire_at) - self.start.offset).date().isoformat()

    def why_not(self, day: date) -> str | None:
        """Return why nothing fires on *day*, a day of the exchange, or None where something does."""
        session = self.calendar.on(day)
        if session is None:
            return f"{self.exchange} is closed on {say_day(day)}: {self.calendar.closed_because(day)}"
        if self.place is not None and not self.place.holds(self.calendar, day):
            return f"{say_day(day)} is not the {self.place.in_words()} of {self.exchange}"
        if not self.fires_in(session):
            return (
                f"{self.exchange} is open too short on {say_day(day)} for {self.start}: {session.remark or 'as usual'}"
            )
        return None

    def fires_in(self, session: Session) -> bool:
        """Return whether *session* is long enough for the rule to name an instant in it."""
        return self._first_in(session, self._begins(session) - _MICROSECOND) is not None

    def left_out(self, after: datetime, until: datetime) -> Iterator[tuple[date, str]]:
        """Yield the days between two instants that the rule would name if the exchange were open as usual."""
        zone = self.calendar.zone
        day, end = local_wall(zone, utc(after)).date(), local_wall(zone, utc(until)).date()
        while day <= end:
            reason = self._left_out(day)
            if reason is not None:
                yield day, reason
            day += _DAY

    def remark(self, fire_at: datetime) -> str:
        """Return what is special about the session of a fire time, such as `half-day, closes at 13:00`."""
        day = local_wall(self.calendar.zone, utc(fire_at)).date()
        for session in map(self.calendar.on, (day, day - _DAY, day + _DAY)):
            if session is not None and self._first_in(session, utc(fire_at) - _MICROSECOND) == fire_at:
                return session.remark
        return ""

    def to_json(self) -> dict[str, object]:
        """Return the rule as JSON values; `every_us` is in microseconds."""
        return {
            "kind": "session",
            "exchange": self.exchange,
            "start": self.start.to_json(),
            "every_us": None if self.every is None else self.every // _MICROSECOND,
            "stop": None if self.stop is None else self.stop.to_json(),
            "place": None if self.place is None else {"which": self.place.which, "period": self.place.period},
            "closed": {day.isoformat(): label for day, label in self.calendar.closed},
            "hours": {day.isoformat(): [a.isoformat(), b.isoformat()] for day, a, b in self.calendar.hours},
        }

    def _sessions(self, day: date) -> Iterator[Session]:
        for session in self.calendar.from_day(day):
            if self.place is None or self.place.holds(self.calendar, session.day):
                yield session

    def _begins(self, session: Session) -> datetime:
        begin = self.start.of(session)
        if self.every is not None and self.start.edge == "close":
            return max(begin, session.open_at)
        return begin

    def _last(self, session: Session) -> datetime:
        """Return the instant that no repetition may lie beyond."""
        if self.stop is None:
            return session.close_at - _MICROSECOND
        end = self.stop.of(session)
        return min(end, session.close_at) if self.stop.edge == "open" else end

    def _first_in(self, session: Session, moment: datetime) -> datetime | None:
        """Return the first fire time of *session* after *moment*, or None."""
        if self.every is None:
            found = self.start.of(session)
            return found if found > moment and self.start.exists_in(session) else None
        begin = self._begins(session)
        found = begin + max((moment - begin) // self.every + 1, 0) * self.every
        if session.pause is not None and session.pause[0] <= found < session.pause[1]:
            found = begin - (begin - session.pause[1]) // self.every * self.every
        return found if found <= self._last(session) else None

    def _left_out(self, day: date) -> str | None:
        if self.calendar.on(day) is not None:
            return self.why_not(day) if self.place is None else None
        if day.weekday() >= 5 and day not in dict(self.calendar.closed):
            return None
        if self.place is not None and not self.place.holds(self.calendar, day):
            return None
        return f"{self.exchange} is closed: {self.calendar.closed_because(day)}"

    def _when(self) -> str:
        if self.every is None:
            said = self.start.in_words(self.exchange)
            return said if self.start.offset else f"when {said}"
        often = f"every {every_in_words(self.every)}"
        if self.stop is None and self.start == Point("open"):
            return f"{often} while {self.exchange} is open"
        end = "" if self.stop is None else f" to {self.stop.in_words('it')}"
        return f"{often} from {self.start.in_words(self.exchange)}{end or ' until it closes'}"

    def _zone_words(self) -> str:
        try:
            return in_zone(self.calendar.zone)
        except ExchangeUnknown:
            return ""


_EARLIEST: Final = datetime.fromisoformat("1999-12-01T00:00+00:00")
