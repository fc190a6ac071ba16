"""Ask limits before attempts begin, tell them how attempts ended, and let go the runs that they hold back.

Whoever decides about limits locks their names first and keeps them until the commit, so that what is counted here
stays true. The rows of sessions, queues and runs are locked before that; nobody who has locked a limit waits for them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, delete, func, select, tuple_, update

from mainspring.domain.needs import ASK, Need, QueueLimits, all_needs, need_in_words, queue_needs
from mainspring.domain.resources import (
    Report,
    ResourceLimits,
    ResourceState,
    admit,
    charged,
    next_at,
    probing,
    releasable,
    report,
)
from mainspring.domain.runs import Ended, Outcome
from mainspring.domain.states import RunState
from mainspring.ids import RunId, SessionId
from mainspring.store.database import Row, Tx
from mainspring.store.schema import holdings, holds, queues, runs

LOOK_AT_MOST: Final = 500
"""Ready runs that one transaction decides about."""
COUNTED: Final = 1_001
"""Up to how many held runs are counted for those who ask."""
_LET_GO_AT_MOST: Final = 100
_NAMES_AT_ONCE: Final = 200
Place = tuple[int, int, int]
"""Rank, turn and seq."""


class _Candidate(NamedTuple):
    """A ready run about which limits decide."""

    id: RunId
    attempt: int
    state: str
    queue: str
    rank: int
    turn: int
    seq: int
    uses: str | None
    key: str | None
    queue_limits: str | None

    @property
    def place(self) -> Place:
        return self.rank, self.turn, self.seq

    @property
    def needs(self) -> tuple[Need, ...]:
        # A run whose needs only the code knows begins, and its worker gives it back with them.
        if self.uses == ASK:
            return ()
        return all_needs(self.uses, self.queue, QueueLimits.from_json(self.queue_limits), self.key)


@dataclass(slots=True)
class Usage:
    """How a limit stands: what is declared, what happened, and how many attempts use it."""

    name: str
    limits: ResourceLimits
    state: ResourceState
    in_use: int
    let_go: int
    """Runs that were let go and have not begun; they will ask again."""
    best: Place | None = None
    """The best place among the runs that it holds back, paused queues aside."""
    most: int | None = None
    """Of a key: the limit that the best of them has."""
    changed: bool = False

    def room(self, now: datetime, *, again: bool = False) -> int:
        """Return how many held runs may be let go; *again* says that those who were let go before do not come."""
        if self.best is None:
            return 0
        if not Need(self.name).is_key:
            places = releasable(self.limits, self.state, self.in_use, now)
        else:
            places = _LET_GO_AT_MOST if self.most is None else self.most - self.in_use
        return min(places, _LET_GO_AT_MOST) - (0 if again else self.let_go)

    def probing(self, now: datetime) -> bool:
        """Return whether the next run that is let in is to find out whether the resource works again."""
        return not Need(self.name).is_key and probing(self.limits, self.state, now)

    def next_at(self, now: datetime) -> datetime | None:
        """Return when to look again, None where only the end of an attempt changes anything."""
        return (
            None if Need(self.name).is_key or self.best is None else next_at(self.limits, self.state, self.in_use, now)
        )

    def become(self, state: ResourceState) -> None:
        """Remember what happened."""
        if state != self.state:
            self.state, self.changed = state, True


class _Refused(NamedTuple):
    name: str
    reason: str
    until: datetime | None = None


def usage_of(tx: Tx, names: Iterable[str]) -> dict[str, Usage]:
    """Return how these limits stand; true for as long as they are locked."""
    listed = sorted(set(names))
    return {row[0]: _usage(row) for row in tx.rows("limit_usage", {"names": tx.ids(listed)})} if listed else {}


def _usage(row: Row) -> Usage:
    name, limits, state, in_use, let_go, best = row
    usage = Usage(name, ResourceLimits.from_json(limits), ResourceState.from_json(state), in_use, let_go)
    if best is not None:
        rank, turn, seq, uses, queue, key, queue_limits = json.loads(best)
        usage.best, usage.most = (rank, turn, seq), _limit(name, uses, queue, queue_limits, key)
    return usage


def _limit(name: str, uses: str | None, queue: str, queue_limits: str | None, key: str | None) -> int | None:
    needs = all_needs(uses, queue, QueueLimits.from_json(queue_limits), key)
    return min((need.limit for need in needs if need.name == name and need.limit is not None), default=None)


class Judge:
    """Decides about limits in one transaction."""

    def __init__(self, tx: Tx, now: datetime, *, patient: bool = True) -> None:
        """Prepare; one that is not *patient* waits for no limit that somebody else decides about at the moment."""
        self._tx, self._now, self._patient = tx, now, patient
        self._usage: dict[str, Usage] = {}
        self.released = 0
        self.more = False
        """Whether runs that nobody has decided about may be left, although slots are free."""

    def lock(self, names: Iterable[str]) -> bool:
        """Lock these limits and learn how they stand; False when somebody else is deciding about one of them.

        Only the first time, and only if patient, it waits for them: two who wait for each other would wait for ever.
        """
        new = sorted(set(names) - set(self._usage))
        if not new:
            return True
        got = new
        if self._tx.dialect == "postgresql":
            listed = {"names": self._tx.ids(new)}
            if self._usage or not self._patient:
                got = [name for (name,) in self._tx.rows("try_limits", listed)]
            else:
                self._tx.rows("lock_limits", listed)
        self._usage |= usage_of(self._tx, got)
        return len(got) == len(new)

    # -- claims --

    def claim(self, candidates: Sequence[RunId], free: int, parameters: dict[str, Any]) -> list[Row]:
        """Open attempts of at most *free* of the *candidates* and, where these are held back, of the runs after them.

        Returns rows as `claim_runs` does. *parameters* are those of the claim.
        """
        rows, held, looked = self._decide(candidates, free, parameters)
        more = held > 0
        while more and len(rows) < free and looked < LOOK_AT_MOST:
            size = min(2 * (free - len(rows)) + 20, LOOK_AT_MOST - looked)
            further = [run_id for run_id, _ in self._tx.rows("pick_ready", {**parameters, "n": size})]
            claimed, held, seen = self._decide(further, free - len(rows), parameters)
            rows += claimed
            looked += max(seen, 1)
            more = len(further) == size and seen > 0
        self.more = self.more or (more and len(rows) < free)
        self.release()
        self.save()
        return rows

    def _decide(self, ids: Sequence[RunId], free: int, parameters: dict[str, Any]) -> tuple[list[Row], int, int]:
        """Claim, hold back or leave each of these runs, the best one first; return what was claimed and two counts."""
        if not ids:
            return [], 0, 0
        found = [_Candidate(*row) for row in self._tx.rows("limited_runs", {"ids": self._tx.ids(ids)})]
        ready = [run for run in found if run.state == RunState.READY]
        gone = set(ids) - {run.id for run in ready}
        needs = {run.id: run.needs for run in ready}
        if not self.lock(need.name for some in needs.values() for need in some):
            self.more = True
        chosen: list[_Candidate] = []
        held: list[tuple[_Candidate, _Refused]] = []
        for run in ready:
            if len(chosen) >= free or any(need.name not in self._usage for need in needs[run.id]):
                break
            refused = self._ask(run.place, needs[run.id])
            if refused is None:
                chosen.append(run)
            else:
                held.append((run, refused))
        self._hold(held, gone)
        return self._begin(chosen, needs, parameters), len(held), len(chosen) + len(held) + len(gone)

    def _ask(self, place: Place, needs: Sequence[Need]) -> _Refused | None:
        """Take a place of each of *needs*, or of none and say which one refused."""
        states: dict[str, ResourceState] = {}
        for need in needs:
            usage = self._usage[need.name]
            refused = self._refusal(need, usage, place, states)
            if refused is not None:
                usage.best = place if usage.best is None else min(usage.best, place)
                usage.most = need.limit if usage.best == place else usage.most
                return refused
        for name, state in states.items():
            self._usage[name].become(state)
        for need in needs:
            self._usage[need.name].in_use += 1
        return None

    def _refusal(self, need: Need, usage: Usage, place: Place, states: dict[str, ResourceState]) -> _Refused | None:
        words = need_in_words(need.name)
        if need.limit is not None and usage.in_use >= need.limit:
            return _Refused(need.name, f"held by {words} ({usage.in_use} of {need.limit} running)")
        if not need.is_key:
            answer = admit(need.name, usage.limits, usage.state, usage.in_use, self._now)
            if not answer.admitted:
                return _Refused(need.name, answer.reason, answer.until)
            states[need.name] = answer.state
        if usage.best is not None and usage.best < place and not usage.probing(self._now):
            return _Refused(need.name, f"held by {words} (others wait before it)", self._now)
        return None

    def _begin(self, chosen: Sequence[_Candidate], needs: Any, parameters: dict[str, Any]) -> list[Row]:
        if not chosen:
            return []
        taken = {(need.name, run.id, run.attempt + 1) for run in chosen for need in needs[run.id]}
        self._tx.many("insert_holdings", sorted(taken))
        given = {**parameters, "ids": self._tx.ids([run.id for run in chosen])}
        if self._tx.dialect == "sqlite":
            self._tx.rows("clear_ready", given)
            rows = self._tx.rows("claim_runs", given)
        else:
            rows = self._tx.rows("claim_chosen", given)
        limited = {run.id for run in chosen if run.uses is not None or needs[run.id]}
        return [(*row[:-1], row[-1] or "[]") if row[0] in limited else row for row in rows]

    def _hold(self, held: Sequence[tuple[_Candidate, _Refused]], gone: set[RunId]) -> None:
        tx = self._tx
        if held or gone:
            listed = {"ids": tx.ids([*(run.id for run, _ in held), *gone])}
            tx.rows("clear_ready", listed)
            tx.run("drop_holdings", listed)
        tx.many("hold_runs", [(why.reason, run.id, run.attempt) for run, why in held])
        tx.many("insert_holds", [
            (why.name, tx.at(why.until), tx.at(self._now), run.queue, run.rank, run.turn, run.seq, run.id)
            for run, why in held
        ])  # fmt: skip

    # -- ends --

    def end(self, outcome: Outcome, names: Sequence[str]) -> tuple[Outcome, str | None]:
        """Tell the limits of these *names*, which the attempt had taken, that it ended.

        Returns its outcome, and the resource that holds its run back where the failure is not the run's: then it is
        held, and no try is charged.
        """
        started_at, blamed = outcome.started_at, None
        for name in names:
            usage = self._usage[name]
            usage.in_use = max(usage.in_use - 1, 0)
            if Need(name).is_key:
                continue
            said = _report(outcome, name)
            if blamed is None and not charged(usage.limits, usage.state, said, self._now, started_at=started_at):
                blamed = name
            after = outcome.blame.retry_after if outcome.blame is not None and said is Report.REFUSED else None
            usage.become(
                report(name, usage.limits, usage.state, said, self._now, retry_after=after, started_at=started_at)
            )
        if blamed is None or not _may_be_held(outcome):
            return outcome, None
        return replace(outcome, ended=Ended.HELD, failure_kind=None, due_at=None), blamed

    def hold_ended(self, held: Sequence[tuple[Outcome, str]]) -> dict[RunId, Outcome]:
        """Note what holds these runs back after their attempts; return their outcomes with the reason."""
        tx, done, rows = self._tx, {}, []
        for outcome, name in held:
            usage, run = self._usage[name], outcome.run
            answer = admit(name, usage.limits, usage.state, usage.in_use, self._now)
            until = self._now if answer.admitted else answer.until
            reason = answer.reason or f"held by {name}: it starts again in its turn"
            done[run.id] = replace(outcome, reason=reason)
            rows.append((name, tx.at(until), tx.at(self._now), run.queue, run.rank, run.turn, run.seq, run.id))
        tx.many("insert_holds", rows)
        return done

    def lost(self, names: Iterable[str]) -> None:
        """Tell the limits that an attempt is gone without a word of how it went."""
        for name in names:
            usage = self._usage[name]
            if not Need(name).is_key:
                usage.become(report(name, usage.limits, usage.state, Report.NEUTRAL, self._now))

    # -- releases --

    def release(self, *, again: bool = False) -> int:
        """Let go as many held runs as the locked limits have room for, the best ones first; return how many."""
        tx, gone, kept = self._tx, [], []
        for usage in self._usage.values():
            room = usage.room(self._now, again=again)
            if room <= 0:
                continue
            for place, row in enumerate(self._best_held(usage, room)):
                run_id, attempt, queue, uses, key, queue_limits = row
                limit = _limit(usage.name, uses, queue, queue_limits, key)
                if limit is None or usage.in_use + place < limit:
                    gone.append((run_id, attempt))
                    kept.append((usage.name, run_id, attempt + 1))
            usage.let_go += room
        if gone:
            tx.many("let_go_runs", gone)
            tx.rows("drop_holds", {"ids": tx.ids([run_id for run_id, _ in gone])})
            tx.many("insert_holdings", sorted(kept))
            tx.many("insert_ready", [(run_id,) for run_id, _ in gone])
        self.released += len(gone)
        return len(gone)

    def _best_held(self, usage: Usage, room: int) -> list[Row]:
        """Return the runs that go next; a probe falls to whoever began least often among the best.

        A run that always fails would otherwise probe for ever, being the first, and everybody else would wait for it.
        """
        if not usage.probing(self._now):
            return self._tx.rows("best_held", {"name": usage.name, "n": room})
        found = self._tx.rows("best_held", {"name": usage.name, "n": _LET_GO_AT_MOST})
        return sorted(found, key=lambda row: int(row[1]))[:room]

    def save(self) -> None:
        """Keep what happened to resources."""
        changed = sorted((u.name, u.state.to_json(), self._tx.at(self._now)) for u in self._usage.values() if u.changed)
        self._tx.many("save_resource_states", changed)
        for usage in self._usage.values():
            usage.changed = False


def _report(outcome: Outcome, name: str) -> Report:
    if outcome.ended is Ended.SUCCEEDED:
        return Report.SUCCEEDED
    blame = outcome.blame
    return Report.NEUTRAL if blame is None or blame.resource not in (None, name) else blame.said


def _may_be_held(outcome: Outcome) -> bool:
    if outcome.ended is Ended.RETRIED:
        return True
    # A run that must not be repeated may have happened in part.
    return outcome.ended is Ended.FAILED and outcome.blame is not None and not outcome.run.at_most_once


def settle(tx: Tx, session: SessionId, outcomes: Sequence[Outcome], now: datetime) -> tuple[Sequence[Outcome], int]:
    """Tell limits of the ends of attempts, before they are recorded, and let go those who can start now.

    Returns the outcomes as they are to be recorded, and how many runs were let go. Attempts whose lease was lost, and
    ends that were recorded before, tell nothing.
    """
    # Rows before limits: a rescue holds the rows of a dead session, and waits for its limits.
    listed = tx.ids([o.run.id for o in outcomes])
    if tx.dialect == "postgresql":
        tx.rows("lock_ending", {"ids": listed})
    standing = {row[0]: row[1:] for row in tx.rows("attempt_states", {"ids": listed})}
    ours = {o.run.id for o in outcomes if standing.get(o.run.id) == (RunState.RUNNING, o.run.attempt, session)}
    found = [o for o in outcomes if o.needs is not None and o.run.id in ours]
    tx.many("set_needs", [(o.needs.uses, o.needs.key, o.run.id, o.run.attempt, session) for o in found if o.needs])
    taken = _taken(tx, {o.run.id: o.run.attempt for o in outcomes if o.run.limited and o.run.id in ours})
    if not taken:
        return outcomes, 0
    judge = Judge(tx, now)
    judge.lock(name for names in taken.values() for name in names)
    ended = {o.run.id: judge.end(o, taken[o.run.id]) for o in outcomes if o.run.id in taken}
    tx.run("drop_holdings", {"ids": tx.ids(sorted(taken))})
    judge.release()
    held = judge.hold_ended([(o, name) for o, name in ended.values() if name is not None])
    judge.save()
    after = {run_id: outcome for run_id, (outcome, _) in ended.items()} | held
    return [after.get(o.run.id, o) for o in outcomes], judge.released


def _taken(tx: Tx, attempts: dict[RunId, int]) -> dict[RunId, list[str]]:
    """Return the names of the limits of which these attempts have taken a place."""
    taken: dict[RunId, list[str]] = defaultdict(list)
    if attempts:
        for run_id, name, attempt in tx.rows("holdings_of", {"ids": tx.ids(sorted(attempts))}):
            if attempts[run_id] == attempt:
                taken[run_id].append(name)
    return dict(taken)


def give_back(tx: Tx, attempts: dict[RunId, int], now: datetime) -> int:
    """Give back what lost attempts had taken, and let go those who can start now; return how many.

    The caller holds the rows of these runs, which do not run any more.
    """
    taken = _taken(tx, attempts)
    if not taken:
        return 0
    judge = Judge(tx, now)
    judge.lock(name for names in taken.values() for name in names)
    for names in taken.values():
        judge.lost(names)
    tx.run("drop_holdings", {"ids": tx.ids(sorted(taken))})
    judge.release()
    judge.save()
    return judge.released


def held_limits(tx: Tx, after: str = "", most: int = _NAMES_AT_ONCE) -> list[Usage]:
    """Return how the limits stand that hold runs back: those whose names follow *after*, at most *most*."""
    names = [name for (name,) in tx.rows("held_limits", {"after": after, "n": most})]
    return list(usage_of(tx, names).values())


def let_go(tx: Tx, names: Iterable[str], now: datetime, *, again: bool = False) -> int:
    """Let go as many runs as these limits have room for; return how many."""
    judge = Judge(tx, now)
    judge.lock(names)
    return judge.release(again=again)


def _stale() -> Any:
    runs_it = (runs.c.state == RunState.RUNNING.value) & (runs.c.attempt == holdings.c.attempt)
    let_go = (runs.c.state == RunState.READY.value) & (runs.c.attempt == holdings.c.attempt - 1)
    return ~select(runs.c.id).where(runs.c.id == holdings.c.run_id, runs_it | let_go).exists()


def any_stale(tx: Tx) -> bool:
    """Return whether anything is noted as taken by attempts that do not run any more."""
    return tx.core(select(holdings.c.run_id).where(_stale()).limit(1)).first() is not None


def forget_stale(tx: Tx, most: int = LOOK_AT_MOST) -> int:
    """Forget what attempts had taken that do not run any more, whoever ended them; return how many rows."""
    found = tx.core(
        select(holdings.c.resource, holdings.c.run_id, holdings.c.attempt).where(_stale()).limit(most)
    ).all()
    for row in sorted(tuple(row) for row in found):
        name, run_id, attempt = row
        own = (holdings.c.resource == name) & (holdings.c.run_id == run_id) & (holdings.c.attempt == attempt)
        tx.core(delete(holdings).where(own, _stale()))
    return len(found)


def put_queue_limits(tx: Tx, given: Mapping[str, QueueLimits]) -> None:
    """Make these the limits of queues that exist; where nothing is said, what a person has set stays."""
    now = {row.name: QueueLimits.from_json(row.limits) for row in tx.core(select(queues.c.name, queues.c.limits))}
    for name, limits in sorted(given.items()):
        before = now.get(name)
        if before is not None and before != limits and not (limits.none and before.set_by):
            set_queue_limits(tx, name, limits)


def set_queue_limits(tx: Tx, name: str, limits: QueueLimits) -> None:
    """Limit a queue from now on; what runs already counts."""
    tx.core(update(queues).where(queues.c.name == name).values(limits=limits.to_json()))
    running = select(runs.c.id, runs.c.attempt, runs.c.concurrency_key)
    found = tx.core(running.where(runs.c.state == RunState.RUNNING.value, runs.c.queue == name)).all()
    taken = {
        (need.name, row.id, row.attempt) for row in found for need in queue_needs(name, limits, row.concurrency_key)
    }
    tx.many("insert_holdings", sorted(taken))


@dataclass(frozen=True, slots=True)
class Hold:
    """What holds a run back, as it is now."""

    name: str
    reason: str
    until: datetime | None
    before: int
    """Runs that go first, counted up to `COUNTED`."""
    count: int
    """Runs that it holds back, counted as far."""


def hold_of(tx: Tx, run_id: RunId, now: datetime) -> Hold | None:
    """Return what holds this run back, None when nothing does."""
    row = tx.core(select(holds).where(holds.c.run_id == run_id)).one_or_none()
    if row is None:
        return None
    usage = usage_of(tx, [row.resource])[row.resource]
    same = holds.c.resource == row.resource
    place = tuple_(holds.c.rank, holds.c.turn, holds.c.seq) < (row.rank, row.turn, row.seq)
    reason, until = f"held by {need_in_words(row.resource)}", None
    if Need(row.resource).is_key:
        if usage.most is not None:
            reason += f" ({usage.in_use} of {usage.most} running)"
    else:
        answer = admit(row.resource, usage.limits, usage.state, usage.in_use, now)
        reason, until = answer.reason or reason, answer.until
    return Hold(row.resource, reason, until, _count(tx, same & place), _count(tx, same))


def _count(tx: Tx, which: ColumnElement[bool]) -> int:
    some = select(holds.c.run_id).where(which).limit(COUNTED).subquery()
    return int(tx.core(select(func.count()).select_from(some)).scalar_one())


def held_by_queue(tx: Tx) -> dict[str, int]:
    """Return how many runs of each queue limits hold back."""
    query = select(holds.c.queue, func.count().label("n")).group_by(holds.c.queue)
    return {row.queue: row.n for row in tx.core(query)}
