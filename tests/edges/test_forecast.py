"""Looking into the future from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine

from tests.edges.conftest import Cli


@pytest.fixture(autouse=True)
def a_monday_at_noon() -> Iterator[None]:
    with time_machine.travel(datetime(2026, 11, 23, 12, tzinfo=UTC), tick=False):
        yield


class TestPreview:
    def test_a_rule_is_tried_before_it_is_saved(self, folder: Path, cli: Cli) -> None:
        assert cli("preview", "XNYS open + 4h", "-n", "4").out == (
            "4 hours after XNYS opens (America/New_York)\n"
            "  next fire times (America/New_York, UTC-05:00)\n"
            "  Monday 2026-11-23 13:30     in 6 h 30 min\n"
            "  Tuesday 2026-11-24 13:30    in 1 d 6 h\n"
            "  Wednesday 2026-11-25 13:30  in 2 d 6 h\n"
            "  Thursday 2026-11-26         skipped: XNYS is closed: Thanksgiving Day\n"
            "  Friday 2026-11-27           skipped: XNYS is open too short on Fri 27 Nov 2026 for open + 4h: half-day, "
            "closes at 13:00\n"
            "  Monday 2026-11-30 13:30     in 7 d 6 h\n"
        )

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("0 9 * * 0", "at 09:00 on Sunday (Europe/Berlin)"),
            ("hour=9 day_of_week=0", "at 09:00 on Monday (Europe/Berlin)"),
            ("every 15m", "every 15 minutes"),
            ("calendar: {months: 1, day: 5}", "every month on the 5th at 00:00 (Europe/Berlin)"),
            ("cron: '@daily'", "at 00:00 every day (Europe/Berlin)"),
        ],
    )
    def test_any_kind_of_text(self, folder: Path, cli: Cli, text: str, words: str) -> None:
        assert cli("preview", text, "--zone", "Europe/Berlin", "-n", "1").out.splitlines()[0] == words

    def test_as_json(self, folder: Path, cli: Cli) -> None:
        body = cli("preview", "XNYS close - 15m", "-n", "4", "--json").json

        assert (body["text"], body["zone"]) == ("XNYS close - 15m", "America/New_York")
        assert body["days_off"] == [{"day": "2026-11-26", "reason": "XNYS is closed: Thanksgiving Day"}]
        assert body["fire_times"][3]["remark"] == "half-day, closes at 13:00"

    def test_what_cannot_be_read_is_one_line(self, folder: Path, cli: Cli) -> None:
        answer = cli("preview", "calendar: {months: 1")
        assert answer.code == 2
        assert answer.err.startswith("error: '{months: 1' cannot be read: ")
        assert cli("preview", "soon").err.startswith('error: cron "soon": has 1 field')


SIMULATED = """\
2 schedules from Monday 2026-11-23 09:00 to Monday 2026-11-30 09:00 (America/Sao_Paulo)
6 fire times, 6 runs; at most 1 at one moment, Mon 2026-11-23 09:00 (10 slots)
1 task without a succeeded run yet: 1 min taken for work.add

load
  queue    hour   runs a day  busy a day  peak of 10
  default  09:00         0.9        51 s           1

free for a new daily job: 02:00 (America/Sao_Paulo), the least loaded half hour from 02:00 to 06:00, with no work a day
"""


class TestSimulate:
    def test_the_configuration_is_simulated_without_a_database(self, project: Path, cli: Cli) -> None:
        assert cli("simulate", "--days", "7", "--duration", "1m").out == SIMULATED
        assert not (project / "mainspring.db").exists()

    def test_collisions_skipped_days_and_overlaps_are_said(self, project: Path, cli: Cli) -> None:
        config = (project / "mainspring.yaml").read_text()
        added = (
            "  often: {task: work.add, cron: '*/5 * * * *', parameters: {a: 1}, overlap: skip}\n"
            "  bell: {task: work.add, session: NYSE close, parameters: {a: 1}}\n"
        )
        (project / "mainspring.yaml").write_text(config + added)

        out = cli("simulate", "--days", "7", "--duration", "10m").out

        assert "fire in the same minute\n  at     schedules  days\n  09:00          2     6  morning, often\n" in out
        assert "  Thu 2026-11-26  XNYS is closed: Thanksgiving Day  bell\n" in out
        assert "  often     10 min, 5 % over 10 min  5 min  2,015 of 2,016  skip\n" in out

    def test_as_json_it_is_whole(self, project: Path, cli: Cli) -> None:
        body = cli("simulate", "--days", "7", "--from", "2026-11-23T00:00", "--zone", "UTC", "--json").json

        assert (body["fire_times"], body["slots"], body["zone"]) == (6, 10, "UTC")
        assert body["load"][0] == {
            "queue": "default", "hour_at": "2026-11-23T12:00:00Z", "runs": 1, "busy": 30.0, "peak": 1,
        }  # fmt: skip
        assert body["free_slot"] == {"hour": 2, "minute": 0, "busy_a_day": 0.0, "runs": 0}
        assert body["unknown_tasks"] == ["work.add"]

    def test_with_database_the_schedules_of_that_database_are_simulated(self, project: Path, cli: Cli) -> None:
        cli("apply")
        (project / "mainspring.yaml").unlink()

        out = cli("--database", "sqlite:///mainspring.db", "simulate", "--days", "7").out

        assert out.startswith("2 schedules from Monday 2026-11-23 12:00 to Monday 2026-11-30 12:00 (UTC)\n")
        assert "(no worker is running)" in out

    def test_a_bad_duration_is_refused(self, project: Path, cli: Cli) -> None:
        answer = cli("simulate", "--duration", "5")
        assert (answer.code, answer.err) == (
            2, 'error: duration \'5\' has no unit; write "5s" for seconds or "5m" for minutes\n',
        )  # fmt: skip


def test_a_feed_for_calendar_programs(project: Path, cli: Cli) -> None:
    out = cli("ical", "--days", "2").out
    assert out.startswith("BEGIN:VCALENDAR")
    assert [line for line in out.split() if line.startswith("UID:")] == [
        "UID:morning-20261124T120000Z@mainspring",
        "UID:morning-20261125T120000Z@mainspring",
    ]
