"""Notice a second SQLite library in a process that has the same file open: the two drop each other's locks."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_OTHERS = {"_sqlite3": "the standard library's sqlite3", "apsw": "apsw"}

_ADVICE = (
    "two SQLite libraries in one process drop each other's locks, and committed rows vanish; "
    "read the file from another process, or through Mainspring's own connection"
)


def loaded_beside_ours() -> list[str]:
    """Return the names of other SQLite libraries that this process has loaded."""
    return [name for module, name in _OTHERS.items() if module in sys.modules]


def opened_before_us(path: Path) -> str | None:
    """Return what is wrong where this process has *path* open though Mainspring has not opened it yet."""
    others = loaded_beside_ours()
    if not others or not _open_files(path):
        return None
    return f"this process has {path} open through {' or '.join(others)} already; {_ADVICE}"


def opened_beside_us(path: Path, pid: int | None = None) -> str | None:
    """Return what is wrong where the process *pid* (this one unless given) has *path* open with two libraries.

    A library opens the shared memory of a file once, however many connections it has.
    """
    if len(_open_files(Path(f"{path}-shm"), pid)) < 2:
        return None
    others = loaded_beside_ours() if pid is None else []
    which = f" ({' or '.join(others)} beside ours)" if others else ""
    whose = "this process" if pid is None else f"process {pid}"
    return f"{whose} has {path} open through two SQLite libraries{which}; {_ADVICE}"


def _open_files(path: Path, pid: int | None = None) -> list[str]:
    try:
        wanted = os.stat(path)
    except OSError:
        return []
    found = []
    for name, status in _descriptors(pid):
        if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(name)
    return found


def _descriptors(pid: int | None) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the open files of a process; none where the system does not show them."""
    folder = f"/proc/{pid or 'self'}/fd"
    if pid is None and not os.path.isdir(folder):
        folder = "/dev/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        # A descriptor may be closed meanwhile, and that of the listing itself is.
        with contextlib.suppress(OSError):
            yield name, (os.fstat(int(name)) if pid is None else os.stat(f"{folder}/{name}"))
