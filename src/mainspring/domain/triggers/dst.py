"""Turn local wall times into instants: the one place that knows gaps and folds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol, cast

from mainspring.domain.triggers.trigger import TriggerInvalid, utc
from mainspring.domain.zones import Shift, offset_at, shifts_around
from mainspring.errors import nearest

Gap = Literal["after", "skip"]
Fold = Literal["first", "both", "last"]

GAPS: Final = ("after", "skip")
FOLDS: Final = ("first", "both", "last")
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 9900
"""Rules in local time name no instants outside these years."""

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_STRETCHES_TRIED: Final = 256


@dataclass(frozen=True, slots=True)
class DstRule:
    """What a rule at fixed local times does when clocks change; rules with a wildcard hour or minute follow real time.

    `gap`: a time that is skipped fires once `after` the gap, at its end, or is left out (`skip`).
    `fold`: a time that occurs twice fires the `first` time, `both` times or the `last` time.
    """

    gap: Gap = "after"
    fold: Fold = "first"

    def __post_init__(self) -> None:
        """Refuse values that are not among the choices."""
        _choose("gap", self.gap, GAPS)
        _choose("fold", self.fold, FOLDS)

    def in_words(self) -> str:
        """Return the rule as one sentence part."""
        gap = {"after": "a skipped time fires at the end of the gap", "skip": "a skipped time does not fire"}
        fold = {"first": "the first time", "both": "both times", "last": "the last time"}
        return f"{gap[self.gap]}; a repeated time fires {fold[self.fold]}"

    def to_json(self) -> dict[str, object]:
        """Return the rule as JSON values."""
        return {"gap": self.gap, "fold": self.fold}

    @staticmethod
    def from_json(body: Mapping[str, object]) -> DstRule:
        """Return the rule that *body* says; a key left out has its default."""
        for key in body:
            if key not in ("gap", "fold"):
                guess = nearest(str(key), ("gap", "fold"))
                hint = f"did you mean {guess!r}?" if guess else "known: gap, fold"
                raise TriggerInvalid(f"dst: unknown key {key!r}; {hint}")
        return DstRule(cast(Gap, body.get("gap", "after")), cast(Fold, body.get("fold", "first")))


def _choose(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise TriggerInvalid(f"dst.{key} {value!r} is not known; choose {', '.join(choices[:-1])} or {choices[-1]}")


class WallRule(Protocol):
    """A rule in local wall time, blind to zones."""

    def first_from(self, wall: datetime) -> datetime | None:
        """Return the first naive local time at or after *wall* that the rule names, in whole seconds, or None."""


def next_instant(rule: WallRule, zone_name: str, moment: datetime, *, fixed: bool, dst: DstRule) -> datetime | None:
    """Return the first instant strictly after *moment* at which *rule* fires in the zone, or None.

    Between two shifts of the zone the wall clock simply runs, so the rule is asked one such stretch at a time.
    A *fixed* rule obeys *dst*; any other fires at every matching wall time that really happens.
    """
    start = utc(moment).replace(tzinfo=None, microsecond=0)
    if start.year > LAST_YEAR:
        return None
    start = max(start + _SECOND, datetime(FIRST_YEAR, 1, 1))
    fold = dst.fold if fixed else "both"
    fires_after_gap = fixed and dst.gap == "after"
    for _ in range(_STRETCHES_TRIED):
        if start.year > LAST_YEAR:
            return None
        opening, closing, end, offset = _stretch(zone_name, start)
        wall = start + offset
        if fold == "first" and opening is not None:
            wall = max(wall, opening.at + opening.before)
        found = rule.first_from(wall)
        if found is None:
            if closing is None or closing.after >= closing.before or fold == "first":
                return None
            start = end
            continue
        last_wall = end + offset
        if fold == "last" and closing is not None:
            last_wall = min(last_wall, end + closing.after)
        if found < last_wall:
            return (found - offset).replace(tzinfo=UTC)
        if closing is not None and fires_after_gap and found < end + closing.after:
            return end.replace(tzinfo=UTC)
        start = end
        if closing is None or closing.after > closing.before:
            # Nothing can match between here and there, and no zone shifts twice within two days.
            start = max(end, found - offset - 2 * _DAY)
    return None


def _stretch(zone_name: str, at: datetime) -> tuple[Shift | None, Shift | None, datetime, timedelta]:
    """Return the shifts that open and close the stretch holding *at*, its end and its offset.

    A stretch also ends with the UTC year, without a shift.
    """
    shifts = shifts_around(zone_name, at.year)
    if not shifts:
        return None, None, datetime(at.year + 1, 1, 1), offset_at(zone_name, at)
    place = bisect_right(shifts, at, key=_instant)
    opening = shifts[place - 1] if place else None
    if place < len(shifts):
        closing = shifts[place]
        return opening, closing, closing.at, closing.before
    # The window of shifts reaches beyond the year; a stretch must still move on from where it began.
    return opening, None, max(datetime(at.year + 1, 1, 1), at), shifts[-1].after


def _instant(shift: Shift) -> datetime:
    return shift.at


def local_time_key(rule: WallRule, zone_name: str, fire_at: datetime, *, fixed: bool, dst: DstRule) -> str | None:
    """Return the wall time that *fire_at* stands for, as ISO text, or None when that time may fire more than once.

    A fire time at the end of a gap stands for the first time in the gap that the rule names.
    """
    if not fixed or dst.fold == "both":
        return None
    at = utc(fire_at).replace(tzinfo=None)
    opening, _, _, offset = _stretch(zone_name, at)
    wall = at + offset
    if opening is not None and opening.at == at and opening.after > opening.before and dst.gap == "after":
        skipped = rule.first_from(at + opening.before)
        if skipped is not None and skipped < wall:
            return skipped.isoformat()
    return wall.isoformat()
