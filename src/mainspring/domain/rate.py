"""Rates such as `5/s`, and the even spacing that keeps them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mainspring.domain.duration import format_duration, parse_duration
from mainspring.errors import InvalidInput

_PERIODS: Final = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_TEXT: Final = re.compile(r"\s*(\d{1,9})\s*(?:/|per)\s*([\w. ]+?)(?:\s+burst\s+(\d{1,9}))?\s*")
_WAY_OUT: Final = 'write a number and a period, such as "5/s", "100/min", "1000/h" or "5/s burst 10"'
LONGEST_PERIOD: Final = timedelta(days=31)
SLACK: Final = 0.06
"""The share of a period by which turns stand wider apart, so that unequal delays put no request too many into it."""
_LATE: Final = 0.45
"""The share of the slack by which a turn may be late without the next one being late for it."""


class RateInvalid(InvalidInput):
    """A text does not say a rate."""


@dataclass(frozen=True, slots=True)
class Rate:
    """*n* per period *per*, spread evenly; *burst* of them may come at once after a rest."""

    n: int
    per: timedelta
    burst: int = 1

    def __post_init__(self) -> None:
        if self.n < 1:
            raise RateInvalid(f"rate {self.n}: at least one per period; use concurrency or a pause to stop everything")
        if not timedelta(milliseconds=1) <= self.per <= LONGEST_PERIOD:
            raise RateInvalid(f"rate: the period {format_duration(self.per)} is not between 1ms and 31 days")
        if self.per / self.n < timedelta(microseconds=1):
            raise RateInvalid(f"rate {self}: more than a million per second is no limit; leave it away")
        if self.burst < 1:
            raise RateInvalid(f"rate {self}: burst {self.burst} must be at least 1")

    @classmethod
    def parse(cls, text: object) -> Rate:
        """Return the rate that *text* says.

        Raises:
            RateInvalid: for anything else.
        """
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise RateInvalid(f"rate {text!r} cannot be read; {_WAY_OUT}")
        return cls(int(found[1]), _period(found[2].strip(), text), int(found[3] or 1))

    def __str__(self) -> str:
        unit = next((name for name, length in _PERIODS.items() if length == self.per), None)
        return f"{self.n}/{unit or format_duration(self.per)}" + (f" burst {self.burst}" if self.burst > 1 else "")


def _period(said: str, text: object) -> timedelta:
    if said in _PERIODS:
        return _PERIODS[said]
    try:
        return parse_duration(said if said[0].isdigit() else f"1{said}")
    except InvalidInput:
        raise RateInvalid(f"rate {text!r}: {said!r} is no period; {_WAY_OUT}") from None


@dataclass(frozen=True, slots=True)
class Spacing:
    """Turns at even distance: one every *interval*, early by at most *tolerance* against the even ones.

    The tolerance takes in that turns are noticed late: the next one is not late for it. Of any turns that follow each
    other, the first and the k-th after it stand at least k intervals less the tolerance apart.
    """

    interval: timedelta
    tolerance: timedelta

    @classmethod
    def declared(cls, rate: Rate) -> Spacing:
        """Return the spacing of at most n + burst - 1 turns in any stretch as long as the period, and a bit."""
        interval = _interval(rate.per.total_seconds() * (1 + SLACK) / rate.n)
        late = min(rate.per * (SLACK * _LATE), max(interval / 4, timedelta(milliseconds=50)))
        return cls(interval, (rate.burst - 1) * interval + late)

    @classmethod
    def learnt(cls, pace: float) -> Spacing:
        """Return the spacing of *pace* turns per second."""
        interval = _interval(1 / pace)
        return cls(interval, min(interval / 8, timedelta(milliseconds=25)))

    def taken(self, until: datetime | None, now: datetime) -> datetime:
        """Return up to where turns are spoken for when one more is taken *now*."""
        return max(until or now, now) + self.interval

    def begun(self, until: datetime | None, started_at: datetime) -> datetime:
        """Return up to where turns are spoken for, now that one is known to have begun at *started_at*.

        Between the decision and the start lies a commit, which takes its time on a busy disk.
        """
        return max(until or started_at, started_at + self.interval)

    def free_at(self, until: datetime | None) -> datetime | None:
        """Return when the next turn can be taken; None means at any time."""
        return None if until is None else until - self.tolerance

    def free(self, until: datetime | None, now: datetime) -> int:
        """Return how many turns can be taken *now*."""
        room = now - max(until or now, now) + self.tolerance
        return room // self.interval + 1 if room >= timedelta(0) else 0


def _interval(seconds: float) -> timedelta:
    return timedelta(microseconds=max(math.ceil(round(seconds * 1e6, 3)), 1))
