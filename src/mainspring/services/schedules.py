"""Keep schedules: apply those of a file, edit, pause, resume, delete and trigger them. None of it fires the past."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import select

from mainspring.clock import Clock
from mainspring.domain.occurrences import Pause, plan_firing
from mainspring.domain.runs import RunKind
from mainspring.domain.spec import ScheduleSpec
from mainspring.errors import Conflict, InvalidInput, MainspringError, StoreUnavailable, UnknownName, VersionMismatch
from mainspring.ids import RunId, ScheduleId
from mainspring.services.clock_guard import require_sound
from mainspring.services.directory import Directory
from mainspring.services.fire import Firer, computed_with, has_newer_zones, is_conflict
from mainspring.services.schedule_runs import pack_message, runs_of
from mainspring.store import keys, queueing
from mainspring.store import schedules as stored
from mainspring.store.database import Database, Tx
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.ledger import DueSchedule
from mainspring.store.schedules import StoredSchedule
from mainspring.store.schema import schedules

_log = logging.getLogger("mainspring.schedules")
_TRIES: Final = 50
_BATCH: Final = 200
FROM_API: Final = "api"
"""The source of schedules that people and programs keep through the interface."""
Which = str | StoredSchedule
"""A schedule, or its id or name."""
_PAUSE: Final = 0.02
_NEVER: Final = threading.Event()


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a file changed, by name."""

    added: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Return what changed, in one line."""
        parts = [
            f"{len(names)} {word}"
            for names, word in (
                (self.added, "added"),
                (self.edited, "edited"),
                (self.removed, "removed"),
                (self.unchanged, "unchanged"),
            )
            if names
        ]
        return ", ".join(parts) or "no schedules"


class Scheduling:
    """Edits schedules; every edit first settles the old rule up to now."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._directory = Directory(database, clock)
        self._firer = Firer(database, clock)
        self._computed_with = computed_with()

    def all(self, owner_id: str | None = None, task: str | None = None) -> list[StoredSchedule]:
        """Return all schedules by name; only those of an account, or of a task, if given."""
        return self._database.read(lambda tx: stored.list_schedules(tx, None, owner_id, task))

    def require(self, which: str, owner_id: str | None = None) -> StoredSchedule:
        """Return the schedule of this id or name, among those of an account if given; see `require_schedule`."""
        return require_schedule(self._database, which, owner_id)

    def create(self, spec: ScheduleSpec, owner_id: str, actor: str) -> StoredSchedule:
        """Add a schedule that belongs to an account.

        Raises:
            Conflict: the account has one of this name.
        """
        taken = self._database.read(lambda tx: stored.find_schedule(tx, spec.name, owner_id))
        if taken is not None or not self._add(spec, FROM_API, actor, owner_id):
            raise Conflict(f"schedule {spec.name!r} exists already; edit it, or take another name")
        return self.require(spec.name, owner_id)

    def edit(self, schedule: StoredSchedule, spec: ScheduleSpec, actor: str, version: int) -> StoredSchedule:
        """Replace the spec of a schedule that still is at this version.

        Raises:
            VersionMismatch: somebody has edited it since.
            Conflict: a file says what it is.
        """
        require_editable(schedule)

        def edit(tx: Tx, old: StoredSchedule, now: datetime) -> bool:
            if old.version != version:
                raise VersionMismatch("schedule", old.name, old.version)
            return stored.edit_schedule(tx, old, spec, old.source, now, actor, self._computed_with)

        return self._change(schedule, edit)

    def apply(self, specs: Sequence[ScheduleSpec], source: str, actor: str) -> Applied:
        """Make the schedules that came from *source* equal to *specs*: add, edit and remove what differs.

        Raises:
            Conflict: a name belongs to a schedule from elsewhere; nothing was changed.
        """
        known = self.require_ours(specs, source)
        wanted = {spec.name for spec in specs}
        done: dict[str, list[str]] = {"added": [], "edited": [], "unchanged": []}
        for spec in specs:
            done[self.put(spec, source, actor)].append(spec.name)
        gone = [name for name, s in sorted(known.items()) if s.source == source and name not in wanted]
        for name in gone:
            self._delete_if_there(known[name], actor)
        return Applied(tuple(done["added"]), tuple(done["edited"]), tuple(gone), tuple(done["unchanged"]))

    def require_ours(self, specs: Sequence[ScheduleSpec], source: str) -> dict[str, StoredSchedule]:
        """Return all schedules by name, none of *specs* having the name of one that came from elsewhere.

        Raises:
            Conflict: one has.
        """
        known = {schedule.name: schedule for schedule in self.all(owner_id="")}
        for spec in specs:
            other = known.get(spec.name)
            if other is not None and other.source != source:
                raise Conflict(
                    f"schedule {spec.name!r} exists already and came from {other.source}, not from {source}; "
                    "rename one of them or remove the other"
                )
        return known

    def put(self, spec: ScheduleSpec, source: str, actor: str) -> str:
        """Add the schedule or replace its spec; return ``added``, ``edited`` or ``unchanged``."""
        old = self._database.read(lambda tx: stored.find_schedule(tx, spec.name))
        if old is None and self._add(spec, source, actor):
            return "added"
        if old is not None and old.spec.to_text() == spec.to_text():
            return "unchanged"
        self._change(
            old or self.require(spec.name, ""),
            partial(_edit, spec=spec, source=source, actor=actor, with_data=self._computed_with),
        )
        return "edited"

    def _add(self, spec: ScheduleSpec, source: str, actor: str, owner_id: str = "") -> bool:
        """Add the schedule; return False when another process has done so at the same moment."""
        require_sound(self._database, self._clock)
        now, with_data = self._clock.now(), self._computed_with
        try:
            self._database.write(lambda tx: stored.add_schedule(tx, spec, source, now, actor, with_data, owner_id))
        except Exception as error:
            if not is_conflict(error):
                raise
            return False
        self._database.sender.send(SCHEDULES)
        return True

    def _delete_if_there(self, schedule: StoredSchedule, actor: str) -> None:
        try:
            self.delete(schedule, actor)
        except UnknownName:
            _log.debug("schedule_gone schedule=%s; another process has deleted it", schedule.name)

    def pause(self, which: Which, actor: str, reason: str = "", until: datetime | None = None) -> StoredSchedule:
        """Pause a schedule from now on; its fire times are recorded as skipped until it is resumed.

        Raises:
            Conflict: it is paused already.
            InvalidInput: *until* is not in the future.
        """
        now = self._clock.now()
        if until is not None and until <= now:
            raise InvalidInput(f"pause until {until.isoformat()} is not in the future")
        schedule = self._of(which)
        if (pause := schedule.paused_now(now)) is not None:
            raise Conflict(f"schedule {schedule.name!r} is {pause.in_words()} already; resume it first to change that")
        return self._change(
            schedule,
            lambda tx, old, now: stored.pause_schedule(
                tx, old, Pause(old.position.begins_anew(now), until, actor, reason), actor
            ),
        )

    def resume(self, which: Which, actor: str) -> StoredSchedule:
        """End the pause of a schedule; it fires again from its next fire time on.

        Raises:
            Conflict: it is not paused.
        """
        schedule = self._of(which)
        if schedule.paused_now(self._clock.now()) is None:
            raise Conflict(f"schedule {schedule.name!r} is not paused")
        return self._change(schedule, lambda tx, old, now: stored.resume_schedule(tx, old, now, actor))

    def delete(self, which: Which, actor: str) -> None:
        """Delete a schedule; its ledger and its runs stay."""
        self._change(self._of(which), lambda tx, old, now: stored.delete_schedule(tx, old, now, actor))

    def trigger(self, which: Which, actor: str) -> list[RunId]:
        """Start the runs of a schedule now, by hand; the ledger is not touched. Return their ids.

        Raises:
            DuplicateRun: its task is unique, and such a run is there already; nothing was started.
        """
        schedule = self._of(which)
        now = self._clock.now()
        kind, reason = RunKind.MANUAL, f"triggered by {actor}"
        runs = runs_of(
            self._directory, schedule.spec, schedule.id, schedule.version, kind, now, reason, owner_id=schedule.owner_id
        )
        # Made once: a transaction that is done again after a lost reply must not tell the pack twice.
        messages = [] if schedule.spec.pack is None else [pack_message(schedule.spec, now, runs, now)]

        def work(tx: Tx) -> list[RunId]:
            settled = keys.settle(tx, runs, now)
            queueing.insert_runs(tx, settled.fresh, now)
            ids = [settled.stand_ins.get(run.id, run.id) for run in runs]
            tx.many("insert_outbox", [(*message, tx.at(now)) for message in messages])
            stored.write_audit(tx, now, actor, "schedule.trigger", schedule.name, {"runs": ids})
            return ids

        ids = self._database.write(work)
        self._database.sender.send(READY)
        return ids

    def recompute(self) -> int:
        """Compute the next fire times anew that other zone or calendar data gave; return how many were.

        Those that had no next one are among them: newer data may know more sessions of an exchange. A schedule that
        cannot be read or computed is left out and logged: it must not keep the others from firing.
        """
        columns = (schedules.c.id, schedules.c.computed_with)
        stale_only = (schedules.c.computed_with != self._computed_with, schedules.c.deleted_at.is_(None))
        query = select(*columns).where(*stale_only)
        stale = self._database.read(lambda tx: tx.core(query).all())
        ids = sorted(row.id for row in stale if not has_newer_zones(row.computed_with, self._computed_with))
        batches = [ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH)]
        return sum(self._database.write(partial(_recompute, batch, self._computed_with)) for batch in batches)

    def _of(self, which: Which) -> StoredSchedule:
        return self.require(which) if isinstance(which, str) else which

    def _change(self, schedule: StoredSchedule, edit: Callable[[Tx, StoredSchedule, datetime], bool]) -> StoredSchedule:
        """Settle the schedule up to now, then *edit* it if it still stands there; else once more.

        Raises:
            ClockInDoubt: now is surely wrong, and the schedule would stand there from then on.
        """
        require_sound(self._database, self._clock)
        for _ in range(_TRIES):
            now = self._clock.now()
            old = self._settled(schedule, now)
            # What was decided while this waited for its turn to write stays as it was decided.
            now = max(now, min(old.position.mark, self._clock.now()))
            if self._database.write(lambda tx, old=old, now=now: edit(tx, old, now)):  # type: ignore[misc]
                self._database.sender.send(SCHEDULES)
                found = self._database.read(lambda tx, old=old: stored.get_schedule(tx, old.id))  # type: ignore[misc]
                return found or old
        raise StoreUnavailable(f"schedule {schedule.name!r} kept moving on while it was being changed; try again")

    def _settled(self, seen: StoredSchedule, now: datetime) -> StoredSchedule:
        stuck = 0
        while stuck < _TRIES:
            schedule = self._database.read(lambda tx: stored.get_schedule(tx, seen.id))
            if schedule is None:
                raise UnknownName("schedule", seen.name, [one.name for one in self.all(owner_id=seen.owner_id)])
            if schedule.next_at is None or schedule.next_at > now:
                return schedule
            text, position = schedule.spec.to_text(), schedule.position
            with_data, owner_id = schedule.computed_with, schedule.owner_id
            due = DueSchedule(schedule.name, text, position, schedule.next_at, with_data, owner_id)
            if not plan_firing(schedule.spec, schedule.position, now, most=1).occurrences:
                return schedule
            if not self._firer.settle(due, now):
                stuck += 1
                # A scheduler holds it for a moment.
                self._clock.wait(_NEVER, _PAUSE)
        raise StoreUnavailable(
            f"schedule {seen.name!r} cannot be changed: its fire times up to now cannot be recorded; the log says why"
        )


def require_schedule(database: Database, which: str, owner_id: str | None = None) -> StoredSchedule:
    """Return the schedule of this id or name, among those of an account if given.

    A name means the one that nobody owns, else the only one of that name.

    Raises:
        UnknownName: there is none; names the nearest one.
        Conflict: several accounts have one of that name.
    """
    found = database.read(lambda tx: stored.find_schedules(tx, which, owner_id))
    if not found:
        known = database.read(lambda tx: stored.list_schedules(tx, None, owner_id))
        raise UnknownName("schedule", which, [one.name for one in known])
    if len(found) > 1 and found[0].owner_id:
        ids = ", ".join(one.id for one in found[:5])
        raise Conflict(f"several accounts have a schedule {which!r}; name one by its id: {ids}")
    return found[0]


def require_editable(schedule: StoredSchedule) -> None:
    """Refuse to change the definition of a schedule that a file says: the next look at the file would undo it.

    Raises:
        Conflict: says where it comes from.
    """
    if schedule.source != FROM_API:
        raise Conflict(
            f"schedule {schedule.name!r} comes from {schedule.source} and is changed there; here it can be paused, "
            "resumed and triggered"
        )


def _edit(
    tx: Tx, old: StoredSchedule, now: datetime, *, spec: ScheduleSpec, source: str, actor: str, with_data: str
) -> bool:
    # Another process may have applied the same file meanwhile.
    same = (old.spec.to_text(), old.source) == (spec.to_text(), source)
    return same or stored.edit_schedule(tx, old, spec, source, now, actor, with_data)


def _recompute(ids: Sequence[ScheduleId], with_data: str, tx: Tx) -> int:
    done = 0
    for schedule_id in ids:
        try:
            schedule = stored.get_schedule(tx, schedule_id)
            # Computed before anything is written: an exchange may be unknown to this host.
            next_at = None if schedule is None else stored.next_of(schedule)
        except (MainspringError, ValueError, KeyError, TypeError) as error:
            _log.error("schedule_not_read schedule_id=%s error=%r; its next fire time stays", schedule_id, error)
            continue
        done += schedule is not None and stored.set_next(tx, schedule, next_at, with_data)
    return done
