"""Refuse what makes SQLite lose data: network file systems, and write-ahead logging in versions with a known fault."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mainspring.errors import StoreUnavailable

_NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "fuse.sshfs",
    "afs",
    "ncpfs",
    "glusterfs",
    "fuse.glusterfs",
    "ceph",
    "lustre",
)

_ESCAPE = re.compile(r"\\([0-7]{3})")


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Return whether *version* of SQLite is free of the WAL-reset fault (3.7.0 to 3.51.2; fixed backports exist)."""
    if version >= (3, 51, 3):
        return True
    return version[:2] in {(3, 50), (3, 44)} and version >= {50: (3, 50, 7), 44: (3, 44, 6)}[version[1]]


def check_library(version: tuple[int, ...]) -> str:
    """Return the journal mode that *version* of SQLite may be trusted with: ``wal``, or ``truncate`` (slower)."""
    return "wal" if wal_is_safe(version) else "truncate"


def check_file_system(path: Path, mounts: str | None = None) -> None:
    """Refuse a *path* on a network file system, where locks do not hold.

    *mounts* is text in the form of ``/proc/mounts``, which is read where it is not given.

    Raises:
        StoreUnavailable: names the file system and the way out.
    """
    best, kind = _mount_of(os.path.dirname(os.path.realpath(path)), _mounts() if mounts is None else mounts)
    if kind.startswith(_NETWORK):
        raise StoreUnavailable(
            f"sqlite:///{path} lies on a network file system ({kind} at {best}), where SQLite's locks do not hold; "
            "put the file on a local disk or use PostgreSQL"
        )


def _mounts() -> str:
    place = Path("/proc/mounts")
    return place.read_text(encoding="utf-8", errors="replace") if place.exists() else ""


def _mount_of(folder: str, mounts: str) -> tuple[str, str]:
    """Return where the file system that holds *folder* is mounted, and its kind."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, point, file_system, *_ = [*line.split(" "), "", "", ""]
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), point)
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        # The last mount over a place hides the earlier ones.
        if point and inside and len(point) >= len(best):
            best, kind = point, file_system
    return best, kind
