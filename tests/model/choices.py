"""Name what the steps choose from: each choice is the number of one of these."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from mainspring.clock import EPOCH
from tests.model.expected import DAY, LEASE, SECOND
from tests.model.rules import Rule
from tests.model.store import NOON

MICROSECOND: Final = timedelta(microseconds=1)
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
START: Final = (NOON - EPOCH) // MICROSECOND
SPANS: Final = (
    SECOND // 8, SECOND, 3 * SECOND, LEASE - SECOND // 8, LEASE, 31 * SECOND, MINUTE, 61 * SECOND + SECOND // 2,
    5 * MINUTE, 47 * MINUTE + 13 * SECOND, 200 * MINUTE,
)  # fmt: skip
"""Amounts of time that may pass."""
STEPS_OF_THE_WALL: Final = (-HOUR, -SECOND, SECOND, HOUR)
ORDERS: Final = (
    ("high,low,bulk", 0, ("high", "low", "bulk")),
    ("bulk,low,high", 3, ("bulk", "low", "high")),
    ("low:1,high:3", 0, ("high", "low")),
    ("low:1,high:3", 1, ("low", "high")),
    ("bulk:1,low:1,high:2", 0, ("high", "bulk", "low")),
)
"""What a worker serves, the number of its claim, and the order in which it then tries the queues."""
PRIORITIES: Final = (5, 8, 2, 0, 9)
EXPIRES: Final = (None, SECOND, MINUTE, HOUR)
DUE_IN: Final = (0, -MINUTE, SECOND, MINUTE, HOUR)
ENDS: Final = ("succeeded", "failed", "retried", "snoozed", "interrupted", "returned", "lost", "cancelled")
"""What a worker says; that an attempt ends held, limits decide, and no run of the model has any."""
FAILURES: Final = ("error", "timed_out", "parameters", "not_serialisable")
NAMES: Final = ("s0", "s1", "s2")
TOMORROW: Final = START // DAY + 1
RULES: Final = (
    Rule(5 * MINUTE, START),
    Rule(MINUTE, START + 7 * SECOND, misfire="skip", overlap="skip", members=("a", "b"), priority=8),
    Rule(5 * MINUTE, START, misfire="all", cap=3, max_age=20 * MINUTE, overlap="queue_one", queue="low"),
    Rule(MINUTE, START, overlap="cancel_running", expires=MINUTE, queue="bulk"),
    Rule(10 * SECOND, START, misfire="skip", grace=15 * SECOND, max_tries=1),
    Rule(HOUR, START + 30 * MINUTE, misfire="all", cap=100, closed_days=(TOMORROW,), task="model.once", once=True),
    Rule(MINUTE, START, overlap="queue_one", members=("a", "b"), queue="low", priority=2),
    Rule(5 * MINUTE, START, enabled=False),
    Rule(5 * MINUTE, START + SECOND, misfire="all", cap=2, overlap="skip", closed_days=(TOMORROW,)),
)
PAUSES: Final = (None, 2 * MINUTE, HOUR)
PEOPLE: Final = ("ada", "ben")
OVERTAKERS: Final = ("nobody", "fire", "put", "pause", "resume", "delete")


def moment(value: int) -> datetime:
    """Return an instant as the product takes it."""
    return EPOCH + value * MICROSECOND


def span(value: int | None) -> timedelta | None:
    """Return a span as the product takes it."""
    return None if value is None else value * MICROSECOND
