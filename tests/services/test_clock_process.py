"""A scheduler as users start it, while its wall clock is set: by libfaketime, which leaves the boot clock alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mainspring.app import Application, ensure_schema, open_database
from mainspring.clock import SystemClock
from mainspring.services.clock_state import clock_state
from mainspring.store.runs import RunFilter
from mainspring.verify import verify
from tests.runtime.arrange import until

CONFIG = """
database: {address}
tasks: [work]
schedules:
  often: {{task: work.nothing, every: 2s, misfire: latest}}
"""
TASKS = "from mainspring import task\n\n\n@task\ndef nothing() -> None: ...\n"
COMMAND = [sys.executable, "-m", "mainspring"]
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
YEAR = timedelta(days=365)
FAR = timedelta(hours=25)
"""Further than a clock without a server is believed to jump."""
NOW = SystemClock().now


class Installation:
    """A project, and a scheduler process with a wall clock of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.offset = folder, folder / "offset"
        (folder / "mainspring.yaml").write_text(CONFIG.format(address=address))
        (folder / "work.py").write_text(TASKS)
        self.set_wall(timedelta(0))
        self.application = Application(open_database(address))
        ensure_schema(self.application)
        self.run("apply")
        self.process: subprocess.Popen[str] | None = None

    def set_wall(self, by: timedelta) -> None:
        """Let the wall clock of the processes here be that much ahead of the right time."""
        waiting = self.offset.with_suffix(".new")
        waiting.write_text(f"{by.total_seconds():+.0f}\n")
        waiting.replace(self.offset)

    def _environment(self) -> dict[str, str]:
        faked = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        return {**os.environ, **faked}

    def run(self, *words: str) -> str:
        """Run a command on this machine, with its wall clock; return what it printed."""
        done = subprocess.run(
            [*COMMAND, *words], cwd=self.folder, env=self._environment(), capture_output=True, text=True, check=True
        )
        return done.stdout

    def start(self) -> None:
        """Start the scheduler."""
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "scheduler"], cwd=self.folder, env=self._environment(), stderr=log, text=True
            )

    def kill(self) -> None:
        """Kill the scheduler, and clear up what libfaketime leaves behind."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            for name in (f"faketime_shm_{self.process.pid}", f"sem.faketime_sem_{self.process.pid}"):
                with contextlib.suppress(FileNotFoundError):
                    Path("/dev/shm", name).unlink()

    @property
    def log(self) -> str:
        """What the scheduler has logged."""
        return (self.folder / "log").read_text()

    def doubts(self, times: int) -> None:
        """Wait until the scheduler has begun to doubt its clock so many times."""
        until(lambda: self.log.count("clock_in_doubt") >= times, "the scheduler doubts its clock")

    def fired(self) -> list[datetime]:
        """Return the fire times of all runs, in order."""
        found = self.application.reading.runs(RunFilter(), 10_000)
        return sorted(run.fire_at for run in found if run.fire_at is not None)

    def fires(self, after: datetime, before: datetime) -> None:
        """Wait until a run has a fire time in between."""
        until(lambda: any(after < fire_at < before for fire_at in self.fired()), f"fires between {after} and {before}")

    def is_sound(self) -> None:
        """Check that the ledger holds each fire time once, and each has its run."""
        verdict = verify(self.application.database, NOW())
        assert verdict.ok, list(verdict.lines())
        assert len(set(self.fired())) == len(self.fired())


@pytest.fixture(params=["sqlite", "postgres"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """A project whose schedule fires every two seconds."""
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed; run scripts/install-servers.sh")
    address = f"sqlite:///{tmp_path}/mainspring.db"
    if request.param == "postgres":
        address = request.getfixturevalue("postgres_store_url")
    installation = Installation(tmp_path, address)
    yield installation
    installation.kill()
    installation.application.close()


def test_a_running_scheduler_survives_a_wrong_clock(installation: Installation) -> None:
    one, minute = installation, timedelta(minutes=1)
    one.start()
    one.fires(NOW() - minute, NOW() + minute)

    one.set_wall(YEAR)
    one.doubts(1)
    until(lambda: clock_state(one.application.database, SystemClock()).doubters, "people are told")
    assert "does not believe its clock" in one.run("clock")
    one.kill()  # as often as its supervisor starts it, it knows
    one.start()
    one.doubts(2)
    assert all(fire_at < NOW() for fire_at in one.fired())

    one.set_wall(timedelta(0))
    right = NOW()
    one.fires(right, right + minute)
    one.is_sound()


@pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
def test_a_person_confirms_a_wrong_clock_and_rewinds(installation: Installation) -> None:
    one, minute = installation, timedelta(minutes=1)
    one.start()
    one.fires(NOW() - minute, NOW() + minute)
    one.set_wall(FAR)
    one.doubts(1)
    one.run("clock", "confirm", "--yes")
    one.fires(NOW() + FAR - minute, NOW() + FAR + minute)

    one.set_wall(timedelta(0))
    one.run("clock", "confirm", "--yes")
    assert "does not fire before" in one.run("status")
    assert "1 schedule rewound" in one.run("schedules", "rewind", "--all", "--to", "now")
    right = NOW()
    one.fires(right, right + minute)
    one.is_sound()
