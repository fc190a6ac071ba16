"""Help is complete, cheap, and the same as the reference."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mainspring.edges.cli.failures import MEANINGS, ExitCode
from mainspring.edges.cli.reference import REFERENCE_FILE, commands, reference
from tests.edges.conftest import Cli

ROOT = Path(__file__).parents[2]
NO_DATA = {"init", "up", "scheduler", "worker", "serve", "schema", "artifacts get", "dead export", "ical"}
"""Commands without `--json`: they write files, stay, or print a document of their own."""


def test_the_reference_is_what_the_commands_say() -> None:
    written = (ROOT / REFERENCE_FILE).read_text(encoding="utf-8")

    assert written == reference(), "run `python -m mainspring.edges.cli.reference`"


def test_every_command_is_in_the_reference_with_help_for_all_it_takes() -> None:
    page = (ROOT / REFERENCE_FILE).read_text(encoding="utf-8")
    found = dict(commands())

    assert len(found) >= 28
    for path, command in found.items():
        assert f"## `mainspring {path}`" in page
        assert command.help, path
        for param in command.params:
            assert getattr(param, "hidden", False) or param.help, f"{path} {param.name}"


def test_every_exit_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_that_prints_data_prints_json(path: str, command: Any) -> None:
    options = {name for param in command.params for name in param.opts}

    assert ("--json" in options) == (path not in NO_DATA)


@pytest.mark.parametrize("path", [path for path, _ in commands()])
def test_help_is_printed(path: str, cli: Cli) -> None:
    answer = cli(*path.split(), "--help")

    assert answer.code == 0
    assert f"Usage: mainspring {path}" in answer.out


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mainspring", "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    assert "typer" in imported
    assert (
        not {"pydantic", "sqlalchemy", "yaml", "alembic", "httpx2", "psycopg", "mainspring.app", "holidays"} & imported
    )
