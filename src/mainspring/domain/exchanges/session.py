"""Describe an exchange session: one trading day of an exchange."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day: from `open_at` to `close_at`, in UTC, without the pause in the middle of the day if any."""

    day: date
    open_at: datetime
    close_at: datetime
    pause: tuple[datetime, datetime] | None = None
    remark: str = ""
    """What is special about its hours, such as `half-day, closes at 13:00`; empty on an ordinary day."""


def say_day(day: date) -> str:
    """Return *day* in words, such as `Thu 26 Nov 2026`."""
    return f"{_DAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]} {day.year}"
