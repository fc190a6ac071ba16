"""Read triggers back from the JSON form in which they are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from mainspring.domain.exchanges import SessionCalendar
from mainspring.domain.triggers.calendar_interval import CalendarIntervalTrigger
from mainspring.domain.triggers.cron import CronTrigger
from mainspring.domain.triggers.cron_fields import FieldsTrigger
from mainspring.domain.triggers.dst import DstRule
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.domain.triggers.once import DateTrigger
from mainspring.domain.triggers.session import Place, Point, SessionTrigger
from mainspring.domain.triggers.trigger import Trigger, TriggerInvalid
from mainspring.errors import unknown_name


def trigger_from_json(body: Mapping[str, Any]) -> Trigger:
    """Return the trigger whose `to_json` gave *body*.

    Raises:
        TriggerInvalid: *body* is not what a trigger writes.
    """
    if not isinstance(body, Mapping):
        raise TriggerInvalid(f"stored trigger {body!r} is not a mapping")
    kind = body.get("kind")
    if not isinstance(kind, str) or kind not in _READERS:
        raise TriggerInvalid("stored trigger: " + unknown_name("kind", str(kind), _READERS))
    try:
        return _READERS[kind](body)
    except KeyError as missing:
        raise TriggerInvalid(f"stored trigger of kind {kind!r} lacks {missing}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TriggerInvalid(f"stored trigger of kind {kind!r} cannot be read: {error}") from None


def _cron(body: Mapping[str, Any]) -> Trigger:
    return CronTrigger(body["text"], body["zone"], DstRule.from_json(body["dst"]), body.get("seed", ""))


def _fields(body: Mapping[str, Any]) -> Trigger:
    return FieldsTrigger(tuple(body["fields"].items()), body["zone"], DstRule.from_json(body["dst"]))


def _interval(body: Mapping[str, Any]) -> Trigger:
    return IntervalTrigger(timedelta(microseconds=body["every_us"]), datetime.fromisoformat(body["anchor"]))


def _calendar(body: Mapping[str, Any]) -> Trigger:
    return CalendarIntervalTrigger(
        count=body["count"],
        unit=body["unit"],
        at=time.fromisoformat(body["at"]),
        anchor=date.fromisoformat(body["anchor"]),
        day=body["day"],
        short_month=body["short_month"],
        zone=body["zone"],
        dst=DstRule.from_json(body["dst"]),
    )


def _date(body: Mapping[str, Any]) -> Trigger:
    return DateTrigger(datetime.fromisoformat(body["at"]), body["zone"])


def _session(body: Mapping[str, Any]) -> Trigger:
    place, every = body["place"], body["every_us"]
    return SessionTrigger(
        calendar=SessionCalendar(
            body["exchange"],
            tuple((date.fromisoformat(day), label) for day, label in body["closed"].items()),
            tuple(
                (date.fromisoformat(day), time.fromisoformat(opening), time.fromisoformat(close))
                for day, (opening, close) in body["hours"].items()
            ),
        ),
        start=_point(body["start"]),
        every=None if every is None else timedelta(microseconds=every),
        stop=None if body["stop"] is None else _point(body["stop"]),
        place=None if place is None else Place(place["which"], place["period"]),
    )


def _point(body: Mapping[str, Any]) -> Point:
    return Point(body["edge"], timedelta(microseconds=body["offset_us"]))


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Trigger]]] = {
    "cron": _cron,
    "fields": _fields,
    "interval": _interval,
    "calendar": _calendar,
    "date": _date,
    "session": _session,
}
