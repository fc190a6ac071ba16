"""Commands that change runs before they start, and free locks."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from mainspring.app import load_project
from tests.edges.conftest import Cli
from tests.edges.test_commands import actions, enqueue


def test_a_run_is_changed_before_it_starts(project: Path, cli: Cli) -> None:
    run = enqueue(cli, "work.add", "--param", "a=1")

    answer = cli("runs", "edit", run, "--priority", "high", "--queue", "reports", "--due", "in 1h", "--param", "b=5")

    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"run {run} is changed; it is scheduled in queue reports, due in ")
    body = cli("runs", "show", run, "--json").json
    assert (body["priority"], body["queue"], body["parameters"]) == (8, "reports", {"a": 1, "b": 5})
    assert [action for _, action, subject in actions(project) if subject == run] == ["run.enqueue", "run.edit"]
    assert cli("runs", "edit", run, "--due", "now", "--json").json["state"] == "ready"


def test_a_change_that_does_not_fit_names_thing_value_and_way_out(project: Path, cli: Cli) -> None:
    run = enqueue(cli, "work.add", "--param", "a=1")
    for words, said in (
        ((run, "--param", "c=1"), "unknown parameter 'c'"),
        ((run, "--param", "a=x"), "parameter 'a' = 'x': is no integer"),
        ((run,), "nothing is to be changed; give a priority, queue, due time or parameter"),
        ((run, "--due", "in a while"), "--due 'in a while'"),
        (("--priority", "high"), "name one run by its id, or choose runs by --of-task"),
        ((run, "--of-task", "work.add", "--priority", "high"), "name one run by its id, or choose runs by --of-task"),
        (("--of-task", "work.ad", "--priority", "high"), "unknown task 'work.ad'; did you mean 'work.add'?"),
        (("--state", "running", "--priority", "high"), "runs that are running are not edited"),
        (("--state", "ready", "--param", "a=1"), "--param needs the runs of one task; choose it with --of-task"),
    ):
        answer = cli("runs", "edit", *words)
        assert answer.out == "", words
        assert said in answer.err
    assert cli("runs", "cancel", run).code == 0
    answer = cli("runs", "edit", run, "--priority", "high")
    assert answer.code != 0
    assert f"run {run} is cancelled; what has ended is not changed" in answer.err


def test_many_runs_are_shown_first_and_changed_when_somebody_says_yes(project: Path, cli: Cli) -> None:
    for n in range(3):
        enqueue(cli, "work.add", "--param", f"a={n}")
    enqueue(cli, "team.report", "--param", "rows=1")

    answer = cli("runs", "edit", "--of-task", "work.add", "--priority", "9")

    assert answer.out.splitlines()[-1] == "3 runs would be changed; say --yes to change them"
    assert cli("runs", "edit", "--of-task", "work.add", "--priority", "9", "--json").json["would_change"] == 3
    assert "run.edit" not in {action for _, action, _ in actions(project)}
    assert cli("runs", "edit", "--of-task", "work.add", "--priority", "9", "--yes").out == "3 runs are changed\n"
    runs = cli("runs", "list", "--json").json["runs"]
    assert {(run["task"], run["priority"]) for run in runs} == {("work.add", 9), ("team.report", 5)}
    assert cli("runs", "edit", "--in-queue", "reports", "--queue", "default", "--yes", "--json").json == {
        "changed": 1, "passed_by": 0,
    }  # fmt: skip
    assert cli("runs", "edit", "--in-queue", "reports", "--priority", "9").out == "no run that has not started fits\n"


def test_a_lock_is_listed_and_freed(project: Path, cli: Cli) -> None:
    enqueue(cli, "work.add", "--param", "a=1")
    assert cli("locks", "list").out == "no lock is held\n"
    application = load_project(project / "mainspring.yaml", {}).open()
    lock = application.locking.acquire("nightly import", timedelta(minutes=1), timedelta(0))

    (listed,) = cli("locks", "list", "--json").json["locks"]
    assert (listed["name"], listed["fence"]) == ("nightly import", 1)
    assert listed["holder"] in cli("locks", "list").out
    assert (
        cli("locks", "release", "nightly import").out == f"lock 'nightly import' is free; {listed['holder']} held it\n"
    )
    answer = cli("locks", "release", "nightly import")
    assert answer.code != 0
    assert "there is no lock that is held and called 'nightly import'" in answer.err
    assert not lock.renew()
    lock.release()
    application.close()
    assert ("lock.release", "nightly import") in [(action, subject) for _, action, subject in actions(project)]


def test_a_second_unique_run_is_refused_by_the_command_line(project: Path, cli: Cli) -> None:
    code = "from mainspring import Unique, task\n\n\n@task(name='alone', unique=Unique())\ndef alone(n: int): ...\n"
    (project / "alone.py").write_text(code, encoding="utf-8")
    path = project / "mainspring.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("tasks: [work]", "tasks: [work, alone]"), encoding="utf-8")
    run = enqueue(cli, "alone", "--param", "n=1")

    answer = cli("enqueue", "alone", "--param", "n=1")

    assert (answer.code, answer.out) == (cli("runs", "retry", run).code, "")
    assert f"run {run} of task 'alone' has the same unique key and is ready; nothing was enqueued" in answer.err
    assert json.loads(cli("runs", "list", "--json").out)["runs"][0]["id"] == run
