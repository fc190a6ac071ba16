"""Keep files wherever fsspec reaches: S3 and what speaks like it, and many other stores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import fsspec

from mainspring.errors import ArtifactRefused, InvalidInput, MainspringError, NotFound
from mainspring.store.files.pieces import PIECE
from mainspring.store.files.place import KeptFile


class Bucket:
    """A folder of a file system that fsspec knows."""

    def __init__(self, address: str) -> None:
        """Open *address*, such as ``s3://bucket/folder``; nothing is asked of it yet.

        Raises:
            InvalidInput: fsspec does not know it, or what it needs for that is not installed.
        """
        self._address = address.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self._address)
        except (ImportError, ValueError) as error:
            raise InvalidInput(f"artifacts cannot be kept at {address}: {error}") from error

    def write(self, name: str, pieces: Iterable[bytes]) -> str:
        """Write a new file; return its location."""
        path = f"{self._root}/{name}"
        try:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._files.open(path, "wb") as file:
                for piece in pieces:
                    file.write(piece)
        except BaseException as error:
            # What was written before it failed is completed by closing the file.
            with contextlib.suppress(Exception):
                self._files.rm_file(path)
            if isinstance(error, MainspringError) or not isinstance(error, Exception):
                raise
            raise ArtifactRefused(f"{self._address} did not take the artifact: {error}") from error
        return f"{self._address}/{name}"

    def read(self, location: str) -> Iterator[bytes]:
        """Give the content of a file."""
        path = self._inside(location)
        try:
            with self._files.open(path, "rb") as file:
                while piece := file.read(PIECE):
                    yield piece
        except FileNotFoundError:
            raise NotFound("file", location) from None
        except OSError as error:
            raise InvalidInput(f"{location} cannot be read: {error}") from error

    def delete(self, location: str) -> bool:
        """Delete a file; return whether there was one."""
        path = self._inside(location)
        try:
            self._files.rm_file(path)
        except FileNotFoundError:
            return False
        return True

    def files(self, below: str) -> Iterator[KeptFile]:
        """Give all files in the folder *below*."""
        folder = f"{self._root}/{below}"
        self._files.invalidate_cache()
        try:
            found = self._files.find(folder, detail=True)
        except FileNotFoundError:
            return
        for path, facts in found.items():
            yield KeptFile(self._address + str(path).removeprefix(str(self._root)), _written(facts))

    def _inside(self, location: str) -> str:
        """Return the path of *location*: what the database says never leads out of the place.

        Raises:
            InvalidInput: it lies elsewhere.
        """
        name = location.removeprefix(f"{self._address}/")
        if name == location or ".." in name.split("/"):
            raise InvalidInput(
                f"{location} lies outside of {self._address}; set `artifacts.location` to where it was saved"
            )
        return f"{self._root}/{name}"


def _written(facts: Any) -> datetime | None:
    """Return when a file was written; stores name that differently."""
    for key in ("LastModified", "last_modified", "created", "mtime"):
        value = facts.get(key)
        if isinstance(value, datetime):
            return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, UTC)
    return None
