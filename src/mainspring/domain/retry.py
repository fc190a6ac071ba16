"""Decide what follows a failed try: another one after a delay, or the end."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final, Literal

from mainspring.errors import InvalidInput

Jitter = Literal["none", "equal", "full"]
MAX_DELAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between tries: *base* · *factor*ⁿ for the n-th retry (n from 0), never above *maximum*.

    Jitter spreads retries: ``none`` waits exactly the delay, ``equal`` between half of it and the whole,
    ``full`` between nothing and the whole (Marc Brooker, "Exponential Backoff And Jitter", 2015).
    The spread is a hash of the run and the try, so that the same try always waits equally long.
    """

    base: timedelta = timedelta(seconds=2)
    factor: float = 2.0
    maximum: timedelta = MAX_DELAY
    jitter: Jitter = "equal"

    def __post_init__(self) -> None:
        if self.base < timedelta(0) or self.maximum < timedelta(0):
            raise InvalidInput(f"backoff: base {self.base} and maximum {self.maximum} must not be negative")
        if not 1 <= self.factor < math.inf:
            raise InvalidInput(f"backoff: factor {self.factor} must be at least 1 and finite")
        if self.jitter not in ("none", "equal", "full"):
            raise InvalidInput(f"backoff: jitter {self.jitter!r} is not known; write none, equal or full")

    def delay(self, retry: int, seed: str) -> timedelta:
        """Return how long to wait before retry number *retry*, counted from 0; *seed* is the id of the run."""
        whole = min(self.base.total_seconds() * self._grown(retry), self.maximum.total_seconds())
        if self.jitter == "none":
            return timedelta(seconds=whole)
        share = int.from_bytes(sha256(f"{seed}:{retry}".encode()).digest()[:8], "big") / 2**64
        return timedelta(seconds=whole * (share if self.jitter == "full" else 0.5 + share / 2))

    def _grown(self, retry: int) -> float:
        try:
            return self.factor**retry
        except OverflowError:
            # Finite, so that no base at all stays no delay; the maximum decides long before.
            return sys.float_info.max

    def to_json(self) -> dict[str, Any]:
        """Return a form that `from_json` reads."""
        return {
            "base": self.base.total_seconds(),
            "factor": self.factor,
            "maximum": self.maximum.total_seconds(),
            "jitter": self.jitter,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Backoff:
        """Return the backoff that `to_json` wrote."""
        base, maximum = timedelta(seconds=body["base"]), timedelta(seconds=body["maximum"])
        return cls(base, body["factor"], maximum, body["jitter"])


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again after *delay*."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again, for *reason*."""

    reason: str


def after_failure(
    backoff: Backoff, *, tries: int, max_tries: int, seed: str, asked: timedelta | None = None
) -> RetryAfter | GiveUp:
    """Decide what follows a failed try.

    *tries* counts the tries charged so far, this one included. *asked* is a delay that the task or a service asked for
    (``Retry-After``); it replaces the backoff and is capped at one day.
    """
    if tries >= max_tries:
        times = "once" if tries == 1 else f"{tries} times"
        return GiveUp(f"tried {times}, the most that is allowed")
    if asked is not None:
        return RetryAfter(min(max(asked, timedelta(0)), MAX_DELAY))
    return RetryAfter(backoff.delay(tries - 1, seed))
