"""A changed configuration is taken over while running; an invalid one is refused whole and said once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mainspring import config
from mainspring.app import Application, Project, apply, take_over
from mainspring.clock import ManualClock
from mainspring.config.loading import Loaded
from mainspring.errors import StoreUnavailable
from mainspring.runtime.reloading import ConfigurationWatch
from mainspring.store.database import Database
from tests.services.arrange import Faulty

HOURLY = "schedules: {hourly: {task: reloaded_tasks.quotes, cron: '0 * * * *'}}\n"
DAILY = "schedules: {daily: {task: reloaded_tasks.quotes, cron: '0 9 * * *'}}\n"


class Running:
    """A project that runs, with the watch on its file."""

    def __init__(self, database: Database, clock: ManualClock, folder: Path) -> None:
        self.file = folder / "mainspring.yaml"
        (folder / "reloaded_tasks.py").write_text(
            "from mainspring import task\n@task\ndef quotes(depth: int = 1): ...\n"
        )
        self.write(HOURLY)
        self.loaded = config.load(self.file, {})
        self.database, self.application = database, Application(database, clock)
        self.project = Project(self.loaded, clock)
        apply(self.application, self.project, "tester")
        self.watch = ConfigurationWatch(self.loaded, self.take_over)

    def take_over(self, new: Loaded) -> str:
        """Put a new configuration into force."""
        return take_over(self.application, self.project, new, "tester")

    def write(self, text: str) -> None:
        """Write the file."""
        self.file.write_text(f"tasks: [reloaded_tasks]\n{text}")

    @property
    def schedules(self) -> list[str]:
        """The names of the schedules in the database."""
        return [schedule.name for schedule in self.application.scheduling.all()]


@pytest.fixture
def running(
    database: Database,
    clock: ManualClock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Running:
    """A project with one schedule."""
    import sys

    caplog.set_level(logging.INFO, "mainspring.configuration")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "reloaded_tasks", raising=False)
    running = Running(database, clock, tmp_path)
    monkeypatch.delitem(sys.modules, "reloaded_tasks")
    return running


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mainspring.configuration"]


def test_a_valid_change_is_taken_over(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    assert running.watch.run_once() == 1.0
    assert running.schedules == ["hourly"]
    running.write(HOURLY + "zone: America/Sao_Paulo\n")
    running.watch.run_once()
    assert running.application.scheduling.require("hourly").spec.zone == "America/Sao_Paulo"
    running.write(DAILY)
    running.watch.run_once()
    assert running.schedules == ["daily"]
    assert "configuration_reloaded schedules: 1 added, 1 removed" in _said(caplog)


@pytest.mark.parametrize(
    "bad",
    [
        "schedules: {hourly: {task: reloaded_tasks.quotes, cron: '61 * * * *'}}\n",
        "schedules: {hourly: {task: reloaded_tasks.quote, cron: '0 * * * *'}}\n",
        "schedules: {hourly: {task: reloaded_tasks.quotes, cron: '0 * * * *', parameters: {deep: 1}}}\n",
        "scheduless: {}\n",
        "]\n",
    ],
)
def test_an_invalid_change_is_refused_whole_said_once_and_the_old_one_stays(
    running: Running, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    running.write(DAILY.replace("\n", "") + "\n" + bad if "schedules:" not in bad else bad)
    for _ in range(3):
        running.watch.run_once()
    assert running.schedules == ["hourly"]
    refused = [line for line in _said(caplog) if line.startswith("configuration_refused")]
    assert len(refused) == 1
    assert "mainspring.yaml" in refused[0]
    running.write(DAILY)
    running.watch.run_once()
    assert running.schedules == ["daily"]


def test_another_mistake_is_said_again(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    for text in ("nonsense: 1\n", "nonsense: 2\n"):
        running.write(text)
        running.watch.run_once()
        running.watch.run_once()
    assert len([line for line in _said(caplog) if line.startswith("configuration_refused")]) == 2


def test_a_database_that_is_away_does_not_make_a_valid_configuration_invalid(
    running: Running, clock: ManualClock
) -> None:
    faulty = Faulty(running.database)
    running.application = Application(faulty, clock)
    running.write(DAILY)
    faulty.down = True
    with pytest.raises(StoreUnavailable):
        running.watch.run_once()
    faulty.down = False
    running.watch.run_once()
    assert running.schedules == ["daily"]


def test_what_could_not_be_put_into_force_at_the_start_is_tried_again_until_it_can(running: Running) -> None:
    running.application.scheduling.delete("hourly", "tester")
    assert running.schedules == []
    running.watch.run_once()
    assert running.schedules == []
    running.watch.again()
    running.watch.run_once()
    assert running.schedules == ["hourly"]
