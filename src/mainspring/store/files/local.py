"""Keep files in a folder of this host, or one that all hosts share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from mainspring.errors import InvalidInput, NotFound
from mainspring.store.files.pieces import PIECE
from mainspring.store.files.place import KeptFile


class Folder:
    """A folder with its files."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, pieces: Iterable[bytes]) -> str:
        """Write a new file durably; return its location."""
        path = self._path / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            _make_name_durable(path.parent)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return str(path.absolute())

    def read(self, location: str) -> Iterator[bytes]:
        """Give the content of a file."""
        path = self._inside(location)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise NotFound("file", f"{path} on this host; an artifact in a folder lies where its worker ran") from None
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
        with file:
            while piece := file.read(PIECE):
                yield piece

    def delete(self, location: str) -> bool:
        """Delete a file; return whether there was one."""
        try:
            self._inside(location).unlink()
        except FileNotFoundError:
            return False
        return True

    def files(self, below: str) -> Iterator[KeptFile]:
        """Give all files in the folder *below*."""
        for path in (self._path / below).rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile by another process
                if path.is_file() and not path.is_symlink():
                    yield KeptFile(str(path.absolute()), datetime.fromtimestamp(path.stat().st_mtime, UTC))

    def _inside(self, location: str) -> Path:
        """Return the real path of *location*: what the database says never leads out of the folder.

        Raises:
            InvalidInput: it lies elsewhere.
        """
        path, folder = Path(os.path.realpath(location)), Path(os.path.realpath(self._path))
        if not path.is_relative_to(folder):
            raise InvalidInput(
                f"{location} lies outside of the folder of artifacts, {folder}; set `artifacts.location` to the folder "
                "in which it was saved"
            )
        return path


def _make_name_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
