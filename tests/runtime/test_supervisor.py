"""The supervisor keeps its children running, and stops them in good order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mainspring.clock import ManualClock
from mainspring.runtime.supervisor import Child, SourceWatch, Supervisor
from tests.runtime.arrange import until

# Children write what happens to them into a file; the parent is a process of its own, because it handles signals.
PARENT = """
import sys, logging
from pathlib import Path
from mainspring.clock import SystemClock
from mainspring.runtime.supervisor import Child, SourceWatch, Supervisor
logging.basicConfig(level=logging.INFO)
folder = Path(sys.argv[1])
def child(name):
    def command(replaced):
        return [sys.executable, "-S", "-E", str(folder / (name + ".code")), str(folder / "events"), name, str(replaced)]
    return Child(name, command)
watch = SourceWatch(folder / "source") if "--reload" in sys.argv else None
sys.exit(Supervisor([child("worker"), child("scheduler")], SystemClock(), watch, "worker").run())
"""
CHILD = """
import os, signal, sys
events, name, replaced = sys.argv[1:]
def note(what):
    with open(events, "a") as file:
        file.write(f"{name} {what}\\n")
"""
STAYS = (
    CHILD
    + """
def on_signal(number, frame):
    note(signal.Signals(number).name)
    if PATIENCE == 0:
        os._exit(0)
    globals()["PATIENCE"] -= 1
PATIENCE = 0
signal.signal(signal.SIGTERM, on_signal)
signal.signal(signal.SIGINT, on_signal)
note("started " + replaced)
while True:
    signal.pause()
"""
)
DIES = CHILD + "note('started ' + replaced)\nos._exit(1)\n"
REFUSES = CHILD + "note('refused')\nos._exit(2)\n"


class Family:
    """A supervisor in a process of its own, and what its children wrote."""

    def __init__(self, folder: Path, worker: str, scheduler: str, *options: str) -> None:
        self.folder = folder
        (folder / "source").mkdir()
        for name, code in (("worker", worker), ("scheduler", scheduler)):
            (folder / f"{name}.code").write_text(code)
        self.log = (folder / "log").open("w")
        self.parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder), *options], stderr=self.log)

    def events(self, name: str = "") -> list[str]:
        """Return what happened, of one child if named."""
        file = self.folder / "events"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(name)]

    def happens(self, *wanted: str) -> None:
        """Wait until all these lines were written."""
        until(lambda: set(wanted) <= set(self.events()), f"{wanted} in {self.events()}")

    def close(self) -> None:
        """Kill whatever is left."""
        if self.parent.poll() is None:
            for process in psutil.Process(self.parent.pid).children():
                process.kill()
            self.parent.kill()
        self.parent.wait()
        self.log.close()


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[..., Family]]:
    """Start families; all are gone after the test."""
    started: list[Family] = []

    def start(*arguments: str) -> Family:
        started.append(Family(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_one_signal_stops_all_children_kindly(family: Callable[..., Family]) -> None:
    one = family(STAYS, STAYS)
    one.happens("worker started None", "scheduler started None")
    one.parent.send_signal(signal.SIGINT)
    assert one.parent.wait(20) == 0
    # Ctrl-C reaches the parent alone; the children are told by SIGTERM.
    assert sorted(one.events()[2:]) == ["scheduler SIGTERM", "worker SIGTERM"]


def test_a_second_signal_is_passed_on_and_a_third_kills(family: Callable[..., Family]) -> None:
    patient = STAYS.replace("PATIENCE = 0\n", "PATIENCE = 5\n")
    one = family(patient, patient)
    one.happens("worker started None", "scheduler started None")
    for n in (1, 2):
        one.parent.send_signal(signal.SIGTERM)
        until(lambda n=n: one.events().count("worker SIGTERM") == n)  # type: ignore[misc]
        assert one.parent.poll() is None
    one.parent.send_signal(signal.SIGTERM)
    assert one.parent.wait(20) == 0
    assert one.events().count("worker SIGTERM") == 2


def test_a_child_that_is_killed_starts_again_and_is_told_whom_it_replaces(family: Callable[..., Family]) -> None:
    one = family(STAYS, STAYS)
    one.happens("worker started None", "scheduler started None")
    (victim,) = [p for p in psutil.Process(one.parent.pid).children() if "worker.code" in " ".join(p.cmdline())]
    victim.kill()
    one.happens(f"worker started {victim.pid}")
    assert one.events("scheduler") == ["scheduler started None"]
    one.parent.send_signal(signal.SIGTERM)
    assert one.parent.wait(20) == 0


def test_a_child_that_refuses_its_configuration_ends_all_with_code_2(family: Callable[..., Family]) -> None:
    one = family(REFUSES, STAYS)
    assert one.parent.wait(20) == 2
    assert one.events("worker") == ["worker refused"]


def test_a_changed_source_file_restarts_the_worker_alone(family: Callable[..., Family]) -> None:
    one = family(STAYS, STAYS, "--reload")
    one.happens("worker started None", "scheduler started None")
    (one.folder / "source" / "tasks.py").write_text("x = 1\n")
    until(lambda: len([e for e in one.events("worker") if "started" in e]) == 2)
    assert one.events("scheduler") == ["scheduler started None"]
    one.parent.send_signal(signal.SIGTERM)
    assert one.parent.wait(20) == 0


def test_a_source_file_saved_with_a_mistake_waits_for_the_next_change(family: Callable[..., Family]) -> None:
    one = family(STAYS, STAYS, "--reload")
    one.happens("worker started None", "scheduler started None")
    (one.folder / "worker.code").write_text(REFUSES)
    (one.folder / "source" / "tasks.py").write_text("mistake\n")
    one.happens("worker refused")
    (one.folder / "worker.code").write_text(STAYS)
    (one.folder / "source" / "more.py").write_text("mended\n")
    until(lambda: len([e for e in one.events("worker") if "started" in e]) == 2)
    assert one.parent.poll() is None
    one.parent.send_signal(signal.SIGTERM)
    assert one.parent.wait(20) == 0


# --- without processes: the pauses, by a manual clock


class Corpse:
    """A process that has ended."""

    def __init__(self, pid: int, code: int) -> None:
        self.pid, self.returncode = pid, code

    def poll(self) -> int:
        return self.returncode


def test_pauses_double_up_to_half_a_minute_and_begin_anew_after_a_stable_time() -> None:
    clock = ManualClock()
    child = Child("worker", lambda pid: ["true"])
    supervisor = Supervisor([child], clock)
    pauses = []
    for n in range(9):
        child.process, child.started_at = Corpse(n, -9), clock.monotonic()  # type: ignore[assignment]
        supervisor._mourn(child)
        assert child.start_again_at is not None
        pauses.append(child.start_again_at - clock.monotonic())
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    child.started_at = clock.monotonic() - 11
    supervisor._mourn(child)
    assert child.start_again_at == clock.monotonic() + 0.25


def test_a_child_that_cannot_be_started_is_tried_again_later(tmp_path: Path) -> None:
    clock = ManualClock()
    child = Child("worker", lambda pid: [str(tmp_path / "missing")])
    Supervisor([child], clock)._start(child)
    assert child.start_again_at == clock.monotonic() + 0.25


def test_the_first_look_at_sources_says_no_and_later_ones_notice_every_kind_of_change(tmp_path: Path) -> None:
    watch = SourceWatch(tmp_path)
    assert not watch.changed()
    file = tmp_path / "tasks.py"
    file.write_text("x = 1\n")
    assert watch.changed()
    assert not watch.changed()
    os.utime(file, (1, 1))
    assert watch.changed()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert not watch.changed()
    file.unlink()
    assert watch.changed()
