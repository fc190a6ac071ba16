"""Read session rules as people write them: `close - 15m`, `every 5m while open`, `open + 5m on the first session …`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from typing import Final

from mainspring.domain.duration import format_duration, parse_duration
from mainspring.domain.exchanges import SessionCalendar, require_exchange
from mainspring.domain.exchanges.days import canonical_name
from mainspring.domain.triggers.session import PERIODS, Place, Point, SessionTrigger
from mainspring.domain.triggers.trigger import TriggerInvalid
from mainspring.errors import InvalidInput, UnknownName, unknown_name

_PLACE: Final = re.compile(r"\W*\b(?:on )?(?:the )?(first|last) session of (?:the |each |every )?(\w+)\W*")
_EVERY: Final = re.compile(r"every (.+?)( while open)?(?: from (.+?))?(?: to (.+?))?")
_POINT: Final = re.compile(r"(open|close)(?:\s*([+-])\s*(\S.*))?")
_HOURS: Final = re.compile(r"(\d{1,2}:\d\d)\s*-\s*(\d{1,2}:\d\d)")
_KEYS: Final = ("exchange", "at", "closed", "hours")
_FORMS: Final = (
    'write "open + 5m", "close - 15m", "every 5m while open", "every 30m from open + 10m to close - 10m" or '
    '"close + 30m on the last session of the month"'
)
_USUAL_YEAR: Final = 2025
"""Its sessions say how long an exchange is open."""

OwnCalendars = Mapping[str, Mapping[date, str]]


def parse_session(written: object, own_calendars: OwnCalendars | None = None) -> SessionTrigger:
    """Return the trigger that a schedule's `session` says.

    It is text that begins with the exchange, such as `XNYS close - 15m`, or a mapping with the keys `exchange`, `at`,
    `closed` (names of *own_calendars* whose days are no sessions) and `hours` (days with hours of one's own).

    Raises:
        InvalidInput: it cannot be read, no exchange has that name, or it would never fire; the message says which.
    """
    body = split_session(written) if isinstance(written, str) else written
    if not isinstance(body, Mapping):
        raise TriggerInvalid(f'session {written!r}: write text such as "XNYS close - 15m", or a mapping')
    for key in body:
        if key not in _KEYS:
            raise TriggerInvalid("session: " + unknown_name("key", str(key), _KEYS))
    exchange = body.get("exchange")
    if not isinstance(exchange, str) or not exchange.strip():
        raise TriggerInvalid("session: exchange is missing; write its code, such as XNYS or B3")
    code = canonical_name(exchange)
    _require(code, exchange)
    closed = _closures(body.get("closed"), own_calendars or {})
    trigger = _rule(body.get("at"), SessionCalendar(code, closed, _own_hours(body.get("hours"))))
    _refuse_what_never_fires(trigger)
    return trigger


def split_session(text: str) -> dict[str, str]:
    """Return the short form of a session rule, such as `XNYS close - 15m`, as exchange and rule."""
    exchange, _, rule = text.strip().partition(" ")
    return {"exchange": exchange.rstrip(":,"), "at": rule}


def _require(code: str, written: str) -> None:
    try:
        require_exchange(code)
    except InvalidInput as error:
        raise TriggerInvalid(f"session: {str(error).replace(repr(code), repr(written), 1)}") from None


def _rule(written: object, calendar: SessionCalendar) -> SessionTrigger:
    if not isinstance(written, str) or not written.strip():
        raise TriggerInvalid(f"session: it is not said when; {_FORMS}")
    text = " ".join(written.lower().replace("−", "-").replace("–", "-").split())
    place = None
    if (found := _PLACE.search(text)) is not None:
        place = _place(found[1], found[2])
        text = f"{text[: found.start()]} {text[found.end() :]}".strip()
    if (repeated := _EVERY.fullmatch(text)) is not None:
        return _repeated(repeated, calendar, place)
    return SessionTrigger(calendar, _point(text, written), place=place)


def _repeated(found: re.Match[str], calendar: SessionCalendar, place: Place | None) -> SessionTrigger:
    every = _duration(found[1])
    start = Point("open") if found[3] is None else _point(found[3], found[0])
    stop = None if found[4] is None else _point(found[4], found[0])
    if every > timedelta(days=1):
        raise TriggerInvalid(f"session: every {format_duration(every)} is longer than a day; leave out every")
    return SessionTrigger(calendar, start, every, stop, place)


def _place(which: str, period: str) -> Place:
    if period not in PERIODS:
        raise TriggerInvalid(f"session: {which} session of the {period}: write week, month, quarter or year")
    return Place("first" if which == "first" else "last", period)  # type: ignore[arg-type]  # it is one of them


def _point(text: str, written: str) -> Point:
    found = _POINT.fullmatch(text)
    if found is None:
        raise TriggerInvalid(f"session: {written.strip()!r} cannot be read; {_FORMS}")
    offset = timedelta() if found[3] is None else _duration(found[3])
    return Point("open" if found[1] == "open" else "close", -offset if found[2] == "-" else offset)


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except InvalidInput as error:
        raise TriggerInvalid(f"session: {error}") from None


def _closures(names: object, own: OwnCalendars) -> tuple[tuple[date, str], ...]:
    listed = () if names is None else names
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        raise TriggerInvalid("session: closed: write a list of calendars of your own, such as [my-closures]")
    days: dict[date, str] = {}
    for name in listed:
        if name not in own:
            error = UnknownName("calendar of your own", str(name), own)
            raise TriggerInvalid(f"session: closed: {error}; built-in ones go under calendars: exclude")
        days |= own[name]
    return tuple(days.items())


def _own_hours(written: object) -> tuple[tuple[date, time, time], ...]:
    days = {} if written is None else written
    if not isinstance(days, Mapping):
        raise TriggerInvalid('session: hours: write days with hours, such as {2026-12-24: "09:30-12:00"}')
    return tuple(_hours_of(day, span) for day, span in days.items())


def _hours_of(day: object, span: object) -> tuple[date, time, time]:
    found = _HOURS.fullmatch(str(span).strip())
    try:
        if found is None:
            raise ValueError
        when = day if isinstance(day, date) else date.fromisoformat(str(day))
        opening, close = (time.fromisoformat(text.zfill(5)) for text in found.groups())
    except ValueError:
        raise TriggerInvalid(
            f'session: hours: {day}: {span} cannot be read; write a day with hours, such as 2026-12-24: "09:30-12:00"'
        ) from None
    if opening >= close:
        raise TriggerInvalid(f"session: hours: {day}: {span} closes before it opens")
    return when, opening, close


def _refuse_what_never_fires(trigger: SessionTrigger) -> None:
    usual = SessionCalendar(trigger.exchange).of_year(_USUAL_YEAR)
    longest = max((session.close_at - session.open_at for session in usual), default=timedelta())
    span = f"a session of {trigger.exchange} is {format_duration(longest)} long"
    for point in (trigger.start, trigger.stop):
        if point is not None and usual and not any(point.exists_in(session) for session in usual):
            side, other = ("after", "close") if point.edge == "open" else ("before", "open")
            raise TriggerInvalid(f"session: {point} lies {side} the {other}: {span}; count from the {other} instead")
    if usual and not any(trigger.fires_in(session) for session in usual):
        raise TriggerInvalid(f"session: never fires: {span}, and nothing lies between its start and its end")
