"""Bugs to be planted into the product: each has a seed that finds it, so that a simulation that is blind is noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from mainspring.domain import occurrences
from mainspring.runtime.worker.worker import Worker
from mainspring.services import fire
from mainspring.store import claiming, ledger, sessions
from mainspring.store.database import statement_texts


@dataclass(frozen=True)
class Bug:
    """A mistake that somebody could make, and where it shows."""

    name: str
    plant: Callable[[], AbstractContextManager[object]]
    seed: int
    """The first seed that found it. Its successors of the same profile are tried too: the product changes."""
    shows_as: tuple[str, ...]
    """What the finding begins with, or holds."""


@contextmanager
def _statements(**changes: tuple[str, str]) -> Iterator[None]:
    """Change parts of hot statements."""
    texts: Any = statement_texts("sqlite", None)
    before = dict(texts)
    for name, (old, new) in changes.items():
        assert old in texts[name], f"{name} does not say {old!r} any more"
        texts[name] = texts[name].replace(old, new)
    try:
        yield
    finally:
        texts.update(before)


@contextmanager
def _put(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _finish_without_fence() -> AbstractContextManager[object]:
    return _statements(finish_runs=("AND attempt = ? AND session_id = ?", "AND ? > 0 AND ? <> ''"))


@contextmanager
def _mark_not_compared() -> Iterator[None]:
    with (
        _put(ledger, "_stands_at", lambda position: _Anything()),
        _statements(advance_schedules=("AND last_at IS ?", "AND coalesce(?, 1) > 0")),
    ):
        yield


class _Anything:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def _fire_from_now() -> AbstractContextManager[object]:
    plan = occurrences.plan_firing

    def hasty(spec: Any, position: Any, now: Any, *rest: Any, **more: Any) -> Any:
        made = plan(spec, position, now, *rest, **more)
        return replace(made, last_at=now) if made.occurrences else made

    return _put(fire, "plan_firing", hasty)


def _error_after_commit_forgotten() -> AbstractContextManager[object]:
    cycle = Worker._cycle

    def careless(self: Worker) -> bool:
        try:
            return cycle(self)
        except BaseException:
            self._forget(tuple(self._done))
            self._done.clear()
            raise

    return _put(Worker, "_cycle", careless)


def _lost_claims_not_adopted() -> AbstractContextManager[object]:
    return _put(Worker, "_adopt_lost_claim", lambda self, run_id, number: None)


def _rescued_run_not_queued() -> AbstractContextManager[object]:
    rescue = sessions.rescue

    class Deaf:
        """A transaction that loses one statement."""

        def __init__(self, tx: Any) -> None:
            self._tx = tx

        def many(self, statement: str, rows: Any) -> int:
            return 0 if statement == "insert_ready" else int(self._tx.many(statement, rows))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tx, name)

    return _put(sessions, "rescue", lambda tx, *rest, **more: rescue(Deaf(tx), *rest, **more))


def _at_most_once_repeated() -> AbstractContextManager[object]:
    return _statements(orphaned_runs=("r.at_most_once", "0"))


def _own_commit_not_recognised() -> AbstractContextManager[object]:
    return _put(claiming, "_sort_out", lambda tx, session, outcomes: (list(outcomes), frozenset()))


BUGS: Final[tuple[Bug, ...]] = (
    Bug("a finish without its fence", _finish_without_fence, 19, ("I4", "I5", "IntegrityError")),
    Bug("a mark that is not compared", _mark_not_compared, 0, ("ledger_conflict", "I9")),
    Bug("fire times counted from now", _fire_from_now, 0, ("I9",)),
    Bug("an error after a commit forgotten", _error_after_commit_forgotten, 2, ("I3",)),
    Bug("lost claims not adopted", _lost_claims_not_adopted, 2, ("I8",)),
    Bug("a rescued run not queued", _rescued_run_not_queued, 1, ("I8", "I9")),
    Bug("at_most_once repeated", _at_most_once_repeated, 9, ("I3",)),
    Bug("one's own commit not recognised", _own_commit_not_recognised, 2, ("IntegrityError", "I5")),
)
