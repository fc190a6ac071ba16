"""Work on a database whose disk fills, and compare what was acknowledged with what is there.

``python -m tests.store.disk_full`` is the long form: a limit at each of 400 steps of growth, and 100 real full disks.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mainspring.domain.runs import ClaimedRun
from mainspring.errors import StoreFull
from mainspring.ids import SessionId
from mainspring.store.migrate import upgrade
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.verify import verify
from tests.store.arrange import (
    MINUTE,
    NOON,
    add,
    claim,
    count,
    every,
    finish,
    fire_all,
    look,
    new_run,
    open_session,
    outcome,
    plan_due,
    put,
    renew,
)

CHUNK = 4096


@contextlib.contextmanager
def fast_folder() -> Iterator[Path]:
    """Give a folder in memory where there is one: what is flushed there matters to nobody."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def clock() -> datetime:
    """Judge leases: they never run out here."""
    return NOON


def make_template(folder: Path) -> Path:
    """Return a migrated file with a schedule and a session."""
    path = folder / "template.db"
    database = SqliteDatabase(path, lease_clock=clock)
    upgrade(database)
    add(database, every(MINUTE))
    open_session(database)
    database.close()
    return path


@dataclass
class Work:
    """A worker's and a scheduler's day, in small: each step is acknowledged or refused, nothing in between."""

    database: SqliteDatabase
    enqueued: list[Any] = field(default_factory=list)
    held: list[ClaimedRun] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)
    fired: int = 0
    refused: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    at: datetime = NOON

    def step(self, n: int) -> None:
        """Take the *n*-th step: one of enqueue, claim, finish, heartbeat and fire."""
        (self._enqueue, self._claim, self._enqueue, self._finish, self._renew, self._fire)[n % 6](n)

    def _try(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except StoreFull as error:
            self.refused.append(name)
            self.said.append(str(error))

    def _session(self) -> SessionId:
        query = "SELECT id FROM worker_sessions"
        return SessionId(self.database.read(lambda tx: tx.raw().execute(query).fetchone()[0]))

    def _enqueue(self, n: int) -> None:
        self._try("enqueue", lambda: self.enqueued.extend(put(self.database, new_run(parameters=_text(n, 6_000)))))

    def _claim(self, n: int) -> None:
        self._try("claim", lambda: self.held.extend(claim(self.database, self._session())))

    def _finish(self, n: int) -> None:
        if self.held:
            done = outcome(self.held[0], at=self.at, result=_text(n, 3_000))

            def work() -> None:
                assert not finish(self.database, self._session(), done, now=self.at).fenced
                self.ended.append(self.held.pop(0).id)

            self._try("finish", work)

    def _renew(self, n: int) -> None:
        self._try("renew", lambda: self._true(renew(self.database, self._session(), now=self.at)))

    def _fire(self, n: int) -> None:
        self.at += MINUTE

        def work() -> None:
            plans = plan_due(self.database, self.at)
            fire_all(self.database, plans, self.at)
            self.fired += sum(len(plan.runs) for plan in plans)

        self._try("fire", work)

    def _true(self, value: bool) -> None:
        assert value

    def judge(self) -> None:
        """Compare all that was acknowledged with what the file holds; nothing more may be there."""
        database = self.database
        assert all(text.startswith(f"{database.location}: ") for text in self.said)
        assert integrity(database.path) == "ok"
        assert count(database, "runs") == len(self.enqueued) + self.fired
        assert count(database, "occurrences", "outcome = 'fired'") == self.fired
        held = {run.id for run in self.held}
        for run_id in self.enqueued:
            state = look(database, run_id).state
            wanted = "succeeded" if run_id in self.ended else "running" if run_id in held else "ready"
            assert state == wanted
        assert count(database, "runs", "state = 'succeeded'") == len(self.ended)
        verdict = verify(database, self.at)
        assert verdict.ok, "\n".join(verdict.lines())


def _text(n: int, size: int) -> str:
    return '{"text":"' + f"{n:06d}" * (size // 6) + '"}'


def integrity(path: Path) -> str:
    """Return what SQLite says of the whole file."""
    from pysqlite3 import dbapi2 as driver

    connection = driver.connect(str(path))
    (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return str(said)


def at_page_limit(template: Path, folder: Path, more: int, steps: int = 60) -> Work:
    """Let the file grow by *more* pages at most; then lift the limit and go on. Return what was done."""
    database = SqliteDatabase(Path(shutil.copy(template, folder / "m.db")), lease_clock=clock)
    work = Work(database)
    try:
        _limit(database, _pages(database) + more)
        for n in range(steps):
            work.step(n)
        work.judge()
        _limit(database, 1_000_000)
        before = len(work.refused)
        for n in range(steps, steps + 12):
            work.step(n)
        assert len(work.refused) == before
        work.judge()
    finally:
        database.close()
    return work


def _pages(database: SqliteDatabase) -> int:
    return int(database.read(lambda tx: tx.raw().execute("PRAGMA page_count").fetchone()[0]))


def _limit(database: SqliteDatabase, pages: int) -> None:
    database.write(lambda tx: tx.raw().execute(f"PRAGMA max_page_count = {pages}").fetchone())


def at_size_limit(template: Path, folder: Path, limit: int, steps: int = 60) -> Work:
    """Let no file of this process grow beyond *limit* bytes for a while; then lift that. Return what was done."""
    database = SqliteDatabase(Path(shutil.copy(template, folder / "m.db")), lease_clock=clock)
    work = Work(database)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        for n in range(steps):
            work.step(n)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        work.judge()
        for n in range(steps, steps + 12):
            work.step(n)
        work.judge()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        database.close()
    return work


@contextlib.contextmanager
def small_disk(folder: Path, size: int, files: int = 0) -> Iterator[Path]:
    """Give a file system of *size* bytes of its own (and room for so many *files*), mounted in *folder*.

    Raises:
        PermissionError: this user may not mount one.
    """
    folder.mkdir(exist_ok=True)
    options = f"size={size}" + (f",nr_inodes={files}" if files else "")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PermissionError(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Write a file until the disk of *folder* is full, but for *leave* bytes; return it."""
    path = folder / "filler"
    size = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - leave
    with open(path, "ab") as file:
        if size > 0:
            os.posix_fallocate(file.fileno(), file.tell(), size)
        while not leave:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, CHUNK)
            except OSError:
                break
    return path


def on_a_full_disk(template: Path, disk: Path, leave: int, steps: int = 90) -> Work:
    """Fill the disk but for *leave* bytes, work on, make room, and go on. Return what was done."""
    for name in disk.iterdir():
        name.unlink()
    database = SqliteDatabase(Path(shutil.copy(template, disk / "m.db")), lease_clock=clock)
    work = Work(database)
    try:
        database.tidy()
        for n in range(12):
            work.step(n)
        filler = fill(disk, leave)
        for n in range(12, steps):
            work.step(n)
        work.judge()
        filler.unlink()
        before = len(work.refused)
        for n in range(steps, steps + 24):
            work.step(n)
        assert len(work.refused) == before, work.refused[before:]
        database.tidy()
        work.judge()
        assert not database.room.is_given_up()
        assert database.room.reserved()
    finally:
        database.close()
    return work


def main() -> None:
    """Run the long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=400, help="steps of growth at which the file is full")
    parser.add_argument("--disks", type=int, default=100, help="amounts of room left on a real disk")
    given = parser.parse_args()
    logging.disable()
    with fast_folder() as folder:
        template = make_template(folder)
        refused = sum(len(at_page_limit(template, folder, more, 240).refused) for more in range(given.pages))
        print(f"limit of pages: {given.pages} steps of growth, {refused} refusals, nothing lost", flush=True)
        first = template.stat().st_size
        refused = 0
        for n in range(given.disks):
            refused += len(at_size_limit(template, folder, first + n * CHUNK, 60).refused)
        print(f"limit of file size: {given.disks} limits, {refused} refusals, nothing lost", flush=True)
        try:
            with small_disk(folder / "disk", 8 * 1024 * 1024) as disk:
                refused = sum(len(on_a_full_disk(template, disk, n * CHUNK, 150).refused) for n in range(given.disks))
        except PermissionError as error:
            print(f"real disks: not run, this user may not mount one ({error})")
        else:
            print(f"real disks: {given.disks} amounts of room, {refused} refusals, nothing lost")


if __name__ == "__main__":
    main()
