"""Processes that are measured: started, watched and stopped from outside, with all that they start themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.trace import VARIABLE

ROOT = Path(__file__).parents[1]


class Process:
    """One command with its children."""

    def __init__(
        self, command: Sequence[str], folder: Path, trace: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        """Start it in *folder*; what it says goes to a log file there."""
        self._command, self.log = command, folder / "processes.log"
        given = os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: str(trace)} | dict(environ or {})
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                command, cwd=folder, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._seen = psutil.Process(self._popen.pid)

    def require_alive(self) -> None:
        """Make sure that it has not ended by itself.

        Raises:
            RuntimeError: with the end of its log.
        """
        if self._popen.poll() is not None:
            tail = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(self._command)} ended with code {self._popen.returncode}:\n{tail}")

    def cpu_seconds(self) -> float:
        """Return the processor time that it and its children have taken so far, those that ended included."""
        total = 0.0
        for process in (self._seen, *self._seen.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def pss_megabytes(self) -> float:
        """Return the memory of it and its children; what they share is counted once."""
        family = [self._seen, *self._seen.children(recursive=True)]
        return sum(float(process.memory_full_info().pss) for process in family) / 1e6

    def stop(self) -> None:
        """Ask it to stop; kill its whole group when it does not."""
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill its whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()


@contextmanager
def running(*processes: Process) -> Iterator[tuple[Process, ...]]:
    """Stop *processes* at the end of the block, whatever happens in it."""
    try:
        yield processes
    finally:
        for process in processes:
            process.stop()


def mainspring(*words: str) -> list[str]:
    """Return the command of Mainspring with *words*, as it is installed beside this Python."""
    script = Path(sys.executable).with_name("mainspring")
    return [str(script), *words] if script.exists() else [sys.executable, "-m", "mainspring", *words]


def cpu_of(command: Sequence[str], folder: Path) -> float:
    """Run *command* to its end and return the processor time that it took."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with code {process.returncode}")
    return usage.ru_utime + usage.ru_stime
