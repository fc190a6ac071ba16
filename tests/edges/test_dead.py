"""Dead letters on the command line: what is shown, what is asked for, and what is done."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from mainspring.edges.cli.project import actor
from mainspring.services.dead_letters import DeadLetters
from tests.edges.conftest import Cli, work_off
from tests.edges.test_commands import actions, enqueue

TASKS = """
from mainspring import task


@task(max_retries=0)
def fetch(n: int, host: str = "a.example") -> str:
    if host == "a.example":
        raise ConnectionError(f"=no answer from {host} after {n} s")
    return host


@task(max_retries=0)
def parse(text: str) -> None:
    raise ValueError(f"cannot read {text!r}")
"""


@pytest.fixture
def failed(project: Path, cli: Cli) -> list[str]:
    """Three runs of one group, and one of another."""
    (project / "work.py").write_text(TASKS)
    (project / "mainspring.yaml").write_text("database: sqlite:///mainspring.db\ntasks: [work]\n")
    ids = [enqueue(cli, "work.fetch", "-p", f"n={n}") for n in (1, 22, 333)]
    ids.append(enqueue(cli, "work.parse", "-p", "text=x"))
    work_off(project)
    return ids


def groups(cli: Cli, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli("dead", "list", "--json", *words).json["groups"]
    return found


def test_groups_are_listed_and_shown(failed: list[str], cli: Cli) -> None:
    header, first, second = cli("dead", "list").out.splitlines()
    assert header.split() == ["signature", "runs", "task", "place", "last", "first", "error"]
    assert first.split()[1:4] == ["3", "work.fetch", "work.py:fetch"]
    assert first.endswith("ConnectionError: =no answer from a.example after # s")
    assert second.endswith("ValueError: cannot read '…'")
    assert [(group["count"], group["example"]) for group in groups(cli)] == [(3, failed[2]), (1, failed[3])]
    assert [group["task"] for group in groups(cli, "--text", "CANNOT")] == ["work.parse"]
    assert cli("dead", "list", "--limit", "1").out.splitlines()[-1] == "smaller ones: --offset 1"

    signature = groups(cli)[0]["signature"]
    shown = cli("dead", "show", signature, "--limit", "2").out
    assert "in fetch" in shown
    assert failed[2] in shown
    assert failed[0] not in shown
    body = cli("dead", "show", signature, "--json").json
    assert [run["id"] for run in body["runs"]] == failed[2::-1]
    assert cli("dead", "show", "abc").err == "error: 'abc' is no signature; `mainspring dead list` shows them\n"
    assert cli("dead", "show", "0" * 16).code == 3


def test_a_replay_shows_first_and_does_it_when_told(failed: list[str], cli: Cli, project: Path) -> None:
    signature = groups(cli)[0]["signature"]
    words = ("dead", "replay", signature, "--set", "host=b.example", "--rate", "100/s")
    looked = cli(*words)
    assert looked.code == 0
    assert "dead letters   3: work.fetch 3" in looked.out
    assert 'host: 3 changes, such as "a.example" → "b.example"' in looked.out
    assert looked.out.endswith("nothing has been done; add --yes to replay 3 dead letters\n")
    assert groups(cli)[0]["count"] == 3

    body = cli(*words, "--yes", "--json").json
    assert (body["replayed"], body["replayable"], body["arrival_seconds"]) == (3, 3, 0.02)
    assert cli(*words, "--yes").out.endswith("there is nothing to replay\n")
    work_off(project)
    old = cli("runs", "show", failed[0], "--json").json
    (new,) = old["replays"]
    assert cli("runs", "show", new, "--json").json["replay_of"] == failed[0]
    assert (cli("runs", "show", new, "--json").json["result"], old["state"]) == ("b.example", "failed")
    assert f"replayed by {actor()}" in cli("runs", "show", failed[0]).out
    assert f"replays     {failed[0]}" in cli("runs", "show", new).out
    assert actions(project)[-1] == (actor(), "dead.replay", signature)


def test_single_runs_get_parameters_from_a_file(failed: list[str], cli: Cli, tmp_path: Path) -> None:
    edits = tmp_path / "edits.json"
    edits.write_text(json.dumps({failed[1][-12:]: {"n": 5}, failed[2]: {"n": "x"}}))
    look = cli("dead", "replay", *failed[:3], "--edits", edits, "--json").json
    assert look["changed"] == [{"name": "n", "count": 1, "before": 22, "after": 5}]
    assert look["refused"] == {"parameters of task 'work.fetch' do not fit: parameter 'n' = 'x': is no integer": 1}
    assert (look["count"], look["replayable"], look["done"]) == (3, 2, False)
    edits.write_text("[1]")
    refused = cli("dead", "replay", failed[0], "--edits", edits)
    assert refused.err == f'error: --edits {edits} is no object of objects; write {{"RUN": {{"name": value}}}}\n'


@pytest.mark.parametrize(("words", "code", "said"), [
    (("replay",), 2, "say which dead letters: a signature, ids of runs, a filter such as --task, or --all"),
    (("discard",), 2, "say which dead letters: a signature, ids of runs, a filter such as --task, or --all"),
    (("replay", "--all", "--rate", "fast"), 2, "rate 'fast' cannot be read; write a number and a period"),
    (("replay", "--all", "--set", "n"), 2, "--set 'n' has no name and value; write --set name=value"),
    (("retry", "0" * 16, "1" * 16), 2, "give one signature, or ids of runs; several signatures are several commands"),
    (("list", "--task", "work.ftch"), 3, "unknown task 'work.ftch'; did you mean 'work.fetch'?"),
    (("export", "-o", "work.py"), 2, "--output work.py cannot be written: File exists"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(
    failed: list[str], cli: Cli, words: tuple[str, ...], code: int, said: str
) -> None:
    answer = cli("dead", *words)
    assert answer.code == code
    assert said in answer.err


def test_discard_restore_and_retry(failed: list[str], cli: Cli, project: Path) -> None:
    assert cli("dead", "discard", "--task", "work.parse", "--reason", "no use").out == "discarded 1 dead letter\n"
    assert f"discarded by {actor()}: no use" in cli("runs", "show", failed[3]).out
    assert [group["count"] for group in groups(cli)] == [3]
    assert cli("dead", "restore", failed[3]).out == "restored 1 dead letter\n"
    assert cli("dead", "retry", "--all").out == "nothing has been done; add --yes to retry 4 dead letters\n"
    assert cli("dead", "retry", "--all", "--yes").out == "retried 4 dead letters\n"
    assert cli("dead", "list").out == "no dead letters\n"
    work_off(project)
    assert cli("dead", "list", "--task", "work.fetch", "--since", "1h", "--json").json["groups"][0]["count"] == 3
    assert cli("dead", "list", "--until", "1h").out == "no dead letter fits; leave out an option to see more\n"


def test_an_export_can_be_read_by_programs_and_does_nothing_in_a_spreadsheet(
    failed: list[str], cli: Cli, project: Path
) -> None:
    lines = [json.loads(line) for line in cli("dead", "export", "--task", "work.fetch").out.splitlines()]
    assert [(line["id"], line["parameters"]["n"]) for line in lines] == list(zip(failed, (1, 22, 333), strict=False))
    assert "in fetch" in lines[0]["attempts"][0]["traceback"]

    assert cli("dead", "export", "--csv", "--output", "dead.csv").out == "wrote 4 dead letters to dead.csv\n"
    rows = list(csv.DictReader(io.StringIO((project / "dead.csv").read_text())))
    assert [row["id"] for row in rows] == failed
    assert rows[0]["error_message"] == "'=no answer from a.example after 1 s"
    assert json.loads(rows[0]["parameters"]) == {"n": 1, "host": "a.example"}


def test_an_interruption_says_how_far_it_came(failed: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def discard(self: DeadLetters, wanted: Any, actor: str, reason: str, told: Any) -> int:
        told(2)
        raise KeyboardInterrupt

    monkeypatch.setattr(DeadLetters, "discard", discard)
    answer = cli("dead", "discard", "--all")
    assert answer.code == 130
    assert answer.err.startswith("error: discarded 2 of 4; the same command goes on with the rest\n")
