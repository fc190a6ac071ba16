"""Put runs in, stage them when due, and take them out before they start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mainspring.domain.priority import rank_of
from mainspring.domain.runs import NewRun
from mainspring.domain.states import RunState
from mainspring.encoding import INLINE_LIMIT, fingerprint
from mainspring.ids import RunId
from mainspring.store import dependants
from mainspring.store.database import Tx, admit
from mainspring.store.turns import take_turns, turns_of
from mainspring.store.types import storable

BATCH = 500


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a wish to cancel: ended at once, asked to stop, or neither (it had ended already)."""

    ended: frozenset[RunId] = field(default_factory=frozenset)
    asked: frozenset[RunId] = field(default_factory=frozenset)
    released: int = 0
    """Runs that waited for those that ended and are ready now."""


def parameters_key(run_id: str) -> str:
    """Return the key of the blob that holds the parameters of a run when they are too long for its row."""
    return f"parameters/{run_id}"


def result_key(run_id: str) -> str:
    """Return the key of the blob that holds the result of a run when it is too long for its row."""
    return f"result/{run_id}"


def log_key(run_id: str, attempt: int) -> str:
    """Return the key of the blob that holds the log of an attempt."""
    return f"log/{run_id}/{attempt}"


def is_long(text: str) -> bool:
    """Return whether *text* belongs into a blob instead of its row."""
    return len(text) > INLINE_LIMIT or len(text.encode("utf-8")) > INLINE_LIMIT


def insert_runs(tx: Tx, runs: Sequence[NewRun], now: datetime) -> bool:
    """Add *runs* with all that belongs to them; return whether any is ready at once.

    A run that exists already stays as it is, so that a repeated transaction changes nothing. Runs become ready in the
    order given. Runs that others need are given before them, or exist already: those are judged by how they stand now.
    """
    admit(tx)
    needs = _standing(tx, runs)
    states = [_first_state(run, now) for run in runs]
    ready = [run.id for run, state in zip(runs, states, strict=True) if state is RunState.READY]
    places = dict(zip(ready, take_places(tx, len(ready)), strict=True))
    turns = _first_turns(tx, runs, places)
    hashes: dict[str, str] = {}
    rows = []
    at = tx.at
    created = at(now)
    for run, state in zip(runs, states, strict=True):
        mark = hashes.get(run.snapshot) or hashes.setdefault(run.snapshot, fingerprint(run.snapshot))
        rows.append((
            run.id, run.task, run.queue, run.priority, state.value, run.kind.value, run.max_tries, run.at_most_once,
            run.schedule_id, at(run.fire_at), run.member, places.get(run.id), at(run.due_at), at(run.expires_at),
            run.labels, run.owner_id, run.params_version, mark, created, run.replay_of, run.uses, run.turn_key,
            turns.get(run.id), run.root_id, sum(need.run_id in needs.open for need in run.needs),
            run.id in needs.open,
        ))  # fmt: skip
    tx.many("insert_snapshots", [(mark, body, created) for body, mark in sorted(hashes.items(), key=lambda i: i[1])])
    tx.many("insert_runs", rows)
    _insert_payloads(tx, runs, now)
    tx.many("insert_dependencies", [
        (run.id, need.run_id, need.policy.value, need.gives) for run in runs for need in run.needs
    ])  # fmt: skip
    tx.many("insert_ready", [(run_id,) for run_id in ready])
    followed = dependants.settle(tx, needs.to_judge, now, stage)
    return bool(ready or followed.released)


@dataclass(frozen=True, slots=True)
class _Needs:
    open: frozenset[RunId] = frozenset()
    """Needed runs that have not ended."""
    to_judge: tuple[RunId, ...] = ()
    """New runs one of whose needed runs has ended already."""


def _standing(tx: Tx, runs: Sequence[NewRun]) -> _Needs:
    """Say of the runs that these need that others wait for them, and return which have not ended."""
    needed = {need.run_id for run in runs for need in run.needs}
    if not needed:
        return _Needs()
    new = {run.id for run in runs} & needed
    outside = sorted(needed - new)
    awaited = [run_id for (run_id,) in tx.rows("await_runs", {"ids": tx.ids(outside)})] if outside else []
    unfinished = frozenset([*new, *awaited])
    judged = [run.id for run in runs if any(need.run_id not in unfinished for need in run.needs)]
    return _Needs(unfinished, tuple(judged))


def _first_turns(tx: Tx, runs: Sequence[NewRun], places: Mapping[RunId, int]) -> dict[RunId, int]:
    """Return the turns of those that are ready at once and have a key; others take theirs when they are staged."""
    keyed = [
        (run.id, (run.queue, rank_of(run.priority), run.turn_key)) for run in runs if run.turn_key and run.id in places
    ]
    turns = take_turns(tx, [line for _, line in keyed])
    return {run_id: turn for (run_id, _), turn in zip(keyed, turns, strict=True)}


def _first_state(run: NewRun, now: datetime) -> RunState:
    if run.needs:
        return RunState.WAITING
    return RunState.READY if run.due_at <= now else RunState.SCHEDULED


def _insert_payloads(tx: Tx, runs: Sequence[NewRun], now: datetime) -> None:
    # What results are filled into is not in the row either: whoever starts it has to ask for it, and is given all.
    long = [run for run in runs if is_long(run.parameters) or run.is_given_results]
    out_of_row = {run.id for run in long}
    tx.many("insert_payloads", [(run.id, None if run.id in out_of_row else run.parameters) for run in runs])
    tx.many("insert_blobs", [(parameters_key(run.id), run.parameters.encode("utf-8"), tx.at(now)) for run in long])


def take_places(tx: Tx, n: int) -> Iterable[int]:
    """Return *n* new places in the order of arrival, ascending."""
    if n == 0:
        return ()
    rows = tx.rows("next_seq", {"n": n})
    return range(rows[0][0], rows[0][0] + n) if tx.dialect == "sqlite" else (place for (place,) in rows)


def stage(tx: Tx, ids: Sequence[RunId]) -> None:
    """Make these scheduled or waiting runs ready, in the order given; the caller holds their row locks."""
    places, turns = take_places(tx, len(ids)), turns_of(tx, ids)
    tx.many("stage_runs", [(place, turns.get(run_id), run_id) for place, run_id in zip(places, ids, strict=True)])
    tx.many("insert_ready", [(run_id,) for run_id in ids])


def stage_due(tx: Tx, now: datetime, most: int = BATCH) -> int:
    """Make scheduled runs ready that have come due by *now*, at most *most*; return how many."""
    admit(tx)
    ids = [run_id for (run_id,) in tx.rows("due_runs", {"now": tx.at(now), "n": most})]
    stage(tx, ids)
    return len(ids)


def release_waiting(tx: Tx, ids: Sequence[RunId], now: datetime) -> dependants.Followed:
    """Judge these waiting runs by all that they need: some become ready, some may never start."""
    return dependants.settle(tx, ids, now, stage)


def expire(tx: Tx, now: datetime, most: int = BATCH) -> int:
    """Cancel runs that have not started by their expiry; return how many."""
    ids = [run_id for (run_id,) in tx.rows("expired_runs", {"now": tx.at(now), "n": most})]
    return len(cancel(tx, ids, "expired: not started in time", now).ended)


def cancel(tx: Tx, ids: Sequence[RunId], reason: str, now: datetime) -> Cancelled:
    """End those of these runs that have not started and ask the running ones to stop.

    A run that its worker gives back at this moment does not escape: its row is waited for, and judged after that.
    """
    # The ready row goes first: without one the run has been claimed, and the other order would deadlock with a claim.
    listed = tx.ids(ids)
    tx.rows("clear_ready", {"ids": listed})
    left = tx.ids(run_id for run_id, _ in tx.rows("lock_unfinished", {"ids": listed}))
    parameters = {"ids": left, "reason": storable(reason), "now": tx.at(now)}
    gone = tx.rows("cancel_unstarted", parameters)
    ended = frozenset(run_id for run_id, _ in gone)
    asked = frozenset(run_id for (run_id,) in tx.rows("ask_cancel", parameters))
    # A run that came due or was given back between the first two statements has left a row in its queue.
    tx.rows("drop_stale_ready", {"ids": tx.ids(ended)})
    tx.rows("drop_holds", {"ids": tx.ids(ended)})
    followed = follow(tx, [run_id for run_id, awaited in gone if awaited], now)
    return Cancelled(ended, asked, len(followed.released))


def follow(tx: Tx, ended: Sequence[RunId], now: datetime) -> dependants.Followed:
    """Let follow what follows from the end of these runs, for which others wait; see `dependants`."""
    return dependants.follow(tx, ended, now, stage) if ended else dependants.Followed()


def repeat(work: Callable[[], int], most: int = BATCH) -> int:
    """Call *work* until it did less than a full batch; return the sum."""
    total = 0
    while True:
        done = work()
        total += done
        if done < most:
            return total
