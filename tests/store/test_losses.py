"""Losses are counted apart from tries: a suspect runs alone, and only what it then kills condemns it."""

from __future__ import annotations

from sqlalchemy import update

from mainspring.clock import ManualClock
from mainspring.domain.runs import Ended, poison_message
from mainspring.domain.states import FailureKind, RunState
from mainspring.ids import RunId
from mainspring.store import queueing, sessions
from mainspring.store.database import Database
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.runs import list_attempts, reopen
from mainspring.store.schema import runs
from tests.store.arrange import (
    NOON,
    SECOND,
    TTL,
    claim,
    claim_one,
    contents,
    count,
    finish,
    look,
    open_session,
    outcome,
    put_some,
    rescue,
)


def _lose(database: Database, run_id: RunId, clock: ManualClock) -> sessions.Rescued:
    """Let a worker claim the run and die of it; return what its rescue did."""
    assert claim_one(database, open_session(database, now=clock.now()), clock.now()).id == run_id
    clock.advance(TTL)
    return rescue(database, now=clock.now())


def _counts(database: Database, run_id: RunId) -> tuple[int, int, int]:
    run = look(database, run_id)
    return run.losses, run.isolated_losses, run.tries


def test_the_first_loss_makes_a_suspect_and_only_later_ones_count_as_losses_in_isolation(
    database: Database, clock: ManualClock
) -> None:
    (run_id,) = put_some(database, 1)
    assert claim_one(database, open_session(database)).suspect is False
    clock.advance(TTL)
    rescue(database)
    assert _counts(database, run_id) == (1, 0, 0)
    for losses in (2, 3):
        assert _lose(database, run_id, clock).returned == (run_id,)
        assert _counts(database, run_id) == (losses, losses - 1, 0)
    run = claim_one(database, open_session(database, now=clock.now()), clock.now())
    assert (run.suspect, run.losses, run.isolated_losses) == (True, 3, 2)


def test_the_third_loss_in_isolation_is_poison_and_says_how_often_and_how(
    database: Database, clock: ManualClock
) -> None:
    (run_id,) = put_some(database, 1)
    for _ in range(3):
        _lose(database, run_id, clock)
    rescued = _lose(database, run_id, clock)
    assert (rescued.poisoned, rescued.count, rescued.returned, rescued.lost) == ((run_id,), 1, (), ())
    run = look(database, run_id)
    assert (run.state, run.failure_kind, run.state_reason) == (RunState.FAILED, FailureKind.POISON, None)
    assert (run.losses, run.isolated_losses, run.tries, run.attempt) == (4, 3, 0, 4)
    assert run.finished_at == clock.now()
    assert run.failure_message == (
        "it was lost 3 times (1 more beside other runs) while it ran alone in a process of its own, the last time: "
        "the worker of attempt 4 died; it is not started again by itself"
    )
    attempts = database.read(lambda tx: list_attempts(tx, run_id))
    assert [(a.outcome, a.charged) for a in attempts] == [("lost", False)] * 4
    assert count(database, "ready") == 0


def test_a_poisoned_run_that_somebody_retries_has_three_lives_again_and_stays_a_suspect(
    database: Database, clock: ManualClock
) -> None:
    (run_id,) = put_some(database, 1)
    for _ in range(4):
        _lose(database, run_id, clock)
    poisoned = look(database, run_id)
    assert database.write(lambda tx: reopen(tx, poisoned, 77, clock.now(), 4)) is True
    for _ in range(2):
        assert _lose(database, run_id, clock).returned == (run_id,)
    assert _lose(database, run_id, clock).poisoned == (run_id,)


def test_the_neighbours_of_a_run_that_kills_its_worker_are_not_condemned(
    database: Database, clock: ManualClock
) -> None:
    ids = put_some(database, 50)
    claim(database, open_session(database), 50)
    clock.advance(TTL)
    rescue(database)
    session = open_session(database, now=clock.now())
    runs = claim(database, session, 50, now=clock.now())
    assert all(run.suspect for run in runs)
    finish(database, session, *(outcome(run) for run in runs))
    assert count(database, "runs", "state = 'succeeded' AND isolated_losses = 0") == len(ids)


def test_an_announced_stop_and_a_restart_of_the_machine_count_for_nobody(
    database: Database, clock: ManualClock
) -> None:
    (run_id,) = put_some(database, 1)
    _lose(database, run_id, clock)
    for attempt in range(2, 6):
        session = open_session(database, now=clock.now(), boot_id=f"boot-{attempt}")
        claim_one(database, session, clock.now())
        if attempt % 2:
            database.write(lambda tx, own=session: sessions.end_session(tx, own, "stopped", "bye", clock.now()))  # type: ignore[misc]
        clock.advance(TTL + SECOND)
        # The host is up again before anybody comes to rescue.
        open_session(database, now=clock.now(), boot_id=f"boot-{attempt + 1}")
        assert run_id in rescue(database, now=clock.now(), boot_id=f"boot-{attempt + 1}").returned
        how = "stopped without giving it back" if attempt % 2 else "went down with its machine"
        assert look(database, run_id).state_reason == f"the worker of attempt {attempt} {how}"
        assert _counts(database, run_id) == (1, 0, 0)


def test_another_host_that_starts_a_session_does_not_excuse_a_loss(
    postgres: PostgresDatabase, clock: ManualClock
) -> None:
    put_some(postgres, 2)
    claim_one(postgres, open_session(postgres, host="a", boot_id="boot-a"))
    claim_one(postgres, open_session(postgres, host="b", boot_id="boot-b"))
    clock.advance(TTL)
    open_session(postgres, now=clock.now(), host="b", boot_id="boot-b")
    open_session(postgres, now=clock.now(), host="c", boot_id="boot-c")
    rescue(postgres, now=clock.now())
    assert count(postgres, "runs", "losses = 1") == 2


def test_a_run_to_be_executed_once_is_lost_and_never_poison(database: Database, clock: ManualClock) -> None:
    (run_id,) = put_some(database, 1, at_most_once=True)
    database.write(lambda tx: tx.core(update(runs).values(losses=5, isolated_losses=2)))
    assert _lose(database, run_id, clock).lost == (run_id,)
    assert look(database, run_id).failure_kind is FailureKind.LOST


def test_a_cancel_that_was_asked_for_wins_over_poison(database: Database, clock: ManualClock) -> None:
    (run_id,) = put_some(database, 1)
    database.write(lambda tx: tx.core(update(runs).values(losses=3, isolated_losses=2)))
    claim_one(database, open_session(database))
    database.write(lambda tx: queueing.cancel(tx, [run_id], "not wanted", NOON))
    clock.advance(TTL)
    assert rescue(database).cancelled == (run_id,)


# --- what a worker reports of a child that died


def _suspect(database: Database, isolated_losses: int = 0) -> RunId:
    (run_id,) = put_some(database, 1)
    values = {"losses": isolated_losses + 1, "isolated_losses": isolated_losses}
    database.write(lambda tx: tx.core(update(runs).where(runs.c.id == run_id).values(**values)))
    return run_id


def test_a_loss_in_isolation_that_a_worker_reports_goes_back_and_is_counted_twice_over(database: Database) -> None:
    run_id = _suspect(database)
    session = open_session(database)
    died = outcome(claim_one(database, session), Ended.LOST, reason="killed by SIGKILL", lost_in_isolation=True)
    assert finish(database, session, died).fenced == frozenset()
    run = look(database, run_id)
    assert (run.state, run.state_reason, _counts(database, run_id)) == (
        RunState.READY, "killed by SIGKILL", (2, 1, 0),
    )  # fmt: skip
    assert count(database, "ready") == 1
    before = contents(database)
    assert finish(database, session, died).fenced == frozenset()
    assert contents(database) == before


def test_the_third_one_that_a_worker_reports_fails_the_run_without_a_try(database: Database) -> None:
    run_id = _suspect(database, isolated_losses=2)
    session = open_session(database)
    why = poison_message(3, 4, "killed by SIGKILL")
    for_good = {"failure_kind": FailureKind.POISON, "error_message": why, "lost_in_isolation": True}
    finish(database, session, outcome(claim_one(database, session), Ended.LOST, **for_good))
    run = look(database, run_id)
    assert (run.state, run.failure_kind, run.failure_message) == (RunState.FAILED, FailureKind.POISON, why)
    assert _counts(database, run_id) == (4, 3, 0)
    (attempt,) = database.read(lambda tx: list_attempts(tx, run_id))
    assert (attempt.outcome, attempt.charged) == ("lost", False)


def test_a_run_to_be_executed_once_that_a_worker_reports_lost_fails_without_a_try(database: Database) -> None:
    (run_id,) = put_some(database, 1, at_most_once=True)
    session = open_session(database)
    lost = {"failure_kind": FailureKind.LOST, "error_message": "killed by SIGKILL", "lost_in_isolation": True}
    finish(database, session, outcome(claim_one(database, session), Ended.FAILED, **lost))
    run = look(database, run_id)
    assert (run.state, run.failure_kind, _counts(database, run_id)) == (RunState.FAILED, FailureKind.LOST, (1, 1, 0))
    (attempt,) = database.read(lambda tx: list_attempts(tx, run_id))
    assert attempt.charged is False


def test_the_message_of_poison_names_only_losses_that_there_were() -> None:
    assert poison_message(3, 3, "killed by SIGKILL") == (
        "it was lost 3 times while it ran alone in a process of its own, the last time: killed by SIGKILL; "
        "it is not started again by itself"
    )
