"""A service, a worker with ten slots and a virtual clock, to see what the rules of resources do over minutes."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count

from mainspring.domain.resources import Report, ResourceLimits, ResourceState, admit, charged, next_at, report

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class Answer(StrEnum):
    """What the service says."""

    FINE = "fine"
    TOO_FAST = "too_fast"
    BROKEN = "broken"


@dataclass
class Sliding:
    """A service that answers *allowed* requests in any stretch of *period*, and refuses each one more."""

    allowed: int = 5
    period: float = 1.0
    seen: deque[float] = field(default_factory=deque)

    def ask(self, at: float) -> Answer:
        """Answer a request that arrives *at* so many seconds."""
        while self.seen and self.seen[0] <= at - self.period:
            self.seen.popleft()
        if len(self.seen) >= self.allowed:
            return Answer.TOO_FAST
        self.seen.append(at)
        return Answer.FINE


@dataclass
class Down:
    """A service that is broken from *begin* to *end*."""

    begin: float
    end: float

    def ask(self, at: float) -> Answer:
        """Answer a request that arrives *at* so many seconds."""
        return Answer.BROKEN if self.begin <= at < self.end else Answer.FINE


@dataclass
class Told:
    """What happened: seconds at which requests arrived or were answered so, and the tries charged to runs."""

    arrived: list[float] = field(default_factory=list)
    fine: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)
    charged_at: list[float] = field(default_factory=list)
    most_in_flight: int = 0
    state: ResourceState = field(default_factory=ResourceState.fresh)

    def rate(self, begin: float, end: float) -> float:
        """Return the successes per second between two instants."""
        return sum(begin <= at < end for at in self.fine) / (end - begin)


def simulate(
    limits: ResourceLimits,
    ask: Callable[[float], Answer],
    *,
    runs: int,
    seed: int,
    seconds: float = 10_000,
    slots: int = 10,
    latency: tuple[float, float] = (0.001, 0.020),
    late: tuple[float, float] = (0.0, 0.010),
    commit: tuple[float, float] = (0.0, 0.010),
    stalls: float = 0.0,
    retry_after: timedelta | None = timedelta(seconds=7),
) -> Told:
    """Run *runs* runs that each ask the service once; commits of claims, requests and answers take random times.

    *stalls* is the share of claims whose commit takes 150 ms more.
    """
    chance, told, order = random.Random(seed), Told(), count()
    events: list[tuple[float, int, str, float, Answer | None]] = [(0.0, next(order), "look", 0.0, None)]
    state, waiting, in_flight, looking_at = ResourceState.fresh(), runs, 0, 0.0

    def later(at: float, kind: str, began: float = 0.0, answer: Answer | None = None) -> None:
        heapq.heappush(events, (at, next(order), kind, began, answer))

    def instant(at: float) -> datetime:
        return START + timedelta(seconds=at)

    while events and events[0][0] < seconds:
        at, _, kind, began, answer = heapq.heappop(events)
        now = instant(at)
        if kind == "request":
            told.arrived.append(at)
            later(at + chance.uniform(*latency), "answer", began, ask(at))
            continue
        if kind == "answer":
            in_flight -= 1
            said = {Answer.FINE: Report.SUCCEEDED, Answer.TOO_FAST: Report.REFUSED, Answer.BROKEN: Report.FAILED}
            reported, began_at = said[answer or Answer.FINE], instant(began)
            {Answer.FINE: told.fine, Answer.TOO_FAST: told.refused, Answer.BROKEN: told.broken}[
                answer or Answer.FINE
            ].append(at)
            if reported is not Report.SUCCEEDED:
                waiting += 1
                if charged(limits, state, reported, now, started_at=began_at):
                    told.charged_at.append(at)
            state = report("service", limits, state, reported, now, retry_after=retry_after, started_at=began_at)
        while waiting and in_flight < slots:
            decision = admit("service", limits, state, in_flight, now)
            if not decision.admitted:
                break
            state, waiting, in_flight = decision.state, waiting - 1, in_flight + 1
            told.most_in_flight = max(told.most_in_flight, in_flight)
            started = at + chance.uniform(*commit) + (0.15 if chance.random() < stalls else 0.0)
            later(started + chance.uniform(*latency), "request", started)
        wake = next_at(limits, state, in_flight, now) if waiting and in_flight < slots else None
        if wake is not None and not at < looking_at <= (wake - START).total_seconds() + late[1]:
            looking_at = (wake - START).total_seconds() + chance.uniform(*late)
            later(looking_at, "look")
    told.state = state
    return told
