"""The interface as a process: the first start, ports that are taken, and what is refused to be open to others."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.edges.conftest import Cli

COMMAND = [sys.executable, "-m", "mainspring"]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def start(project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *words], cwd=project, stderr=subprocess.PIPE, text=True)


def line_with(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"{pattern} was not said: {''.join(seen)}")


def stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return process.returncode


def post(address: str, body: dict[str, Any]) -> httpx2.Response:
    return httpx2.post(address, json=body, timeout=30)


def test_the_first_start_gives_a_link_that_signs_the_administrator_in_once(project: Path) -> None:
    process = start(project, "up", "--port", "0")
    try:
        address = line_with(process, r"The interface listens on (http://127\.0\.0\.1:\d+)$")[1]
        link = line_with(process, r"Sign in as admin, once and within a quarter of an hour: (\S+)$")[1]
        page, secret = link.split("#")
        assert (page, httpx2.get(page).status_code) == (f"{address}/sign-in", 200)
        assert httpx2.get(f"{address}/api/v1/self").status_code == 401
        answer = post(f"{address}/api/v1/sign-in/link", {"secret": secret})
        mine = httpx2.get(f"{address}/api/v1/self", headers={"Cookie": answer.headers["set-cookie"].partition(";")[0]})
        assert (answer.status_code, mine.json()["name"], mine.json()["role"]) == (204, "admin", "admin")
        assert post(f"{address}/api/v1/sign-in/link", {"secret": secret}).status_code == 401
    finally:
        assert stop(process) == 0


def test_without_accounts_everybody_on_this_machine_is_served(project: Path, cli: Cli) -> None:
    process = start(project, "serve", "--port", "0", "--no-auth")
    try:
        address = line_with(process, r"listens on (\S+) for everybody on this machine$")[1]
        assert httpx2.get(f"{address}/api/v1/self").json()["role"] == "admin"
    finally:
        assert stop(process) == 0
    assert cli("users", "list", "--json").json == {"users": []}


@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_port_that_is_taken_is_refused_before_anything_starts(
    project: Path, cli: Cli, taken: int, command: str
) -> None:
    answer = cli(command, "--port", str(taken))
    assert (answer.code, answer.err) == (
        5,
        f"error: port {taken} on 127.0.0.1 is taken by another program; choose another with --port\n",
    )
    assert not (project / "mainspring.db").exists()


@pytest.mark.parametrize("command", ["up", "serve"])
def test_nothing_is_open_to_other_machines_without_accounts(project: Path, cli: Cli, command: str) -> None:
    answer = cli(command, "--host", "0.0.0.0", "--port", "0", "--no-auth")
    assert (answer.code, "--no-auth serves anybody who can reach 0.0.0.0" in answer.err) == (2, True)
    answer = cli(command, "--host", "0.0.0.0", "--port", "0")
    assert (answer.code, answer.err) == (
        2,
        "error: nobody has an account yet, and 0.0.0.0 can be reached from other machines; make one with "
        "`mainspring users add NAME --role admin` first, or start on 127.0.0.1\n",
    )


@pytest.mark.usefixtures("project")
def test_accounts_and_keys_are_kept_on_the_command_line(cli: Cli) -> None:
    assert cli("users", "add", "ana", "--role", "operator").code == 0
    assert cli("users", "add", "Ana").err == "error: user 'Ana' exists already\n"
    secret = cli("keys", "add", "export", "--user", "ana", "--scope", "runs:read", "--days", "3").out.strip()
    (key,) = cli("keys", "list", "--json").json["keys"]
    assert (secret[:12], key["user"], key["scopes"]) == (f"ms_{key['id']}_", "ana", ["runs:read"])
    assert cli("keys", "revoke", key["id"]).out == f"key {key['id']} is revoked\n"
    assert "revoked" in cli("keys", "list").out
    assert cli("users", "link", "ana").out.startswith("http://127.0.0.1:8000/sign-in#")
    assert cli("users", "role", "ana", "viewer").out == "user 'ana' is viewer now\n"
    assert cli("users", "disable", "ana").code == 0
    assert cli("users", "enable", "ana").out == "user 'ana' is enabled\n"
    assert [user["role"] for user in cli("users", "list", "--json").json["users"]] == ["viewer"]


@pytest.mark.usefixtures("project")
def test_maintenance_is_switched_and_audited(cli: Cli) -> None:
    cli("apply")
    assert cli("maintenance", "show").out == "no maintenance; everything fires and is claimed\n"
    assert cli("maintenance", "on", "--reason", "repairs").out.startswith("nothing fires and nothing is claimed until")
    assert cli("maintenance", "show").out.endswith(": repairs\n")
    assert (cli("maintenance", "on").code, cli("maintenance", "show", "--json").json["active"]) == (4, True)
    assert cli("maintenance", "off").out == "everything fires and is claimed again\n"
    entries = cli("audit", "list", "--action", "maintenance", "--json").json["audit"]
    assert [entry["action"] for entry in entries] == ["maintenance.end", "maintenance.begin"]
    assert "reason: repairs" in cli("audit", "list", "--limit", "2").out
    assert cli("audit", "list", "--subject", "nothing").out == "nothing is recorded that fits\n"


@pytest.mark.usefixtures("project")
def test_a_backfill_is_looked_at_first(cli: Cli) -> None:
    cli("apply")
    words = ("schedules", "backfill", "morning", "--since", "2026-03-02T00:00", "--until", "2026-03-07T00:00")
    look = cli(*words, "--rate", "1/min")
    assert look.out.startswith("would make 5 runs of 5 fire times, Monday 2026-03-02 09:00")
    assert "4 min after the first" in look.out
    assert cli("runs", "list", "--json").json["runs"] == []
    assert cli(*words, "--yes").out == "5 runs made, of 5 fire times\n"
    assert {run["kind"] for run in cli("runs", "list", "--json").json["runs"]} == {"backfill"}
    assert "made up for already" in cli(*words).out
