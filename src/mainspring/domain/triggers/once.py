"""Fire once, at a date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mainspring.domain.triggers.trigger import Trigger, utc
from mainspring.domain.triggers.words import say_instant
from mainspring.domain.zones import local_wall
from mainspring.domain.zones import zone as find_zone


@dataclass(frozen=True, slots=True)
class DateTrigger(Trigger):
    """Fire once. `zone` is only for saying when."""

    at: datetime
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Keep the instant in UTC and refuse an unknown zone."""
        find_zone(self.zone)
        object.__setattr__(self, "at", utc(self.at))

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the instant if it lies after *moment*, else None."""
        return self.at if utc(moment) < self.at else None

    def in_words(self) -> str:
        """Return the instant in English, in its zone."""
        return f"once, on {say_instant(local_wall(self.zone, self.at), self.zone)}"

    def to_json(self) -> dict[str, object]:
        """Return the rule as JSON values."""
        return {"kind": "date", "at": self.at.isoformat(), "zone": self.zone}
