"""Read from the audit log when a schedule was paused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from mainspring.verify.look import micros

_SLACK_US: Final = 5_000_000
"""Whoever pauses and whoever fires may have different clocks."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """The times (since, settled] in which a schedule was paused, each perhaps with an end that was set before."""

    times: tuple[tuple[int, int, int | None], ...] = ()

    def may_cover(self, moment: int) -> bool:
        """Return whether the schedule was paused at *moment*, by some clock."""
        return self._cover(moment, _SLACK_US)

    def must_cover(self, moment: int) -> bool:
        """Return whether the schedule was paused at *moment*, by every clock."""
        return self._cover(moment, -_SLACK_US)

    def _cover(self, moment: int, slack: int) -> bool:
        # The end that was set is the first instant no longer paused, by any clock.
        return any(
            since - slack < moment <= settled + slack and (until is None or moment < until)
            for since, settled, until in self.times
        )


def read_pauses(rows: Sequence[tuple[int, str, str]], end: int) -> Pauses:
    """Return the pauses that audit *rows* (at, action, body) tell of, in order; one that is open lasts until *end*."""
    times = []
    for (at, action, body), (after, _, _) in pairwise([*rows, (end, "", "")]):
        if action == "schedule.pause":
            until = json.loads(body).get("until")
            times.append((at, after, None if until is None else micros(datetime.fromisoformat(until))))
    return Pauses(tuple(times))
