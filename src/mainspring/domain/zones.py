"""Know the time zones: always those of the `tzdata` package, so that every host computes the same fire times."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import NamedTuple
from zoneinfo import ZoneInfo

from mainspring.errors import UnknownName

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


class Shift(NamedTuple):
    """A change of a zone's offset from UTC: a gap in local time when it grows, a fold when it shrinks."""

    at: datetime
    """The instant of the change, as a naive UTC datetime."""
    before: timedelta
    after: timedelta


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the names of all zones."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return the zone called *name*, read from the `tzdata` package and never from the system's files.

    Raises:
        UnknownName: no zone has that name; the message gives the nearest one.
    """
    if name not in zone_names():
        raise UnknownName("time zone", name, zone_names())
    data = resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    return ZoneInfo.from_file(io.BytesIO(data), key=name)


@lru_cache(maxsize=1)
def tzdata_version() -> str:
    """Return the IANA version of the zone data in use, such as `2026f`; later versions sort later."""
    with resources.files("tzdata").joinpath("zoneinfo", "tzdata.zi").open(encoding="utf-8") as source:
        return source.readline().removeprefix("# version").strip()


@lru_cache(maxsize=65536)
def shifts_around(name: str, year: int) -> tuple[Shift, ...]:
    """Return the changes of offset from three days before the UTC year *year* to three days after it, in order.

    A daily look finds them all: no zone has changed its offset twice within two days since 1970 (a test says so).
    """
    seen = zone(name)
    found: list[Shift] = []
    at = datetime(year, 1, 1) - 3 * _DAY
    end = datetime(year + 1, 1, 1) + 3 * _DAY
    before = _offset(seen, at)
    while at < end:
        after = _offset(seen, at + _DAY)
        if after != before:
            found.append(Shift(_first_with(after, seen, at, at + _DAY), before, after))
        at, before = at + _DAY, after
    return tuple(found)


def offset_at(name: str, moment: datetime) -> timedelta:
    """Return the offset from UTC that zone *name* has at *moment*, a naive UTC datetime."""
    return _offset(zone(name), moment)


def _offset(where: ZoneInfo, moment: datetime) -> timedelta:
    return where.fromutc(moment.replace(tzinfo=where)).replace(tzinfo=None) - moment


def _first_with(offset: timedelta, where: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Return the first second in (low, high] that has *offset*, which *high* has and *low* has not."""
    while high - low > _SECOND:
        middle = low + _SECOND * ((high - low) // _SECOND // 2)
        if _offset(where, middle) == offset:
            high = middle
        else:
            low = middle
    return high


def local_wall(name: str, moment: datetime) -> datetime:
    """Return the naive local wall time in zone *name* at the aware instant *moment*."""
    return moment.astimezone(zone(name)).replace(tzinfo=None)


def instant_of(name: str, wall: datetime, *, last: bool = False) -> datetime:
    """Return the UTC instant at which clocks in zone *name* show the naive time *wall*.

    A time in a gap becomes the end of the gap. Of a time that occurs twice the first is meant, or the *last*.
    """
    where = zone(name)
    first, second = (wall.replace(tzinfo=where, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return second if last else first
    after = _offset(where, first.replace(tzinfo=None))
    return _first_with(after, where, second.replace(tzinfo=None), first.replace(tzinfo=None)).replace(tzinfo=UTC)
