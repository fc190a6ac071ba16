"""A project in a folder of its own, and the command line on it."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mainspring.app import WorkerProcess, ensure_schema, load_project
from mainspring.domain.states import UNFINISHED
from mainspring.edges.cli.root import app

TASKS = """
from mainspring import Backoff, Context, Fail, task
from datetime import date, timedelta
from enum import Enum


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task
def shapes(
    text: str = "",
    when: date | None = None,
    numbers: list[int] | None = None,
    options: dict[str, int] | None = None,
    colour: Colour = Colour.RED,
    share: float = 0.5,
    flag: bool = False,
) -> dict:
    return {
        "text": text, "when": str(when), "numbers": numbers, "options": options, "colour": colour.value, "share": share,
        "flag": flag,
    }


@task(max_retries=2, backoff=Backoff(base=timedelta(milliseconds=1), jitter="none"))
def flaky(ctx: Context, good_on: int = 2) -> str:
    ctx.log.info("attempt %d of flaky", ctx.attempt)
    ctx.progress(ctx.attempt, 3, "trying")
    if ctx.attempt < good_on:
        raise ConnectionError(f"no answer the {ctx.attempt}. time")
    ctx.artifact("answer.txt", "fine", "text/plain")
    return "fine"


@task
def hopeless() -> None:
    raise Fail("there is no such thing")


@task(name="team.report", queue="reports")
def report(rows: int, ctx: Context) -> int:
    print(f"writing {rows} rows")
    ctx.log.info("%d rows", rows)
    return rows
"""

CONFIG = """
database: sqlite:///mainspring.db
zone: America/Sao_Paulo
tasks: [work]
queues: {default: {}, reports: {description: Slow work}}
schedules:
  morning:
    task: work.add
    description: Adds in the morning
    cron: "0 9 * * 1-5"
    parameters: {a: 1}
  sundays:
    task: work.add
    cron: "0 9 * * 0"
    parameters: {a: 2}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


Cli = Callable[..., Answer]


@pytest.fixture(autouse=True)
def zone_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests read times in one zone wherever they run; nothing asks for colours."""
    monkeypatch.setenv("TZ", "UTC")
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands that stay set up logging for their process, which here is that of all tests."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in ("alembic", "httpx2", "httpcore2", "asyncio", "uvicorn")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to stand in; modules that a test imports from it are forgotten afterwards."""
    place = tmp_path / "project"
    place.mkdir()
    monkeypatch.chdir(place)
    before, path = set(sys.modules), list(sys.path)
    yield place
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def project(folder: Path) -> Path:
    """A project with tasks and schedules; its database does not exist yet."""
    (folder / "mainspring.yaml").write_text(CONFIG)
    (folder / "work.py").write_text(TASKS)
    return folder


@pytest.fixture
def cli() -> Cli:
    """Run a command in this process."""

    def run(*words: object) -> Answer:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert "Traceback" not in result.stderr
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run


def work_off(folder: Path) -> None:
    """Let a worker of the project in *folder* execute all runs that are unfinished; return when none is left."""
    project = load_project(folder / "mainspring.yaml", os.environ)
    application = project.open()
    ensure_schema(application)
    worker = WorkerProcess(application, project, "test-worker")
    worker.start()
    never = threading.Event()
    until = application.clock.monotonic() + 30
    while UNFINISHED & application.reading.counts().keys():
        assert application.clock.monotonic() < until, "runs were not worked off in 30 s"
        application.clock.wait(never, 0.01)
    worker.stop()
    application.close()
