"""Judge whether the wall clock can be believed: pure decisions on readings of several clocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from mainspring.domain.duration import format_duration

LEEWAY: Final = timedelta(seconds=60)
"""What the wall clock may gain on another clock before it is doubted."""
MOST_HEALED: Final = timedelta(hours=24)
"""A jump beyond this is believed only when a person confirms it."""
TICKS: Final = 3
TICK: Final = 1.0
"""Seconds that lie at least between two ticks, however often the clocks are looked at."""
_NOTHING: Final = timedelta(0)


class Cause(StrEnum):
    """Why the wall clock is doubted."""

    AHEAD = "ahead"
    """It gained more than the leeway on the boot clock of its machine."""
    DISAGREES = "disagrees"
    """It differs from the clock of the database's server."""
    BEHIND = "behind"
    """It says a time before one at which the database was used already."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """How the wall clock of a machine stood to its boot clock when it was last believed."""

    booted_at: datetime
    """When the machine was booted, by that wall clock: the wall clock minus the boot clock."""
    difference: timedelta = _NOTHING
    """How far ahead of the server's clock a person has confirmed it to be right."""
    confirmed_at: datetime | None = None
    confirmed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What the clocks say at one moment."""

    wall: datetime
    monotonic: float
    """The boot clock: it stands still for nothing, and nobody sets it."""
    server: datetime | None = None
    """The clock of the database's server, where there is one."""
    slack: timedelta = _NOTHING
    """How wrong `server` may be, for the time that the question took."""

    @property
    def booted_at(self) -> datetime:
        """Return when the machine was booted, by its wall clock; changes exactly when the wall clock is set."""
        return self.wall - timedelta(seconds=self.monotonic)

    @property
    def difference(self) -> timedelta:
        """Return how far the wall clock is ahead of the server's."""
        return _NOTHING if self.server is None else self.wall - self.server


@dataclass(frozen=True, slots=True)
class Doubt:
    """A doubt that stands."""

    cause: Cause
    since: datetime
    since_monotonic: float
    counted_at: float
    sound_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a process knows of its clocks from what it has seen so far."""

    anchor: Anchor | None = None
    not_before: datetime | None = None
    """An instant that has surely passed: the database was used then. Only where no server tells the time."""
    last: datetime | None = None
    """`Sight.booted_at` of the look before."""
    doubt: Doubt | None = None

    def jump(self, sight: Sight) -> timedelta:
        """Return how much the wall clock has gained on the boot clock since it was last believed."""
        return _NOTHING if self.anchor is None else sight.booted_at - self.anchor.booted_at

    def needs_person(self, sight: Sight) -> bool:
        """Return whether the jump is too far to be believed without a person's word."""
        return self.jump(sight) > MOST_HEALED


def trouble(known: Knowledge, sight: Sight) -> Cause | None:
    """Return what speaks against the wall clock at this look, if anything does."""
    if _disagrees(known, sight):
        return Cause.DISAGREES
    if known.jump(sight) > LEEWAY or (known.last is not None and sight.booted_at - known.last > LEEWAY):
        return Cause.AHEAD
    return Cause.BEHIND if _is_behind(known, sight) else None


def judge(known: Knowledge, sight: Sight) -> Knowledge:
    """Return what is known after one more look: a doubt begins, goes on, or ends.

    A wall clock that goes back is believed: marks keep anything from happening twice. The anchor stays where it was
    the furthest ahead, so that the way back to the right time is no jump.
    """
    now = replace(known, last=sight.booted_at)
    cause = trouble(known, sight)
    if known.doubt is not None:
        return _doubting(now, known.doubt, cause, sight, moved=_moved(known, sight))
    if cause is not None:
        return replace(now, doubt=Doubt(cause, sight.wall, sight.monotonic, sight.monotonic))
    return now if known.anchor is not None else replace(now, anchor=Anchor(sight.booted_at))


def confirmed(known: Knowledge, anchor: Anchor, sight: Sight) -> Knowledge:
    """Return what is known after *anchor* was found in the database; a person's word ends the doubt at once."""
    now = replace(known, anchor=anchor)
    settled = anchor.confirmed_by is not None and trouble(replace(now, last=None), sight) is None
    return replace(now, doubt=None, last=sight.booted_at) if settled else now


def surely(known: Knowledge, sight: Sight) -> datetime:
    """Return an instant that has come by every clock that can be asked."""
    said = [sight.wall]
    if sight.server is not None:
        said.append(sight.server)
    if known.anchor is not None:
        said.append(known.anchor.booted_at + timedelta(seconds=sight.monotonic))
    return min(said)


def in_words(known: Knowledge, sight: Sight, cause: Cause) -> tuple[str, str]:
    """Return what is wrong with the clock, and the way out."""
    jump, confirm = known.jump(sight), "run `mainspring clock confirm` on this machine if it is right"
    if cause is Cause.DISAGREES:
        side = "ahead of" if sight.difference > _NOTHING else "behind"
        said = f"the wall clock is {_span(abs(sight.difference))} {side} that of the database's server"
        return said, f"correct the one that is wrong, or {confirm}"
    if cause is Cause.BEHIND:
        seen = "" if known.not_before is None else known.not_before.isoformat(timespec="seconds")
        said = f"the wall clock says {sight.wall.isoformat(timespec='seconds')}, but the database was used at {seen}"
        return said, f"correct the clock, wait until it has passed that time, or {confirm}"
    if jump > MOST_HEALED:
        said = f"the wall clock has jumped {_span(jump)} ahead, more than {_span(MOST_HEALED)}"
        return said, f"correct the clock, or {confirm}"
    said = f"the wall clock has jumped {_span(jump)} ahead" if jump > LEEWAY else "the wall clock has jumped ahead"
    return said, f"it is believed again after {TICKS} ticks without a further jump"


def _doubting(known: Knowledge, doubt: Doubt, cause: Cause | None, sight: Sight, *, moved: bool) -> Knowledge:
    if cause in (Cause.DISAGREES, Cause.BEHIND) or moved:
        doubt = replace(doubt, cause=cause or doubt.cause, sound_ticks=0, counted_at=sight.monotonic)
        return replace(known, doubt=doubt)
    if sight.monotonic - doubt.counted_at >= TICK:
        doubt = replace(doubt, sound_ticks=doubt.sound_ticks + 1, counted_at=sight.monotonic)
    doubt = replace(doubt, cause=cause or doubt.cause)
    if doubt.sound_ticks < TICKS or known.needs_person(sight):
        return replace(known, doubt=doubt)
    return replace(known, doubt=None, anchor=_raised(known.anchor, sight))


def _raised(anchor: Anchor | None, sight: Sight) -> Anchor:
    if anchor is None or sight.booted_at - anchor.booted_at > LEEWAY:
        return Anchor(sight.booted_at)
    return anchor


def _moved(known: Knowledge, sight: Sight) -> bool:
    return known.last is not None and abs(sight.booted_at - known.last) > LEEWAY


def _disagrees(known: Knowledge, sight: Sight) -> bool:
    most = LEEWAY + sight.slack
    accepted = _NOTHING if known.anchor is None else known.anchor.difference
    return abs(sight.difference) > most and abs(sight.difference - accepted) > most


def _is_behind(known: Knowledge, sight: Sight) -> bool:
    # On a machine that was booted anew nothing else is known; a server knows better.
    if known.anchor is not None or known.not_before is None or sight.server is not None:
        return False
    return sight.wall < known.not_before - LEEWAY


def _span(duration: timedelta) -> str:
    return format_duration(timedelta(seconds=round(duration.total_seconds())))
