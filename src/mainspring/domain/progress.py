"""Judge how fast work goes, and how long it will still take."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

WINDOW: Final = 60.0
"""Seconds of the past that tell how fast work goes."""
_FEWEST: Final = 4
"""Reports that are looked at even where they are older: slow work reports seldom."""
_STALLED_AFTER: Final = 60.0
_GRACE: Final = 2.0
"""Seconds without a report that mean nothing: reports are kept once a second."""
_LONGEST: Final = 10 * 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run said it is, and how fast it came there."""

    done: float
    total: float | None = None
    note: str = ""
    gained: float = 0.0
    """How much was done within the last `span` seconds; 0 where that is not known."""
    span: float = 0.0

    @property
    def share(self) -> float | None:
        """Return the part that is done, from 0 to 1; None where the total is not known."""
        if not self.total or self.total < 0:
            return None
        return min(max(self.done / self.total, 0.0), 1.0)


@dataclass
class Pace:
    """The latest reports of one attempt, to tell how fast it goes."""

    _reports: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, at: float, done: float) -> None:
        """Take a report made *at* so many seconds of a steady clock; work that went backwards begins anew."""
        reports = self._reports
        if reports and (done < reports[-1][1] or at < reports[-1][0]):
            reports.clear()
        reports.append((at, done))
        while len(reports) > _FEWEST and reports[0][0] < at - WINDOW:
            reports.popleft()

    @property
    def gained(self) -> float:
        """Return how much was done within `span`."""
        return self._reports[-1][1] - self._reports[0][1] if self._reports else 0.0

    @property
    def span(self) -> float:
        """Return over how many seconds the reports stretch."""
        return self._reports[-1][0] - self._reports[0][0] if self._reports else 0.0


def time_left(progress: Progress, silent_for: timedelta = timedelta(0)) -> timedelta | None:
    """Return how long the work will still take when its last report is *silent_for* old; None where nobody can tell.

    Time without a report counts as time in which nothing was done, so that the answer grows while work stalls.
    """
    share = progress.share
    if share is None or progress.total is None:
        return None
    left = progress.total - progress.done
    if left <= 0:
        return timedelta(0)
    if progress.gained <= 0 or progress.span <= 0 or is_stalled(progress, silent_for):
        return None
    silent, grace = max(silent_for.total_seconds(), 0.0), max(_GRACE, progress.span / 4)
    seconds = left / progress.gained * (progress.span + max(silent - grace, 0.0)) - min(silent, grace)
    return timedelta(seconds=max(seconds, 0.0)) if seconds < _LONGEST else None


def is_stalled(progress: Progress, silent_for: timedelta) -> bool:
    """Return whether the last report is so old that no pace can be told from it any more."""
    return silent_for.total_seconds() > max(_STALLED_AFTER, 3 * progress.span)


def rounded(left: timedelta) -> timedelta:
    """Return *left* as exactly as an estimate deserves: to 5 s, above 2 min to the minute, above 3 h to a quarter."""
    seconds = left.total_seconds()
    step = 5 if seconds < 120 else 60 if seconds < 3 * 3_600 else 900
    return timedelta(seconds=max(round(seconds / step) * step, min(step, 5)))


def length_of(items: Iterable[object]) -> int | None:
    """Return how many *items* there are, where they say so without being walked through."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None
