"""Know the trading hours of the most used exchanges: those of continuous trading in shares, without auctions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final

from mainspring.domain.zones import offset_at

HOURS_VERSION: Final = "2026.11"
"""Changes with this table, so that fire times computed with another one are computed anew."""
ALL_HOURS: Final = "24/7"
_SUMMER_IN_NEW_YORK: Final = timedelta(hours=-4)


@dataclass(frozen=True, slots=True)
class Hours:
    """When an exchange trades, in its zone; `half_close` is the close on the half-days that the data names."""

    zone: str
    open: time
    close: time
    pause: tuple[time, time] | None = None
    half_close: time | None = None
    holidays: str = ""
    """The name under which the library knows its closed days, where it is not its own."""
    remark: str = ""


def _at(text: str) -> time:
    return time.fromisoformat(text)


def _hours(zone: str, span: str, half: str = "", pause: str = "", holidays: str = "") -> Hours:
    opening, closing = (_at(part) for part in span.split("-"))
    between = tuple(_at(part) for part in pause.split("-")) if pause else ()
    return Hours(
        zone,
        opening,
        closing,
        (between[0], between[1]) if between else None,
        _at(half) if half else None,
        holidays,
    )


HOURS: Final[Mapping[str, Hours]] = {
    ALL_HOURS: _hours("UTC", "00:00-00:00"),
    "BVMF": _hours("America/Sao_Paulo", "10:00-17:55"),
    "XAMS": _hours("Europe/Amsterdam", "09:00-17:30", half="14:05"),
    "XASX": _hours("Australia/Sydney", "10:00-16:00", half="14:10"),
    "XBRU": _hours("Europe/Brussels", "09:00-17:30", half="14:05"),
    "XDUB": _hours("Europe/Dublin", "08:00-16:28", half="12:28"),
    "XETR": _hours("Europe/Berlin", "09:00-17:30"),
    "XFRA": _hours("Europe/Berlin", "09:00-17:30"),
    "XHKG": _hours("Asia/Hong_Kong", "09:30-16:00", half="12:00", pause="12:00-13:00"),
    "XIST": _hours("Europe/Istanbul", "10:00-18:00", half="12:30"),
    "XJSE": _hours("Africa/Johannesburg", "09:00-17:00", half="12:00"),
    "XKRX": _hours("Asia/Seoul", "09:00-15:30"),
    "XLIS": _hours("Europe/Lisbon", "08:00-16:30", half="13:05"),
    "XLON": _hours("Europe/London", "08:00-16:30", half="12:30"),
    "XMAD": _hours("Europe/Madrid", "09:00-17:30", half="14:00"),
    "XMEX": _hours("America/Mexico_City", "08:30-15:00"),
    "XMIL": _hours("Europe/Rome", "09:00-17:30"),
    "XNAS": _hours("America/New_York", "09:30-16:00", half="13:00"),
    "XNYS": _hours("America/New_York", "09:30-16:00", half="13:00"),
    "XNZE": _hours("Pacific/Auckland", "10:00-16:45", half="12:45"),
    "XOSL": _hours("Europe/Oslo", "09:00-16:20", half="13:00"),
    "XPAR": _hours("Europe/Paris", "09:00-17:30", half="14:05"),
    "XSES": _hours("Asia/Singapore", "09:00-17:00", half="12:00"),
    "XSHE": _hours("Asia/Shanghai", "09:30-15:00", pause="11:30-13:00"),
    "XSHG": _hours("Asia/Shanghai", "09:30-15:00", pause="11:30-13:00"),
    "XSWX": _hours("Europe/Zurich", "09:00-17:30"),
    "XTKS": _hours("Asia/Tokyo", "09:00-15:30", pause="11:30-12:30", holidays="XJPX"),
    "XTSE": _hours("America/Toronto", "09:30-16:00", half="13:00"),
    "XWAR": _hours("Europe/Warsaw", "09:00-17:00"),
}
ALIASES: Final[Mapping[str, str]] = {
    "ASX": "XASX",
    "B3": "BVMF",
    "CRYPTO": ALL_HOURS,
    "HKEX": "XHKG",
    "JPX": "XTKS",
    "JSE": "XJSE",
    "KRX": "XKRX",
    "LSE": "XLON",
    "NASDAQ": "XNAS",
    "NYSE": "XNYS",
    "SGX": "XSES",
    "SIX": "XSWX",
    "SSE": "XSHG",
    "SZSE": "XSHE",
    "TSX": "XTSE",
    "XETRA": "XETR",
    "XJPX": "XTKS",
}


def hours_on(code: str, day: date, sessions: Sequence[date], half: bool) -> Hours:
    """Return the hours of the exchange *code* on *day*, one of the *sessions* of its year; *half* as the data says."""
    hours = HOURS[code]
    if half and hours.half_close is not None:
        # What is left of a day that ends with the morning has no pause.
        pause = hours.pause if hours.pause is not None and hours.pause[1] < hours.half_close else None
        remark = f"half-day, closes at {hours.half_close:%H:%M}"
        return replace(hours, close=hours.half_close, pause=pause, remark=remark)
    special = _SPECIAL.get(code)
    return hours if special is None else special(hours, day, sessions)


def _b3(hours: Hours, day: date, sessions: Sequence[date]) -> Hours:
    """Close with New York, whose clocks change while those of São Paulo do not; open late on Ash Wednesday."""
    if offset_at("America/New_York", datetime.combine(day, time(12))) == _SUMMER_IN_NEW_YORK:
        hours = replace(hours, close=time(17))
    if day == easter(day.year) - timedelta(days=46):
        return replace(hours, open=time(13), remark="Ash Wednesday, opens at 13:00")
    return hours


def _frankfurt(hours: Hours, day: date, sessions: Sequence[date]) -> Hours:
    if day == sessions[-1]:
        return replace(hours, close=time(14), remark="half-day, closes at 14:00")
    return hours


def _seoul(hours: Hours, day: date, sessions: Sequence[date]) -> Hours:
    return replace(hours, open=time(10), remark="opens at 10:00") if day == sessions[0] else hours


def _tokyo(hours: Hours, day: date, sessions: Sequence[date]) -> Hours:
    return replace(hours, close=time(15)) if day < date(2024, 11, 5) else hours


_SPECIAL: Final[Mapping[str, Callable[[Hours, date, Sequence[date]], Hours]]] = {
    "BVMF": _b3,
    "XETR": _frankfurt,
    "XFRA": _frankfurt,
    "XKRX": _seoul,
    "XTKS": _tokyo,
}


def easter(year: int) -> date:
    """Return Easter Sunday of the Gregorian calendar, by the method of Meeus, Jones and Butcher."""
    century, rest = divmod(year, 100)
    golden = year % 19
    correction = century - century // 4 - (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + correction + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)
