"""Tasks that do what no task should: twenty kinds, each as a plain function, as a coroutine, and on a thread of one."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import mmap
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from mainspring.domain.tasks import Task, task
from mainspring.runtime.isolation.code import ChildCode

LIMIT = 1.0
MB = 1_000_000
_FOREVER = threading.Event()


def _forever() -> None:
    while True:
        _FOREVER.wait(60)


def _forked(mark: str, work: Callable[[], object]) -> int:
    """Fork a process that is known by the folder it is in."""
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(mark)
            work()
        finally:
            os._exit(0)
    return pid


def _sleeper(mark: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], cwd=mark, **options)


def grandchild(mark: str) -> None:
    """Wait for a program that does not end."""
    _sleeper(mark).wait()


def double_fork(mark: str) -> None:
    """Leave a daemon behind, as daemons are made, and end well."""

    def daemon() -> None:
        os.setsid()
        _forked(mark, _forever)

    os.waitpid(_forked(mark, daemon), 0)


def new_session(mark: str) -> None:
    """Leave a program in a session of its own, and end well."""
    _sleeper(mark, start_new_session=True)


def ignore_signals(mark: str) -> None:
    """Ignore every signal that can be ignored, in itself and in a child."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            if threading.current_thread() is threading.main_thread():
                signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    _forked(mark, _forever)
    _forever()


def swallow_everything(mark: str) -> None:
    """Catch whatever is raised, and go on."""
    while True:
        with contextlib.suppress(BaseException):
            _forever()


def close_output(mark: str) -> None:
    """Close standard input, output and error, and go on."""
    os.closerange(0, 3)
    _forever()


def close_everything(mark: str) -> None:
    """Close every file, the line to the worker included, and go on."""
    os.closerange(0, 1024)
    _forever()


def fill_output(mark: str) -> None:
    """Write without end."""
    line = b"x" * 65_536
    while True:
        os.write(1, line)


def flooding_child(mark: str) -> None:
    """Leave a program behind that writes without end, and end well."""
    subprocess.Popen(["yes"], cwd=mark, start_new_session=True)


def fork_bomb(mark: str) -> None:
    """Fork, and let every child do the same."""
    os.chdir(mark)
    while True:
        with contextlib.suppress(OSError):
            os.fork()


def hydra(mark: str) -> None:
    """Leave processes behind of which each starts two anew when another dies, and end well."""

    def head() -> None:
        os.setsid()
        while True:
            pid = _forked(mark, _forever)
            os.waitpid(pid, 0)
            for _ in range(2):
                _forked(mark, head)

    for _ in range(3):
        _forked(mark, head)


def stop_itself(mark: str) -> None:
    """Stop its own process."""
    os.kill(os.getpid(), signal.SIGSTOP)


def stop_keeper(mark: str) -> None:
    """Stop the process that watches it."""
    os.kill(os.getppid(), signal.SIGSTOP)
    _forever()


def kill_keeper(mark: str) -> None:
    """Kill the process that watches it, with a daemon already in place."""
    double_fork(mark)
    os.kill(os.getppid(), signal.SIGKILL)
    _forever()


def exit_at_exit(mark: str) -> None:
    """Leave something for the end of the process that never ends, and end well."""
    atexit.register(_forever)


def exit_at_once(mark: str) -> None:
    """End the process."""
    _sleeper(mark)
    os._exit(0)


def crash(mark: str) -> None:
    """Read where there is nothing."""
    ctypes.string_at(1)


def hold_the_lock(mark: str) -> None:
    """Never give Python a chance to handle a signal."""
    sum(range(10**15))


def take_memory(mark: str) -> None:
    """Take memory without end."""
    held = []
    while True:
        held.append(bytearray(b"x" * (4 * MB)))


def take_shared_memory(mark: str) -> None:
    """Take memory of a kind that no limit of the system counts."""
    size = 2_000 * MB
    held = mmap.mmap(-1, size)
    for place in range(0, size, mmap.PAGESIZE):
        held[place] = 1


def children_take_memory(mark: str) -> None:
    """Let children take memory, each less than the limit."""

    def take() -> None:
        held = bytearray(b"x" * (60 * MB))
        _forever()
        del held

    for _ in range(20):
        _forked(mark, take)
    _forever()


def burn(mark: str) -> None:
    """Use the processor without end."""
    while True:
        pass


def children_burn(mark: str) -> None:
    """Let children use the processor without end."""
    for _ in range(3):
        _forked(mark, lambda: burn(mark))
    _forever()


def leave_threads(mark: str) -> None:
    """Leave threads behind, and end well."""
    for _ in range(8):
        threading.Thread(target=_forever).start()


@dataclass(frozen=True)
class Kind:
    """What a task does, and how its run has to end."""

    body: Callable[[str], None]
    end: str
    """Failure kind and error type; empty for a run that succeeds."""
    options: dict[str, Any] = field(default_factory=dict)


_TIME = {"time_limit": timedelta(seconds=LIMIT)}
_TOLD = {"soft_time_limit": timedelta(seconds=LIMIT / 2)}
_MEMORY = {"memory_limit": "200MB", "time_limit": timedelta(seconds=20)}
_TIMED_OUT = "timed_out TimeLimitExceeded"
_DIED = "lost ProcessDied"
_ONCE = {"at_most_once": True}
KINDS = {
    kind.body.__name__: kind
    for kind in (
        Kind(grandchild, _TIMED_OUT),
        Kind(double_fork, ""),
        Kind(new_session, ""),
        Kind(ignore_signals, _TIMED_OUT),
        Kind(swallow_everything, f"{_TIMED_OUT}|timed_out SoftTimeLimit", _TOLD),
        Kind(close_output, _TIMED_OUT),
        Kind(close_everything, _TIMED_OUT),
        Kind(fill_output, _TIMED_OUT),
        Kind(flooding_child, ""),
        Kind(fork_bomb, "timed_out TimeLimitExceeded|error ProcessLimitExceeded"),
        Kind(hydra, ""),
        Kind(stop_itself, _TIMED_OUT),
        Kind(stop_keeper, _DIED, _ONCE),
        Kind(kill_keeper, _DIED, _ONCE),
        Kind(exit_at_exit, "", {"recycle_after": 1}),
        Kind(exit_at_once, _DIED, _ONCE),
        Kind(crash, _DIED, _ONCE),
        Kind(hold_the_lock, _TIMED_OUT),
        Kind(take_memory, "error MemoryLimitExceeded", _MEMORY),
        Kind(take_shared_memory, "error MemoryLimitExceeded", _MEMORY),
        Kind(children_take_memory, "error MemoryLimitExceeded", _MEMORY),
        Kind(burn, "error CpuLimitExceeded", {"cpu_limit": timedelta(seconds=1), "time_limit": timedelta(seconds=20)}),
        Kind(children_burn, "error CpuLimitExceeded",
             {"cpu_limit": timedelta(seconds=1), "time_limit": timedelta(seconds=20)}),
        Kind(leave_threads, ""),
    )
}  # fmt: skip
VARIANTS = ("def", "async", "thread")


def _made(name: str, kind: Kind, variant: str) -> Task[..., Any]:
    def plain(mark: str) -> str:
        kind.body(mark)
        return "ended well"

    async def coroutine(mark: str) -> str:
        await asyncio.sleep(0)
        kind.body(mark)
        return "ended well"

    async def threaded(mark: str) -> str:
        await asyncio.to_thread(kind.body, mark)
        return "ended well"

    function: Callable[..., Any] = {"def": plain, "async": coroutine, "thread": threaded}[variant]
    return task(name=f"{name}.{variant}", max_retries=0, **(_TIME | kind.options))(function)


@task(name="innocent", isolated=True)
def innocent(n: int) -> int:
    """Do no harm, beside the others."""
    return 2 * n


@task(name="bystander")
def bystander(n: int) -> int:
    """Do no harm, in the worker's own process."""
    return 2 * n


@task(name="fork.once", isolated=True, max_retries=0)
def fork_once(mark: str) -> int:
    """Leave a child behind that ignores what it is told; for the death of others."""
    return _forked(mark, _forever)


HOSTILE = {(name, variant): _made(name, kind, variant) for name, kind in KINDS.items() for variant in VARIANTS}


def load() -> ChildCode:
    """Return the tasks for a child."""
    found = {made.name: made for made in (*HOSTILE.values(), innocent, bystander, fork_once)}
    return ChildCode(found)


def left_alive(mark: Path) -> list[int]:
    """Return the processes that a hostile run left: they are in its folder."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/cwd") == str(mark):
                    found.append(int(name))
    return found


def zombies_below(root: int) -> list[int]:
    """Return the dead processes below *root* that nobody has buried."""
    states: dict[int, tuple[int, str]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", encoding="ascii") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
                states[int(name)] = int(parent), state
    found, grown = {root}, True
    while grown:
        more = {pid for pid, (parent, _) in states.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return [pid for pid in found - {root} if states[pid][1] == "Z"]
