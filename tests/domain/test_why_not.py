"""Why nothing fires on a day, in a sentence."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mainspring.domain.calendars import CalendarRule
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.triggers import DstRule, trigger_from_definition
from mainspring.domain.why_not import why_not

NEW_YORK = "America/New_York"


def spec(definition: dict[str, Any], zone: str = NEW_YORK, dst: DstRule | None = None, **more: Any) -> ScheduleSpec:
    return ScheduleSpec("s", "t", trigger_from_definition(definition, zone, dst), zone, **more)


START = datetime(2026, 12, 1, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "day", "reason"),
    [
        (
            spec({"session": "XNYS close - 15m"}),
            date(2026, 11, 26),
            "XNYS is closed on Thu 26 Nov 2026: Thanksgiving Day",
        ),
        (spec({"session": "XNYS close - 15m"}), date(2026, 11, 27), None),
        (
            spec({"session": "XNYS open + 4h"}),
            date(2026, 11, 27),
            "XNYS is open too short on Fri 27 Nov 2026 for open + 4h: half-day, closes at 13:00",
        ),
        (
            spec({"session": "XNYS close on the last session of the month"}),
            date(2026, 11, 27),
            "Fri 27 Nov 2026 is not the last session of the month of XNYS",
        ),
        (
            spec({"cron": "0 9 * * sun"}),
            date(2026, 11, 26),
            "Thu 26 Nov 2026 is none of its days: it fires at 09:00 on Sunday (America/New_York)",
        ),
        (spec({"cron": "0 9 * * sun"}), date(2026, 11, 29), None),
        (
            spec({"cron": "0 9 * * *"}, calendars=CalendarRule(exclude=("NYSE",))),
            date(2026, 12, 25),
            "Fri 25 Dec 2026 is left out: Christmas Day (NYSE)",
        ),
        (spec({"cron": "0 9 * * *"}, start_at=START), date(2026, 11, 30), "it starts on Tue 1 Dec 2026 at 09:00"),
        (spec({"cron": "0 9 * * *"}, start_at=START), date(2026, 12, 1), None),
        (
            spec({"cron": "0 8 * * *"}, start_at=START),
            date(2026, 12, 1),
            "what its rule names on Tue 1 Dec 2026 lies before its start or after its end",
        ),
        (spec({"cron": "0 9 * * *"}, end_at=START), date(2026, 12, 2), "it ended on Tue 1 Dec 2026 at 09:00"),
        (
            spec({"cron": "30 2 * * *"}, dst=DstRule(gap="skip")),
            date(2026, 3, 8),
            "clocks in America/New_York skip from 02:00 to 03:00 on Sun 8 Mar 2026, and its time with them "
            "(dst gap: skip)",
        ),
        (spec({"cron": "30 2 * * *"}), date(2026, 3, 8), None),
        (spec({"cron": "0 9 * * *"}, enabled=False), date(2026, 3, 8), "it is disabled"),
        (
            spec({"at": "2026-12-01T09:00"}),
            date(2026, 12, 2),
            "Wed 2 Dec 2026 is none of its days: it fires once, on Tuesday 1 December 2026 at 09:00 (America/New_York)",
        ),
    ],
)
def test_why_nothing_fires_on_a_day(schedule: ScheduleSpec, day: date, reason: str | None) -> None:
    assert why_not(schedule, day) == reason


def test_a_day_with_a_fire_time_in_the_session_has_no_reason() -> None:
    schedule = spec({"session": "XNYS every 1h while open"})
    days = [date(2026, 11, 23) + timedelta(days=n) for n in range(7)]
    assert [day.day for day in days if why_not(schedule, day) is None] == [23, 24, 25, 27]
