"""Fire at equal distances of real time from an anchor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

from mainspring.domain.duration import every_in_words, format_duration
from mainspring.domain.triggers.trigger import Trigger, TriggerInvalid, utc
from mainspring.domain.triggers.words import say_instant

SHORTEST: Final = timedelta(milliseconds=100)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class IntervalTrigger(Trigger):
    """Fire at `anchor` + n · `every`, n any whole number, in real elapsed time: clock changes do not matter."""

    every: timedelta
    anchor: datetime

    def __post_init__(self) -> None:
        """Refuse intervals under a tenth of a second; keep the anchor in UTC."""
        if self.every < SHORTEST:
            raise TriggerInvalid(f"every {format_duration(self.every)} is too short; the shortest interval is 100ms")
        object.__setattr__(self, "anchor", utc(self.anchor))

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire time strictly after *moment*, in UTC, or None past the year 9999."""
        try:
            return self.anchor + ((utc(moment) - self.anchor) // self.every + 1) * self.every
        except OverflowError:
            return None

    def in_words(self) -> str:
        """Return the rule in English; the anchor is said where it matters."""
        text = f"every {every_in_words(self.every)}"
        since_midnight = self.anchor - datetime.combine(self.anchor.date(), time(), UTC)
        if self.every < _DAY and _DAY % self.every == timedelta() == since_midnight % self.every:
            return text
        return f"{text}, counted from {say_instant(self.anchor, 'UTC')}"

    def to_json(self) -> dict[str, object]:
        """Return the rule as JSON values; `every_us` is in microseconds."""
        return {"kind": "interval", "every_us": self.every // _MICROSECOND, "anchor": self.anchor.isoformat()}
