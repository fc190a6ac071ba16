"""Take the content of an artifact piece by piece, so that no large one is in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from mainspring.domain.size import size_in_words
from mainspring.errors import ArtifactRefused

PIECE: Final = 1 << 20


def pieces_of(name: str, data: Any) -> Iterator[bytes]:
    """Give the content of *data*: bytes, text, the path of a file, or a file open for reading bytes.

    Raises:
        ArtifactRefused: it is of another type, or the file cannot be read.
    """
    if isinstance(data, Path):
        try:
            with data.open("rb") as file:
                yield from _read(name, file)
        except OSError as error:
            raise ArtifactRefused(f"artifact {name!r}: {data} cannot be read: {error.strerror}") from error
        return
    if callable(getattr(data, "read", None)):
        yield from _read(name, data)
        return
    if not isinstance(data, (str, bytes, bytearray, memoryview)):
        raise ArtifactRefused(
            f"artifact {name!r} is of type {type(data).__name__}; give bytes, text, the path of a file (a Path) or a "
            "file open for reading bytes"
        )
    content = memoryview(data.encode("utf-8") if isinstance(data, str) else data).cast("B")
    for start in range(0, len(content), PIECE):
        yield bytes(content[start : start + PIECE])


def _read(name: str, file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        if not isinstance(piece, bytes):
            raise ArtifactRefused(f"artifact {name!r}: the file is open for text; open it for bytes, with mode 'rb'")
        yield piece


class Counted:
    """Pieces on their way, counted and hashed; too many of them are refused."""

    def __init__(self, name: str, pieces: Iterator[bytes], most: int, why: str) -> None:
        """Let *most* bytes of *pieces* through; *why* says what ends there."""
        self._name, self._pieces, self._most, self._why = name, pieces, most, why
        self._hash = sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        """Give the pieces.

        Raises:
            ArtifactRefused: there are more bytes than may be.
        """
        for piece in self._pieces:
            self.size += len(piece)
            if self.size > self._most:
                raise ArtifactRefused(
                    f"artifact {self._name!r} is larger than {size_in_words(self._most)}: {self._why}"
                )
            self._hash.update(piece)
            yield piece

    @property
    def sha256(self) -> str:
        """Return the hash of what went through."""
        return self._hash.hexdigest()
