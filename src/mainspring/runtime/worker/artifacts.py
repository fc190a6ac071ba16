"""Keep files that runs produce: in a folder, under names that only we choose."""

from __future__ import annotations

import mimetypes
import os
from hashlib import sha256
from pathlib import Path
from typing import Final

from mainspring.clock import Clock
from mainspring.errors import InvalidInput
from mainspring.ids import RunId, uuid7
from mainspring.store import runs
from mainspring.store.database import Database

LARGEST: Final = 256 * 1024 * 1024
_NAME_LIMIT: Final = 200


class ArtifactStore:
    """Saves artifacts below one folder and records them in the database."""

    def __init__(self, database: Database, clock: Clock, folder: Path) -> None:
        self._database, self._clock, self._folder = database, clock, folder

    def save(self, run_id: RunId, attempt: int, name: str, data: bytes | str | Path, media_type: str | None) -> str:
        """Write *data* durably, then record it; return the new artifact's id.

        Raises:
            InvalidInput: the name is unusable or the content above 256 MiB.
        """
        if not 0 < len(name) <= _NAME_LIMIT or not name.isprintable():
            raise InvalidInput(f"artifact name {name!r} is not usable; write 1 to {_NAME_LIMIT} printable characters")
        content = content_of(name, data)
        artifact_id = uuid7()
        # The file is named by us alone: a name from outside never becomes a path.
        path = self._folder / artifact_id[-4:-2] / artifact_id
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_durably(path, content)
        kind = media_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        values = {
            "id": artifact_id,
            "run_id": run_id,
            "attempt": attempt,
            "name": name,
            "media_type": kind,
            "size": len(content),
            "sha256": sha256(content).hexdigest(),
            "location": str(path.absolute()),
            "created_at": self._clock.now(),
        }
        self._database.write(lambda tx: runs.add_artifact(tx, values))
        return artifact_id


def content_of(name: str, data: bytes | str | Path) -> bytes:
    """Return the bytes of *data*.

    Raises:
        InvalidInput: it is of another type, or above 256 MiB.
    """
    if isinstance(data, Path):
        if data.stat().st_size > LARGEST:
            raise InvalidInput(f"artifact {name!r} has {data.stat().st_size} bytes, more than {LARGEST}")
        return data.read_bytes()
    if not isinstance(data, (str, bytes, bytearray, memoryview)):
        raise InvalidInput(
            f"artifact {name!r} is of type {type(data).__name__}; give bytes, text or the path of a file"
        )
    content = data.encode("utf-8") if isinstance(data, str) else bytes(data)
    if len(content) > LARGEST:
        raise InvalidInput(f"artifact {name!r} has {len(content)} bytes, more than {LARGEST}")
    return content


def _write_durably(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
