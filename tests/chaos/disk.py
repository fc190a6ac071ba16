"""A small file system in memory that can be filled up and freed again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

_MEGABYTE: Final = 1024 * 1024


def can_mount() -> bool:
    """Return whether this process may mount file systems: it must be root (or inside ``unshare -rm``)."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


class SmallDisk:
    """A tmpfs of its own at *folder*; without the right to mount it is a plain folder that cannot be filled."""

    def __init__(self, folder: Path, megabytes: int, owner: tuple[int, int] | None = None) -> None:
        """Mount it; *owner* is the user and group that it belongs to."""
        self.folder = folder
        folder.mkdir()
        self.mounted = can_mount() and self._mount(megabytes)
        if owner is not None:
            os.chown(folder, *owner)
            folder.chmod(0o700)
        self._filler = folder / "filler"

    def _mount(self, megabytes: int) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "mainspring-chaos", str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._filler.open("ab") as file:
            size, step = self._filler.stat().st_size, 64 * _MEGABYTE
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                except OSError:
                    step //= 2
                else:
                    size += step

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it and forget what is on it."""
        self.free()
        if self.mounted:
            # Lazily: a process that dies at this moment may still have a file of it open.
            with contextlib.suppress(OSError):
                subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)
            self.mounted = False
