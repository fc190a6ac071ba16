"""Say how the clocks stand, for whoever shows it: this machine's, the server's, and who doubts at present."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mainspring.clock import Clock
from mainspring.clock import boot_id as this_boot
from mainspring.services.clock_guard import ServerClock, load
from mainspring.services.clock_judge import LEEWAY, Anchor, Cause, in_words, surely, trouble
from mainspring.store import clocks
from mainspring.store import schedules as stored
from mainspring.store.database import Database


@dataclass(frozen=True, slots=True)
class Doubter:
    """A process that lives and doubts its clock."""

    who: str
    host: str
    pid: int
    cause: str
    since: datetime
    said: str
    way_out: str


@dataclass(frozen=True, slots=True)
class ClockState:
    """How the clocks stand at one moment."""

    now: datetime
    host: str
    server: datetime | None
    """What the clock of the database's server says; None on SQLite."""
    jump: timedelta
    """How much the wall clock of this machine has gained since it was last believed."""
    anchor: Anchor | None
    here: tuple[str, str] | None
    """What speaks against the clock of this machine, and the way out."""
    doubters: tuple[Doubter, ...]
    ahead: tuple[tuple[str, datetime], ...]
    """Schedules whose marks lie in the future, with those marks."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong, in sentences with the way out."""
        told = set()
        for one in self.doubters:
            if (one.host, one.said) not in told:
                told.add((one.host, one.said))
                who = f"{one.who} on {one.host}"
                yield f"{who} does not believe its clock, and fires nothing: {one.said}; {one.way_out}"
        if self.here is not None and self.host not in {one.host for one in self.doubters}:
            yield f"on this machine {self.here[0]}; {self.here[1]}"
        for name, mark in self.ahead[:1]:
            more = "" if len(self.ahead) == 1 else f", and so do {len(self.ahead) - 1} others"
            names = name if len(self.ahead) == 1 else "--all"
            until = mark.isoformat(timespec="seconds")
            yield (
                f"schedule {name!r} does not fire before {until}, to where a wrong clock moved it{more}; "
                f"`mainspring schedules rewind {names} --to now`"
            )


def clock_state(database: Database, clock: Clock, boot_id: str | None = None) -> ClockState:
    """Return how the clocks stand, as a process on this machine would judge them if it started now.

    Raises:
        StoreUnavailable: the database cannot be asked.
    """
    known, sight = load(database, boot_id or this_boot()), ServerClock(database, clock).sight()
    cause = trouble(known, sight)
    come = surely(known, sight) + LEEWAY
    # By a clock that is behind every mark lies ahead.
    found = [] if cause is Cause.BEHIND else database.read(stored.list_schedules)
    ahead = sorted(
        ((one.name, one.position.mark) for one in found if one.enabled and one.position.mark > come), key=lambda p: p[1]
    )
    doubts = database.read(clocks.list_doubts)
    return ClockState(
        sight.wall,
        socket.gethostname(),
        sight.server,
        known.jump(sight),
        known.anchor,
        None if cause is None else in_words(known, sight, cause),
        tuple(
            Doubter(
                body["who"], body["host"], body["pid"], body["cause"], datetime.fromisoformat(body["since"]),
                body["said"], body["way_out"],
            )
            for body in doubts
        ),
        tuple(ahead),
    )  # fmt: skip
