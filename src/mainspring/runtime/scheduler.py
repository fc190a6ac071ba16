"""The scheduler: sleeps until the next fire time, fires, stages what comes due, and rescues what the dead left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from mainspring.clock import Clock, boot_id
from mainspring.errors import StoreUnavailable
from mainspring.runtime.loops import Loop
from mainspring.runtime.session import LEASE, Session
from mainspring.services.clock_guard import ClockGuard
from mainspring.services.fire import Firer
from mainspring.services.maintenance import Releaser, Rescuer, Stager, Tidier
from mainspring.services.schedules import Scheduling
from mainspring.services.standstill import StandstillWatch
from mainspring.store.database import Database
from mainspring.store.hints import SCHEDULES

_log = logging.getLogger("mainspring.scheduler")
POLL: Final = 1.0
_RESCUE_EVERY: Final = 1.0
_RESCUE_AGAIN: Final = 0.05
_TIDY_EVERY: Final = 60.0
_BUSY_PAUSE: Final = 0.02


class Maintenance:
    """Stages, releases, expires and rescues; every process that serves the database may do so."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        guard: ClockGuard | None = None,
        on_overdue: Callable[[], None] | None = None,
    ) -> None:
        """Prepare; *guard* is the one of the process, where it has one already; *on_overdue* see `Rescuer`."""
        self._clock = clock
        self.guard = self._guard = guard or ClockGuard(database, clock, "worker")
        self._stager = Stager(database, clock, self._guard)
        self._rescuer = Rescuer(database, clock, boot_id(), LEASE, on_overdue)
        self._releaser = Releaser(database, clock)
        self._tidier = Tidier(database, clock, self._guard)
        self._stage = Loop("stager", self._stage_once, clock)
        self._release = Loop("releaser", self._release_once, clock)
        self._rescue = Loop("rescuer", self._rescue_once, clock)
        self._tidy = Loop("tidy", self._tidy_once, clock)

    def start(self) -> None:
        """Begin."""
        self._stage.start()
        self._release.start()
        self._rescue.start()
        self._tidy.start()

    def wake(self) -> None:
        """Look at once for what has come due, and for what can be let go."""
        self._stage.wake()
        self._release.wake()

    def stop(self) -> None:
        """End."""
        self._stage.stop()
        self._release.stop()
        self._rescue.stop()
        self._tidy.stop()
        try:
            self._guard.close()
        except StoreUnavailable as error:
            _log.warning("clock_doubt_not_withdrawn error=%s; it is ignored once this process has ended", error)

    def _tidy_once(self) -> float:
        self._tidier.run_once()
        return _TIDY_EVERY

    def _stage_once(self) -> float:
        result = self._stager.run_once()
        if result.in_doubt:
            return POLL
        # What is due and was not staged is being staged by somebody else.
        return max(wait_until(self._clock, result.next_due_at), 0.0 if result.staged else _BUSY_PAUSE)

    def _release_once(self) -> float:
        result = self._releaser.run_once()
        # What is free and was not let go is being let go by somebody else.
        return max(wait_until(self._clock, result.next_at), 0.0 if result.released else _BUSY_PAUSE)

    def _rescue_once(self) -> float:
        self._rescuer.run_once()
        left = self._rescuer.next_in
        # Whoever waits for a dead worker's lease waits for that, and not for our next look.
        return _RESCUE_EVERY if left is None else min(max(left, _RESCUE_AGAIN), _RESCUE_EVERY)


class Scheduler:
    """Fires schedules until stopped; any number of them may run at once."""

    def __init__(self, database: Database, clock: Clock, name: str) -> None:
        self._clock = clock
        self._guard = ClockGuard(database, clock, f"scheduler {name}")
        self._firer = Firer(database, clock, self._guard)
        self._standstill = StandstillWatch(database, clock)
        self._scheduling = Scheduling(database, clock)
        self._session = Session(database, clock, "scheduler", name, on_hint=self._on_hint)
        self._fire = Loop("firer", self._fire_once, clock)
        self._maintenance = Maintenance(database, clock, self._guard)

    def start(self) -> None:
        """Open the session and begin to fire."""
        changed = self._scheduling.recompute()
        if changed:
            _log.info("next_times_recomputed schedules=%d", changed)
        self._session.open()
        self._fire.start()
        self._maintenance.start()

    def stop(self) -> None:
        """Finish the present transaction and end the session."""
        self._fire.stop()
        self._maintenance.stop()
        self._session.close()

    def _fire_once(self) -> float:
        if self._standstill.in_force():
            return POLL
        now = self._clock.now()
        result = self._firer.run_once()
        if result.refused:
            return POLL
        if result.more:
            return 0.0
        # What was due at that look and is not decided is set aside, or in the hands of another scheduler.
        return wait_until(self._clock, self._firer.next_fire_at(now))

    def _on_hint(self, topics: frozenset[str]) -> None:
        if SCHEDULES in topics or not topics:
            self._fire.wake()
            self._maintenance.wake()


def wait_until(clock: Clock, moment: datetime | None) -> float:
    """Return how many seconds to sleep for *moment*, at most one poll."""
    if moment is None:
        return POLL
    return min(max((moment - clock.now()).total_seconds(), 0.0), POLL)
