"""Examine a SQLite file: its library, its disk, its log, and whether every page is whole."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import select

from mainspring.clock import boot_id
from mainspring.services.doctor import Check, fine, guarded, problem, warning
from mainspring.store.database import Database
from mainspring.store.schema import worker_sessions
from mainspring.store.sqlite.database import LONGEST_LOG, SqliteDatabase, long_log
from mainspring.store.sqlite.libraries import opened_beside_us
from mainspring.store.sqlite.mounts import mount_of
from mainspring.store.sqlite.room import in_words
from mainspring.store.sqlite.safety import COMPANIONS, file_system_warning, library_warning

_FULL: Final = 2
_SHOWN: Final = 3


def sqlite_checks(database: Database, *, deep: bool) -> Iterator[Check]:
    """Look at the file of *database* and at what surrounds it."""
    # The fault layers of tests stand before it and pass everything on.
    sqlite = cast("SqliteDatabase", database)
    yield from guarded("sqlite", lambda: [_library(sqlite)])
    yield from guarded("durability", lambda: [_durability(sqlite)])
    yield _log(sqlite)
    yield from surroundings(database)
    yield from guarded("other libraries", lambda: [_libraries(sqlite)])
    yield from guarded("integrity", lambda: [_integrity(sqlite, deep=deep)])


def surroundings(database: Database) -> Iterator[Check]:
    """Look at what can be seen without opening the file."""
    sqlite = cast("SqliteDatabase", database)
    yield _file_system(sqlite)
    yield _room(sqlite)
    yield _owners(sqlite)


def _library(database: SqliteDatabase) -> Check:
    unsafe = library_warning(tuple(map(int, database.version.split("."))))
    if unsafe is not None:
        said, _, way_out = unsafe.rpartition("; ")
        return warning("sqlite", said, way_out)
    return fine("sqlite", f"SQLite {database.version}, journal mode {_pragma(database, 'journal_mode')}")


def _durability(database: SqliteDatabase) -> Check:
    if _pragma(database, "synchronous") < _FULL:
        return problem("durability", "synchronous is not FULL: a loss of power takes back what was acknowledged")
    return fine("durability", "synchronous=FULL: what is acknowledged survives a loss of power")


def _file_system(database: SqliteDatabase) -> Check:
    shared = file_system_warning(database.path)
    if shared is not None:
        said, _, way_out = shared.rpartition("; ")
        return warning("file system", said, way_out)
    point, kind = mount_of(database.path)
    return fine("file system", f"{kind} at {point}" if kind else "unknown on this system")


def _room(database: SqliteDatabase) -> Check:
    room = database.room
    free, reserved = room.free, room.reserved()
    said = f"{in_words(free)} free on the disk of {database.path.parent}"
    if room.is_given_up():
        return problem(
            "disk",
            f"the disk was full, the reserve is in use, and {said}; nothing new is accepted",
            f"make room there until {in_words(room.needed)} are free: work goes on by itself",
        )
    if reserved is None and free >= room.needed:
        return fine("disk", f"{said}; the reserve of {in_words(room.wanted)} is made when a process runs")
    if not reserved or free < room.wanted:
        has = "no reserve" if not reserved else f"a reserve of {in_words(reserved)}"
        return warning("disk", f"{said}, with {has} to record ends when it is full", "make room there")
    return fine("disk", f"{said}, and a reserve of {in_words(reserved)} to record ends when it is full")


def _log(database: SqliteDatabase) -> Check:
    size = database.log_size
    if size > LONGEST_LOG:
        said, _, way_out = long_log(size).partition("; ")
        return warning("write-ahead log", said, way_out)
    return fine("write-ahead log", in_words(size))


def _owners(database: SqliteDatabase) -> Check:
    owners: dict[int, list[str]] = {}
    for ending in COMPANIONS:
        path = Path(f"{database.path}{ending}")
        if path.exists():
            owners.setdefault(path.stat().st_uid, []).append(path.name)
    if len(owners) > 1:
        whose = ", ".join(f"{names[0]} to {_user(uid)}" for uid, names in sorted(owners.items()))
        return warning(
            "owner",
            f"the database's files belong to several users: {whose}",
            "run everything as one user, and give all files to it (chown)",
        )
    mine = next(iter(owners), os.geteuid())
    return fine("owner", f"all files belong to {_user(mine)}")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _libraries(database: SqliteDatabase) -> Check:
    found = [said for said in (opened_beside_us(database.path, pid) for pid in _pids(database)) if said is not None]
    if found:
        said, _, rest = found[0].partition("; ")
        return problem("other libraries", said, rest)
    return fine("other libraries", "no process has the file open through two SQLite libraries")


def _pids(database: SqliteDatabase) -> Iterable[int | None]:
    """Return this process and those of this host that have a session; what they have open can be seen."""
    if "worker_sessions" not in database.table_names():
        return [None]
    columns = worker_sessions.c
    query = select(columns.pid, columns.host, columns.boot_id).where(columns.state == "live")
    rows = database.read(lambda tx: tx.core(query).all())
    return [None, *{row.pid for row in rows if (row.host, row.boot_id) == (socket.gethostname(), boot_id())}]


def _integrity(database: SqliteDatabase, *, deep: bool) -> Check:
    name = "integrity_check" if deep else "quick_check"
    said = database.read(lambda tx: [row[0] for row in tx.raw().execute(f"PRAGMA {name}({_SHOWN})")])
    if said == ["ok"]:
        return fine("integrity", "every page is whole" if deep else "the file is whole (quick check; --deep reads all)")
    return problem(
        "integrity",
        f"the file is damaged: {'; '.join(map(str, said))}",
        "stop everything, keep the file and its -wal, and restore a backup or recover with `sqlite3 FILE .recover`",
    )


def _pragma(database: SqliteDatabase, name: str) -> Any:
    return database.read(lambda tx: tx.raw().execute(f"PRAGMA {name}").fetchone()[0])
