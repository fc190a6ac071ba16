"""Bugs to plant, so that the sweep can show that it finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from mainspring.domain.states import FailureKind
from mainspring.services.fire import Firer, FireResult
from mainspring.store import ledger, queueing, sessions
from mainspring.store.database import Tx, statement_texts
from mainspring.store.ledger import Firing


def _mark_apart() -> None:
    """Advance the marks of schedules in a transaction of their own, before the one that writes ledger and runs."""

    def write(firer: Any, batch: Sequence[Firing], now: datetime) -> FireResult:
        runs = [run for firing in batch for run in firing.runs]

        def advance(tx: Tx) -> None:
            tx.many("advance_schedules", [ledger._advance_row(tx, firing.plan, "") for firing in batch])

        def insert(tx: Tx) -> None:
            tx.many("insert_occurrences", [row for f in batch for row in ledger._ledger_rows(tx, f.plan, now)])
            queueing.insert_runs(tx, runs, now)
            tx.many("insert_outbox", [(*message, tx.at(now)) for firing in batch for message in firing.messages])

        firer._database.write(advance)
        firer._database.write(insert)
        return FireResult(fired=len(runs), decided=len(batch))

    Firer._write = write  # type: ignore[method-assign,assignment]


def _no_fence() -> None:
    """End attempts whoever holds them."""
    _change_statement("finish_runs", "AND attempt = ? AND session_id = ?", "AND attempt <> -? AND session_id <> -?")
    _change_statement("finish_runs", "AND r.attempt = x.attempt AND r.session_id = x.session_id", "")


def _change_statement(name: str, old: str, new: str) -> None:
    changed = 0
    for folder, schema in (("sqlite", None), ("postgres", "mainspring")):
        texts: Any = statement_texts(folder, schema)
        changed += old in texts[name]
        texts[name] = texts[name].replace(old, new)
    if changed != 1:
        raise LookupError(f"{name} does not say {old!r} any more")


def _once_more() -> None:
    """Give back what was to happen at most once."""

    def failure_kind(orphan: Any) -> FailureKind | None:
        return None

    sessions._Orphan.failure_kind = property(failure_kind)  # type: ignore[method-assign,assignment]


PLANTS: Final[Mapping[str, Callable[[], None]]] = {
    "mark apart": _mark_apart,
    "no fence": _no_fence,
    "once more": _once_more,
}
