"""The processes of the run: started as users start them, killed, frozen, and started again as an init system would."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from tests.chaos.places import CLOCK

MARK: Final = "CHAOS_MARK"
_START_AGAIN_AFTER: Final = 0.3
_CLIENT: Final = Path(__file__).with_name("client.py")


@dataclass
class Member:
    """One process with its command line; it is kept running."""

    name: str
    command: list[str]
    folder: Path
    log: Path
    env: Mapping[str, str]
    running: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float | None = None
    frozen: bool = False
    starts: int = 0
    log_from: int = 0
    """Where in the log the present life begins."""
    pids: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        assert self.running is not None
        return self.running.pid

    @property
    def alive(self) -> bool:
        """Return whether the process runs."""
        return self.running is not None and self.running.poll() is None

    def start(self) -> None:
        """Start it; its output goes to the log file."""
        with self.log.open("ab") as log:
            self.log_from = log.tell()
            self.running = subprocess.Popen(
                self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(self.env),
                start_new_session=True,
            )  # fmt: skip
        self.started_at, self.start_again_at = CLOCK.monotonic(), None
        self.starts += 1
        self.pids.append(self.running.pid)

    def killed(self) -> None:
        """Take note that it was killed on purpose; it starts again in a moment."""
        assert self.running is not None
        self.running.wait()
        self.start_again_at = CLOCK.monotonic() + _START_AGAIN_AFTER

    def said(self) -> str:
        """Return what it has logged in its present life."""
        with self.log.open("rb") as log:
            log.seek(self.log_from)
            return log.read().decode(errors="replace")

    def tree(self) -> list[psutil.Process]:
        """Return it and all its descendants."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        return []

    def child(self, word: str) -> psutil.Process | None:
        """Return the process below a supervisor that runs as *word*: worker or scheduler."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.pid).children():
                with contextlib.suppress(psutil.Error):
                    if word in process.cmdline():
                        return process
        return None


@dataclass
class Crew:
    """All members, and what became of them."""

    mark: str
    members: dict[str, Member] = field(default_factory=dict)
    exits: list[str] = field(default_factory=list)
    """Members that ended although nobody had killed them."""
    failed_starts: int = 0
    """Starts that ended before a session was open, for want of a database: allowed, and tried again."""

    def add(self, member: Member) -> Member:
        """Start *member* and keep it."""
        self.members[member.name] = member
        member.start()
        return member

    def tend(self, database_was_away: bool) -> None:
        """Start again what was killed, and take note of what ended by itself."""
        for member in self.members.values():
            if member.start_again_at is not None:
                if CLOCK.monotonic() >= member.start_again_at:
                    member.start()
            elif member.running is not None and not member.alive:
                self._mourn(member, database_was_away)

    def _mourn(self, member: Member, database_was_away: bool) -> None:
        assert member.running is not None
        said = member.said()
        if database_was_away and "session_opened" not in said:
            self.failed_starts += 1
        else:
            tail = " | ".join(said.strip().splitlines()[-3:])
            self.exits.append(
                f"{member.name} ended by itself with exit code {member.running.returncode}: {tail[-400:]}"
            )
        member.start_again_at = CLOCK.monotonic() + 1.0

    def stop(self, seconds: float) -> list[str]:
        """Ask all to stop; return a sentence for each that did not end with exit code 0 within *seconds*."""
        running = [member for member in self.members.values() if member.alive]
        for member in running:
            os.kill(member.pid, signal.SIGTERM)
        until, wrong = CLOCK.monotonic() + seconds, []
        for member in running:
            assert member.running is not None
            try:
                code = member.running.wait(max(until - CLOCK.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                wrong.append(f"{member.name} did not stop within {seconds:.0f} s of SIGTERM")
            else:
                if code:
                    wrong.append(f"{member.name} stopped with exit code {code}")
        return wrong

    def left(self) -> list[psutil.Process]:
        """Return every process that runs in this run's environment; the environment passes to all descendants."""
        return [process for process in psutil.process_iter() if _is_marked(process, self.mark)]

    def kill_all(self) -> None:
        """Leave nothing running."""
        for _ in range(20):
            for member in self.members.values():
                if member.alive:
                    member.running.kill()  # type: ignore[union-attr]
                    member.running.wait()  # type: ignore[union-attr]
            left = self.left()
            if not left:
                return
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.environ().get(MARK) == mark)
    return False


def mainspring(folder: Path, *words: str) -> list[str]:
    """Return the command line of a `mainspring` command."""
    return [sys.executable, "-m", "mainspring", "--config", str(folder / "mainspring.yaml"), *words]


def client(folder: Path, accepted: Path, rate: float, began: float, seed: int) -> list[str]:
    """Return the command line of the client."""
    words = (folder / "mainspring.yaml", accepted, rate, began, seed)
    return [sys.executable, str(_CLIENT), *map(str, words)]


def environment(mark: str, url: str, ledger: Path, token: str) -> dict[str, str]:
    """Return what every process of the run gets; nothing of the harness's own settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAINSPRING_", "CHAOS_"))}
    env["MAINSPRING_SERVER__PORT"] = "0"
    return env | {MARK: mark, "CHAOS_DATABASE": url, "CHAOS_LEDGER": str(ledger), "CHAOS_TOKEN": token}


class SteppedClock:
    """The wall clock of a process and its children, which can be stepped while they run."""

    def __init__(self, file: Path, library: str) -> None:
        """Keep the step in *file*."""
        self._file, self._library = file, library
        self.step(0.0)

    def env(self) -> dict[str, str]:
        """Return what a process needs to have this clock."""
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def step(self, seconds: float) -> None:
        """Set the clock so many seconds ahead of the true time, or behind it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n", encoding="ascii")
        new.replace(self._file)


def faketime_library() -> str | None:
    """Return the library that steps clocks, or None where it is not installed."""
    found = sorted(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


def forget_clocks(pids: Iterable[int]) -> None:
    """Delete what the clock library leaves in shared memory for killed processes."""
    for pid in pids:
        for path in (Path(f"/dev/shm/faketime_shm_{pid}"), Path(f"/dev/shm/sem.faketime_sem_{pid}")):
            path.unlink(missing_ok=True)
