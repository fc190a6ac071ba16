"""Let follow what follows from the end of a run that others wait for: they become ready, or may never start.

Whoever ends a run calls `follow` in the same transaction. A run that waits counts how many others it still needs, so
that nobody looks at all of them each time one ends; before it starts, all are looked at once. Rows are locked in one
order: first the runs that end, then those that wait for them, by ascending id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from mainspring.domain.dependencies import OnFailure, is_open, why_not
from mainspring.domain.states import RunState
from mainspring.ids import RunId
from mainspring.store.database import Tx

PAGE = 500
"""Waiting runs that one look for missed ends reads."""


class Edge(NamedTuple):
    """That a run needs another, and how that one stands."""

    run_id: RunId
    needs: RunId
    policy: str
    task: str | None
    state: str | None
    attempt: int | None

    @property
    def why_not(self) -> str | None:
        """Return why the run may never start because of this need."""
        state = None if self.state is None else RunState(self.state)
        return why_not(OnFailure(self.policy), self.needs, self.task, state, began=bool(self.attempt))

    @property
    def is_open(self) -> bool:
        """Return whether the needed run has not ended."""
        return is_open(None if self.state is None else RunState(self.state))


@dataclass(slots=True)
class Followed:
    """What followed from some ends."""

    released: list[RunId] = field(default_factory=list)
    cancelled: list[RunId] = field(default_factory=list)


Stage = Callable[[Tx, Sequence[RunId]], None]


def follow(tx: Tx, ended: Iterable[RunId], now: datetime, stage: Stage) -> Followed:
    """Judge the runs that wait for those that *ended* in this transaction; *stage* makes ready those that are free."""
    done = Followed()
    ids = list(ended)
    edges = _dependants(tx, ids)
    if any(edge.why_not for edge in edges):
        # Several steps down, ids ascend no longer: all that may be touched is locked before any of it is.
        tx.rows("lock_dependants", {"ids": tx.ids(ids)})
    _follow(tx, edges, now, done)
    _stage(tx, done, stage)
    return done


def settle(tx: Tx, ids: Sequence[RunId], now: datetime, stage: Stage) -> Followed:
    """Judge those of these runs that wait by all that they need, whatever their count says, and mend the count."""
    done = Followed()
    if ids:
        waiting: dict[RunId, int] = dict(tx.rows("lock_waiting", {"ids": tx.ids(ids)}))
        if waiting:
            _judge(tx, waiting, now, done)
            _stage(tx, done, stage)
    return done


def _stage(tx: Tx, done: Followed, stage: Stage) -> None:
    if done.released:
        # Ids ascend in the order in which runs were made, which is the order of a queue.
        done.released.sort()
        stage(tx, done.released)


def _dependants(tx: Tx, ids: Iterable[RunId]) -> list[Edge]:
    return [Edge(*row) for row in tx.rows("dependants", {"ids": tx.ids(ids)})]


def _follow(tx: Tx, edges: Sequence[Edge], now: datetime, done: Followed) -> None:
    while edges:
        doomed, fewer = _sorted_out(edges)
        left = tx.returning("count_down", sorted((n, run_id) for run_id, n in fewer.items()))
        awaited = _cancel(tx, doomed, now, done)
        free = {run_id: n for run_id, n in left if n <= 0}
        if free:
            awaited += _judge_once(tx, free, now, done)
        edges = _dependants(tx, awaited) if awaited else ()


def _sorted_out(edges: Iterable[Edge]) -> tuple[dict[RunId, str], Counter[RunId]]:
    """Return the runs that may never start, with the reasons, and by how many the others need fewer."""
    doomed: dict[RunId, str] = {}
    fewer: Counter[RunId] = Counter()
    for edge in edges:
        reason = edge.why_not
        if reason is None:
            fewer[edge.run_id] += 1
        else:
            doomed.setdefault(edge.run_id, reason)
    for run_id in doomed:
        fewer.pop(run_id, None)
    return doomed, fewer


def _cancel(tx: Tx, doomed: Mapping[RunId, str], now: datetime, done: Followed) -> list[RunId]:
    """Cancel these waiting runs; return those that others wait for."""
    rows = tx.returning("cancel_waiting", [(reason, tx.at(now), run_id) for run_id, reason in sorted(doomed.items())])
    done.cancelled += [run_id for run_id, _ in rows]
    return [run_id for run_id, awaited in rows if awaited]


def _judge(tx: Tx, waiting: Mapping[RunId, int], now: datetime, done: Followed) -> None:
    awaited = _judge_once(tx, waiting, now, done)
    if awaited:
        _follow(tx, _dependants(tx, awaited), now, done)


def _judge_once(tx: Tx, waiting: Mapping[RunId, int], now: datetime, done: Followed) -> list[RunId]:
    """Judge locked runs, given with their counts, by all that they need; return the cancelled ones with dependants."""
    edges = [Edge(*row) for row in tx.rows("needs_of", {"ids": tx.ids(waiting)})]
    open_needs = Counter(edge.run_id for edge in edges if edge.is_open)
    doomed: dict[RunId, str] = {}
    for edge in edges:
        if (reason := edge.why_not) is not None:
            doomed.setdefault(edge.run_id, reason)
    wrong = {run_id: n - open_needs[run_id] for run_id, n in waiting.items() if run_id not in doomed}
    tx.returning("count_down", sorted((n, run_id) for run_id, n in wrong.items() if n))
    done.released += [run_id for run_id in wrong if not open_needs[run_id]]
    return _cancel(tx, doomed, now, done)


@dataclass(frozen=True, slots=True)
class Look:
    """Runs that seem to wait for nothing, and where the next look begins."""

    found: tuple[RunId, ...]
    after: str


FIRST = "00000000-0000-0000-0000-000000000000"


def look(tx: Tx, after: str = FIRST, most: int = PAGE) -> Look:
    """Return waiting runs whose count says that they are free, and those of a page whose end of waiting was missed.

    An end is missed where a process of an older release recorded it. The next look goes on where this one stopped, so
    that each costs the same however many runs wait.
    """
    free = [run_id for (run_id,) in tx.rows("free_waiting", {"n": most})]
    page = tx.rows("missed_waiting", {"after": after, "n": most})
    missed = [run_id for run_id, is_missed in page if is_missed]
    return Look(tuple(dict.fromkeys([*free, *missed])), page[-1][0] if page else FIRST)


def put_back(tx: Tx, run_id: RunId, task: str, now: datetime, stage: Stage) -> None:
    """Let runs wait again that a failed run, which was opened again, had cancelled, and count it as needed again."""
    ended: list[tuple[RunId, str, RunState]] = [(run_id, task, RunState.FAILED)]
    while ended:
        names = {needed: (name, state) for needed, name, state in ended}
        edges = _dependants(tx, names)
        reasons = [(edge.run_id, _reason(edge, *names[edge.needs])) for edge in edges]
        again: dict[RunId, bool] = dict(tx.returning("put_back", sorted((r, why) for r, why in reasons if why)))
        # Judged by all that they need: another may have failed as well, and is the reason from now on.
        gone = settle(tx, sorted({edge.run_id for edge in edges}), now, stage).cancelled
        waiting = [r for r, awaited in again.items() if awaited and r not in gone]
        ended = [(r, name, RunState.CANCELLED) for r, name in _tasks(tx, waiting)]


def _reason(edge: Edge, task: str, state: RunState) -> str:
    return why_not(OnFailure(edge.policy), edge.needs, task, state, began=False) or ""


def _tasks(tx: Tx, ids: Sequence[RunId]) -> list[tuple[RunId, str]]:
    found = {edge.needs: edge.task or "" for edge in _dependants(tx, ids)} if ids else {}
    return sorted(found.items())
