"""Run `mainspring` as a user does: as a program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from mainspring.errors import MainspringError
from mainspring.packs.market.demo.folder import DemoFolder

_STOP_SECONDS: Final = 20.0
_OTHERS: Final = ("MAINSPRING_", "MARKET_", "SCRAPER_", "DB_", "REDIS_")
"""Variables that would lead the demonstration elsewhere than its folder says."""


class CommandFailed(MainspringError):
    """A command ended with another code than 0."""


class Program:
    """The command line on the demonstration's project."""

    def __init__(self, folder: DemoFolder) -> None:
        self._folder = folder
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}

    def line(self, *words: str) -> str:
        """Return the command as a user would type it here."""
        beside = Path(sys.executable).with_name("mainspring")
        name = _from_here(beside) if beside.exists() else "mainspring"
        return " ".join([name, "--config", _from_here(self._folder.settings), *words])

    def json(self, *words: str) -> Any:
        """Run a command with ``--json`` and return what it printed.

        Raises:
            CommandFailed: with what it said instead.
        """
        done = subprocess.run(
            [*self._command(), *words, "--json"],
            env=self._environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"`{self.line(*words)}` ended with {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def up(self, output: IO[bytes] | None = None) -> Up:
        """Start ``mainspring up``, its messages into *output* (default: the terminal)."""
        stderr = subprocess.STDOUT if output is not None else None
        words = [*self._command(), "up", "--port", "0"]
        return Up(subprocess.Popen(words, env=self._environment, stdout=output, stderr=stderr))

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "mainspring", "--config", str(self._folder.settings)]


class Up:
    """A running ``mainspring up``; used as a context, it is stopped in the end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait until it ends, on Ctrl-C too, and return its exit code."""
        while True:
            try:
                return self._process.wait()
            except KeyboardInterrupt:
                # The terminal has told it as well; it ends when its jobs have.
                continue

    def __enter__(self) -> Up:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.ended:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _from_here(path: Path) -> str:
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def pause(seconds: float) -> None:
    """Let *seconds* pass."""
    threading.Event().wait(seconds)
