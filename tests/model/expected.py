"""Predict what the store holds after each step, in plain values: a second telling of the rules, without a database.

Nothing of the product is imported. Instants are microseconds: `wall` since 1970 UTC, `boot` of the clock of leases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.model.rules import Decided, Rule, decide

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
LEASE: Final = 12 * SECOND
FORGOTTEN_AFTER: Final = 30 * DAY
ISOLATED_LOSSES: Final = 3
UNSTARTED: Final = ("scheduled", "waiting", "ready")
ENDED: Final = ("succeeded", "failed", "cancelled")
NO_PLACE, NEW_PLACE = None, -1

AFTER: Final[Mapping[str, tuple[str, bool]]] = {
    "succeeded": ("succeeded", True),
    "failed": ("failed", True),
    "retried": ("scheduled", True),
    "snoozed": ("scheduled", False),
    "interrupted": ("ready", False),
    "returned": ("scheduled", False),
    "lost": ("ready", False),
    "cancelled": ("cancelled", False),
}
"""The state that the end of an attempt leads to, and whether the attempt counts as a try."""


@dataclass
class Run:
    """A run as it must be."""

    id: str
    task: str
    queue: str
    priority: int
    max_tries: int
    once: bool
    due_at: int
    created_at: int
    state: str
    kind: str = "enqueued"
    expires_at: int | None = None
    schedule: str | None = None
    fire_at: int | None = None
    member: str = ""
    needs: tuple[str, ...] = ()
    first_tries: int = 0
    """What it was allowed at first."""
    attempt: int = 0
    tries: int = 0
    losses: int = 0
    isolated_losses: int = 0
    returns: int = 0
    seq: int | None = NO_PLACE
    session: str | None = None
    cancel_at: int | None = None
    cancel_reason: str | None = None
    reason: str | None = None
    failure: str | None = None
    started_at: int | None = None
    finished_at: int | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Strict priority first, then first come, first served."""
        assert self.seq is not None
        return 9 - self.priority, self.seq

    def row(self) -> tuple[Any, ...]:
        """Return it as `compare` reads it from the database."""
        return (
            self.id, self.task, self.queue, self.priority, self.state, self.kind, self.attempt, self.tries,
            self.losses, self.isolated_losses, self.returns, self.max_tries, self.once, self.schedule, self.fire_at,
            self.member, self.seq, self.due_at, self.expires_at, self.cancel_at, self.session, self.created_at,
            self.started_at, self.finished_at, self.failure, self.reason,
        )  # fmt: skip


@dataclass
class Session:
    """A worker session as it must be."""

    id: str
    boot_id: str
    started_at: int
    seen_at: int
    lease_until: int
    ttl: int
    pid: int
    state: str = "live"
    reason: str | None = None
    ended_at: int | None = None
    gone: bool = False
    """Its machine was restarted: the process does nothing any more."""

    def row(self) -> tuple[Any, ...]:
        """Return it as `compare` reads it from the database."""
        ends = self.state, self.reason, self.ended_at
        return (self.id, self.boot_id, self.started_at, self.seen_at, self.lease_until, *ends)


@dataclass
class Schedule:
    """A schedule as it must be."""

    id: str
    name: str
    rule: Rule
    effective_at: int
    version: int = 1
    last_at: int | None = None
    pause: tuple[int, int | None, str] | None = None
    """Since when, until when, and the reason in the ledger."""
    deleted_at: int | None = None

    @property
    def mark(self) -> int:
        """All fire times up to here have been decided, or never will be."""
        return self.effective_at if self.last_at is None else max(self.effective_at, self.last_at)

    @property
    def next_at(self) -> int | None:
        """The first fire time that is still to be decided."""
        fires = self.rule.enabled and self.deleted_at is None
        return self.rule.first_after(self.mark) if fires else None

    def paused_at(self, now: int) -> bool:
        """Return whether a pause is in force."""
        return self.pause is not None and (self.pause[1] is None or now < self.pause[1])

    def row(self) -> tuple[Any, ...]:
        """Return it as `compare` reads it from the database."""
        since, until, _ = self.pause or (None, None, "")
        return (
            self.id, self.name, self.version, self.rule.enabled, self.next_at, self.last_at, self.effective_at, None,
            since, until, self.deleted_at,
        )  # fmt: skip


@dataclass(frozen=True)
class End:
    """How a worker says that an attempt ended."""

    run: str
    attempt: int
    how: str
    due_at: int | None = None
    mark: str | None = None
    """The hash of a result."""
    failure: str | None = None
    alone: bool = False
    """Its process, which ran nothing else, died of it."""
    reason: str | None = None


@dataclass
class Model:
    """The whole store."""

    wall: int
    boot: int
    postgres: bool = False
    runs: dict[str, Run] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    """By id; deleted ones stay."""
    ledger: dict[str, list[Decided]] = field(default_factory=dict)
    attempts: dict[tuple[str, int], tuple[str, str, bool, str | None]] = field(default_factory=dict)
    """Ended ones: session, outcome, whether charged, hash of the result."""
    results: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The hash of a result and the attempt that gave it."""
    paused: set[str] = field(default_factory=set)
    arrivals: list[list[Run]] = field(default_factory=list)
    """Runs that became ready in this step, in the order in which they must stand behind all others."""
    happened: Counter[str] = field(default_factory=Counter)
    """How often each thing happened that a test wants to have seen."""

    # Runs

    def add(self, runs: Sequence[Run]) -> None:
        """Put runs in: one that needs others waits, one that is not due is scheduled, the others are ready."""
        for run in runs:
            run.first_tries = run.max_tries
            run.state = "waiting" if run.needs else "scheduled" if run.due_at > self.wall else "ready"
            self.runs[run.id] = run
        self._arrive([run for run in runs if run.state == "ready"])
        self._release()

    def _release(self) -> None:
        """Make ready what waited for others, all of which have ended."""
        free = [run for run in self.runs.values() if run.state == "waiting" and not self._waits(run)]
        for run in free:
            self._arrive([run])
        self.happened["released"] += len(free)

    def _arrive(self, runs: list[Run]) -> None:
        for run in runs:
            run.state, run.reason, run.seq = "ready", None, NEW_PLACE
        if runs:
            self.arrivals.append(runs)

    def ready(self, queue: str) -> list[Run]:
        """Return what waits in a queue, the next one first."""
        return sorted((r for r in self.runs.values() if r.state == "ready" and r.queue == queue), key=lambda r: r.place)

    def claim(self, session_id: str, order: Iterable[str], slots: int) -> list[Run]:
        """Fill the slots of a session from the queues in order; only a session that lives and holds its lease may."""
        taken: list[Run] = []
        session = self.sessions.get(session_id)
        if session is None or session.state != "live" or session.lease_until <= self.boot:
            return taken
        for queue in order:
            if queue not in self.paused:
                taken += self.ready(queue)[: slots - len(taken)]
        for run in taken:
            run.state, run.reason, run.session, run.started_at = "running", None, session_id, self.wall
            run.attempt += 1
            self.happened["claimed again" if run.attempt > 1 else "claimed"] += 1
        return taken

    def holds(self, session_id: str, run_id: str, attempt: int) -> bool:
        """Return whether an attempt still holds its lease."""
        run = self.runs[run_id]
        return (run.state, run.attempt, run.session) == ("running", attempt, session_id)

    def finish(self, session_id: str, ends: Sequence[End]) -> set[str]:
        """Record ends; return the runs whose lease was lost. What was recorded before, word for word, is no loss."""
        fenced = set()
        for end in ends:
            if self.holds(session_id, end.run, end.attempt):
                self._end(session_id, end)
                continue
            landed = self.attempts.get((end.run, end.attempt))
            if landed is None or (landed[0], landed[1], landed[3]) != (session_id, end.how, end.mark):
                fenced.add(end.run)
                self.happened["fenced"] += 1
            else:
                self.happened["landed before"] += 1
        self._release()
        return fenced

    def _end(self, session_id: str, end: End) -> None:
        run = self.runs[end.run]
        state, charged = AFTER[end.how]
        if end.how == "lost" and end.failure is not None:
            state = "failed"
        run.state, run.failure = state, end.failure if state == "failed" else None
        run.reason = None if state in ("failed", "succeeded") else end.reason
        run.tries += charged
        run.losses += end.alone
        run.isolated_losses += end.alone
        run.returns = run.returns + 1 if end.how == "returned" else 0
        run.due_at = run.due_at if end.due_at is None else end.due_at
        run.finished_at = self.wall if state in ENDED else None
        self.attempts[run.id, run.attempt] = (session_id, end.how, charged, end.mark)
        self.happened[f"ended {end.how}"] += 1
        if end.mark is not None:
            self.results[run.id] = (end.mark, run.attempt)
        if run.cancel_at is not None and state not in ENDED:
            # Who was asked to stop, and ended in another way that is not the last, is cancelled all the same.
            self._cancel(run, run.cancel_reason)

    def _cancel(self, run: Run, reason: str | None) -> None:
        run.state, run.reason, run.finished_at = "cancelled", reason, self.wall
        self.happened["expired" if reason == "expired" else "cancelled"] += 1

    def cancel(self, run_id: str, reason: str) -> str:
        """Return ``ended`` for what had not begun, ``asked`` for what runs (who asked first stands), or ``neither``."""
        run = self.runs[run_id]
        if run.state in UNSTARTED:
            self._cancel(run, reason)
            self._release()
            return "ended"
        if run.state != "running":
            return "neither"
        if run.cancel_at is None:
            run.cancel_at, run.cancel_reason = self.wall, reason
        return "asked"

    def retry(self, run_id: str) -> bool:
        """Open a failed run again at the end of its queue, with as many tries as it had at first."""
        run = self.runs[run_id]
        if run.state != "failed":
            return False
        run.failure = run.finished_at = run.expires_at = run.cancel_at = None
        run.cancel_reason = None
        run.isolated_losses, run.due_at, run.max_tries = 0, self.wall, run.tries + run.first_tries
        self._arrive([run])
        run.reason = "retried by hand"
        self.happened["retried by hand"] += 1
        return True

    # Maintenance

    def stage(self) -> tuple[int, int, int]:
        """Make ready what has come due, end what is worthless; return how many came due, were overlooked, and ended.

        What waited for others was made ready when the last of them ended: none is ever overlooked.
        """
        due = [r for r in self.runs.values() if r.state == "scheduled" and r.due_at <= self.wall]
        self._arrive(sorted(due, key=lambda r: (r.due_at, r.id)))
        late = [r for r in self.runs.values() if r.state in UNSTARTED and self.expired(r)]
        for run in late:
            self._cancel(run, "expired")
        self._release()
        self.happened["staged"] += len(due)
        return len(due), 0, len(late)

    def _waits(self, run: Run) -> bool:
        return any(self.runs[needed].state not in ENDED for needed in run.needs)

    def expired(self, run: Run) -> bool:
        """Return whether a run that was never tried is worthless by now."""
        return run.attempt <= (run.state == "running") and run.expires_at is not None and run.expires_at <= self.wall

    def open_session(self, session_id: str, boot_id: str, ttl: int, pid: int) -> None:
        """Begin a session."""
        times = self.wall, self.wall, self.boot + ttl
        self.sessions[session_id] = Session(session_id, boot_id, *times, ttl, pid)

    def renew(self, session_id: str) -> bool:
        """Renew a lease that has not run out; one that has never comes back."""
        session = self.sessions[session_id]
        if session.state != "live" or session.lease_until <= self.boot:
            return False
        session.lease_until, session.seen_at = self.boot + session.ttl, self.wall
        return True

    def end_session(self, session_id: str, state: str, reason: str) -> bool:
        """End a session that is still recorded as live."""
        session = self.sessions[session_id]
        if session.state != "live":
            return False
        session.state, session.reason, session.ended_at = state, reason, self.wall
        return True

    def rescue(self, boot_id: str) -> dict[str, set[str]]:
        """Bury sessions whose lease ran out or whose machine was restarted; take back all that dead sessions held."""
        done: dict[str, set[str]] = {
            name: set() for name in ("buried", "returned", "lost", "cancelled", "poisoned")
        }  # fmt: skip
        for session in self.sessions.values():
            restarted = self._restarted(session, boot_id)
            if session.state == "live" and (session.lease_until <= self.boot or (restarted and not self.postgres)):
                self.end_session(session.id, "dead", "restarted" if restarted else "lease ran out")
                done["buried"].add(session.id)
        for run in self.runs.values():
            if run.state == "running" and self._orphaned(run):
                what = self._take_back(run)
                done[what].add(run.id)
                self.happened[f"rescued: {what}"] += 1
        self._release()
        return done

    def _restarted(self, session: Session, boot_id: str) -> bool:
        if not self.postgres:
            # All processes of a file are on one machine: the rescuer's.
            return session.boot_id != boot_id
        others = (o for o in self.sessions.values() if o.boot_id != session.boot_id)
        return any(o.started_at > session.seen_at for o in others)

    def _orphaned(self, run: Run) -> bool:
        holder = self.sessions.get(run.session or "")
        return holder is None or holder.state != "live"

    def _take_back(self, run: Run) -> str:
        holder = self.sessions.get(run.session or "")
        innocent = holder is not None and (holder.state == "stopped" or holder.reason == "restarted")
        counts = not innocent
        alone = counts and run.losses > 0
        self.attempts[run.id, run.attempt] = (run.session or "", "lost", False, None)
        run.losses += counts
        run.isolated_losses += alone
        run.reason, run.finished_at = None, self.wall
        if run.once:
            run.state, run.failure = "failed", "lost"
            return "lost"
        if run.cancel_at is not None:
            run.state, run.reason = "cancelled", "lost its worker"
            return "cancelled"
        if alone and run.isolated_losses >= ISOLATED_LOSSES:
            run.state, run.failure = "failed", "poison"
            return "poisoned"
        run.state, run.reason, run.finished_at = "ready", "lost its worker", None
        return "returned"

    def forget(self) -> int:
        """Forget sessions that ended long ago and hold nothing."""
        held = {run.session for run in self.runs.values() if run.state == "running"}
        old = [
            s.id for s in self.sessions.values()
            if s.ended_at is not None and s.ended_at < self.wall - FORGOTTEN_AFTER and s.id not in held
        ]  # fmt: skip
        for session_id in old:
            del self.sessions[session_id]
            self.happened["sessions forgotten"] += 1
        return len(old)

    # Schedules

    def find(self, name: str) -> Schedule | None:
        """Return the schedule of this name that is not deleted."""
        return next((s for s in self.schedules.values() if s.name == name and s.deleted_at is None), None)

    def unfinished(self, schedule_id: str) -> list[Run]:
        """Return the unfinished runs of a schedule."""
        return [r for r in self.runs.values() if r.schedule == schedule_id and r.state not in ENDED]

    def settle(self, schedule: Schedule) -> list[Run]:
        """Decide each fire time up to now once; return the runs that it becomes, whose ids are not known yet."""
        pending = schedule.rule.between(schedule.mark, self.wall) if schedule.next_at is not None else []
        if not pending:
            return []
        before = self.unfinished(schedule.id)
        busy = len({r.fire_at or r.id for r in before})
        decided = decide(schedule.rule, schedule.pause, pending, self.wall, busy)
        if schedule.rule.overlap == "cancel_running" and any(d.outcome == "fired" for d in decided):
            for run in before:
                self.cancel(run.id, "replaced")
        made: list[Run] = []
        last = [r.id for r in before]
        for row in decided:
            self._record(schedule, row)
            if row.outcome == "fired":
                fired = self._fire(schedule, row, last if row.waits else [])
                last = [f"{schedule.id}|{r.fire_at}|{r.member}" for r in fired]
                made += fired
        schedule.last_at = pending[-1]
        return made

    def _record(self, schedule: Schedule, row: Decided) -> None:
        rows = self.ledger.setdefault(schedule.id, [])
        row.version = schedule.version
        self.happened[f"fire time {row.cause or row.outcome}"] += 1
        if rows and rows[-1].joins(row):
            rows[-1].until_at, rows[-1].n = row.until_at, rows[-1].n + row.n
        else:
            rows.append(row)

    def _fire(self, schedule: Schedule, row: Decided, needs: Sequence[str]) -> list[Run]:
        rule = schedule.rule
        expires = None if rule.expires is None else row.fire_at + rule.expires
        return [
            Run(
                "", rule.task, rule.queue, rule.priority, rule.max_tries, rule.once, row.fire_at, self.wall, "new",
                "scheduled", expires, schedule.id, row.fire_at, member, tuple(needs),
            )
            for member in rule.members
        ]  # fmt: skip

    def edit(self, schedule: Schedule, rule: Rule) -> None:
        """Give a settled schedule another rule from now on."""
        schedule.rule = rule
        schedule.version += 1
        self.begin_anew(schedule)

    def begin_anew(self, schedule: Schedule) -> None:
        """Have a settled schedule fire from now on; with a clock set back, never what was decided before."""
        schedule.effective_at = max(schedule.mark, self.wall)
