"""Guard a process against a wrong wall clock: while it is in doubt nothing fires and nothing expires."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mainspring.clock import Clock
from mainspring.clock import boot_id as this_boot
from mainspring.errors import Conflict
from mainspring.ids import uuid7
from mainspring.services.clock_judge import (
    LEEWAY,
    Anchor,
    Cause,
    Doubt,
    Knowledge,
    Sight,
    confirmed,
    in_words,
    judge,
    surely,
    trouble,
)
from mainspring.store import clocks
from mainspring.store.database import Database, Tx
from mainspring.store.hints import SCHEDULES
from mainspring.store.schedules import write_audit

_log = logging.getLogger("mainspring.clock")
ASK_SERVER_EVERY: Final = 5.0
SAY_EVERY: Final = 60.0
_READINGS: Final = 10
_STEADY: Final = 0.25
"""Seconds that two readings taken together may lie apart: a process may be stopped in between."""


class ClockInDoubt(Conflict):
    """The wall clock of this machine cannot be believed; what was asked for would be dated wrongly."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the wall clock is believed at one look."""

    now: datetime
    """The wall clock at that look."""
    trusted: bool
    surely: datetime
    """An instant that has surely come; `now` while the clock is believed."""


class ServerClock:
    """The clock of the database's server, asked at most every few seconds and reckoned on in between."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._there = database.dialect != "sqlite"
        self._ahead: tuple[datetime, timedelta, float] | None = None

    def sight(self, oldest: float = ASK_SERVER_EVERY) -> Sight:
        """Return what the clocks say now; the server's answer is not older than *oldest* seconds.

        Raises:
            StoreUnavailable: the server had to be asked and did not answer.
        """
        if self._there and (self._ahead is None or self._clock.monotonic() - self._ahead[2] > oldest):
            self._ahead = self._ask()
        wall, monotonic = read_together(self._clock)
        if self._ahead is None:
            return Sight(wall, monotonic)
        booted, slack, _ = self._ahead
        return Sight(wall, monotonic, booted + timedelta(seconds=monotonic), slack)

    def _ask(self) -> tuple[datetime, timedelta, float]:
        before = self._clock.monotonic()
        # Tests give a clock of their own in place of the server's.
        said = self._database.lease_now() or self._database.read(clocks.server_now)
        after = self._clock.monotonic()
        assert said is not None, "a server has a clock"
        return said - timedelta(seconds=(before + after) / 2), timedelta(seconds=(after - before) / 2), after


def read_together(clock: Clock) -> tuple[datetime, float]:
    """Return wall clock and boot clock of one moment."""
    for _ in range(_READINGS):
        before, wall, after = clock.monotonic(), clock.now(), clock.monotonic()
        if after - before < _STEADY:
            return wall, after
    return clock.now(), clock.monotonic()


class ClockGuard:
    """Judges the wall clock for one process; may be asked from several threads."""

    def __init__(self, database: Database, clock: Clock, who: str, boot_id: str | None = None) -> None:
        """Prepare; *who* is the kind and name of the process, *boot_id* that of this machine unless a test says so."""
        self._database, self._clock, self._who = database, clock, who
        self._boot_id = boot_id or this_boot()
        self._server = ServerClock(database, clock)
        self._id = uuid7()
        self._lock = threading.Lock()
        self._known: Knowledge | None = None
        self._published: tuple[Cause, bool] | None = None
        self._said_at = 0.0

    def check(self) -> Verdict:
        """Look at the clocks and return whether the wall clock is believed.

        Raises:
            StoreUnavailable: the database could not be asked, or not be told; then nothing may fire either.
        """
        with self._lock:
            known = self._known or load(self._database, self._boot_id)
            calm = known.doubt is None
            sight = self._server.sight(ASK_SERVER_EVERY if calm else 0.0)
            if known.last is not None and abs(sight.booted_at - known.last) > LEEWAY:
                sight = self._server.sight(0.0)
            after, by = judge(known, sight), None
            if after.doubt is not None:
                after = self._heard(after, sight)
                by = after.anchor.confirmed_by if after.doubt is None and after.anchor is not None else None
            self._keep(known, after, sight, by)
            self._known = after
            trusted = after.doubt is None
            return Verdict(sight.wall, trusted, sight.wall if trusted else surely(after, sight))

    def _heard(self, known: Knowledge, sight: Sight) -> Knowledge:
        """Return what is known after a look whether a person or another process has settled it."""
        anchor = find_anchor(self._database, self._boot_id)
        return known if anchor is None or anchor == known.anchor else confirmed(known, anchor, sight)

    def _keep(self, before: Knowledge, after: Knowledge, sight: Sight, by: str | None) -> None:
        """Write and say what has changed; before the clock is believed again that has been written."""
        if after.doubt is not None:
            self._known = after
            self._doubt(after, after.doubt, sight)
        elif before.doubt is not None:
            self._trust(after, before.doubt, sight, by)
        elif before.anchor is None and after.anchor is not None:
            anchor = after.anchor
            self._database.write(lambda tx: put_anchor(tx, self._boot_id, anchor, sight.wall))

    def _doubt(self, known: Knowledge, doubt: Doubt, sight: Sight) -> None:
        said, way_out = in_words(known, sight, doubt.cause)
        shown = (doubt.cause, known.needs_person(sight))
        begins = self._published is None
        if not begins and shown == self._published and sight.monotonic - self._said_at < SAY_EVERY:
            return
        _log.critical("clock_in_doubt cause=%s: %s; nothing fires and nothing expires: %s", doubt.cause, said, way_out)
        self._said_at = sight.monotonic
        body = {
            "who": self._who, "host": socket.gethostname(), "pid": os.getpid(), "boot_id": self._boot_id,
            "cause": doubt.cause.value, "since": doubt.since, "said": said, "way_out": way_out,
        }  # fmt: skip

        def work(tx: Tx) -> None:
            clocks.put_doubt(tx, self._id, body)
            if begins:
                write_audit(tx, sight.wall, self._who, "clock.doubt", socket.gethostname(), body)

        self._database.write(work)
        self._published = shown

    def _trust(self, known: Knowledge, doubt: Doubt, sight: Sight, by: str | None) -> None:
        anchor = known.anchor or Anchor(sight.booted_at)
        body = {
            "who": self._who, "host": socket.gethostname(), "pid": os.getpid(), "cause": doubt.cause.value,
            "seconds": round(sight.monotonic - doubt.since_monotonic, 3), "confirmed_by": by,
        }  # fmt: skip

        def work(tx: Tx) -> None:
            put_anchor(tx, self._boot_id, anchor, sight.wall)
            clocks.drop_doubt(tx, self._id)
            write_audit(tx, sight.wall, self._who, "clock.trusted", socket.gethostname(), body)

        self._database.write(work)
        self._published = None
        how = f"confirmed by {by}" if by else "the clocks agree again"
        _log.warning("clock_trusted after=%.1fs: %s", sight.monotonic - doubt.since_monotonic, how)

    def close(self) -> None:
        """Take back what the database says of this process, as it ends."""
        if self._published is not None:
            self._database.write(lambda tx: clocks.drop_doubt(tx, self._id))
            self._published = None


def load(database: Database, boot_id: str) -> Knowledge:
    """Return what the database knows of the clock of the machine of this boot."""
    anchor = find_anchor(database, boot_id)
    if anchor is not None or database.dialect != "sqlite":
        return Knowledge(anchor)
    return Knowledge(not_before=database.read(clocks.last_used))


def find_anchor(database: Database, boot_id: str) -> Anchor | None:
    """Return what was last believed of the clock of the machine of this boot."""
    found = database.read(lambda tx: clocks.find_anchor(tx, boot_id))
    return None if found is None else _read_anchor(found)


def put_anchor(tx: Tx, boot_id: str, anchor: Anchor, now: datetime) -> None:
    """Write what is believed of the clock of the machine of this boot."""
    clocks.put_anchor(tx, boot_id, {**asdict(anchor), "host": socket.gethostname()}, now)


def _read_anchor(body: Mapping[str, Any]) -> Anchor:
    at = body.get("confirmed_at")
    return Anchor(
        datetime.fromisoformat(body["booted_at"]),
        timedelta(seconds=body["difference"]),
        None if at is None else datetime.fromisoformat(at),
        body.get("confirmed_by"),
    )


def require_sound(database: Database, clock: Clock, boot_id: str | None = None) -> None:
    """Do nothing while the wall clock of this machine can be believed: for what is done once, such as an edit.

    A jump that a scheduler would believe after a few ticks is let through: nobody ticks here.

    Raises:
        ClockInDoubt: says why, and the way out.
    """
    known, sight = load(database, boot_id or this_boot()), ServerClock(database, clock).sight()
    cause = trouble(known, sight)
    if cause is Cause.DISAGREES or known.needs_person(sight):
        said, way_out = in_words(known, sight, cause or Cause.AHEAD)
        raise ClockInDoubt(f"{said}; nothing was changed: {way_out}")


def confirm(database: Database, clock: Clock, actor: str, boot_id: str | None = None) -> Anchor:
    """Write that the wall clock of this machine is right as it is; schedulers hear of it within a poll."""
    boot = boot_id or this_boot()
    sight = ServerClock(database, clock).sight()
    differs = abs(sight.difference) > LEEWAY
    anchor = Anchor(sight.booted_at, sight.difference if differs else timedelta(0), sight.wall, actor)
    before = find_anchor(database, boot)
    body = {
        "wall": sight.wall, "server": sight.server, "booted_at": anchor.booted_at,
        "before": None if before is None else before.booted_at, "difference": anchor.difference,
    }  # fmt: skip

    def work(tx: Tx) -> None:
        put_anchor(tx, boot, anchor, sight.wall)
        write_audit(tx, sight.wall, actor, "clock.confirm", socket.gethostname(), body)

    database.write(work)
    database.sender.send(SCHEDULES)
    return anchor
