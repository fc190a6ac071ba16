"""Rates such as `5/s`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
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
