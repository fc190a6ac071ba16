"""Learn the rate that a service bears from its refusals: estimate, grow, step back, and remember where it refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

SERIAL: Final = 20
"""Successes after which something of which nothing is known is used by more than one at a time."""
WIDEST: Final = 1_024
LONG_CALL: Final = timedelta(seconds=3)
"""An attempt proves as much more as it lasted: long work does not ask often."""
SLOWEST_PACE: Final = 1 / 600
FORGET_PACE: Final = 1_000.0
GROWTH: Final = 1.25
GROWTH_NEAR_CEILING: Final = 1.01
STEP_BACK: Final = 0.85
BEYOND_CEILING: Final = 1.1
"""So far above the pace that was refused once, the limit must have been raised."""
QUOTA: Final = timedelta(minutes=1)
"""A pause this long speaks of a quota for a long time: what got through in all of it is the rate."""
ENOUGH: Final = 3
"""Successes from which anything follows."""
_USED: Final = 0.6


def serial_window(proven: int) -> int | None:
    """Return how many may be in flight after so much proof; None when it need not be limited any more."""
    if proven < SERIAL:
        return 1
    window = proven - SERIAL + 2
    return window if window < WIDEST else None


def proven_after(proven: int, took: timedelta) -> int:
    """Return the proof after one more success of an attempt that *took* so long."""
    if proven < SERIAL:
        return min(SERIAL, proven + 1 + max(took // LONG_CALL, 0))
    return min(proven + 1, SERIAL + WIDEST)


def estimated_pace(successes: int, elapsed: timedelta, pause: timedelta) -> float:
    """Return a first rate per second: what got through, over the time in which it did and the pause asked for."""
    seconds = max((max(elapsed, timedelta(0)) + pause).total_seconds(), 0.001)
    return min(max(max(successes, 1) / seconds, SLOWEST_PACE), FORGET_PACE)


def lowered_pace(
    pace: float, ceiling: float | None, successes: int, elapsed: timedelta, pause: timedelta
) -> tuple[float, float | None]:
    """Return the pace and its ceiling after a refusal at *pace*; *successes* are those since the refusal before."""
    if pause >= QUOTA:
        lower = min(pace, estimated_pace(successes, elapsed, pause))
        return lower, lower
    lower = max(pace * STEP_BACK, SLOWEST_PACE)
    # Refused again at once: it was not this pace that was too fast.
    return lower, pace if successes >= ENOUGH else ceiling


def growth_period(pause: timedelta) -> timedelta:
    """Return after what time a pace may grow; longer when being wrong costs a longer *pause*."""
    return min(max(pause * 0.7, timedelta(seconds=5)), timedelta(minutes=1))


def grown_pace(pace: float, ceiling: float | None, successes: int, elapsed: timedelta) -> tuple[float, float | None]:
    """Return the pace and its ceiling after *elapsed* with so many successes; a pace that was not used stays."""
    if successes < _USED * pace * elapsed.total_seconds():
        return pace, ceiling
    if ceiling is None or pace > ceiling * BEYOND_CEILING:
        return pace * GROWTH, None
    if pace < ceiling * STEP_BACK:
        return min(pace * GROWTH, ceiling * STEP_BACK), ceiling
    return pace * GROWTH_NEAR_CEILING, ceiling
