"""Take the steps of those who keep schedules and fire them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from mainspring.clock import EPOCH
from mainspring.domain.calendars import CalendarRule
from mainspring.domain.spec import FanOut, Misfire, MisfirePolicy, OverlapPolicy, ScheduleSpec
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.errors import MainspringError
from mainspring.services.clock_guard import ClockInDoubt
from tests.model.base import Base
from tests.model.choices import MICROSECOND, MINUTE, NAMES, OVERTAKERS, PAUSES, RULES, moment, span
from tests.model.compare import Mismatch
from tests.model.expected import Run, Schedule
from tests.model.found import DELETE, END, MARK
from tests.model.rules import Rule


class Firing(Base):
    """Schedules."""

    def put_schedule(self, name: int, rule: int, *, by: int = 0, lost: bool = False) -> None:
        """Add a schedule or give it another rule."""
        self._a_moment_later()
        if self._avoids(MARK, NAMES[name]):
            return
        wanted, node = RULES[rule], self.nodes[by]
        node.gate.loses_reply = lost
        try:
            answer = node.scheduling.put(_spec(NAMES[name], wanted), "model", "ada")
        except ClockInDoubt:
            answer = "refused"
        self._rest(node)
        schedule = self.model.find(NAMES[name])
        if self._in_doubt() and (schedule is None or schedule.rule != wanted):
            self.agree("put", answer, "refused")
        elif schedule is None:
            self._add_schedule(NAMES[name], wanted)
            self.agree("put", answer, "added")
        elif schedule.rule == wanted:
            self.agree("put", answer, "unchanged")
        else:
            self._settle(schedule)
            self.model.edit(schedule, wanted)
            self.agree("put", answer, "edited")
        self.check()

    def _in_doubt(self) -> bool:
        """Return whether the wall clock is too far from that of the server for anybody to be let edit."""
        return self.store.postgres and abs(self.off) > MINUTE

    def _refused(self, error: str | None) -> None:
        if error is None:
            raise Mismatch("a schedule was changed although the wall clock cannot be believed")

    def _add_schedule(self, name: str, rule: Rule) -> None:
        found = self.nodes[1].scheduling.require(name)
        self.model.schedules[found.id] = Schedule(found.id, name, rule, self.model.wall)

    def _settle(self, *schedules: Schedule) -> int:
        """Decide what is pending in the model, and learn from the database the ids of the runs that it became."""
        made = {schedule.id: self.model.settle(schedule) for schedule in schedules}
        if not any(made.values()):
            return 0
        known = {(row[13], row[14], row[15]): row[0] for row in self.store.read()["runs"] if row[5] == "scheduled"}
        for runs in made.values():
            for run in runs:
                found = known.get((run.schedule, run.fire_at, run.member))
                if found is None:
                    raise Mismatch(f"runs: {run} is missing")
                run.id = found
            names = {f"{run.schedule}|{run.fire_at}|{run.member}": run.id for run in runs}
            for run in runs:
                run.needs = tuple(names.get(needed, needed) for needed in run.needs)
            self.model.add(runs)
        return sum(map(len, made.values()))

    def pause_schedule(self, name: int, until: int = 0, *, by: int = 0, lost: bool = False) -> None:
        """Pause a schedule from now on."""
        self._a_moment_later()
        if self._avoids(MARK, NAMES[name]):
            return
        lasts = PAUSES[until]
        ends = None if lasts is None else self.model.wall + lasts
        node = self.nodes[by]
        node.gate.loses_reply = lost
        error = _error(
            lambda: node.scheduling.pause(NAMES[name], "ada", "a test", None if ends is None else moment(ends))
        )
        self._rest(node)
        schedule = self.model.find(NAMES[name])
        if self._in_doubt():
            self._refused(error)
        elif schedule is None:
            self.agree("pause", error, "UnknownName")
        elif schedule.paused_at(self.model.wall):
            self.agree("pause", error, "Conflict")
        else:
            self.agree("pause", error, None)
            self._settle(schedule)
            self.model.begin_anew(schedule)
            schedule.pause = schedule.effective_at, ends, "paused by ada: a test"
        self.check()

    def resume_schedule(self, name: int, *, by: int = 0, lost: bool = False) -> None:
        """End the pause of a schedule."""
        self._a_moment_later()
        if self._avoids(MARK, NAMES[name]):
            return
        node = self.nodes[by]
        node.gate.loses_reply = lost
        error = _error(lambda: node.scheduling.resume(NAMES[name], "ada"))
        self._rest(node)
        schedule = self.model.find(NAMES[name])
        if self._in_doubt():
            self._refused(error)
        elif schedule is None:
            self.agree("resume", error, "UnknownName")
        elif not schedule.paused_at(self.model.wall):
            self.agree("resume", error, "Conflict")
        else:
            self.agree("resume", error, None)
            self._settle(schedule)
            schedule.pause = None
            self.model.begin_anew(schedule)
        self.check()

    def delete_schedule(self, name: int, *, by: int = 0, lost: bool = False) -> None:
        """Delete a schedule; its ledger and runs stay."""
        self._a_moment_later()
        if self._avoids(END, NAMES[name]):
            return
        node = self.nodes[by]
        node.gate.loses_reply = lost and not self._avoids(DELETE)
        error = _error(lambda: node.scheduling.delete(NAMES[name], "ada"))
        self._rest(node)
        schedule = self.model.find(NAMES[name])
        if self._in_doubt():
            self._refused(error)
        elif schedule is None:
            self.agree("delete", error, "UnknownName")
        else:
            self.agree("delete", error, None)
            self._settle(schedule)
            schedule.deleted_at = max(schedule.mark, self.model.wall)
        self.check()

    def trigger(self, name: int, *, lost: bool = False) -> None:
        """Start the runs of a schedule by hand."""
        self._a_moment_later()
        schedule = self.model.find(NAMES[name])
        if schedule is None:
            return
        node = self.nodes[0]
        node.gate.loses_reply = lost
        ids = node.scheduling.trigger(NAMES[name], "ada")
        self._rest(node)
        rule, wall = schedule.rule, self.model.wall
        expires = None if rule.expires is None else wall + rule.expires
        self.model.add([
            Run(
                run_id, rule.task, rule.queue, rule.priority, rule.max_tries, rule.once, wall, wall, "new", "manual",
                expires, schedule.id, None, member,
            )
            for run_id, member in zip(ids, rule.members, strict=True)
        ])  # fmt: skip
        self.accepted |= set(ids)
        self.check()

    def fire(self, *, by: int = 0, overtaken: int = 0, name: int = 0, rule: int = 0, lost: bool = False) -> None:
        """Fire what is due, by a plan made before somebody else changes what it rests on."""
        node = self.nodes[by]
        node.gate.loses_reply = lost
        other = 1 - by
        hooks: dict[str, Callable[[], None]] = {
            "fire": lambda: self.fire(by=other),
            "put": lambda: self.put_schedule(name, rule, by=other),
            "pause": lambda: self.pause_schedule(name, by=other),
            "resume": lambda: self.resume_schedule(name, by=other),
            "delete": lambda: self.delete_schedule(name, by=other),
        }
        if overtaken and not self._overtaking:
            self._a_moment_later()
            self._overtaking = True
            node.gate.overtaken_by = hooks[OVERTAKERS[overtaken]]
        fired, decided, again = 0, 0, lost
        while True:
            result = node.firer.run_once()
            self.agree("schedules that cannot be fired", result.failed, ())
            fired, decided = fired + result.fired, decided + result.decided
            # A round whose reply was lost says that it did nothing; the next poll goes on.
            if not result.more and not again:
                break
            again = False
        if overtaken:
            self._overtaking = False
        self._rest(node)
        before = self._decided()
        made = self._settle(*[s for s in self.model.schedules.values() if s.deleted_at is None])
        if not lost:
            self.agree("fired and decided", (fired, decided), (made, self._decided() - before))
        self.check()

    def _decided(self) -> int:
        return sum(row.n for rows in self.model.ledger.values() for row in rows)


def _error(call: Callable[[], Any]) -> str | None:
    try:
        call()
    except MainspringError as error:
        return type(error).__name__
    return None


def _spec(name: str, rule: Rule) -> ScheduleSpec:
    days = {(EPOCH + timedelta(days=day)).date(): "closed" for day in rule.closed_days}
    max_age = span(rule.max_age)
    return ScheduleSpec(
        name=name,
        task=rule.task,
        trigger=IntervalTrigger(rule.every * MICROSECOND, moment(rule.anchor)),
        enabled=rule.enabled,
        calendars=CalendarRule(exclude=("own",) if days else ()),
        own_calendars={"own": days} if days else {},
        misfire=Misfire(MisfirePolicy(rule.misfire), rule.grace * MICROSECOND, rule.cap, max_age),
        overlap=OverlapPolicy(rule.overlap),
        fan_out=FanOut("member", rule.members) if rule.members != ("",) else None,
        queue=rule.queue,
        priority=rule.priority,
        max_tries=rule.max_tries,
        expires=span(rule.expires),
    )
