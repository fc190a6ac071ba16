"""Ask Linux about processes, and tell it what to do with them. Nothing here works elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from typing import Final

SUPPORTED: Final = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICK: Final = os.sysconf("SC_CLK_TCK")


def _prctl(option: int, value: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def adopt_orphans() -> None:
    """Make this process the parent of all processes below it whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have this process killed when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def outlive_parent() -> None:
    """Undo `die_with_parent`."""
    _prctl(_PR_SET_PDEATHSIG, 0)


def name_process(name: str) -> None:
    """Show this process as *name* (15 letters) in lists of processes."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]))


def handle_on(pid: int) -> int | None:
    """Return a descriptor that becomes readable when process *pid* ends; None on a system that has none."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


def tasks_of(pid: int | str) -> int:
    """Return how many threads a process has, those of libraries included; 0 when it is gone."""
    try:
        # A folder has a link from each folder in it, and two more; and there is one for each thread.
        return os.stat(f"/proc/{pid}/task").st_nlink - 2
    except OSError:
        return 0


def data_bytes() -> int:
    """Return the memory of this process that counts against RLIMIT_DATA."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * _PAGE


def resident(pid: int) -> int:
    """Return the bytes of memory that a process occupies; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def proportional(pid: int) -> int:
    """Return the same with pages that several processes share divided among them: exact, and slow."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident(pid)


def _stat(pid: int) -> list[bytes]:
    """Return the fields of a process's state from its parent's pid on; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name stands in brackets and may hold brackets and spaces itself.
            return file.read().rpartition(b")")[2].split()[1:]
    except OSError:
        return []


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and of its children that ended; 0 when it is gone."""
    fields = _stat(pid)
    return sum(int(field) for field in fields[10:14]) / _TICK if fields else 0.0


class Tree:
    """The processes below one, looked up again and again at little cost."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._members: set[int] = set()
        self._others: set[int] = set()

    def forget(self) -> None:
        """Look at every process anew: ids are used again after a while."""
        self._members, self._others = set(), set()

    def members(self) -> set[int]:
        """Return the ids of all processes below the root, zombies included."""
        present = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._others &= present
        parents = {pid: int(fields[0]) for pid in present - self._others if (fields := _stat(pid))}
        found, grown = {self._root}, True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in found} - found
            found |= more
            grown = bool(more)
        self._members = found - {self._root}
        # Who is not below the root never will be: orphans of the tree stay in it.
        self._others |= present - self._members
        return self._members


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes of ours and the groups that they lead or belong to, this process's own group excepted."""
    own, groups = os.getpgrp(), set[int]()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(pid))
        send(pid, signal.SIGKILL)
    for group in groups - {own, 0, 1}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The whole group at one moment: a process that forks meanwhile is caught with its child.
            os.killpg(group, signal.SIGKILL)


def send(pid: int, which: int) -> None:
    """Send a signal to a process that may have gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, which)


def reap() -> dict[int, int] | None:
    """Reap all children that have ended: by pid, the exit code or the negative signal. None: there are no children."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended or None
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def has_children() -> bool:
    """Return whether this process has any child, running or ended."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def how_it_died(code: int) -> str:
    """Return in words how a process ended: by its exit code, or the signal as a negative number."""
    if code >= 0:
        return f"it ended by itself with exit code {code}"
    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed by signal {-code}"
