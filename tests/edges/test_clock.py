"""People see when a clock is wrong, say when it is right, and set back what it has moved."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mainspring.app import Application, open_database
from mainspring.clock import ManualClock, boot_id
from mainspring.edges.cli.root import app
from mainspring.services.clock_guard import ClockGuard, put_anchor
from mainspring.services.clock_judge import Anchor
from mainspring.services.fire import Firer
from tests.edges.conftest import Cli

DAY = timedelta(days=1)


@pytest.fixture
def application(project: Path, cli: Cli) -> Application:
    """The services on the project's database, which has its schedules."""
    assert cli("apply").code == 0
    return Application(open_database(f"sqlite:///{project / 'mainspring.db'}"))


def _believed(application: Application, ahead: timedelta) -> None:
    """Let the database say that the wall clock of this machine was believed when it was *ahead* of what it is."""
    clock = application.clock
    booted = clock.now() - timedelta(seconds=clock.monotonic())
    application.database.write(lambda tx: put_anchor(tx, boot_id(), Anchor(booted + ahead), clock.now()))


def test_a_clock_that_nobody_doubts_is_shown_as_such(application: Application, cli: Cli) -> None:
    _believed(application, timedelta(0))
    shown = cli("clock")
    assert (shown.code, shown.out.splitlines()[-1]) == (0, "nothing is wrong with the clocks")
    body = cli("clock", "--json").json
    assert (body["server"], body["doubters"], body["ahead"], body["problems"]) == (None, [], [], [])


def test_a_doubted_clock_is_shown_by_status_too_and_may_be_confirmed(application: Application, cli: Cli) -> None:
    _believed(application, -3 * DAY)
    problem = "on this machine the wall clock has jumped 3d ahead, more than 1d; correct the clock, or run"
    assert problem in cli("clock").out
    assert problem in cli("status").out
    refused = cli("schedules", "pause", "morning")
    assert refused.code == 4
    assert "nothing was changed" in refused.err

    asked = CliRunner().invoke(app, ["clock", "confirm"], input="n\n")
    assert "Is the clock of this machine right?" in asked.stdout
    assert problem in cli("clock").out

    assert cli("clock", "confirm", "--yes").out == "the clock of this machine is believed as it is now\n"
    assert cli("clock", "--json").json["problems"] == []
    assert cli("schedules", "pause", "morning").code == 0


def test_a_question_answered_with_yes_confirms(application: Application) -> None:
    _believed(application, -3 * DAY)
    assert CliRunner().invoke(app, ["clock", "confirm"], input="y\n").exit_code == 0
    guard = ClockGuard(application.database, application.clock, "scheduler s1")
    assert guard.check().trusted


def test_a_schedule_that_stands_in_the_future_is_rewound(application: Application, cli: Cli) -> None:
    _believed(application, timedelta(0))
    ahead = ManualClock(application.clock.now() + 30 * DAY)
    Firer(application.database, ahead).run_once()
    assert "schedule 'sundays' does not fire before" in cli("clock").out
    assert cli("schedules", "rewind", "--all", "--dry-run").out.splitlines()[-1] == "2 schedules would be rewound"
    assert len(cli("clock", "--json").json["ahead"]) == 2
    body = cli("schedules", "rewind", "morning", "--to", "now", "--json").json
    (done,) = body["schedules"]
    # Working days of 30 days: the last one fired.
    assert (done["name"], done["kept"], 18 <= done["undecided"] <= 22) == ("morning", 1, True)
    assert done["next_at"] < ahead.now().isoformat()
    assert "schedule 'sundays' does not fire before" in cli("status").out
    assert cli("schedules", "rewind", "--all").out.splitlines()[-1] == "1 schedule rewound"
    assert cli("schedules", "rewind", "--all").out == "no schedule stands in the future\n"
    assert cli("clock", "--json").json["problems"] == []


@pytest.mark.parametrize("words", [(), ("morning", "--all")])
def test_a_rewind_names_one_schedule_or_all(application: Application, cli: Cli, words: tuple[str, ...]) -> None:
    answer = cli("schedules", "rewind", *words)
    assert (answer.code, "name a schedule, or write --all" in answer.err) == (2, True)
