"""Rewind schedules whose marks a wrong clock has pushed into the future; no instant fires twice by that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mainspring.clock import Clock
from mainspring.domain.spec import ScheduleSpec
from mainspring.errors import Conflict, InvalidInput, StoreUnavailable
from mainspring.ids import ScheduleId
from mainspring.services.clock_guard import require_sound
from mainspring.services.fire import computed_with
from mainspring.services.schedules import require_schedule
from mainspring.store import rewinding
from mainspring.store import schedules as stored
from mainspring.store.database import Database
from mainspring.store.hints import SCHEDULES
from mainspring.store.rewinding import Ahead, Cut, Stretch
from mainspring.store.schedules import StoredSchedule

_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Rewound:
    """What a rewind did to a schedule, or would do."""

    id: ScheduleId
    name: str
    mark: datetime
    """Where it stood."""
    to: datetime
    kept: int
    """Fire times beyond `to` that had their runs; they get no others unless asked for again."""
    undecided: int
    """Fire times beyond `to` without a run; each is decided when it comes."""
    next_at: datetime | None


class Rewinding:
    """Rewinds schedules."""

    def __init__(self, database: Database, clock: Clock, boot_id: str | None = None) -> None:
        self._database, self._clock, self._boot_id = database, clock, boot_id

    def rewind(self, name: str, to: datetime, actor: str, *, again: bool = False, dry_run: bool = False) -> Rewound:
        """Set the mark of a schedule back to *to*; what has come since then is caught up with by its misfire policy.

        Raises:
            InvalidInput: *to* is in the future.
            Conflict: the mark is not after *to*, or the clock of this machine is in doubt.
        """
        now = self._sound_now(to)
        for _ in range(_TRIES):
            old = self._require(name)
            if old.position.mark <= to:
                mark = old.position.mark.isoformat(timespec="seconds")
                raise Conflict(f"schedule {name!r} stands at {mark}, not after {to.isoformat(timespec='seconds')}")
            done = self._one(old, to, now, actor, again=again, dry_run=dry_run)
            if done is not None:
                return done
        raise StoreUnavailable(f"schedule {name!r} kept moving on while it was being rewound; try again")

    def rewind_all(self, to: datetime, actor: str, *, again: bool = False, dry_run: bool = False) -> list[Rewound]:
        """Rewind all schedules whose marks lie in the future.

        Raises:
            InvalidInput: *to* is in the future.
            Conflict: the clock of this machine is in doubt.
        """
        now = self._sound_now(to)
        ahead = [one.id for one in self._database.read(stored.list_schedules) if one.position.mark > now]
        return [self.rewind(name, to, actor, again=again, dry_run=dry_run) for name in ahead]

    def _sound_now(self, to: datetime) -> datetime:
        require_sound(self._database, self._clock, self._boot_id)
        now = self._clock.now()
        if to > now:
            raise InvalidInput(f"{to.isoformat()} is in the future; a mark goes back to now or to before")
        return now

    def _require(self, name: str) -> StoredSchedule:
        return require_schedule(self._database, name)

    def _one(
        self, old: StoredSchedule, to: datetime, now: datetime, actor: str, *, again: bool, dry_run: bool
    ) -> Rewound | None:
        ahead = self._database.read(lambda tx: rewinding.look_ahead(tx, old, to))
        cut = None if ahead.crossing is None else cut_at(ahead.crossing, to)
        if not dry_run:
            data = computed_with()
            if not self._database.write(
                lambda tx: rewinding.rewind(tx, old, ahead, cut, to, now, actor, data, again=again)
            ):
                return None
            self._database.sender.send(SCHEDULES)
        return _rewound(old, ahead, cut, to, again)


def _rewound(old: StoredSchedule, ahead: Ahead, cut: Cut | None, to: datetime, again: bool) -> Rewound:
    fired_again = ahead.fired if again else 0
    return Rewound(
        old.id, old.name, old.position.mark, to, ahead.fired - fired_again,
        rewinding.undecided(ahead, cut) + fired_again, old.spec.next_after(to) if old.enabled else None,
    )  # fmt: skip


def cut_at(stretch: Stretch, to: datetime) -> Cut:
    """Return what is left of *stretch* when it ends with the last fire time that is not after *to*."""
    # The shorter side is counted: a stretch may stand for a year of seconds.
    if to - stretch.fire_at <= stretch.until_at - to:
        end, n = stretch.fire_at, 1
        following = stretch.spec.next_after(end)
        while following is not None and following <= to:
            end, n = following, n + 1
            following = stretch.spec.next_after(end)
        return Cut(end, n)
    gone, moment = 0, stretch.spec.next_after(to)
    while moment is not None and moment <= stretch.until_at:
        gone, moment = gone + 1, stretch.spec.next_after(moment)
    return Cut(_last_until(stretch.spec, stretch.fire_at, to), stretch.n - gone)


def _last_until(spec: ScheduleSpec, first: datetime, to: datetime) -> datetime:
    """Return the last fire time in [*first*, *to*], *first* being one."""
    window = timedelta(minutes=1)
    while True:
        start = max(first, to - window)
        moment, last = spec.next_after(start), first if start == first else None
        while moment is not None and moment <= to:
            last, moment = moment, spec.next_after(moment)
        if last is not None:
            return last
        window *= 2
