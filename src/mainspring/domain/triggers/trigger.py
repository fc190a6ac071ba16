"""State what every trigger is: a pure rule that gives fire times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, date, datetime

from mainspring.errors import InvalidInput


class TriggerInvalid(InvalidInput):
    """A trigger cannot be made from what was written; the message names the text, the place and the way out."""


class Trigger(ABC):
    """A rule that gives fire times. Triggers are values: frozen, hashable, without a cursor and without a clock."""

    __slots__ = ()

    @abstractmethod
    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire time strictly after *moment*, in UTC, or None when there is none any more.

        *moment* must be aware, in any zone.
        """

    @abstractmethod
    def in_words(self) -> str:
        """Return the rule in English, weekdays by name and the zone named when it is not UTC."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """Return the rule as JSON values; `trigger_from_json` reads them back to an equal trigger."""

    def local_key(self, fire_at: datetime) -> str | None:
        """Return the local wall time that *fire_at* stands for, where that time may fire only once; else None.

        It stays the same when new zone data moves the instant, and so keeps an occurrence from firing twice.
        """
        return None

    def why_not(self, day: date) -> str | None:
        """Return why the rule names nothing on the local *day*, in words, or None where it does."""
        return None

    def left_out(self, after: datetime, until: datetime) -> Iterable[tuple[date, str]]:
        """Return the days between two instants that the rule leaves out by name, with the reason of each."""
        return ()

    def remark(self, fire_at: datetime) -> str:
        """Return what is special about the fire time *fire_at*, in words; empty where nothing is."""
        return ""


def utc(moment: datetime) -> datetime:
    """Return *moment* in UTC; raise `ValueError` when it is naive, which is always a mistake of the caller."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no zone; instants are aware datetimes")
    return moment.astimezone(UTC)
