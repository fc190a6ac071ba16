"""Keep what runs leave behind as files: within caps, for as long as it was said, and read it back unharmed."""

from __future__ import annotations

import logging
import mimetypes
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mainspring.clock import Clock
from mainspring.domain.size import size_in_words
from mainspring.errors import ArtifactRefused, MainspringError, NotFound
from mainspring.ids import RunId, is_id, uuid7
from mainspring.services.adoption import copied_from
from mainspring.store import artifacts as stored
from mainspring.store.database import Database
from mainspring.store.files.names import usable_name
from mainspring.store.files.pieces import Counted, pieces_of
from mainspring.store.files.place import Place, open_place
from mainspring.store.migrate import installation_id
from mainspring.store.schedules import write_audit

_log = logging.getLogger("mainspring.artifacts")
_MEDIA_TYPE_LIMIT: Final = 200
BATCH: Final = 100
ORPHANED_AFTER: Final = timedelta(days=1)
"""Age at which a file that the database does not know is the rest of a save that was killed."""


@dataclass(frozen=True, slots=True)
class ArtifactRules:
    """Where artifacts go, how much there may be, and for how long they stay."""

    location: str | None = None
    """A folder or an address such as ``s3://bucket/folder``; None means the folder of each host."""
    largest: int = 256_000_000
    per_run: int = 1_000_000_000
    total: int = 20_000_000_000
    keep: timedelta | None = timedelta(days=30)
    """None keeps them for ever."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What clearing away did."""

    expired: int = 0
    orphans: int = 0
    size: int = 0
    """Bytes of the expired ones."""
    failed: int = 0
    """Files that could not be deleted; they are tried again."""


class ArtifactStore:
    """The artifacts of an installation."""

    def __init__(self, database: Database, clock: Clock, folder: Path, rules: ArtifactRules | None = None) -> None:
        """Keep artifacts in *folder* unless *rules* name another place; nothing is opened yet."""
        self._database, self._clock = database, clock
        self.rules = rules or ArtifactRules()
        self._location = self.rules.location or str(folder)

    def save(self, run_id: RunId, attempt: int, name: str, data: Any, media_type: str | None = None) -> str:
        """Write *data* durably, then record it; return the new artifact's id.

        The same name again is a new version: lists show the newest first. Saves of the same moment do not see each
        other's size.

        Raises:
            ArtifactRefused: the name, type or size is not usable, a quota is full, or the place does not take it.
        """
        name = usable_name(name)
        pieces = Counted(name, pieces_of(name, data), *self._room(name, run_id))
        artifact_id = uuid7()
        # The file is named by us alone: a name from outside never becomes a path.
        try:
            location = self._place.write(f"{self._folder}/{artifact_id[-4:-2]}/{artifact_id}", iter(pieces))
        except OSError as error:
            raise ArtifactRefused(f"artifact {name!r} cannot be written: {error.strerror or error}") from error
        now = self._clock.now()
        values = {
            "id": artifact_id,
            "run_id": run_id,
            "attempt": attempt,
            "name": name,
            "media_type": _media_type(name, media_type),
            "size": pieces.size,
            "sha256": pieces.sha256,
            "location": location,
            "created_at": now,
            "expires_at": _after(now, self.rules.keep),
        }
        self._database.write(lambda tx: stored.add_artifact(tx, values))
        return artifact_id

    def read(self, artifact: dict[str, Any]) -> Iterator[bytes]:
        """Give the content of an artifact, its row at hand; the last piece comes when its hash has been checked.

        Raises:
            NotFound: its file is gone, or lies on another host.
            MainspringError: its file is not what was saved.
        """
        hash_, held = sha256(), b""
        for piece in self._place.read(artifact["location"]):
            hash_.update(piece)
            if held:
                yield held
            held = piece
        if hash_.hexdigest() != artifact["sha256"]:
            raise MainspringError(
                f"artifact {artifact['id']} ({artifact['name']}) is damaged: its file {artifact['location']} is not "
                "what was saved"
            )
        yield held

    def find(self, key: str, run_id: RunId | None = None) -> dict[str, Any]:
        """Return the artifact of this id, or the newest of this name that the run has saved.

        Raises:
            NotFound: there is none.
        """
        row = None
        if is_id(key.strip().lower()):
            row = self._database.read(lambda tx: stored.find_artifact(tx, key.strip().lower()))
        elif run_id is not None:
            name = unicodedata.normalize("NFC", key)
            row = self._database.read(lambda tx: stored.newest_artifact(tx, run_id, name))
        if row is None or (run_id is not None and row.run_id != run_id):
            raise NotFound("artifact", f"{key!r} of run {run_id}" if run_id is not None else key)
        return dict(row._mapping)

    def delete(self, artifact: dict[str, Any], actor: str) -> None:
        """Delete an artifact: its file, then its row."""
        self._place.delete(artifact["location"])
        now = self._clock.now()
        body = {"name": artifact["name"], "run_id": artifact["run_id"], "size": artifact["size"]}

        def work(tx: Any) -> None:
            stored.forget_artifacts(tx, [artifact["id"]])
            write_audit(tx, now, actor, "artifact.delete", artifact["id"], body)

        self._database.write(work)

    def expired(self, now: datetime, most: int = BATCH) -> list[dict[str, Any]]:
        """Return artifacts whose time is over, at most *most*, the oldest first."""
        return [dict(row._mapping) for row in self._database.read(lambda tx: stored.expired_artifacts(tx, now, most))]

    def delete_expired(self, now: datetime, stopping: Callable[[], bool] = lambda: False) -> Pruned:
        """Delete artifacts whose time is over, in batches: each file first, then the rows.

        After a crash in between, the row goes the next time. A file that lies on another host becomes an orphan there.
        """
        total = Pruned()
        after: str | None = None
        while not stopping():
            batch = self._database.read(lambda tx: stored.expired_artifacts(tx, now, BATCH, after))  # noqa: B023
            if not batch:
                break
            after = batch[-1].id
            gone = [row for row in batch if self._delete_file(row.location)]
            ids = [row.id for row in gone]
            count = self._database.write(lambda tx: stored.forget_artifacts(tx, ids)) if ids else 0  # noqa: B023
            failed = len(batch) - len(gone)
            total = Pruned(total.expired + count, 0, total.size + sum(row.size for row in gone), total.failed + failed)
        return total

    def orphans(self, now: datetime) -> Iterator[str]:
        """Give the locations of files older than a day that belong to no artifact of this installation.

        A copy of a database gives none before it is adopted: what it does not know may be its original's.
        """
        if copied_from(self._database) is not None:
            return
        old = (
            file.location for file in self._place.files(self._folder)
            if file.written_at is not None and file.written_at < now - ORPHANED_AFTER
        )  # fmt: skip
        while batch := list(islice(old, BATCH)):
            by_id = {name: location for location in batch if is_id(name := location.rpartition("/")[2])}
            known = self._database.read(lambda tx: stored.known_artifacts(tx, list(by_id)))  # noqa: B023
            yield from (location for name, location in by_id.items() if name not in known)

    def delete_orphans(self, now: datetime, stopping: Callable[[], bool] = lambda: False) -> int:
        """Delete what saves that were killed have left; return how many files."""
        count = 0
        for location in self.orphans(now):
            if stopping():
                break
            count += self._delete_file(location)
        return count

    @cached_property
    def _place(self) -> Place:
        return open_place(self._location)

    @property
    def _folder(self) -> str:
        """The folder of this installation: one place may serve several, and none clears away what another has saved.

        A copy that is adopted while processes run on it becomes another installation.
        """
        return installation_id(self._database)

    def _room(self, name: str, run_id: RunId) -> tuple[int, str]:
        """Return how many bytes may be saved, and why no more.

        Raises:
            ArtifactRefused: none at all.
        """
        rules = self.rules
        total, of_run = self._database.read(lambda tx: (stored.artifact_bytes(tx), stored.artifact_bytes(tx, run_id)))
        rooms = (
            (rules.total - total, f"`artifacts.total` of {size_in_words(rules.total)} is used up but for that; "
             "`mainspring artifacts prune` and `delete` make room"),
            (rules.per_run - of_run, f"a run may save {size_in_words(rules.per_run)} (`artifacts.per_run`)"),
            (rules.largest, "that is what one artifact may have (`artifacts.largest`)"),
        )  # fmt: skip
        room, why = min(rooms, key=lambda entry: entry[0])
        if room <= 0:
            raise ArtifactRefused(
                f"artifact {name!r} is refused: {why.replace(' is used up but for that', ' is used up')}"
            )
        return room, why

    def _delete_file(self, location: str) -> bool:
        try:
            self._place.delete(location)
        except Exception as error:  # whatever a store raises: the others are not to wait for it
            _log.warning("artifact_not_deleted location=%s error=%s", location, error)
            return False
        return True


def _media_type(name: str, given: str | None) -> str:
    kind = given or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if len(kind) > _MEDIA_TYPE_LIMIT or not kind.isprintable():
        raise ArtifactRefused(
            f"artifact {name!r}: media type {kind[:60]!r} is not usable; write one such as 'text/csv'"
        )
    return kind


def _after(now: datetime, span: timedelta | None) -> datetime | None:
    try:
        return None if span is None else now + span
    except OverflowError:
        return None
