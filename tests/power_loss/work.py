"""Do real work on a SQLite file and write down what was acknowledged: the program whose disk accesses are recorded.

``python -m tests.power_loss.work FILE COMMITS SYNCHRONOUS JOURNAL`` makes the file and its schema, then a mark, then
about so many commits. It ends without closing anything, as a machine does that loses its power.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from pysqlite3 import dbapi2 as driver

from mainspring.domain.runs import ClaimedRun
from mainspring.ids import SessionId
from mainspring.store.migrate import upgrade
from mainspring.store.sqlite import database as module
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.verify.look import micros
from tests.store.arrange import (
    MINUTE,
    NOON,
    add,
    claim,
    every,
    finish,
    fire_all,
    new_run,
    open_session,
    outcome,
    plan_due,
    put,
    renew,
    together,
)

START = "start"
_TIDY_EVERY = 60
_TOGETHER_EVERY = 7
_UNSAFE = (3, 40, 1)


class Acknowledged:
    """A file of what has been acknowledged: one line for each, written as soon as the call returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, **more: Any) -> None:
        """Add a line."""
        os.write(self._file, (json.dumps({"what": what, **more}) + "\n").encode())


class Day:
    """What a worker and a scheduler do."""

    def __init__(self, database: SqliteDatabase, told: Acknowledged) -> None:
        self._database, self._told = database, told
        self._now: datetime = NOON
        self._held: list[ClaimedRun] = []
        self._session = SessionId("")

    def begin(self) -> None:
        """Open a session, add a schedule, and mark the beginning."""
        self._session = open_session(self._database)
        add(self._database, every(MINUTE))
        self._database.tidy()
        self._told.write(START)

    def work(self, commits: int) -> None:
        """Make about so many commits."""
        done = n = 0
        while done < commits:
            if n % _TOGETHER_EVERY == 0:
                together(*[lambda n=n: self._enqueue(n)] * 4)  # type: ignore[misc]
            else:
                self._enqueue(n)
            self._claim()
            self._finish(n)
            self._fire()
            self._renew()
            done, n = done + 5, n + 1
            if n % _TIDY_EVERY == 0:
                self._database.tidy()

    def _enqueue(self, n: int) -> None:
        (run_id,) = put(self._database, new_run(parameters='{"text":"' + "p" * (n * 37 % 9_000) + '"}'))
        self._told.write("enqueued", id=run_id)

    def _claim(self) -> None:
        for run in claim(self._database, self._session, 1):
            self._told.write("claimed", id=run.id, attempt=run.attempt)
            self._held.append(run)

    def _finish(self, n: int) -> None:
        run = self._held.pop(0)
        done = outcome(run, at=self._now, result='"' + "r" * (n * 53 % 5_000) + '"', log=b"l" * (n * 11 % 2_000))
        assert not finish(self._database, self._session, done, now=self._now).fenced
        self._told.write("finished", id=run.id)

    def _fire(self) -> None:
        self._now += MINUTE
        fire_all(self._database, plan_due(self._database, self._now), self._now)
        self._told.write("fired", at=micros(self._now))

    def _renew(self) -> None:
        assert renew(self._database, self._session, now=self._now)


def main() -> None:
    """Work, then die."""
    path, commits, synchronous, journal = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    module._PRAGMAS = tuple(
        text.replace("synchronous = FULL", f"synchronous = {synchronous}") for text in module._PRAGMAS
    )
    if journal == "truncate":
        driver.sqlite_version_info = _UNSAFE
    database = SqliteDatabase(path, lease_clock=lambda: NOON)
    assert database.journal_mode == journal
    upgrade(database)
    day = Day(database, Acknowledged(path.with_name("acks")))
    day.begin()
    day.work(commits)
    os._exit(0)


if __name__ == "__main__":
    main()
