"""Everything stands still for a day and starts again: each misfire policy yields exactly its runs, all is recorded.

Stopped on Monday 2 March 2026 at 12:00:01, started again on Tuesday at 12:00:30. All times are UTC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from mainspring.clock import ManualClock
from mainspring.domain.spec import FanOut, Misfire, MisfirePolicy, ScheduleSpec
from mainspring.store.database import Database
from mainspring.verify import verify
from tests.services.arrange import Installation, cron, every

SKIP, LATEST, ALL = Misfire(MisfirePolicy.SKIP), Misfire(MisfirePolicy.LATEST), Misfire(MisfirePolicy.ALL, cap=100)
YOUNG = Misfire(MisfirePolicy.ALL, max_age=timedelta(minutes=10))
SECOND = timedelta(seconds=1)
BY_THREE = FanOut("ticker", ("PETR4", "VALE3", "ITUB4"))


@dataclass(frozen=True)
class Case:
    """A schedule and what becomes of its fire times: (fired, coalesced, missed, paused), the runs, and the ledger."""

    spec: ScheduleSpec
    figures: tuple[int, int, int, int]
    runs: int
    ledger: tuple[tuple[str, str, int, str, str | None], ...] = ()
    """Its rows without those that fired, where there are any others."""


def _minute(name: str, misfire: Misfire, **changes: Any) -> ScheduleSpec:
    return cron("* * * * *", name, misfire=misfire, **changes)


CASES = [
    # Every second: Monday 12:00:01 fires on time. Monday 12:00:02 to Tuesday 12:00:30 are 86,429 fire times.
    # Younger than the grace of 30 s at the start are 12:00:00 to 12:00:30: 31.
    Case(every(SECOND, "second-skip", misfire=SKIP), (1 + 31, 0, 86_398, 0), 32,
         (("12:00:02", "3 11:59:59", 86_398, "skipped", "missed"),)),
    Case(every(SECOND, "second-latest", misfire=LATEST), (1 + 1, 86_428, 0, 0), 2,
         (("12:00:02", "3 12:00:29", 86_428, "coalesced", None),)),
    Case(every(SECOND, "second-all", misfire=ALL), (1 + 100, 0, 86_329, 0), 101,
         (("12:00:02", "3 11:58:50", 86_329, "skipped", "missed"),)),
    # Every minute, three members: Monday 12:01 to Tuesday 12:00 are 1,440 fire times; only the last is young enough.
    Case(_minute("minute-skip", SKIP, fan_out=BY_THREE), (1, 0, 1_439, 0), 3,
         (("12:01", "3 11:59", 1_439, "skipped", "missed"),)),
    Case(_minute("minute-latest", LATEST, fan_out=BY_THREE), (1, 1_439, 0, 0), 3,
         (("12:01", "3 11:59", 1_439, "coalesced", None),)),
    Case(_minute("minute-all", ALL, fan_out=BY_THREE), (100, 0, 1_340, 0), 300,
         (("12:01", "3 10:20", 1_340, "skipped", "missed"),)),
    # Not older than ten minutes at 12:00:30: 11:51 to 12:00.
    Case(_minute("minute-young", YOUNG), (10, 0, 1_430, 0), 10,
         (("12:01", "3 11:50", 1_430, "skipped", "missed"),)),
    # Every day at 09:00: one fire time, three hours late.
    Case(cron("0 9 * * *", "day-skip", misfire=SKIP), (0, 0, 1, 0), 0,
         (("3 09:00", "3 09:00", 1, "skipped", "missed"),)),
    Case(cron("0 9 * * *", "day-latest", misfire=LATEST, fan_out=BY_THREE), (1, 0, 0, 0), 3),
    Case(cron("0 9 * * *", "day-all", misfire=ALL), (1, 0, 0, 0), 1),
    # Paused all the while.
    Case(_minute("paused", ALL), (0, 0, 0, 1_440), 0,
         (("12:01", "3 12:00", 1_440, "skipped", "paused"),)),
    # Paused until Tuesday 06:00: Monday 12:01 to Tuesday 05:59 are 1,079; 06:00 to 12:00 are 361, of which 100 fire.
    Case(_minute("paused-until", ALL), (100, 0, 261, 1_079), 100,
         (("12:01", "3 05:59", 1_079, "skipped", "paused"), ("3 06:00", "3 10:20", 261, "skipped", "missed"))),
    # Resumed on Tuesday at 06:00:10: paused 12:01 to 06:00 (1,080), then 06:01 to 12:00 (360), the latest fires.
    Case(_minute("resumed", LATEST), (1, 359, 0, 1_080), 1,
         (("12:01", "3 06:00", 1_080, "skipped", "paused"), ("3 06:01", "3 11:59", 359, "coalesced", None))),
    # Edited on Monday at 18:00:10: up to then every minute, the latest of 360 fires; from then on every five minutes,
    # of 18:05 to 12:00 (216) the latest 100 fire.
    Case(_minute("edited", LATEST), (1 + 100, 359, 116, 0), 101,
         (("12:01", "17:59", 359, "coalesced", None), ("18:05", "3 03:40", 116, "skipped", "missed"))),
    # Disabled from Monday 18:00:10 to Tuesday 06:00:10: nothing is due in between. 06:01 to 12:00 are 360.
    Case(_minute("disabled", LATEST), (1 + 1, 359 + 359, 0, 0), 2,
         (("12:01", "17:59", 359, "coalesced", None), ("3 06:01", "3 11:59", 359, "coalesced", None))),
    # Added on Tuesday at 11:30:10: 11:31 to 12:00 are 30, the latest fires.
    Case(_minute("added", LATEST), (1, 29, 0, 0), 1, (("3 11:31", "3 11:59", 29, "coalesced", None),)),
]  # fmt: skip
ADDED_LATER = "added"


def _edits_meanwhile(installation: Installation) -> None:
    """Change schedules while no scheduler runs."""
    installation.at("18:00:10")
    installation.put(cron("*/5 * * * *", "edited", misfire=ALL))
    installation.put(_minute("disabled", LATEST, enabled=False))
    installation.at("3 06:00:10")
    installation.put(_minute("disabled", LATEST))
    installation.scheduling.resume("resumed", "ann")
    installation.at("3 11:30:10")
    installation.put(next(case.spec for case in CASES if case.spec.name == ADDED_LATER))


def _figures(installation: Installation, name: str) -> tuple[int, int, int, int]:
    counts: Counter[str] = Counter()
    for _, _, n, outcome, cause in installation.ledger(name):
        counts[cause or outcome] += n
    return counts["fired"], counts["coalesced"], counts["missed"], counts["paused"]


@pytest.mark.timeout(120)
def test_after_a_day_of_downtime_each_policy_yields_exactly_its_runs(
    open_database: Callable[[], Database], clock: ManualClock
) -> None:
    before = Installation(open_database(), clock)
    for case in CASES:
        if case.spec.name != ADDED_LATER:
            before.put(case.spec)
    before.scheduling.pause("paused", "ann", "maintenance")
    before.scheduling.pause("paused-until", "ann", "maintenance", until=clock.now() + timedelta(hours=18))
    before.scheduling.pause("resumed", "ann")
    before.fire("12:00:01")
    _edits_meanwhile(before)

    after = Installation(open_database(), clock)
    after.fire("3 12:00:30")

    assert {case.spec.name: _figures(after, case.spec.name) for case in CASES} == {
        case.spec.name: case.figures for case in CASES
    }
    assert {case.spec.name: len(after.runs(case.spec.name)) for case in CASES} == {
        case.spec.name: case.runs for case in CASES
    }
    for case in CASES:
        others = tuple(row for row in after.ledger(case.spec.name) if row[3] != "fired")
        assert others == case.ledger, case.spec.name

    # Life goes on: one second later the schedules of a second fire on time, nothing else does.
    assert after.fire("3 12:00:31").fired == 3

    verdict = verify(after.database, clock.now())
    assert [str(finding) for finding in verdict.findings if not finding.warning] == []
    fired, coalesced, missed, paused = (sum(case.figures[n] for case in CASES) for n in range(4))
    assert (verdict.fired, verdict.coalesced, verdict.skipped) == (fired + 3, coalesced, missed + paused)
    assert verdict.expected == fired + 3 + coalesced + missed + paused
    assert (verdict.missing, verdict.doubled, verdict.unexpected, verdict.pending) == (0, 0, 0, 0)
    assert verdict.runs == sum(case.runs for case in CASES) + 3
