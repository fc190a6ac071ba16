"""Refuse what makes SQLite lose data: network file systems, and write-ahead logging in versions with a known fault."""

from __future__ import annotations

import getpass
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mainspring.errors import StoreUnavailable
from mainspring.store.sqlite.mounts import mount_of

_NETWORK: Final = (
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "fuse.beegfs",
    "fuse.ceph",
    "fuse.davfs",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.goofys",
    "fuse.juicefs",
    "fuse.mount.davfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "gfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "ocfs2",
    "orangefs",
    "pvfs2",
    "smb",
)
"""How kinds of file systems begin that other hosts may write to at the same time, or whose locks do not hold."""

_SHARED_BY_HOST: Final = (
    "9p",
    "drvfs",
    "fakeowner",
    "fuse.grpcfuse",
    "fuse.vmhgfs",
    "osxfs",
    "prl_fs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
)
"""Folders of a host in its guest: safe while only one side has the file open, and common in containers."""

COMPANIONS: Final = ("", "-wal", "-shm", "-journal", "-turn", "-lock", "-reserve")
"""Endings of the files that belong to a database."""


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Return whether *version* of SQLite is free of the WAL-reset fault (3.7.0 to 3.51.2; fixed backports exist)."""
    if version >= (3, 51, 3):
        return True
    return version[:2] in {(3, 50), (3, 44)} and version >= {50: (3, 50, 7), 44: (3, 44, 6)}[version[1]]


def check_library(version: tuple[int, ...]) -> str:
    """Return the journal mode that *version* of SQLite may be trusted with: ``wal``, or ``truncate`` (slower)."""
    return "wal" if wal_is_safe(version) else "truncate"


def library_warning(version: tuple[int, ...]) -> str | None:
    """Return what is to be said of an unsafe *version* of SQLite, with the way out."""
    if wal_is_safe(version):
        return None
    name = ".".join(map(str, version))
    return (
        f"SQLite {name} can corrupt a database in WAL mode (fixed in 3.51.3, 3.50.7 and 3.44.6), so Mainspring uses "
        "the slower journal_mode=TRUNCATE; install pysqlite3 0.6.1 or newer"
    )


def check_file_system(path: Path, mounts: str | None = None) -> None:
    """Refuse a *path* on a network file system, where locks do not hold.

    *mounts* is text in the form of ``/proc/mounts``, which is read where it is not given.

    Raises:
        StoreUnavailable: names the file system and the way out.
    """
    best, kind = mount_of(path, mounts)
    if kind.startswith(_NETWORK):
        raise StoreUnavailable(
            f"sqlite:///{path} lies on a network file system ({kind} at {best}), where SQLite's locks do not hold; "
            "put the file on a local disk or use PostgreSQL (if its locks do hold and no other host opens it: "
            f"sqlite:///{path}?file_system=trusted)"
        )


def file_system_warning(path: Path, mounts: str | None = None) -> str | None:
    """Return what is to be said of a folder that a host shares with this guest, with the way out."""
    best, kind = mount_of(path, mounts)
    if not kind.startswith(_SHARED_BY_HOST):
        return None
    return (
        f"sqlite:///{path} lies in a folder that a host shares ({kind} at {best}); open it from this side only, "
        "or put it on a disk of this machine"
    )


def why_closed(path: Path) -> str | None:
    """Return why the files of the database at *path* cannot be read and written by this user, where one sees it."""
    return next(_obstacles(path), None)


def _obstacles(path: Path) -> Iterator[str]:
    folder = path.parent
    if not folder.exists():
        yield f"there is no folder {folder}"
        return
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        yield f"the file system of {folder} is mounted read-only"
    if not _may(folder, os.R_OK | os.W_OK | os.X_OK):
        yield f"{_owned(folder)}; SQLite makes files beside the database: let {_user()} write there"
    for ending in COMPANIONS:
        file = Path(f"{path}{ending}")
        if file.exists() and not _may(file, os.R_OK | os.W_OK):
            yield f"{_owned(file)}; let {_user()} read and write it, or run as its owner"


def _may(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def _owned(path: Path) -> str:
    found = path.stat()
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = f"uid {found.st_uid}"
    return f"{path} belongs to {owner} with mode {stat.S_IMODE(found.st_mode):04o}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return getpass.getuser() if os.environ.get("USER") else f"uid {os.geteuid()}"
