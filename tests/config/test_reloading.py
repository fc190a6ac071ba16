"""A configuration that changes while it is in use."""

from __future__ import annotations

import pytest

from mainspring.config import changed, difference, reload
from mainspring.errors import ConfigurationInvalid
from tests.config.conftest import Project


def test_nothing_has_changed_until_a_content_has(project: Project) -> None:
    project.write("zone: UTC\n")
    loaded = project.load()
    assert not changed(loaded)
    project.write("zone: UTC\n")
    assert not changed(loaded)
    project.write("zone: Asia/Tokyo\n")
    assert changed(loaded)
    assert not changed(reload(loaded))


def test_files_that_come_and_go_are_changes_too(project: Project) -> None:
    loaded = project.write("", "mainspring.prod.yaml").load({"MAINSPRING_ENV": "prod"})
    assert [path.name for path in loaded.watch_paths] == [".env", "mainspring.yaml", "mainspring.prod.yaml"]
    project.write("A=1\n", ".env")
    assert changed(loaded)
    loaded = reload(loaded)
    (project.root / "mainspring.prod.yaml").unlink()
    assert changed(loaded)


def test_a_reload_keeps_the_environment_and_the_command_line(project: Project) -> None:
    loaded = project.load({"MAINSPRING_WORKER__SLOTS": "3"}, {"zone": "Asia/Tokyo"})
    again = reload(loaded)
    assert (again.settings.worker.slots, again.settings.zone) == (3, "Asia/Tokyo")


def test_an_invalid_file_is_refused_whole_and_the_old_settings_stay(project: Project) -> None:
    loaded = project.write("zone: Asia/Tokyo\n").load()
    project.write("zone: Europe/Paris\nworker: {slots: 0}\n")
    with pytest.raises(ConfigurationInvalid):
        reload(loaded)
    assert loaded.settings.zone == "Asia/Tokyo"
    assert changed(loaded)


def test_a_file_that_vanished_is_refused(project: Project) -> None:
    loaded = project.load()
    project.path.unlink()
    assert changed(loaded)
    with pytest.raises(ConfigurationInvalid, match="there is no file"):
        reload(loaded)


def test_the_difference_names_what_changed_and_what_needs_a_restart(project: Project) -> None:
    old = project.write("""\
zone: UTC
worker: {slots: 4, queues: "a,b"}
tasks: [a]
schedules:
  quotes: {task: a, cron: "@daily"}
  gone: {task: a, every: 5m}
""").load()
    new = project.write("""\
zone: Asia/Tokyo
worker: {slots: 8, drain: forever, queues: "a:2,b:1"}
tasks: [a, b]
scheduler: {overlap: skip}
routes: [{task: x, queue: y}]
schedules:
  quotes: {task: a, cron: "@hourly", jitter: 5s}
  new: {task: a, every: 5m}
""").load()
    assert difference(old, new) == [
        "zone: UTC → Asia/Tokyo",
        "tasks: a → a, b (needs a restart)",
        "routes: changed",
        "worker.queues: a,b → a:2,b:1 (needs a restart)",
        "worker.slots: 4 → 8 (needs a restart)",
        "worker.drain: 25s → forever (needs a restart)",
        "scheduler.overlap: allow → skip",
        "schedules.quotes: changed (cron, jitter)",
        "schedules.gone: removed",
        "schedules.new: added",
    ]
    assert difference(new, new) == []
