"""Describe a resource as it stands in a file: what runs share, and how much of it they may use."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

from mainspring.config.kinds import (
    DURATION_PATTERN,
    RateOfUse,
    between,
    integer,
    share,
    whole_number,
)
from mainspring.config.section import Section, setting
from mainspring.domain.resource_limits import (
    LARGEST_CONCURRENCY,
    LARGEST_COUNT,
    LONGEST_COOL_DOWN,
    BreakerRule,
    ResourceLimits,
)

_SECOND: Final = timedelta(seconds=1)
_Count = Annotated[int, BeforeValidator(whole_number(1, LARGEST_COUNT)), integer(1, LARGEST_COUNT)]
_Share = Annotated[
    float, BeforeValidator(share), WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1})
]
_Rest = Annotated[
    timedelta,
    BeforeValidator(between(_SECOND, LONGEST_COOL_DOWN)),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "5m"]}),
]


class BreakerConfig(Section):
    """When to leave a resource alone for a while; after 5 failures in a row unless `failures` or `ratio` is given."""

    failures: _Count | None = setting(None, "Open after this many failures in a row.", "failures")
    ratio: _Share | None = setting(None, "Open when this share of the attempts within `window` fails, such as 0.5.")
    window: _Rest = setting(timedelta(minutes=1), "The time over which `ratio` is counted.", "duration")
    minimum: _Count = setting(10, "With `ratio`: attempts in the window before it says anything.", "attempts")
    cool_down: _Rest = setting(timedelta(seconds=30), "How long it stays open before one run probes.", "duration")

    def rule(self) -> BreakerRule:
        """Return the rule as the domain knows it."""
        failures = 5 if self.failures is None and self.ratio is None else self.failures
        return BreakerRule(failures, self.ratio, self.window, self.minimum, self.cool_down)


class ResourceConfig(Section):
    """Something that runs of several tasks share, such as a service. Tasks name it in `uses`."""

    concurrency: (
        Annotated[int, BeforeValidator(whole_number(1, LARGEST_CONCURRENCY)), integer(1, LARGEST_CONCURRENCY)] | None
    ) = setting(None, "Attempts that may use it at the same time.", "attempts")
    rate: RateOfUse | None = setting(
        None,
        "Attempts that may begin per period, spread evenly: `5/s`, `100/min`, `1000/h`; `5/s burst 10` lets ten begin "
        "at once after a rest. Without one it is learnt when the service refuses.",
    )
    breaker: BreakerConfig | None = setting(None, "When to leave it alone. Without one failures change nothing.")

    def limits(self) -> ResourceLimits:
        """Return the limits as the domain knows them."""
        return ResourceLimits(self.concurrency, self.rate, None if self.breaker is None else self.breaker.rule())
