"""Keep requests to one host within a rate and a number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mainspring.clock import Clock
from mainspring.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """How hard the hosts that fit `hosts` (a pattern such as `*.example.com`) may be asked.

    `rate` is requests per second over time, `burst` how many may start at once after a quiet time,
    `concurrency` how many may be under way.
    """

    hosts: str = "*"
    rate: float = 2.0
    burst: int = 4
    concurrency: int = 2

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.burst >= 1 and self.concurrency >= 1):
            needs = "a rate above 0, and a burst and concurrency of 1 or more"
            raise InvalidInput(f"politeness for {self.hosts!r} needs {needs}")


class PoliteGate:
    """Gives each host its turns, within this process.

    The first policy that fits a host holds for it, else the default one. A turn is counted when it begins; whoever
    gives up waiting gives back its place under way, not its place in the rate.
    """

    def __init__(
        self,
        clock: Clock,
        policies: Sequence[HostPolicy],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._policies, self._pause = clock, tuple(policies), pause
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Wait for the turn of *host*, then hold it until the context ends."""
        line = self._line(host.lower())
        async with line.under_way:
            await self._pause_if(line.reserve(self._clock.monotonic()))
            yield

    async def _pause_if(self, seconds: float) -> None:
        if seconds > 0:
            await self._pause(seconds)

    def _line(self, host: str) -> _Line:
        if host not in self._lines:
            fitting = (policy for policy in self._policies if fnmatchcase(host, policy.hosts.lower()))
            self._lines[host] = _Line(next(fitting, HostPolicy()))
        return self._lines[host]


class _Line:
    """The turns of one host: a token bucket, kept as the instant at which it will be full again."""

    def __init__(self, policy: HostPolicy) -> None:
        self.under_way = asyncio.Semaphore(policy.concurrency)
        self._spacing = 1 / policy.rate
        self._tolerance = self._spacing * (policy.burst - 1)
        self._full_at = float("-inf")

    def reserve(self, now: float) -> float:
        """Take the next place and return in how many seconds it comes."""
        begins = max(now, self._full_at - self._tolerance)
        self._full_at = max(self._full_at, now) + self._spacing
        return begins - now
