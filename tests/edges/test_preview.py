"""Fire times to come: by weekday, in their zone, with what is skipped."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from mainspring.domain.calendars import CalendarRule
from mainspring.domain.occurrences import Pause
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.triggers import IntervalTrigger, parse_cron
from mainspring.services.preview import Ahead, look_ahead
from tests.edges.conftest import CONFIG, TASKS, Cli

MONDAY = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def a_monday_at_noon() -> object:
    with time_machine.travel(MONDAY, tick=False):
        yield


class TestLookAhead:
    def test_it_gives_as_many_as_will_fire_and_names_what_is_skipped_between(self) -> None:
        spec = ScheduleSpec(
            name="a",
            task="t",
            trigger=parse_cron("0 9 * * *"),
            calendars=CalendarRule((), ("closed",)),
            own_calendars={"closed": {date(2026, 3, 4): "stocktaking", date(2026, 3, 5): "stocktaking"}},
        )

        found = look_ahead(spec, MONDAY, 2)

        assert [(one.fire_at.day, one.n) for one in found] == [(3, 1), (4, 2), (6, 1)]
        assert found[1].until_at.day == 5
        assert found[1].skipped == "stocktaking (closed)"

    def test_a_pause_without_an_end_skips_everything_within_bounds(self) -> None:
        trigger = IntervalTrigger(timedelta(seconds=1), datetime(2026, 1, 1, tzinfo=UTC))
        spec = ScheduleSpec(name="a", task="t", trigger=trigger)

        (one,) = look_ahead(spec, MONDAY, 5, Pause(MONDAY, None, "ana"))

        assert (one.n, one.skipped) == (5_005, "paused by ana")

    def test_it_ends_with_the_rule(self) -> None:
        spec = ScheduleSpec(
            name="a", task="t", trigger=parse_cron("0 9 * * *"), end_at=datetime(2026, 3, 3, 23, tzinfo=UTC)
        )

        at = datetime(2026, 3, 3, 9, tzinfo=UTC)
        assert look_ahead(spec, MONDAY, 5) == [Ahead(at, at)]


class TestCommand:
    def test_monday_to_friday_and_sunday_are_said_by_name(self, project: Path, cli: Cli) -> None:
        out = cli("schedules", "preview", "--all", "--count", "2").out

        assert out == (
            "morning\n"
            "at 09:00, Monday to Friday (America/Sao_Paulo)\n"
            "  next fire times (America/Sao_Paulo, UTC-03:00)\n"
            "  Tuesday 2026-03-03 09:00    in 1 d\n"
            "  Wednesday 2026-03-04 09:00  in 2 d\n"
            "\n"
            "sundays\n"
            "at 09:00 on Sunday (America/Sao_Paulo)\n"
            "  next fire times (America/Sao_Paulo, UTC-03:00)\n"
            "  Sunday 2026-03-08 09:00  in 6 d\n"
            "  Sunday 2026-03-15 09:00  in 13 d\n"
        )

    def test_aps_style_fields_count_from_monday(self, folder: Path, cli: Cli) -> None:
        fields = '{hour: "9", day_of_week: "0-4"}'
        config = f"tasks: [work]\nschedules:\n  a: {{task: work.add, fields: {fields}, parameters: {{a: 1}}}}\n"
        (folder / "mainspring.yaml").write_text(config)
        (folder / "work.py").write_text(TASKS)

        out = cli("schedules", "preview", "a", "--count", "5").out

        days = [line.split()[0] for line in out.splitlines()[3:]]
        assert days == ["Tuesday", "Wednesday", "Thursday", "Friday", "Monday"]
        assert "Monday to Friday" in out

    def test_a_time_that_clocks_skip_is_said_to_be_moved(self, cli: Cli, folder: Path) -> None:
        out = cli("schedules", "preview", "--cron", "30 2 * * 0", "--zone", "America/New_York", "--count", "3").out

        assert out == (
            "at 02:30 on Sunday (America/New_York)\n"
            "  next fire times (America/New_York, UTC-04:00)\n"
            "  Sunday 2026-03-08 03:00  in 5 d 19 h, for 02:30, which clocks skip that day\n"
            "  Sunday 2026-03-15 02:30  in 12 d\n"
            "  Sunday 2026-03-22 02:30  in 19 d\n"
        )

    def test_offsets_are_shown_where_they_change(self, cli: Cli, folder: Path) -> None:
        out = cli("schedules", "preview", "--cron", "0 9 * * *", "--zone", "America/New_York", "--count", "7").out

        assert "  Saturday 2026-03-07 09:00 UTC-05:00   in 5 d 2 h\n" in out
        assert "  Sunday 2026-03-08 09:00 UTC-04:00     in 6 d 1 h\n" in out

    def test_skipped_days_are_named(self, folder: Path, cli: Cli) -> None:
        (folder / "work.py").write_text(TASKS)
        config = CONFIG.replace('"0 9 * * 1-5"', '"0 9 1-5 4 *"\n    calendars: {exclude: [BR]}')
        (folder / "mainspring.yaml").write_text(config)

        out = cli("schedules", "preview", "morning", "--count", "4").out

        assert "  Friday 2026-04-03 09:00     skipped: Good Friday (BR)\n" in out

    def test_half_days_are_remarked_on_and_closed_days_are_named(self, folder: Path, cli: Cli) -> None:
        (folder / "work.py").write_text(TASKS)
        config = "tasks: [work]\nschedules:\n  a: {task: work.add, session: XNYS close - 15m, parameters: {a: 1}}\n"
        (folder / "mainspring.yaml").write_text(config)

        with time_machine.travel(datetime(2026, 11, 25, 12, tzinfo=UTC), tick=False):
            out = cli("schedules", "preview", "a", "--count", "3").out

        assert out == (
            "a\n"
            "15 minutes before XNYS closes (America/New_York)\n"
            "  next fire times (America/New_York, UTC-05:00)\n"
            "  Wednesday 2026-11-25 15:45  in 8 h 45 min\n"
            "  Thursday 2026-11-26         skipped: XNYS is closed: Thanksgiving Day\n"
            "  Friday 2026-11-27 12:45     in 2 d 5 h, half-day, closes at 13:00\n"
            "  Monday 2026-11-30 15:45     in 5 d 8 h\n"
        )

    def test_as_json(self, project: Path, cli: Cli) -> None:
        (body,) = cli("schedules", "preview", "sundays", "--count", "1", "--json").json["schedules"]

        assert body == {
            "name": "sundays",
            "rule": "at 09:00 on Sunday (America/Sao_Paulo)",
            "zone": "America/Sao_Paulo",
            "fire_times": [
                {
                    "fire_at": "2026-03-08T12:00:00Z",
                    "local": "2026-03-08T09:00:00-03:00",
                    "weekday": "Sunday",
                    "until_at": "2026-03-08T12:00:00Z",
                    "n": 1,
                    "skipped": None,
                    "jitter": 0.0,
                    "remark": "",
                }
            ],
            "days_off": [],
        }

    def test_the_database_goes_before_the_file_and_the_file_fills_up(self, project: Path, cli: Cli) -> None:
        cli("apply")
        config = (project / "mainspring.yaml").read_text()
        added = "  noon: {task: work.add, cron: '0 12 * * *', parameters: {a: 3}}\n"
        (project / "mainspring.yaml").write_text(config.replace("0 9 * * 1-5", "0 10 * * 1-5") + added)

        assert "at 09:00, Monday to Friday" in cli("schedules", "preview", "morning").out
        assert "at 12:00 every day" in cli("schedules", "preview", "noon").out

    def test_a_disabled_schedule_fires_never(self, project: Path, cli: Cli) -> None:
        config = (project / "mainspring.yaml").read_text()
        (project / "mainspring.yaml").write_text(
            config.replace("description: Adds", "enabled: false\n    description: Adds")
        )

        assert cli("schedules", "preview", "morning").out.splitlines()[-1] == "  disabled: it fires never"
