"""What people declare about a resource: how many at once, how fast, and when to leave it alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from mainspring.domain.duration import format_duration, parse_duration
from mainspring.domain.rate import Rate
from mainspring.encoding import decode, encode
from mainspring.errors import InvalidInput, unknown_name

RESOURCE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,199}")
LARGEST_CONCURRENCY: Final = 100_000
LARGEST_COUNT: Final = 100_000
LONGEST_COOL_DOWN: Final = timedelta(days=1)


class LimitsInvalid(InvalidInput):
    """What is declared about a resource cannot be used."""


def resource_name(name: object) -> str:
    """Return *name* when it can name a resource.

    Raises:
        LimitsInvalid: it cannot.
    """
    if not isinstance(name, str) or RESOURCE_NAME.fullmatch(name) is None:
        raise LimitsInvalid(
            f"{name!r} is no resource name; use 1 to 200 letters, digits, '_', '.', ':' and '-', no sign first"
        )
    return name


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When to leave a resource alone: after failures in a row, or when too large a share of its attempts fails.

    It then rests for *cool_down*; after that one attempt probes it.
    """

    failures: int | None = 5
    """Failures in a row."""
    ratio: float | None = None
    """Share of failures within *window*, of at least *minimum* attempts."""
    window: timedelta = timedelta(minutes=1)
    minimum: int = 10
    cool_down: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        if self.failures is None and self.ratio is None:
            raise LimitsInvalid("breaker: say after how many failures in a row (failures) or at what share (ratio)")
        _check_count("breaker: failures", self.failures, LARGEST_COUNT)
        _check_count("breaker: minimum", self.minimum, LARGEST_COUNT)
        if self.ratio is not None and not (math.isfinite(self.ratio) and 0 < self.ratio <= 1):
            raise LimitsInvalid(f"breaker: ratio {self.ratio!r} is no share above 0 and up to 1, such as 0.5")
        _check_span("breaker: window", self.window)
        _check_span("breaker: cool_down", self.cool_down)

    @classmethod
    def from_mapping(cls, body: object) -> BreakerRule:
        """Return the rule that *body* says, as it stands in a file; a ratio alone asks for no failures in a row.

        Raises:
            InvalidInput: something in it cannot be used.
        """
        said = _mapping("breaker", body, ("failures", "ratio", "window", "minimum", "cool_down"))
        given: dict[str, Any] = {name: said[name] for name in ("failures", "minimum") if said.get(name) is not None}
        if said.get("ratio") is not None:
            given.setdefault("failures", None)
            given["ratio"] = _share(said["ratio"])
        for name in ("window", "cool_down"):
            if said.get(name) is not None:
                given[name] = parse_duration(said[name])
        return cls(**given)

    def to_mapping(self) -> dict[str, Any]:
        """Return the form that `from_mapping` reads."""
        said: dict[str, Any] = {}
        if self.failures is not None:
            said["failures"] = self.failures
        if self.ratio is not None:
            said.update(ratio=self.ratio, window=format_duration(self.window), minimum=self.minimum)
        return {**said, "cool_down": format_duration(self.cool_down)}

    def __str__(self) -> str:
        causes = []
        if self.failures is not None:
            causes.append(f"after {self.failures} failures in a row")
        if self.ratio is not None:
            share = f"{self.ratio * 100:g} % of at least {self.minimum}"
            causes.append(f"when {share} fail within {format_duration(self.window)}")
        return f"opens {' or '.join(causes)}, for {format_duration(self.cool_down)}"


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """What is declared about a resource; what is not declared does not limit."""

    concurrency: int | None = None
    """Attempts at the same time."""
    rate: Rate | None = None
    breaker: BreakerRule | None = None

    def __post_init__(self) -> None:
        _check_count("concurrency", self.concurrency, LARGEST_CONCURRENCY)

    @property
    def unlimited(self) -> bool:
        """Whether neither their number nor their rate is declared: it is then used carefully."""
        return self.concurrency is None and self.rate is None

    @classmethod
    def from_mapping(cls, body: object) -> ResourceLimits:
        """Return the limits that *body* says, as they stand in a file.

        Raises:
            InvalidInput: something in it cannot be used.
        """
        said = _mapping("resource", body, ("concurrency", "rate", "breaker"))
        rate, breaker = said.get("rate"), said.get("breaker")
        return cls(
            said.get("concurrency"),
            None if rate is None else Rate.parse(rate),
            None if breaker is None else BreakerRule.from_mapping(breaker),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return the form that `from_mapping` reads; what is not declared is left out."""
        said: dict[str, Any] = {}
        if self.concurrency is not None:
            said["concurrency"] = self.concurrency
        if self.rate is not None:
            said["rate"] = str(self.rate)
        if self.breaker is not None:
            said["breaker"] = self.breaker.to_mapping()
        return said

    @classmethod
    def from_json(cls, text: str | None) -> ResourceLimits:
        """Return the limits that `to_json` wrote."""
        return cls.from_mapping(decode(text) or {})

    def to_json(self) -> str:
        """Return a JSON text that `from_json` reads."""
        return encode(self.to_mapping())

    def __str__(self) -> str:
        said = [f"{self.concurrency} at a time"] if self.concurrency is not None else []
        said += [str(self.rate)] if self.rate is not None else []
        said += [f"breaker {self.breaker}"] if self.breaker is not None else []
        return "; ".join(said) or "nothing declared"


def _mapping(what: str, body: object, known: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise LimitsInvalid(f"{what} {body!r} is no set of names and values; known names: {', '.join(known)}")
    for name in body:
        if name not in known:
            raise LimitsInvalid(f"{what}: {unknown_name('setting', str(name), known)}")
    return body


def _check_count(what: str, value: object, largest: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise LimitsInvalid(f"{what} {value!r} is not a whole number from 1 to {largest}")


def _check_span(what: str, span: timedelta) -> None:
    if not timedelta(seconds=1) <= span <= LONGEST_COOL_DOWN:
        raise LimitsInvalid(f"{what} {format_duration(span)} is not between 1s and 1d")


def _share(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise LimitsInvalid(f"breaker: ratio {value!r} is no share above 0 and up to 1, such as 0.5")
    return float(value)
