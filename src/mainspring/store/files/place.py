"""Choose where files of artifacts lie, and say what such a place can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from mainspring.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file in a place: its location, and when it was written as far as the place says so."""

    location: str
    written_at: datetime | None


class Place(Protocol):
    """A folder or a bucket. Files are named by us alone, below the place, and never written twice."""

    def write(self, name: str, pieces: Iterable[bytes]) -> str:
        """Write a new file durably; return its location. Nothing is left of one that fails."""

    def read(self, location: str) -> Iterator[bytes]:
        """Give the content of a file.

        Raises:
            NotFound: there is none.
            InvalidInput: *location* lies outside of the place.
        """

    def delete(self, location: str) -> bool:
        """Delete a file; return whether there was one. One that lies outside of the place is refused."""

    def files(self, below: str) -> Iterator[KeptFile]:
        """Give all files in the folder *below*."""


def open_place(location: str) -> Place:
    """Return the place at *location*: a folder, or an address such as ``s3://bucket/folder``.

    Raises:
        InvalidInput: what reaches it is not installed, or it is no address.
    """
    if "://" not in location:
        from mainspring.store.files.local import Folder

        return Folder(Path(location))
    try:
        from mainspring.store.files.remote import Bucket
    except ImportError as error:
        raise InvalidInput(f"artifacts at {location} need the extra 's3': install mainspring[s3] ({error})") from error
    return Bucket(location)
