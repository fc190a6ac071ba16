"""Keep room on the disk for the ends of runs: a reserve file that is given up when the disk fills, and made again."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import shutil
import threading
from pathlib import Path
from typing import Final

from mainspring.errors import StoreFull

_log = logging.getLogger("mainspring.store")

LARGEST: Final = 64 * 1024 * 1024
_SMALLEST: Final = 64 * 1024
_SHARE_OF_DISK: Final = 16
_SHARE_OF_FREE: Final = 4
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL, _INPUT_OUTPUT, _CANNOT_OPEN = 13, 10, 14
_PROBE: Final = 64 * 1024
_PIECE: Final = 1024 * 1024
_UNITS: Final = ("kB", "MB", "GB", "TB")


class OutOfRoom(StoreFull):
    """A write found no room just now; after `Room.give_up` it may."""


class Room:
    """The room under one database file. Every process sees the same reserve, and thereby whether the disk is full.

    The reserve is a file beside the database: it has a size while all is well, is empty while the disk is full, and
    is missing where there never was room for it.
    """

    def __init__(self, database: Path, location: str, largest: int = LARGEST) -> None:
        """Look after the room under *database*; the reserve has *largest* bytes, less on a small disk."""
        self.path = Path(f"{database}-reserve")
        self._database, self._location, self._largest = database, location, largest
        self._lock = threading.Lock()
        self._given_up_here = False

    def refusal(self) -> StoreFull | None:
        """Return why nothing new may be taken, or None. Once there is room again the reserve is made anew at once."""
        if not self.is_given_up() or self.restore():
            return None
        return StoreFull(f"{self._location}: {self._state()}")

    def is_given_up(self) -> bool:
        """Return whether the disk was found full and has not had enough room since."""
        size = self.reserved()
        return self._given_up_here if size is None else size == 0

    def reserved(self) -> int | None:
        """Return the size of the reserve in bytes, None where there is no file."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return None

    @property
    def wanted(self) -> int:
        """Return the size in bytes that the reserve should have on this disk."""
        return max(_whole(min(self._largest, self._usage().total // _SHARE_OF_DISK)), _SMALLEST)

    @property
    def needed(self) -> int:
        """Return how many free bytes end a full disk: the reserve, and as much again to begin with."""
        return 2 * self.wanted

    @property
    def free(self) -> int:
        """Return how many bytes the disk has left for this user."""
        return self._usage().free

    def out_of_room(self, error: BaseException) -> OutOfRoom | None:
        """Return what to raise where *error*, from SQLite or the system, means that there is no room; else None."""
        if not self._means_full(error):
            return None
        said = error.strerror if isinstance(error, OSError) else str(error)
        return OutOfRoom(f"{self._location}: {said}: {self._state()}")

    def give_up(self) -> bool:
        """Free the reserve so that ends can still be recorded; return whether this call did.

        A limit that is not the disk's (of a file's size, set by whoever) has nothing to gain from it.
        """
        with self._lock:
            if self.is_given_up() or self._has_plenty():
                return False
            size = self.reserved() or 0
            try:
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:
                # Not even an empty file: other processes find out by themselves.
                self._given_up_here = True
            else:
                with contextlib.closing(os.fdopen(descriptor, "wb")) as file:
                    file.truncate(0)
                    os.fsync(file.fileno())
        _log.error(
            "disk_full database=%s free=%d reserve_freed=%d; nothing new is accepted until %s are free",
            self._location, self.free, size, in_words(self.needed),
        )  # fmt: skip
        return True

    def restore(self) -> bool:
        """Make the reserve if there is room; return whether it stands. After a full disk it takes twice its size."""
        with self._lock:
            given_up, size, wanted = self.is_given_up(), self.reserved() or 0, self.wanted
            if size < wanted:
                free = self.free
                # A first reserve may be small; that of a disk that was full comes back whole or not at all.
                if given_up or size:
                    target = wanted if free >= 2 * wanted else size
                else:
                    target = _whole(min(wanted, free // _SHARE_OF_FREE))
                if target < _SMALLEST or not self._allocate(size, target):
                    return False
            self._given_up_here = False
        if given_up:
            _log.warning("disk_has_room database=%s free=%d; new work is accepted again", self._location, self.free)
        return True

    def _allocate(self, size: int, target: int) -> bool:
        if size == target:
            return True
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            _fill(descriptor, target)
        except OSError:
            os.ftruncate(descriptor, size)
            return False
        finally:
            os.close(descriptor)
        return True

    def _usage(self) -> shutil._ntuple_diskusage:
        return shutil.disk_usage(self._database.parent)

    def _has_plenty(self) -> bool:
        return self.free >= self.needed and not self._probe_fails()

    def _means_full(self, error: BaseException | None) -> bool:
        if error is None:
            return False
        if isinstance(error, OSError):
            return error.errno in _NO_ROOM
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return self._means_full(error.__cause__)
        if code & 0xFF == _FULL:
            return True
        # SQLite keeps to itself what the system said; a file that could not grow or be made gives a reason to look.
        return code & 0xFF in (_INPUT_OUTPUT, _CANNOT_OPEN) and (self._at_size_limit() or self._probe_fails())

    def _probe_fails(self) -> bool:
        """Return whether the disk refuses a little file: quotas show nowhere else."""
        probe = Path(f"{self._database}-probe-{os.getpid()}-{threading.get_ident()}")
        try:
            descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            return error.errno in _NO_ROOM
        try:
            _fill(descriptor, _PROBE)
            os.fsync(descriptor)
        except OSError as error:
            return error.errno in _NO_ROOM
        finally:
            os.close(descriptor)
            os.unlink(probe)
        return False

    def _at_size_limit(self) -> bool:
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        return limit != resource.RLIM_INFINITY and self._longest_file() + _PROBE >= limit

    def _longest_file(self) -> int:
        found = 0
        for name in (self._database, f"{self._database}-wal", f"{self._database}-journal"):
            with contextlib.suppress(OSError):
                found = max(found, os.stat(name).st_size)
        return found

    def _state(self) -> str:
        usage, folder = self._usage(), self._database.parent
        accepted = (
            "nothing new is accepted and nothing is lost; runs that have begun can still end while the reserve lasts"
        )
        if self._at_size_limit():
            limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
            return f"the file has reached this process's limit of {in_words(limit)} for a file; raise it (ulimit -f)"
        room = f"the disk of {folder} has {in_words(usage.free)} of {in_words(usage.total)} free"
        if usage.free >= self.needed:
            return f"{room}, yet takes no more; look at quotas and at limits of a file's size; {accepted}"
        return f"{room}, {in_words(self.needed)} are needed; {accepted}. Make room there: work goes on by itself"


def in_words(size: int) -> str:
    """Return a number of bytes for people."""
    if size < 10_000:
        return f"{size:,} bytes"
    power = next(power for power in (1, 2, 3, 4) if size < 1024 ** (power + 1) or power == 4)
    shown = size / 1024**power
    return f"{shown:.0f} {_UNITS[power - 1]}" if shown >= 10 else f"{shown:.1f} {_UNITS[power - 1]}"


def _whole(size: int) -> int:
    return size // _SMALLEST * _SMALLEST


def _fill(descriptor: int, size: int) -> None:
    """Give the file *size* bytes that are really there."""
    if hasattr(os, "posix_fallocate"):
        try:
            return os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    zeros = bytes(_PIECE)
    at = os.fstat(descriptor).st_size
    while at < size:
        at += os.pwrite(descriptor, zeros[: size - at], at)
