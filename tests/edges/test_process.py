"""The command line as a process: waiting, Ctrl-C, terminals, pipes, unexpected errors."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from mainspring.app import WorkerProcess, ensure_schema, load_project
from mainspring.edges.cli import db as db_commands
from mainspring.edges.cli.root import global_options_first
from mainspring.edges.cli.schedule_view import complete_schedule
from tests.edges.conftest import Cli, work_off

COMMAND = [sys.executable, "-m", "mainspring"]


@pytest.fixture
def worker(project: Path) -> Iterator[None]:
    """A worker of the project that runs while the test does."""
    loaded = load_project(project / "mainspring.yaml", os.environ)
    application = loaded.open()
    ensure_schema(application)
    process = WorkerProcess(application, loaded, "test-worker")
    process.start()
    yield
    process.stop()
    application.close()


@pytest.mark.usefixtures("worker")
class TestWaiting:
    def test_the_result_is_printed(self, cli: Cli) -> None:
        answer = cli("enqueue", "work.add", "-p", "a=40", "-p", "b=2", "--wait", "--timeout", "30s")

        run_id, end, result = answer.out.splitlines()
        assert answer.code == 0
        assert re.fullmatch(rf"✓ succeeded  work\.add {run_id[-12:]} in [\d.]+ s", end)
        assert result == "42"

    def test_one_json_document_is_printed_at_the_end(self, cli: Cli) -> None:
        body = cli("enqueue", "work.flaky", "--wait", "--timeout", "30s", "--json").json

        assert (body["state"], body["result"], body["tries"]) == ("succeeded", "fine", 2)

    def test_a_failed_run_means_code_1(self, cli: Cli) -> None:
        answer = cli("enqueue", "work.hopeless", "--wait", "--timeout", "30s")

        run_id = answer.out.splitlines()[0]
        assert answer.code == 1
        assert answer.err == (
            f"error: run {run_id} failed: there is no such thing; `mainspring runs show {run_id[-12:]}` says more\n"
        )

    def test_a_trigger_may_be_waited_for(self, cli: Cli) -> None:
        cli("apply")

        answer = cli("schedules", "trigger", "morning", "--wait", "--timeout", "30s", "--json")

        assert (answer.code, answer.json["result"]) == (0, 1)

    def test_logs_are_followed_to_the_end(self, cli: Cli) -> None:
        run_id = cli("enqueue", "work.flaky", "-p", "good_on=3").out.strip()

        out = cli("runs", "logs", run_id, "--follow").out

        assert out.splitlines()[-1] == f"run {run_id} succeeded"
        # Whoever begins to follow sees what is under way then, and all that comes after.
        headings = [line for line in out.splitlines() if line.startswith("---")]
        assert headings
        assert headings == [f"--- attempt {n}" for n in (1, 2, 3)][-len(headings) :]


class TestWorkerProcess:
    def test_what_a_task_prints_and_logs_is_in_its_log(self, project: Path, cli: Cli) -> None:
        cli("db", "upgrade")
        process = subprocess.Popen([*COMMAND, "worker", "--queues", "reports"], stderr=subprocess.DEVNULL)
        try:
            answer = cli("enqueue", "team.report", "-p", "rows=3", "--wait", "--timeout", "30s")
            run_id = answer.out.splitlines()[0]
            printed, logged = cli("runs", "logs", run_id).out.splitlines()
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)

        assert printed == "writing 3 rows"
        assert logged.endswith("INFO task.team.report: 3 rows")
        assert (answer.code, code) == (0, 0)


class TestWithoutAWorker:
    def test_time_runs_out(self, project: Path, cli: Cli) -> None:
        answer = cli("enqueue", "work.add", "-p", "a=1", "--wait", "--timeout", "10ms")

        assert answer.code == 1
        assert answer.err.splitlines()[0].endswith("is still ready after 10 milliseconds; it goes on")

    def test_ctrl_c_ends_with_code_130_and_without_a_traceback(self, project: Path) -> None:
        process = subprocess.Popen(
            [*COMMAND, "enqueue", "work.add", "-p", "a=1", "--wait"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()

        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

        assert len(run_id) == 36
        assert process.returncode == 130
        assert "Traceback" not in err


class TestErrors:
    def test_an_unexpected_error_is_one_line_and_code_70(
        self, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(db_commands, "missing_file", _broken)

        answer = cli("db", "status")

        assert (answer.code, answer.out) == (70, "")
        assert answer.err == "error: unexpected ZeroDivisionError: division by zero; --debug shows where\n"

    @pytest.mark.parametrize("asked", ["option", "variable"])
    def test_debug_shows_where_it_arose(self, asked: str, project: Path) -> None:
        words = ["--debug"] if asked == "option" else []
        debug = {"MAINSPRING_DEBUG": "1"} if asked == "variable" else {}

        done = subprocess.run(
            [*COMMAND, "runs", "list", *words], capture_output=True, text=True, check=False, env={**os.environ, **debug}
        )

        assert done.returncode == 5
        assert done.stderr.startswith("Traceback (most recent call last):")
        assert "error: there is no database" in done.stderr.splitlines()[-1]

    def test_secrets_are_hidden_in_errors(
        self, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("STORE_PASSWORD", "hunter2hunter2")
        config = (project / "mainspring.yaml").read_text()
        place = tmp_path / "hunter2hunter2"
        (project / "mainspring.yaml").write_text(config.replace("sqlite:///mainspring.db", f"sqlite:///{place}/x.db"))

        answer = cli("runs", "list")

        assert answer.code == 5
        assert "hunter2" not in answer.err
        assert "•••/x.db" in answer.err

    def test_the_folder_of_the_shell_is_no_secret(
        self, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PWD", str(project))

        assert f"there is no database {project}/mainspring.db yet" in cli("runs", "list").err


class TestTerminal:
    def test_tables_fit_80_columns_and_ids_are_short(self, project: Path, cli: Cli) -> None:
        cli("apply")
        run_id = cli("enqueue", "work.hopeless", "--label", "a=b").out.strip()
        work_off(project)

        for words in (
            f"runs show {run_id[-12:]}", "schedules list", "schedules show morning", "status", "workers list --all",
            "db verify",
        ):  # fmt: skip
            shown = _on_terminal(80, *words.split())
            assert max(map(len, shown.splitlines())) <= 80, words
        assert run_id not in _on_terminal(80, "runs", "list")
        assert run_id[-12:] in _on_terminal(80, "runs", "list")

    def test_a_narrow_terminal_keeps_what_matters(self, project: Path, cli: Cli) -> None:
        run_id = cli("enqueue", "work.add", "-p", "a=1").out.strip()

        shown = _on_terminal(40, "runs", "list")

        assert shown.split()[:3] == ["run", "state", "task"]
        assert run_id[-12:] in shown
        assert max(map(len, shown.splitlines())) <= 40

    def test_a_reader_who_leaves_early_is_no_error(self, project: Path, cli: Cli) -> None:
        for number in range(3):
            cli("enqueue", "work.add", "-p", f"a={number}")
        read, write = os.pipe()
        process = subprocess.Popen([*COMMAND, "schema"], stdout=write, stderr=subprocess.PIPE, text=True)
        os.close(write)
        os.close(read)

        _, err = process.communicate(timeout=20)

        assert (process.returncode, err) == (0, "")


class TestPacks:
    def test_commands_of_a_pack_are_mounted_under_its_name(self, folder: Path, cli: Cli) -> None:
        (folder / "mainspring.yaml").write_text("packs: [market]\n")

        assert "crypto" in cli("market", "scrapers").out
        assert cli("market", "results").code == 5
        assert cli("market", "rsults").err == "error: unknown command 'rsults'; did you mean results?\n"
        assert "Usage: mainspring market" in cli("market", "--help").out
        assert "install-completion" not in cli("market", "--help").out

    def test_a_pack_that_the_configuration_does_not_name_has_no_commands(self, project: Path, cli: Cli) -> None:
        assert cli("market", "scrapers").err == "error: unknown command 'market'; `mainspring --help` lists them\n"


class TestStarter:
    def test_the_starter_project_runs(self, folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        written = cli("init", "new")
        monkeypatch.chdir(folder / "new")
        valid = cli("validate")
        cli("apply")
        greet = cli("enqueue", "tasks.greet", "-p", "name=you").out.strip()
        report = cli("enqueue", "tasks.report", "-p", "rows=3").out.strip()
        work_off(folder / "new")

        assert written.out.splitlines()[0] == "wrote mainspring.yaml, tasks.py, .gitignore, .env.example to new"
        assert "  mainspring up" in written.out.splitlines()
        assert valid.out.splitlines()[0] == "mainspring.yaml is valid: 2 tasks, 2 schedules"
        assert cli("runs", "show", greet, "--json").json["result"] == "Hello, you!"
        shown = cli("runs", "show", report, "--json").json
        assert (shown["result"], shown["queue"], shown["priority"]) == ({"rows": 3, "largest": 9}, "reports", 2)
        assert [one["name"] for one in shown["artifacts"]] == ["squares.csv"]

    def test_files_that_exist_are_named_and_kept(self, folder: Path, cli: Cli) -> None:
        (folder / "tasks.py").write_text("mine")
        (folder / ".gitignore").write_text("mine")

        refused = cli("init")
        forced = cli("init", "--force")

        assert refused.err == (
            "error: tasks.py, .gitignore exist already in this folder; nothing was written; name another folder, or "
            "replace with --force\n"
        )
        assert forced.code == 0
        assert (folder / "tasks.py").read_text() != "mine"

    def test_a_pack_brings_its_own_starter(self, folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        cli("init", "new", "--pack", "market")
        monkeypatch.chdir(folder / "new")

        answer = cli("validate", "--json")

        assert len(answer.json["schedules"]) == 15


def test_a_value_that_looks_like_a_global_option_stays_behind_two_dashes() -> None:
    words = ["runs", "--config", "a.yaml", "list", "--", "--config", "b"]

    assert global_options_first(words) == ["--config", "a.yaml", "runs", "list", "--", "--config", "b"]


def test_schedules_are_completed(project: Path) -> None:
    assert complete_schedule("mo") == ["morning"]


def _broken(context: typer.Context) -> Path:
    raise ZeroDivisionError("division by zero")


def _on_terminal(columns: int, *words: str) -> str:
    """Return what the command prints on a terminal of that width, without colours."""
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(terminal)
    seen: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(control, seen))
    reader.start()
    code = process.wait(30)
    reader.join(10)
    os.close(control)
    text = b"".join(seen).decode()
    assert code == 0, text
    # Progress is drawn over itself: what remains of a line is what follows its last carriage return.
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\r")[2] for line in lines)


def _drain(control: int, seen: list[bytes]) -> None:
    while True:
        try:
            data = os.read(control, 65_536)
        except OSError:
            return
        if not data:
            return
        seen.append(data)


class TestUp:
    def test_a_server_that_is_not_prepared_is_refused_before_anything_starts(
        self, project: Path, postgres_database: str
    ) -> None:
        done = subprocess.run(
            [*COMMAND, "--database", postgres_database, "up", "--no-api"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 5
        assert done.stderr.startswith("error: postgresql://")
        assert done.stderr.endswith("has no Mainspring tables yet; run `mainspring db upgrade`\n")

    def test_a_server_that_is_not_there_is_refused_before_anything_starts(self, project: Path) -> None:
        address = "postgresql://me:hush-hush@127.0.0.1:1/none"
        done = subprocess.run(
            [*COMMAND, "--database", address, "up", "--no-api"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stderr.count("error:"), "hush" in done.stderr) == (5, 1, False)
