"""Plant faults in the store on purpose: a model that cannot find them proves nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

from mainspring.domain.runs import Ended
from tests.model.store import Store

Change = tuple[str, str, str]
"""A statement, what it says, and what it is made to say."""


@dataclass(frozen=True)
class Bug:
    """A fault: statements that say something else, for each database, or a value of a module that is another."""

    sqlite: tuple[Change, ...] = ()
    postgres: tuple[Change, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


def _both(statement: str, says: str, lies: str) -> Bug:
    return Bug(((statement, says, lies),), ((statement, says, lies),))


def _each(statement: str, sqlite: tuple[str, str], postgres: tuple[str, str]) -> Bug:
    return Bug(((statement, *sqlite),), ((statement, *postgres),))


BUGS: Final[dict[str, Bug]] = {
    "an end is not fenced by its attempt": _each(
        "finish_runs", (" AND attempt = ?", " AND ? > 0"), (" AND r.attempt = x.attempt", "")),
    "an interrupted run loses its place": _each(
        "finish_runs", ("tries = tries + ?", "seq = seq + 100000, tries = tries + ?"),
        ("tries = r.tries +", "seq = r.seq + 100000, tries = r.tries +")),
    "a claim looks at the order of arrival alone": Bug(
        (("pick_ready", "ORDER BY rank, turn, seq", "ORDER BY seq"),),
        (("claim_runs", "ORDER BY rank, turn, seq", "ORDER BY seq"),)),
    "a claim takes the newest first": Bug(
        (("pick_ready", "ORDER BY rank, turn, seq", "ORDER BY rank, turn, seq DESC"),),
        (("claim_runs", "ORDER BY rank, turn, seq", "ORDER BY rank, turn, seq DESC"),)),
    "a claim does not ask for the lease": Bug(
        (("pick_ready", " AND lease_until > :lease_now", ""),),
        (("claim_runs", "lease_until > coalesce(%(lease_now)s, clock_timestamp())", "true"),)),
    "a claim does not count": Bug(
        (("claim_runs", "attempt = attempt + 1", "attempt = max(attempt, 1)"),),
        (("claim_runs", "attempt = attempt + 1", "attempt = greatest(attempt, 1)"),)),
    "a paused queue is claimed from": Bug(
        (("pick_ready", "paused_at IS NOT NULL", "paused_at < 0"),
         ("ready_queues", "paused_at IS NOT NULL", "paused_at < 0")),
        (("claim_runs", "paused_at IS NOT NULL", "paused_at < '2000-01-01'"),
         ("ready_queues", "paused_at IS NOT NULL", "paused_at < '2000-01-01'"))),
    "a loss is charged as a try": _each(
        "lose_runs", ("losses = losses + ?", "tries = tries + 1, losses = losses + ?"),
        ("losses = r.losses +", "tries = r.tries + 1, losses = r.losses +")),
    "a run that expired is started": _both("expired_runs", "attempt = 0", "attempt < 0"),
    "a run between its tries expires": _both("expired_runs", "attempt = 0", "attempt >= 0"),
    "a renewal brings a dead lease back": _each(
        "renew_session", (" AND lease_until > :lease_now", ""),
        (" AND lease_until > coalesce(%(lease_now)s, clock_timestamp())", "")),
    "a rescue takes runs from the living": _both("orphaned_runs", "s.state <> 'live'", "s.state <> ''"),
    "a rescue counts a session that stopped": Bug(values={
        "mainspring.store.sessions._Orphan.lost": property(lambda orphan: 1)}),
    "a loss beside others condemns": Bug(values={
        "mainspring.store.sessions._Orphan.lost_alone": property(lambda orphan: orphan.lost)}),
    "a run that kills whatever runs it is never given up": Bug(values={"mainspring.store.sessions.POISON_AFTER": 99}),
    "a run that may not be repeated is": Bug(values={
        "mainspring.store.sessions._Orphan.failure_kind": property(lambda orphan: None)}),
    "a cancel does not reach a run under way": _each(
        "ask_cancel", ("coalesce(cancel_requested_at, :now)", "cancel_requested_at"),
        ("coalesce(cancel_requested_at, %(now)s::timestamptz)", "cancel_requested_at")),
    "a cancel forgets who asked first": _each(
        "ask_cancel", ("coalesce(cancel_reason, :reason)", ":reason"),
        ("coalesce(cancel_reason, %(reason)s)", "%(reason)s::text")),
    "a cancelled run stays in its queue": Bug(
        (("clear_ready", "WHERE", "WHERE rank > 4 AND"), ("drop_stale_ready", "WHERE", "WHERE rank > 4 AND")),
        (("clear_ready", "WHERE run_id", "WHERE rank > 4 AND run_id"),
         ("drop_stale_ready", "WHERE run_id", "WHERE rank > 4 AND run_id"))),
    "an interruption is charged": Bug(values={"mainspring.domain.runs.CHARGED": frozenset(Ended)}),
    "what was asked to cancel goes on": Bug(values={
        "mainspring.store.claiming._obey_cancels": lambda tx, ids, now, awaited: 0}),
    "a run waits for one of two": Bug(
        (("count_down", "needs_left - ?", "needs_left - 2 * ?"),),
        (("count_down", "r.needs_left - x.n", "r.needs_left - 2 * x.n"),),
        {"mainspring.store.dependants.Edge.is_open": property(lambda edge: False)}),
    "what comes due is staged in the order of its making": _both("due_runs", "ORDER BY due_at, id", "ORDER BY id"),
    "a staged run keeps its old place": _each(
        "stage_runs", ("seq = ?", "seq = coalesce(seq, ?)"), ("seq = x.seq", "seq = coalesce(r.seq, x.seq)")),
    "a claim whose reply was lost is lost": Bug(values={
        "mainspring.store.claiming.adopt": lambda tx, session, claim_id: []}),
    "an end that was said twice is fenced": _each(
        "landed_attempts", (":session", ":session AND attempt < 0"), ("%(session)s", "%(session)s AND attempt < 0")),
    "a retry by hand gives no more tries": Bug(values={
        "mainspring.services.runs._tries_at_first": lambda tx, run: 0}),
    "a stale plan is written over an edit": Bug(
        (("advance_schedules", "version = ? AND last_at IS ? AND effective_at = ?",
          "? > 0 AND coalesce(?, 0) >= 0 AND ? > 0"),),
        (("advance_schedules", "s.version = x.version", "true"),
         ("advance_schedules", "s.effective_at = x.effective_at", "true"),
         ("advance_schedules", "s.last_at IS NOT DISTINCT FROM x.old_last_at", "true")),
        {"mainspring.store.ledger._stands_at": lambda position: mock.ANY}),
    "a stretch begins anew with each look": _each(
        "extend_occurrence", ("until_at = :mark", "until_at = :mark - 1"),
        ("until_at = %(mark)s", "until_at < %(mark)s")),
    "a pause does not hold": Bug(values={
        "mainspring.domain.occurrences.Pause.covers": lambda pause, fire_at: False}),
    "all of a backlog fires": Bug(values={
        "mainspring.domain.occurrences._LateRule.verdict": lambda rule, fire_at: None}),
}  # fmt: skip


@contextmanager
def planted(store: Store, bug: Bug) -> Iterator[None]:
    """Have *store* suffer from *bug* for a while."""
    database: Any = store.database
    with ExitStack() as stack:
        texts: dict[str, str] = {}
        for statement, says, lies in bug.postgres if store.postgres else bug.sqlite:
            text = texts.get(statement, database._texts[statement])
            assert text.count(says) == 1, f"{statement}.sql does not say {says!r} any more; plant this fault anew"
            texts[statement] = text.replace(says, lies)
        stack.enter_context(mock.patch.dict(database._texts, texts))
        for name, value in bug.values.items():
            stack.enter_context(mock.patch(name, value))
        yield
