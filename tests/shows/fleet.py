"""Real processes on one database, started as users start them, killed with -9 and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainspring.clock import SystemClock

_CLOCK = SystemClock()
_NEVER = threading.Event()


def pause(seconds: float) -> None:
    """Let real time pass: these shows measure it."""
    _CLOCK.wait(_NEVER, seconds)


def monotonic() -> float:
    """Return the clock that all processes of this machine share."""
    return _CLOCK.monotonic()


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first true value of *condition*; fail when there is none within *seconds*."""
    until = monotonic() + seconds
    while not (value := condition()):
        assert monotonic() < until, f"not within {seconds} s: {what}"
        pause(0.1)
    return value


@dataclass
class Process:
    """One `mainspring` process with its command line."""

    words: tuple[str, ...]
    folder: Path
    log: Path
    running: subprocess.Popen[bytes] | None = None
    kills: int = 0

    def start(self) -> None:
        """Start it; its output goes to the log file."""
        command = [sys.executable, "-m", "mainspring", "--config", str(self.folder / "mainspring.yaml"), *self.words]
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    def kill9(self) -> None:
        """Kill its whole process group without warning."""
        assert self.running is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait()
        self.kills += 1

    def stop(self, seconds: float = 30.0) -> int:
        """Ask it to stop and return its exit code."""
        assert self.running is not None
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(seconds)


@dataclass
class Fleet:
    """Processes that share one project folder."""

    folder: Path
    processes: list[Process] = field(default_factory=list)

    def add(self, name: str, *words: str) -> Process:
        """Start a process and keep it."""
        process = Process(words, self.folder, self.folder / f"{name}.log")
        process.start()
        self.processes.append(process)
        return process

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command of the CLI to its end."""
        command = [sys.executable, "-m", "mainspring", "--config", str(self.folder / "mainspring.yaml"), *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=300)
        assert not check or done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def stop(self) -> None:
        """Stop all that still runs."""
        for process in self.processes:
            if process.running is not None and process.running.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.running.pid, signal.SIGKILL)
                process.running.wait()


@contextlib.contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """Give a fleet in *folder*; nothing of it is left running."""
    made = Fleet(folder)
    try:
        yield made
    finally:
        made.stop()


def read_effects(path: Path) -> list[tuple[str, int, str, float]]:
    """Return the effect ledger, kept outside the database: (run id, attempt, start or end, monotonic seconds)."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="ascii").splitlines():
        run_id, attempt, what, at = line.split()
        rows.append((run_id, int(attempt), what, float(at)))
    return rows


TASKS = """
import os, time
from pathlib import Path
from mainspring import Context, task

LEDGER = os.open(Path(__file__).with_name("effects"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def effect(ctx, what):
    os.write(LEDGER, f"{ctx.run_id} {ctx.attempt} {what} {time.clock_gettime(time.CLOCK_BOOTTIME)}\\n".encode())


@task(name="tick")
async def tick(ctx: Context, number: int = 0) -> int:
    effect(ctx, "start")
    return number


@task(name="second")
def second(ctx: Context, number: int) -> int:
    effect(ctx, "start")
    time.sleep(1.0)
    effect(ctx, "end")
    return number
"""
"""Tasks of the shows; the effect ledger is appended with one write a line."""
