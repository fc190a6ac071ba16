"""Examine an installation: the database, the processes, and the machine, each with a verdict and the way out."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

import sqlalchemy
from sqlalchemy import select

from mainspring.clock import Clock, boot_id
from mainspring.errors import MainspringError
from mainspring.services.clock_state import clock_state
from mainspring.services.fire import computed_with, has_newer_zones
from mainspring.store import migrate
from mainspring.store.database import Database
from mainspring.store.schema import schedules, worker_sessions

HEARTBEAT_LATE: Final = timedelta(seconds=6)
"""Twice the time between two heartbeats."""
_FEWEST_FILES: Final = 1024
_LEAST_MEMORY: Final = 256 * 1024 * 1024
_PR_GET_CHILD_SUBREAPER: Final = 37
_SHOWN: Final = 3


class Verdict(StrEnum):
    """How something stands."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it stands, and what to do about it."""

    name: str
    verdict: Verdict
    sentence: str
    way_out: str = ""


def fine(name: str, sentence: str) -> Check:
    """Return that all is well."""
    return Check(name, Verdict.OK, sentence)


def warning(name: str, sentence: str, way_out: str = "") -> Check:
    """Return what should be better, and how."""
    return Check(name, Verdict.WARNING, sentence, way_out)


def problem(name: str, sentence: str, way_out: str = "") -> Check:
    """Return what must be mended, and how."""
    return Check(name, Verdict.PROBLEM, sentence, way_out)


Checks = Callable[[], Iterable[Check]]


def examine(database: Database, clock: Clock, *, deep: bool = False) -> Iterator[Check]:
    """Look at *database* and at what works on it, and yield a check for each thing; nothing is written.

    With *deep* every page is read, which takes minutes on a large database.
    """
    try:
        database.table_names()
    except MainspringError as error:
        yield problem("database", str(error))
        yield from _surroundings(database)
        return
    yield from guarded("database", lambda: _own_checks(database, deep=deep))
    schema = list(guarded("schema", lambda: [_schema(database)]))
    yield from schema
    if any(check.verdict is Verdict.PROBLEM for check in schema):
        return
    yield from guarded("new work", lambda: _new_work(database))
    yield from guarded("time zones", lambda: [_zones(database)])
    yield from guarded("clock", lambda: [_clock(database, clock)])
    yield from guarded("firing", lambda: _firing(database, clock))
    yield from guarded("processes", lambda: _processes(database, clock))


def guarded(name: str, look: Checks) -> Iterator[Check]:
    """Yield what *look* finds; that it failed is a finding too."""
    try:
        yield from look()
    except (MainspringError, sqlalchemy.exc.DBAPIError) as error:
        yield problem(name, f"could not be looked at: {str(error).strip().splitlines()[0]}")


def _own_checks(database: Database, *, deep: bool) -> Iterable[Check]:
    if database.dialect == "sqlite":
        from mainspring.services.doctor_sqlite import sqlite_checks

        return sqlite_checks(database, deep=deep)
    from mainspring.services.doctor_postgres import postgres_checks

    return postgres_checks(database)


def _surroundings(database: Database) -> Iterable[Check]:
    if database.dialect != "sqlite":
        return ()
    from mainspring.services.doctor_sqlite import surroundings

    return surroundings(database)


def _schema(database: Database) -> Check:
    found = migrate.status(database)
    if found.is_current:
        return fine("schema", f"schema {found.current} is that of this release")
    try:
        migrate.require_current(database)
    except MainspringError as error:
        return problem("schema", str(error))
    raise AssertionError("a schema that is not current is refused")


def _new_work(database: Database) -> Iterator[Check]:
    refusal = database.read(lambda tx: tx.refusal())
    if refusal is None:
        yield fine("new work", "new work is accepted")
    else:
        yield problem("new work", str(refusal))


def _zones(database: Database) -> Check:
    ours = computed_with()
    query = select(schedules.c.computed_with, schedules.c.name).where(schedules.c.deleted_at.is_(None))
    rows = database.read(lambda tx: tx.core(query).all())
    newer = sorted(row.name for row in rows if has_newer_zones(row.computed_with, ours))
    if newer:
        return problem(
            "time zones",
            f"{_names(newer, 'schedule')} {_were(newer)} computed with newer time zone data than this host has "
            f"({ours}); nothing of it fires here",
            "update the package tzdata on this host",
        )
    stale = sorted(row.name for row in rows if row.computed_with != ours)
    if stale:
        return fine("time zones", f"{ours}; a scheduler that starts computes {_names(stale, 'schedule')} anew")
    return fine("time zones", ours)


def _clock(database: Database, clock: Clock) -> Check:
    if database.dialect == "sqlite":
        if not hasattr(time, "CLOCK_BOOTTIME"):
            return warning(
                "clock",
                "this system has no clock that goes on during sleep: after sleep leases last longer than they should",
                "keep machines awake that run workers, or use PostgreSQL",
            )
        return fine("clock", "leases follow the boot clock of this machine, which no change of the time of day moves")
    before = clock.now()
    theirs: datetime = database.read(lambda tx: tx.core(select(sqlalchemy.func.clock_timestamp())).scalar_one())
    after = clock.now()
    apart = max(before - theirs, theirs - after, timedelta(0)).total_seconds()
    if apart > 1:
        make = problem if apart > 10 else warning
        return make(
            "clock",
            f"the clocks of this host and of the server are {apart:.0f} s apart; schedules fire by the host's",
            "keep both right with NTP (chrony, systemd-timesyncd)",
        )
    return fine("clock", f"the clocks of this host and of the server agree within {max(apart, 0.01):.2f} s")


def _firing(database: Database, clock: Clock) -> Iterator[Check]:
    problems = list(clock_state(database, clock).problems())
    if not problems:
        yield fine("firing", "every process believes its clock, and no schedule waits for a time that was false")
    for sentence in problems:
        said, _, way_out = sentence.rpartition("; ")
        yield problem("firing", said, way_out)


def _processes(database: Database, clock: Clock) -> Iterator[Check]:
    columns = worker_sessions.c
    query = select(columns.kind, columns.name, columns.host, columns.seen_at, columns.boot_id, columns.version).where(
        columns.state == "live"
    )
    rows = database.read(lambda tx: tx.core(query).all())
    now = clock.now()
    late = [
        f"{row.name} ({(now - row.seen_at).total_seconds():.0f} s ago)"
        for row in rows
        if now - row.seen_at > HEARTBEAT_LATE
    ]
    workers, schedulers = (sum(row.kind == kind for row in rows) for kind in ("worker", "scheduler"))
    if not rows:
        yield fine("processes", "none runs; `mainspring up` starts a scheduler and a worker")
    elif late:
        yield warning(
            "processes",
            f"heartbeat late: {', '.join(late[:_SHOWN])} last seen",
            "a task that keeps Python's lock in C code is to be isolated; a process that is gone is buried by itself",
        )
    else:
        yield fine("processes", f"{_many(schedulers, 'scheduler')} and {_many(workers, 'worker')} alive")
    if len({row.version for row in rows}) > 1:
        versions = ", ".join(sorted({row.version for row in rows}))
        yield warning("versions", f"processes of several releases run: {versions}", "finish the upgrade")
    here = socket.gethostname()
    if database.dialect == "sqlite" and any(row.host == here and row.boot_id != boot_id() for row in rows):
        yield warning(
            "boot",
            "sessions of an earlier boot of this machine are still marked alive",
            "any running process ends them",
        )


def machine_checks() -> Iterator[Check]:
    """Look at what this machine gives to processes; no database is needed."""
    yield _files()
    memory = _memory_left()
    if memory is not None:
        yield memory
    yield _loop()
    yield _isolation()


def _files() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FEWEST_FILES:
        return warning(
            "open files", f"a process may open {soft:,} files only", f"raise the limit (ulimit -n {_FEWEST_FILES * 4})"
        )
    return fine("open files", "a process may open " + ("any number of files" if soft < 0 else f"{soft:,} files"))


def _memory_left() -> Check | None:
    found = [n for n in (_available_memory(), _left_in_group()) if n is not None]
    if not found:
        return None
    left = min(found)
    said = f"{left / 1e6:,.0f} MB of memory are free"
    if left < _LEAST_MEMORY:
        return warning("memory", said, "give the machine more, or workers fewer slots")
    return fine("memory", said)


def _available_memory() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _left_in_group() -> int | None:
    """Return how much memory the container's limit leaves, None where there is none."""
    folder = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = (folder / "memory.current").read_text(encoding="ascii").strip()
        return None if limit == "max" else max(int(limit) - int(used), 0)
    return None


def _loop() -> Check:
    if importlib.util.find_spec("uvloop") is not None:
        return fine("event loop", "uvloop is installed")
    return fine("event loop", "asyncio's own; the extra `uvloop` makes workers with many async tasks faster")


def _isolation() -> Check:
    missing = [name for name, is_there in _isolating() if not is_there]
    if missing:
        return warning(
            "isolation",
            f"this system has no {', no '.join(missing)}: what an isolated task leaves behind may outlive its limit",
            "run workers on Linux",
        )
    return fine("isolation", "isolated tasks are held with all their children")


def _isolating() -> Iterator[tuple[str, bool]]:
    yield "subreaper", _has_subreaper()
    yield "memfd", hasattr(os, "memfd_create")
    yield "pidfd", hasattr(os, "pidfd_open")


def _has_subreaper() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    value = ctypes.c_int()
    return bool(ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) == 0)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _were(names: list[str]) -> str:
    return "was" if len(names) == 1 else "were"


def _names(names: list[str], noun: str) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    rest = len(names) - _SHOWN
    return f"{noun if len(names) == 1 else noun + 's'} {shown}" + (f" and {rest:,} more" if rest > 0 else "")
