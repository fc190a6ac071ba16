"""Know a database file from its copy: a copied or restored file starts nothing until somebody adopts it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from mainspring.errors import StoreUnavailable
from mainspring.store.sqlite.mounts import mount_of

KEY: Final = "home"
_MACHINE_IDS: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_NUMBERED_ANEW: Final = ("9p", "exfat", "fakeowner", "fuse", "msdos", "overlay", "vfat", "virtiofs")
"""File systems whose inode numbers may change though the file stays."""


class FileCopied(StoreUnavailable):
    """The file is a copy of a database, and nobody has said yet whether it is to go on."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a database file lives."""

    machine: str
    """A mark of the machine's own id; empty where it has none, as many containers."""
    inode: int
    """0 where the file system gives numbers anew."""
    host: str
    path: str

    def is_same(self, other: Home) -> bool:
        """Return whether both are one file: moved perhaps, but not copied. What is not known tells nothing."""
        return _alike(self.machine, other.machine) and _alike(self.inode, other.inode)

    def refusal(self, location: str, before: Home) -> FileCopied:
        """Return why nothing may start in this file, which lived at *before*."""
        if not _alike(self.machine, before.machine):
            where = f"it belongs to {before.path} on host {before.host}"
        elif self.path == before.path:
            where = "it took the place of the file that lived here, as a restored backup does"
        else:
            where = f"it belongs to {before.path}"
        return FileCopied(
            f"{location} is a copy ({where}): nothing fires, starts or is accepted until it is adopted; "
            "run `mainspring db adopt`, after making sure that the original no longer runs"
        )


def _alike(one: object, other: object) -> bool:
    return not one or not other or one == other


def home_of(path: Path, mounts: str | None = None) -> Home:
    """Return where the file at *path* lives now."""
    _, kind = mount_of(path, mounts)
    inode = 0
    if not kind.startswith(_NUMBERED_ANEW):
        with contextlib.suppress(OSError):
            inode = path.stat().st_ino
    return Home(_machine(), inode, socket.gethostname(), str(path))


def recorded(text: str | None) -> Home | None:
    """Return the home that a database keeps in *text*, None where it keeps none."""
    if not text:
        return None
    body: dict[str, Any] = json.loads(text)
    return Home(str(body["machine"]), int(body["inode"]), str(body["host"]), str(body["path"]))


def to_text(home: Home) -> str:
    """Return what `recorded` reads."""
    return json.dumps(asdict(home), sort_keys=True)


def _machine() -> str:
    for name in _MACHINE_IDS:
        # A container has the id that its image was built with, unless its host lends it its own.
        if mount_of(Path("/any"))[1] == "overlay" and not os.path.ismount(name):
            continue
        with contextlib.suppress(OSError):
            text = Path(name).read_text(encoding="ascii", errors="replace").strip()
            if text and text != "uninitialized":
                # The id itself is nobody else's business.
                return sha256(b"mainspring home " + text.encode()).hexdigest()[:16]
    return ""


class HomeGuard:
    """Looks whether a file is at home, until it is."""

    def __init__(self, path: Path, location: str) -> None:
        self._path, self._location = path, location
        self._at_home = False

    def refusal(self, connection: Any) -> FileCopied | None:
        """Return why nothing may start in the file that *connection* has open, or None."""
        if self._at_home:
            return None
        row = connection.execute("SELECT value FROM meta WHERE key = ?", (KEY,)).fetchone()
        before = recorded(row[0] if row else None)
        if before is None:
            # New, or of a release that kept no home; it is looked at again until it has one.
            return None
        now = home_of(self._path)
        if not now.is_same(before):
            return now.refusal(self._location, before)
        self._at_home = True
        return None
