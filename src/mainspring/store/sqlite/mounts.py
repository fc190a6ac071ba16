"""Find out which file system holds a file."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ESCAPE = re.compile(r"\\([0-7]{3})")


def mount_of(path: Path, mounts: str | None = None) -> tuple[str, str]:
    """Return where the file system that holds the folder of *path* is mounted, and its kind; empty where nobody knows.

    *mounts* is text in the form of ``/proc/mounts``, which is read where it is not given.
    """
    folder = os.path.dirname(os.path.realpath(path))
    best, kind = "", ""
    for line in (_mounts() if mounts is None else mounts).splitlines():
        _, point, file_system, *_ = [*line.split(" "), "", "", ""]
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), point)
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        # The last mount over a place hides the earlier ones.
        if point and inside and len(point) >= len(best):
            best, kind = point, file_system
    return best, kind


def _mounts() -> str:
    place = Path("/proc/mounts")
    return place.read_text(encoding="utf-8", errors="replace") if place.exists() else ""
