"""The commands on a project: what they do, print and exit with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mainspring.app import open_database
from mainspring.edges.cli.project import actor
from mainspring.store.schema import SCHEMA_VERSION, audit, occurrences
from tests.edges.conftest import Answer, Cli, work_off

RUN_KEYS = {
    "id", "task", "queue", "priority", "state", "state_reason", "failure_kind", "failure_message", "kind", "attempt",
    "tries", "losses", "max_tries", "at_most_once", "schedule", "fire_at", "member", "due_at", "expires_at",
    "cancel_requested_at", "labels", "owner_id", "created_at", "started_at", "finished_at", "decided_at",
    "failure_signature", "replay_of", "graph",
}  # fmt: skip
SHOW_KEYS = RUN_KEYS | {
    "parameters", "result", "has_result", "snapshot", "progress", "checkpoint", "snoozes", "attempts", "artifacts",
    "replays", "hold", "needs", "needs_count", "needs_left",
}  # fmt: skip


def enqueue(cli: Cli, *words: str) -> str:
    answer = cli("enqueue", *words)
    assert (answer.code, answer.err) == (0, "")
    return answer.out.splitlines()[0]


def rows(project: Path, query: Any) -> list[Any]:
    database = open_database(f"sqlite:///{project / 'mainspring.db'}")
    try:
        return list(database.read(lambda tx: tx.core(query).all()))
    finally:
        database.close()


def actions(project: Path) -> list[tuple[str, str, str]]:
    query = select(audit.c.actor, audit.c.action, audit.c.subject).order_by(audit.c.id)
    return [tuple(row) for row in rows(project, query)]


class TestProject:
    def test_validate_says_what_there_is_and_writes_nothing(self, project: Path, cli: Cli) -> None:
        answer = cli("validate")

        assert answer.code == 0
        first, _, header, *lines = answer.out.splitlines()
        assert first == "mainspring.yaml is valid: 5 tasks, 2 schedules"
        assert header.split() == ["schedule", "rule", "next", "task"]
        assert "at 09:00, Monday to Friday (America/Sao_Paulo)" in lines[0]
        assert "at 09:00 on Sunday (America/Sao_Paulo)" in lines[1]
        assert lines[2:] == ["times: America/Sao_Paulo"]
        assert not (project / "mainspring.db").exists()

    def test_validate_as_json(self, project: Path, cli: Cli) -> None:
        body = cli("validate", "--json").json

        assert set(body) == {
            "path", "tasks", "packs", "queues", "resources", "undeclared_resources", "schedules",
        }  # fmt: skip
        assert [task["name"] for task in body["tasks"]] == [
            "work.add", "work.shapes", "work.flaky", "work.hopeless", "team.report",
        ]  # fmt: skip
        assert set(body["schedules"][0]) == {"name", "task", "rule", "zone", "enabled", "next_at"}
        assert body["schedules"][0]["next_at"].endswith("Z")

    def test_apply_says_what_it_changed(self, project: Path, cli: Cli) -> None:
        assert cli("apply").out == "applied mainspring.yaml: 2 added\n  + morning\n  + sundays\n"
        assert cli("apply").out == "applied mainspring.yaml: 2 unchanged\n"
        config = (project / "mainspring.yaml").read_text()
        (project / "mainspring.yaml").write_text(
            config.replace("  sundays:", "  saturdays:").replace("{a: 1}", "{a: 7}")
        )

        assert cli("apply", "--json").json == {
            "added": ["saturdays"], "edited": ["morning"], "removed": ["sundays"], "unchanged": [],
            "resources": {"added": [], "edited": [], "removed": [], "kept": []},
        }  # fmt: skip
        assert (actor(), "schedule.delete", "sundays") in actions(project)

    def test_schema_is_the_published_one(self, cli: Cli, folder: Path) -> None:
        body = cli("schema").json

        assert body["title"] == "mainspring.yaml"
        assert "schedules" in body["properties"]

    def test_the_version_is_told(self, cli: Cli, folder: Path) -> None:
        assert cli("--version").out == "mainspring 0.1.0\n"

    @pytest.mark.parametrize("words", [(), ("runs",), ("schedules",), ("db",)])
    def test_a_group_without_a_command_prints_help_and_code_2(self, words: tuple[str, ...], cli: Cli) -> None:
        answer = cli(*words)

        assert answer.code == 2
        assert "Usage: mainspring" in answer.out
        assert answer.err == ""

    def test_global_options_may_stand_anywhere(self, project: Path, cli: Cli, tmp_path: Path) -> None:
        (project / "mainspring.yaml").rename(project / "other.yaml")

        for words in (
            ("--config", "other.yaml", "--database", "sqlite:///else.db", "db", "upgrade"),
            ("db", "upgrade", "--config=other.yaml", "--database=sqlite:///else.db"),
            ("db", "--database", "sqlite:///else.db", "upgrade", "--config", "other.yaml"),
        ):
            answer = cli(*words)
            assert answer.code == 0
            assert "else.db" in answer.out
        assert not (project / "mainspring.db").exists()

    def test_a_database_is_enough_where_there_is_no_file(self, folder: Path, cli: Cli) -> None:
        url = f"sqlite:///{folder / 'alone.db'}"

        assert cli("db", "upgrade", "--database", url).code == 0
        assert cli("runs", "list", "--database", url).out.startswith("no runs yet; start one with `mainspring enqueue")

    def test_a_database_without_our_tables_is_not_touched_by_looking(self, project: Path, cli: Cli) -> None:
        (project / "mainspring.db").touch()

        answer = cli("runs", "list")

        assert answer.code == 5
        assert answer.err.endswith("mainspring.db has no Mainspring tables yet; run `mainspring db upgrade`\n")


class TestEnqueue:
    def test_the_id_of_the_run_is_printed(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.add", "-p", "a=2")

        assert [run["id"] for run in cli("runs", "list", "--json").json["runs"]] == [run_id]

    def test_values_become_what_the_task_asks_for(self, project: Path, cli: Cli) -> None:
        given = (
            "text=12", "when=2026-03-01", "numbers=[1, 2]", 'options={"a": 1}', "colour=blue", "share=0.25", "flag=yes",
        )  # fmt: skip
        run_id = enqueue(cli, "work.shapes", *(word for value in given for word in ("--param", value)))

        assert cli("runs", "show", run_id, "--json").json["parameters"] == {
            "text": "12", "when": "2026-03-01", "numbers": [1, 2], "options": {"a": 1}, "colour": "blue",
            "share": 0.25, "flag": True,
        }  # fmt: skip

    def test_null_is_nothing_where_the_task_takes_nothing(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.shapes", "-p", "numbers=null", "-p", "when=null", "-p", "text=null")

        parameters = cli("runs", "show", run_id, "--json").json["parameters"]
        assert (parameters["numbers"], parameters["when"], parameters["text"]) == (None, None, "null")

    def test_single_parameters_win_over_the_json(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.add", "--params-json", '{"a": 1, "b": 2}', "-p", "b=5")

        assert cli("runs", "show", run_id, "--json").json["parameters"] == {"a": 1, "b": 5}

    def test_options_decide_queue_priority_expiry_and_labels(self, project: Path, cli: Cli) -> None:
        answer = cli(
            "enqueue", "work.add", "-p", "a=1", "--queue", "reports", "--priority", "high", "--delay", "5m",
            "--expires", "1h", "--label", "team=data", "--label", "of=us", "--json",
        )  # fmt: skip

        body = answer.json
        assert set(body) == RUN_KEYS
        assert (body["queue"], body["priority"], body["state"]) == ("reports", 8, "scheduled")
        assert body["labels"] == {"team": "data", "of": "us"}
        assert body["expires_at"] > body["due_at"] > body["created_at"]

    def test_a_time_without_a_zone_is_that_of_the_reader(
        self, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "America/Sao_Paulo")

        body = cli("enqueue", "work.add", "-p", "a=1", "--at", "2030-06-01T09:00", "--json").json

        assert body["due_at"] == "2030-06-01T12:00:00Z"

    def test_the_queue_of_the_task_holds_unless_another_is_given(self, project: Path, cli: Cli) -> None:
        assert cli("enqueue", "team.report", "-p", "rows=1", "--json").json["queue"] == "reports"


class TestRuns:
    def test_a_run_is_shown_with_everything(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.flaky", "--label", "team=data")
        work_off(project)

        body = cli("runs", "show", run_id, "--json").json
        assert set(body) == SHOW_KEYS
        assert (body["state"], body["result"], body["tries"], body["max_tries"]) == ("succeeded", "fine", 2, 3)
        assert [(one["attempt"], one["outcome"], one["error_type"]) for one in body["attempts"]] == [
            (1, "retried", "ConnectionError"), (2, "succeeded", None),
        ]  # fmt: skip
        assert "no answer the 1. time" in body["attempts"][0]["traceback"]
        assert [one["name"] for one in body["artifacts"]] == ["answer.txt"]
        text = cli("runs", "show", run_id).out
        for part in (run_id, "✓ succeeded", "tries       2 of 3", "labels      team=data", "Traceback", "answer.txt"):
            assert part in text

    def test_a_run_is_found_by_either_end_of_its_id(self, project: Path, cli: Cli) -> None:
        first, second = enqueue(cli, "work.add", "-p", "a=1"), enqueue(cli, "work.add", "-p", "a=2")

        assert cli("runs", "show", second[-12:], "--json").json["id"] == second
        assert cli("runs", "show", first[:-1], "--json").json["id"] == first
        answer = cli("runs", "show", first[:6])
        assert answer.code == 2
        assert answer.err.startswith(
            f"error: {first[:6]!r} fits several runs ({first}, {second}, …); give more of the id"
        )

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (("runs", "show", "nonsense!"), 2, "'nonsense!' is not the id of a run; `mainspring runs list` shows ids"),
            (("runs", "logs", "abc"), 2, "'abc' is not the id of a run; `mainspring runs list` shows ids"),
            (("runs", "show", "abcdefabcdef"), 3, "there is no run abcdefabcdef"),
            (("runs", "cancel", "00000000-0000-7000-8000-000000000000"), 3,
             "there is no run 00000000-0000-7000-8000-000000000000"),
            (("runs", "list", "--task", "work.ad"), 3, "unknown task 'work.ad'; did you mean 'work.add'?"),
            (("runs", "list", "--queue", "defualt"), 3, "unknown queue 'defualt'; did you mean 'default'?"),
            (("runs", "list", "--schedule", "mornin"), 3, "unknown schedule 'mornin'; did you mean 'morning'?"),
            (("schedules", "show", "evening"), 3, "unknown schedule 'evening'; known: morning, sundays"),
            (("schedules", "pause", "morning", "--until", "2020-01-01"), 2,
             "pause until 2020-01-01T00:00:00+00:00 is not in the future"),
            (("schedules", "pause", "morning", "--until", "soon"), 2,
             "--until: duration 'soon' cannot be read; write a number and a unit, such as \"30s\", \"15m\", "
             "\"1h30m\" or "
             '"2 days"; or a date and time, such as 2026-12-01T09:00'),
            (("schedules", "resume", "morning"), 4, "schedule 'morning' is not paused"),
            (("schedules", "trigger", "mornin"), 3, "unknown schedule 'mornin'; did you mean 'morning'?"),
            (("queues", "pause", "report"), 3, "unknown queue 'report'; did you mean 'reports'?"),
            (("queues", "resume", "reports"), 4, "queue 'reports' is not paused"),
            (("artifacts", "get", "nothing", "x"), 2, "'nothing' is no id of an artifact; with --run it is a name"),
            (("db", "verify", "--since", "yesterday"), 2,
             "--since: duration 'yesterday' cannot be read; write a number and a unit, such as \"30s\", \"15m\", "
             '"1h30m" or "2 days"; or a date and time, such as 2026-12-01T09:00'),
        ],
    )  # fmt: skip
    def test_what_cannot_be_done_is_said_and_changes_nothing(
        self, words: tuple[str, ...], code: int, said: str, project: Path, cli: Cli
    ) -> None:
        cli("apply")
        enqueue(cli, "work.add", "-p", "a=1")
        before = actions(project)

        answer = cli(*words)

        assert (answer.err, answer.code, answer.out) == (f"error: {said}\n", code, "")
        assert actions(project) == before

    def test_the_list_is_filtered_and_paged(self, project: Path, cli: Cli) -> None:
        ids = [enqueue(cli, "work.add", "-p", f"a={n}", "--label", f"n={n % 2}") for n in range(4)]
        enqueue(cli, "team.report", "-p", "rows=1")

        def listed(*words: str) -> list[str]:
            return [run["id"] for run in cli("runs", "list", "--json", *words).json["runs"]]

        assert listed("--task", "work.add") == ids[::-1]
        assert listed("--label", "n=1") == [ids[3], ids[1]]
        assert listed("--queue", "default", "--limit", "2") == [ids[3], ids[2]]
        assert listed("--before", ids[2][-12:]) == [ids[1], ids[0]]
        assert listed("--state", "failed") == []
        assert cli("runs", "list", "--state", "failed").out == "no run fits; leave out an option to see more\n"
        assert cli("runs", "list", "--limit", "2", "--json").json["next_before"] == ids[3]
        assert cli("runs", "list", "--json").json["next_before"] is None

    def test_a_piped_list_is_whole_and_without_colours(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.add", "-p", "a=1")

        header, row, zone = cli("runs", "list").out.splitlines()

        assert header.split() == ["run", "state", "task", "queue", "priority", "tries", "created"]
        assert row.split()[:7] == [run_id, "○", "ready", "work.add", "default", "normal", "0/4"]
        assert zone == "times: UTC"

    def test_an_empty_list_says_the_next_step(self, project: Path, cli: Cli) -> None:
        cli("db", "upgrade")

        assert cli("runs", "list").out == (
            "no runs yet; start one with `mainspring enqueue TASK` or `mainspring schedules trigger NAME`\n"
        )
        assert cli("runs", "list", "--json").json == {"runs": [], "next_before": None}
        assert cli("schedules", "list").out.startswith("no schedules yet; write some into mainspring.yaml")
        assert cli("workers", "list").out.startswith(
            "no worker and no scheduler is running; `mainspring up` starts both"
        )
        assert cli("artifacts", "list").out.startswith("no artifacts yet; a task saves one with")

    def test_logs_of_each_attempt(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.flaky")
        before = cli("runs", "logs", run_id)
        work_off(project)

        assert before.out == f"run {run_id} has not started; it is ready\n"
        assert cli("runs", "logs", run_id, "--json").json.keys() == {"id", "attempt", "log"}
        assert cli("runs", "logs", run_id, "--attempt", "3").err == (
            f"error: there is no attempt 3 of run {run_id}; it has had 2\n"
        )

    def test_cancel_and_retry_are_answered_and_audited(self, project: Path, cli: Cli) -> None:
        waiting, failing = enqueue(cli, "work.add", "-p", "a=1"), enqueue(cli, "work.hopeless")

        assert cli("runs", "cancel", waiting[-12:], "--reason", "a slip").out == f"run {waiting} is cancelled\n"
        again = cli("runs", "cancel", waiting)
        work_off(project)
        note = cli("runs", "list", "--state", "failed").out
        assert cli("runs", "retry", failing).out == f"run {failing} is ready again\n"
        refused = cli("runs", "retry", failing)

        assert (again.code, again.err) == (4, f"error: run {waiting} is cancelled and cannot be cancelled\n")
        assert "error: there is no such thing" in note
        assert (refused.code, refused.err) == (
            4, f"error: run {failing} is ready, and only a failed run can be retried\n",
        )  # fmt: skip
        who = actor()
        assert actions(project) == [
            (who, "run.enqueue", waiting),
            (who, "run.enqueue", failing),
            (who, "run.cancel", waiting),
            (who, "run.retry", failing),
        ]

    def test_artifacts_are_listed_and_saved(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.flaky", "-p", "good_on=1")
        work_off(project)

        (body,) = cli("artifacts", "list", "--run", run_id, "--json").json["artifacts"]
        assert (body["name"], body["size"], body["run_id"]) == ("answer.txt", 4, run_id)
        assert cli("artifacts", "get", body["id"]).out == "saved 4 bytes to answer.txt\n"
        assert (project / "answer.txt").read_text() == "fine"
        assert cli("artifacts", "get", body["id"], "answer.txt").err == (
            "error: answer.txt exists already; name another file, or give --force\n"
        )
        assert cli("artifacts", "get", body["id"], "answer.txt", "--force").code == 0
        assert cli("artifacts", "get", "answer.txt", "-", "--run", run_id).out == "fine"
        assert cli("artifacts", "get", "answer.txt").code == 2

    def test_a_damaged_artifact_replaces_nothing(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.flaky", "-p", "good_on=1")
        work_off(project)
        (body,) = cli("artifacts", "list", "--run", run_id, "--json").json["artifacts"]
        Path(body["location"]).write_text("mine")
        (project / "answer.txt").write_text("good")

        answer = cli("artifacts", "get", body["id"], "answer.txt", "--force")

        assert answer.code == 1
        assert "is damaged" in answer.err
        assert (project / "answer.txt").read_text() == "good"
        assert list(project.glob(".*.part")) == []

    def test_artifacts_are_deleted_and_pruned(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.flaky", "-p", "good_on=1")
        work_off(project)
        (body,) = cli("artifacts", "list", "--json").json["artifacts"]

        assert cli("artifacts", "prune", "--dry-run").out == "would delete 0 artifacts (0 bytes) and 0 orphaned files\n"
        assert cli("artifacts", "prune", "--json").json == {
            "expired": 0, "bytes": 0, "orphans": 0, "failed": 0, "dry_run": False,
        }  # fmt: skip
        assert cli("artifacts", "delete", "answer.txt", "--run", run_id).out == "deleted answer.txt (4 bytes)\n"
        assert not Path(body["location"]).exists()
        assert cli("artifacts", "list", "--json").json == {"artifacts": []}
        assert actions(project)[-1] == (actor(), "artifact.delete", body["id"])

    def test_the_cache_of_a_task_is_cleared(self, project: Path, cli: Cli) -> None:
        enqueue(cli, "work.add", "-p", "a=1")
        assert cli("cache", "clear", "work.add").out == "forgot 0 results of work.add\n"
        assert cli("cache", "clear", "work.ad").err == "error: unknown task 'work.ad'; did you mean 'work.add'?\n"

    def test_what_a_run_says_cannot_steer_the_terminal(self, project: Path, cli: Cli) -> None:
        run_id = enqueue(cli, "work.shapes", "-p", "text=\x1b[2J", "--label", "a=\x1b[31mred")

        out = cli("runs", "show", run_id).out

        assert "\x1b" not in out
        assert "a=\\x1b[31mred" in out


class TestSchedules:
    def test_the_list_says_rules_in_words_with_weekday_names(self, project: Path, cli: Cli) -> None:
        cli("apply")

        header, first, second, zone = cli("schedules", "list").out.splitlines()

        assert header.split() == ["schedule", "state", "rule", "next", "task", "from"]
        assert zone == "times: America/Sao_Paulo"
        assert "● on   at 09:00, Monday to Friday (America/Sao_Paulo)" in first
        assert "at 09:00 on Sunday (America/Sao_Paulo)" in second
        keys = {
            "id", "name", "task", "state", "rule", "zone", "next_at", "description", "source", "version", "pause",
            "owner_id", "spec",
            "created_at", "updated_at",
        }  # fmt: skip
        assert [set(one) for one in cli("schedules", "list", "--json").json["schedules"]] == [keys, keys]

    def test_pause_and_resume(self, project: Path, cli: Cli) -> None:
        cli("apply")

        paused = cli("schedules", "pause", "morning", "--reason", "stocktaking", "--json").json
        again = cli("schedules", "pause", "morning")
        listed = cli("schedules", "list").out
        resumed = cli("schedules", "resume", "morning")

        assert (paused["state"], paused["pause"]["by"], paused["pause"]["reason"]) == ("paused", actor(), "stocktaking")
        assert again.code == 4
        assert again.err == (
            f"error: schedule 'morning' is paused by {actor()}: stocktaking already; resume it first to change that\n"
        )
        assert "‖ paused" in listed
        assert "when resumed" in listed
        assert resumed.out.startswith("schedule 'morning' is resumed; it fires next on ")
        assert [action for _, action, _ in actions(project)][-2:] == ["schedule.pause", "schedule.resume"]

    def test_a_pause_may_end_by_itself(self, project: Path, cli: Cli) -> None:
        cli("apply")

        answer = cli("schedules", "pause", "morning", "--until", "2100-01-01T12:00")

        assert answer.out == "schedule 'morning' is paused until Friday 2100-01-01 09:00 (America/Sao_Paulo)\n"
        (body,) = cli("schedules", "preview", "morning", "--count", "1", "--json").json["schedules"]
        assert {one["skipped"] for one in body["fire_times"]} == {f"paused by {actor()}"}

    def test_trigger_starts_runs_and_leaves_the_ledger_alone(self, project: Path, cli: Cli) -> None:
        cli("apply")

        run_id = cli("schedules", "trigger", "morning").out.strip()

        run = cli("runs", "show", run_id, "--json").json
        assert (run["kind"], run["schedule"], run["parameters"]) == ("manual", "morning", {"a": 1})
        assert cli("schedules", "trigger", "morning", "--json").json["runs"][0]["schedule"] == "morning"
        assert cli("schedules", "ledger", "morning").out.startswith(
            "no fire time of 'morning' has come yet; the next one"
        )
        assert actions(project)[-1][1:] == ("schedule.trigger", "morning")

    def test_show_says_policies_and_fire_times(self, project: Path, cli: Cli) -> None:
        cli("apply")

        out = cli("schedules", "show", "morning").out
        body = cli("schedules", "show", "morning", "--json").json

        for part in (
            "about       Adds in the morning",
            "zone        America/Sao_Paulo",
            'parameters  {"a":1}',
            "misfire     latest (of late fire times only the last one fires)",
            "no fire time has come yet",
        ):
            assert part in out
        assert len(body["fire_times"]) == 5
        assert set(body["fire_times"][0]) == {
            "fire_at",
            "local",
            "weekday",
            "until_at",
            "n",
            "skipped",
            "jitter",
            "remark",
        }
        assert body["ledger"] == []


class TestQueues:
    def test_pause_and_resume(self, project: Path, cli: Cli) -> None:
        cli("apply")
        enqueue(cli, "work.add", "-p", "a=1", "--priority", "high")

        assert cli("queues", "pause", "default", "--reason", "the source is down").out == (
            "queue 'default' is paused; 1 ready\n"
        )
        assert cli("queues", "pause", "default").err == "error: queue 'default' is paused already\n"
        first = cli("queues", "list", "--json").json["queues"][0]
        assert "problems" in cli("status", "--json").json
        assert "queue 'default' is paused with 1 run ready; `mainspring queues resume default`" in cli("status").out
        assert cli("queues", "resume", "default").out == "queue 'default' is resumed; 1 ready\n"

        assert set(first) == {
            "name", "description", "paused_at", "paused_by", "pause_reason", "ready", "running", "held",
            "ready_by_priority", "limits",
        }  # fmt: skip
        assert (first["paused_by"], first["pause_reason"], first["ready_by_priority"]) == (
            actor(), "the source is down", {"8": 1},
        )  # fmt: skip
        assert [action[1:] for action in actions(project)][-2:] == [
            ("queue.pause", "default"),
            ("queue.resume", "default"),
        ]


class TestStatus:
    def test_it_says_what_is_wrong(self, project: Path, cli: Cli) -> None:
        cli("apply")
        enqueue(cli, "work.hopeless")
        without_worker = cli("status").out
        work_off(project)

        assert "! no scheduler runs, so none of 2 schedules fires; start `mainspring up`" in without_worker
        assert "! 1 run ready and no worker runs; start `mainspring up`" in without_worker
        body = cli("status", "--json").json
        assert set(body) == {
            "database", "schema", "at", "schedulers", "workers", "runs", "queues", "schedules", "next", "problems",
            "dead_letters",
        }  # fmt: skip
        assert body["runs"] == {"failed": 1}
        assert body["problems"][-1] == "1 failed run undecided; `mainspring dead list`"
        assert [one["name"] for one in cli("workers", "list", "--all", "--json").json["sessions"]] == ["test-worker"]


class TestDatabase:
    def test_upgrade_status_and_verify(self, project: Path, cli: Cli, database_url: str) -> None:
        def db(*words: str) -> Answer:
            return cli("--database", database_url, "db", *words)

        before = db("status")
        first, second = db("upgrade", "--json").json, db("upgrade")
        status = db("status", "--json").json

        assert before.code == 5
        assert before.err.endswith("run `mainspring db upgrade`\n")
        assert (set(first), first["before"], first["now"]) == ({"database", "before", "now"}, None, SCHEMA_VERSION)
        assert second.out.endswith(f"has schema {SCHEMA_VERSION} already\n")
        assert (status["is_current"], status["schema"], set(status)) == (
            True, SCHEMA_VERSION, {"database", "dialect", "schema", "wanted", "is_current"},
        )  # fmt: skip
        assert cli("--database", database_url, "apply").code == 0
        assert db("verify").out.splitlines()[-1] == "consistent"
        verdict = db("verify", "--json").json
        assert (verdict["ok"], verdict["schedules"], verdict["findings"]) == (True, 2, [])

    def test_verify_ends_with_code_1_where_something_is_wrong(self, project: Path, cli: Cli) -> None:
        cli("apply")
        _forge_an_occurrence(project)

        answer = cli("db", "verify")

        assert answer.code == 1
        assert answer.err.startswith("error: the database is not consistent: ")
        assert "error " in answer.out
        assert not cli("db", "verify", "--json").json["ok"]

    def test_runs_are_found_by_the_end_of_their_id_on_both_databases(
        self, project: Path, cli: Cli, database_url: str
    ) -> None:
        cli("--database", database_url, "db", "upgrade")
        run_id = cli("--database", database_url, "enqueue", "work.add", "-p", "a=1").out.strip()

        assert cli("--database", database_url, "runs", "show", run_id[-12:], "--json").json["id"] == run_id


def _forge_an_occurrence(project: Path) -> None:
    database = open_database(f"sqlite:///{project / 'mainspring.db'}")
    from mainspring.store.schema import schedules

    def work(tx: Any) -> None:
        row = tx.core(select(schedules)).first()
        at = row.effective_at
        values = {"schedule_id": row.id, "fire_at": at, "until_at": at, "n": 1, "spec_version": 1, "outcome": "fired"}
        values |= {"reason": "forged", "recorded_at": at}
        tx.core(occurrences.insert().values(**values))

    database.write(work)
    database.close()


def test_every_json_answer_is_one_document(project: Path, cli: Cli) -> None:
    cli("apply")
    run_id = enqueue(cli, "work.add", "-p", "a=1")
    for words in (
        "validate", "apply", "status", "runs list", f"runs show {run_id}", f"runs logs {run_id}", "schedules list",
        "schedules show morning", "schedules preview --all", "schedules preview morning", "schedules ledger morning",
        "queues list", "resources set brapi --rate 5/s", "resources list", "resources show brapi",
        "resources trip brapi --until 1h", "resources reset brapi", "workers list", "artifacts list", "db status",
        "db upgrade", "db verify",
        f"runs cancel {run_id}",
        "schedules pause morning", "schedules resume morning", "queues pause default", "queues resume default",
        "schedules trigger morning", "enqueue work.add -p a=1",
    ):  # fmt: skip
        answer = cli(*words.split(), "--json")
        assert answer.code == 0, words
        assert isinstance(json.loads(answer.out), dict), words
