"""Keep runs alone that must be alone: who holds a key, who gets it, and what becomes of those who come second.

A key is judged when somebody asks for it: nothing is written when a run ends. Keys are locked in ascending order,
before any row of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Final

from mainspring.domain.runs import NewRun
from mainspring.domain.states import FINAL, RunState
from mainspring.domain.unique import RunKey
from mainspring.errors import DuplicateRun
from mainspring.ids import RunId
from mainspring.store.database import Tx
from mainspring.store.editing import Change, Unstarted, put_back, take_out
from mainspring.store.queueing import cancel

Place = tuple[str, str]
REWRITES: Final = ("replace", "keep_last")
BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Holder:
    """The run that has a key."""

    run_id: RunId
    until_end: bool
    expires_at: datetime | None
    asked_by: RunId | None
    state: RunState | None
    """None: it has been deleted."""

    def holds(self, now: datetime) -> bool:
        """Return whether it keeps others away at *now*."""
        if self.until_end:
            return self.state is not None and self.state not in FINAL
        return self.expires_at is None or self.expires_at > now


@dataclass
class Settled:
    """What a batch of wishes comes to."""

    fresh: list[NewRun] = field(default_factory=list)
    """Runs to be inserted."""
    stand_ins: dict[RunId, RunId] = field(default_factory=dict)
    """For each other wish the run that is there already."""
    ready: bool = False
    """Whether a run that was there became ready by it."""


def settle(tx: Tx, runs: Sequence[NewRun], now: datetime) -> Settled:
    """Decide which of *runs* are made, and change those that are there already as their keys say.

    Raises:
        DuplicateRun: a key that rejects is held.
    """
    keyed = [run for run in runs if run.key is not None]
    if not keyed:
        return Settled(list(runs))
    return _Settling(tx, keyed, now).settle(runs)


def lock(tx: Tx, runs: Iterable[NewRun]) -> None:
    """Lock the keys of *runs*: whoever locks rows of other runs before `settle` does so after this."""
    first: dict[Place, NewRun] = {}
    for run in runs:
        if run.key is not None:
            first.setdefault((run.key.scope, run.key.key), run)
    tx.many("claim_keys", [_row(tx, run.key, run.id) for _, run in sorted(first.items()) if run.key is not None])


def settle_fired(tx: Tx, runs: Sequence[NewRun], now: datetime) -> dict[RunId, str]:
    """Give the keys of fired runs to them; return why those are not to run whose key somebody holds.

    Every fire time has its run: one that comes second is made all the same, for the caller to cancel. One that
    replaces what waits takes its place, and what waited is cancelled. The keys are locked already.
    """
    keyed = [run for run in runs if run.key is not None]
    if not keyed:
        return {}
    stored = _holders(tx, keyed)
    holders, refused, replaced = dict(stored), {}, {}
    for run in keyed:
        assert run.key is not None
        place = run.key.scope, run.key.key
        holder = holders[place]
        if holder.run_id != run.id and holder.holds(now):
            if run.key.on_conflict not in REWRITES:
                state = holder.state or RunState.SUCCEEDED
                refused[run.id] = f"run {holder.run_id} has the same unique key and is {state}"
                continue
            replaced[holder.run_id] = run.id
        holders[place] = Holder(run.id, run.key.until_end, run.key.expires_at, None, RunState.READY)
    ours = {run.id for run in keyed}
    waiting = take_out(tx, [run_id for run_id in replaced if run_id not in ours])
    for run_id in waiting:
        cancel(tx, [run_id], f"replaced by run {replaced[run_id]} with the same unique key", now)
    refused |= {
        run_id: f"replaced by run {by} with the same unique key" for run_id, by in replaced.items() if run_id in ours
    }
    _move(tx, stored, holders)
    return refused


def forget(tx: Tx, now: datetime) -> int:
    """Delete keys that hold nothing any more, some hundreds at most; return how many."""
    stale = sorted(tuple(row) for row in tx.rows("stale_keys", {"now": tx.at(now), "n": BATCH}))
    return tx.many("drop_keys", stale)


def any_stale(tx: Tx, now: datetime) -> bool:
    """Return whether `forget` would find anything."""
    return bool(tx.rows("stale_keys", {"now": tx.at(now), "n": 1}))


class _Settling:
    """One batch of wishes being settled, one after the other."""

    def __init__(self, tx: Tx, keyed: Sequence[NewRun], now: datetime) -> None:
        self._tx, self._now = tx, now
        lock(tx, keyed)
        self._stored = _holders(tx, keyed)
        self._holders: dict[Place, Holder] = dict(self._stored)
        self._landed = _existing(tx, keyed) if tx.repeated else frozenset()
        wanted = self._to_rewrite(keyed)
        self._taken = take_out(tx, wanted) if wanted else {}
        self._rewrites: dict[RunId, NewRun] = {}
        self._fresh: dict[RunId, NewRun] = {}
        self._settled = Settled()

    def settle(self, runs: Sequence[NewRun]) -> Settled:
        for run in runs:
            if run.key is None or run.id in self._landed:
                self._fresh[run.id] = run
            else:
                self._one(run, run.key)
        _move(self._tx, self._stored, self._holders)
        taken = [(old, self._change(old)) for old in self._taken.values()]
        self._settled.ready = put_back(self._tx, taken, self._now) if taken else False
        self._settled.fresh = list(self._fresh.values())
        return self._settled

    def _one(self, run: NewRun, key: RunKey) -> None:
        place = key.scope, key.key
        holder = self._holders[place]
        if holder.run_id == run.id or not holder.holds(self._now):
            self._take(place, run, key)
        elif holder.asked_by == run.id:
            # An earlier try of this transaction was committed without our hearing of it.
            self._settled.stand_ins[run.id] = holder.run_id
        elif key.on_conflict == "existing":
            self._settled.stand_ins[run.id] = holder.run_id
        elif key.on_conflict == "reject":
            raise DuplicateRun(run.task, holder.run_id, (holder.state or RunState.SUCCEEDED).value)
        elif holder.run_id in self._fresh:
            self._fresh[holder.run_id] = replace(run, id=holder.run_id)
            self._settled.stand_ins[run.id] = holder.run_id
        elif holder.run_id in self._taken:
            self._rewrites[holder.run_id] = run
            self._holders[place] = replace(holder, asked_by=run.id)
            self._settled.stand_ins[run.id] = holder.run_id
        else:
            # It is under way or has ended: what it does stays done, and the wish is one for another run.
            self._take(place, run, key)

    def _take(self, place: Place, run: NewRun, key: RunKey) -> None:
        self._holders[place] = Holder(run.id, key.until_end, key.expires_at, None, RunState.READY)
        self._fresh[run.id] = run

    def _to_rewrite(self, keyed: Iterable[NewRun]) -> set[RunId]:
        ours, found = {run.id for run in keyed}, set()
        for run in keyed:
            assert run.key is not None
            holder = self._holders[run.key.scope, run.key.key]
            if run.key.on_conflict in REWRITES and holder.run_id not in ours and holder.holds(self._now):
                found.add(holder.run_id)
        return found

    def _change(self, old: Unstarted) -> Change:
        run = self._rewrites.get(old.id)
        if run is None or run.key is None:
            return Change()
        if old.state is RunState.WAITING:
            # It keeps what it waits for, and comes due when that has ended.
            return Change(queue=run.queue, priority=run.priority, parameters=run.parameters)
        due_at = run.due_at
        if run.key.wait_at_most is not None:
            due_at = min(due_at, max(old.created_at + run.key.wait_at_most, self._now))
        return Change(queue=run.queue, priority=run.priority, due_at=due_at, parameters=run.parameters)


def _move(tx: Tx, stored: Mapping[Place, Holder], after: Mapping[Place, Holder]) -> None:
    """Write down which keys have passed to another run, and who asked to change the run that has one."""
    moved = []
    for place, holder in sorted(after.items(), key=lambda item: item[0]):
        before = stored[place]
        if (holder.run_id, holder.asked_by) != (before.run_id, before.asked_by):
            moved.append((
                holder.run_id, holder.until_end, tx.at(holder.expires_at), holder.asked_by, *place, before.run_id,
            ))  # fmt: skip
    if tx.many("move_keys", moved) != len(moved):
        raise AssertionError(f"{len(moved)} keys were locked, yet not all of them passed on")


def _row(tx: Tx, key: RunKey | None, run_id: RunId) -> tuple[object, ...]:
    assert key is not None
    return key.scope, key.key, run_id, key.until_end, tx.at(key.expires_at)


def _holders(tx: Tx, keyed: Sequence[NewRun]) -> dict[Place, Holder]:
    places = sorted({(run.key.scope, run.key.key) for run in keyed if run.key is not None})
    found: dict[Place, Holder] = {}
    for scope, group in groupby(places, key=lambda place: place[0]):
        keys = tx.ids(key for _, key in group)
        for key, run_id, until_end, expires_at, asked_by, state in tx.rows("held_keys", {"scope": scope, "keys": keys}):
            ends = None if expires_at is None else tx.instant(expires_at)
            found[scope, key] = Holder(
                run_id, bool(until_end), ends, asked_by, None if state is None else RunState(state)
            )
    return found


def _existing(tx: Tx, runs: Iterable[NewRun]) -> frozenset[RunId]:
    rows = tx.rows("attempt_states", {"ids": tx.ids(run.id for run in runs)})
    return frozenset(run_id for run_id, *_ in rows)
