"""Checkpoints and kept results: written only by who holds the run, and there until they are not needed any more."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Delete, text, update

from mainspring.clock import ManualClock
from mainspring.domain.progress import Progress
from mainspring.domain.runs import Cached, ClaimedRun, Ended
from mainspring.encoding import encode
from mainspring.ids import SessionId, uuid7
from mainspring.store.database import Database, Tx
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.result_cache import find_results, forget_expired, forget_results, has_expired, want_fresh
from mainspring.store.runs import checkpoint_of, forget_checkpoint, progress_of, save_checkpoint, save_progress
from mainspring.store.schema import run_payloads, runs
from tests.runtime.arrange import until
from tests.store.arrange import (
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    TTL,
    claim_one,
    count,
    finish,
    look,
    open_session,
    outcome,
    put_some,
    rescue,
)


def save(database: Database, session: str, run: ClaimedRun, value: str, attempt: int | None = None) -> bool:
    number = run.attempt if attempt is None else attempt
    return database.write(lambda tx: save_checkpoint(tx, SessionId(session), run.id, number, value, NOON))


def stands_at(database: Database, run: ClaimedRun) -> str | None:
    return database.read(lambda tx: checkpoint_of(tx, run.id))


def _bury(database: Database, clock: ManualClock) -> None:
    clock.advance(TTL + SECOND)
    assert rescue(database, clock.now()).returned


@pytest.fixture
def held(database: Database) -> tuple[SessionId, ClaimedRun]:
    put_some(database, 1)
    session = open_session(database)
    return session, claim_one(database, session)


def test_the_latest_checkpoint_counts_and_is_no_progress(
    database: Database, held: tuple[SessionId, ClaimedRun]
) -> None:
    session, run = held
    assert stands_at(database, run) is None
    assert save(database, session, run, '{"page":1}')
    assert save(database, session, run, '{"page":2}')
    assert stands_at(database, run) == '{"page":2}'
    row = database.read(lambda tx: progress_of(tx, [run.id]))[run.id]
    assert (row.attempt, row.checkpoint_attempt, row.checkpoint_at) == (0, 1, NOON)


def test_progress_and_checkpoint_do_not_disturb_each_other(
    database: Database, held: tuple[SessionId, ClaimedRun]
) -> None:
    session, run = held
    database.write(lambda tx: save_progress(tx, [(run.id, 1, Progress(3, 9, "on", 2, 5))], NOON))
    save(database, session, run, "7")
    database.write(lambda tx: save_progress(tx, [(run.id, 1, Progress(4, 9, "on"))], NOON))
    row = database.read(lambda tx: progress_of(tx, [run.id]))[run.id]
    assert (row.attempt, row.done, row.checkpoint, row.gained, row.span) == (1, 4, "7", 0, 0)


def test_another_session_saves_nothing(database: Database, held: tuple[SessionId, ClaimedRun]) -> None:
    session, run = held
    save(database, session, run, '"mine"')
    assert not save(database, open_session(database), run, '"theirs"')
    assert stands_at(database, run) == '"mine"'


def test_an_old_attempt_of_the_same_session_saves_nothing(
    database: Database, held: tuple[SessionId, ClaimedRun]
) -> None:
    session, run = held
    finish(database, session, outcome(run, Ended.INTERRUPTED))
    again = claim_one(database, session)
    assert save(database, session, again, '"new"')
    assert not save(database, session, run, '"old"')
    assert stands_at(database, run) == '"new"'


def test_a_run_that_was_taken_back_saves_nothing_until_it_runs_again(
    database: Database, clock: ManualClock, held: tuple[SessionId, ClaimedRun]
) -> None:
    session, run = held
    save(database, session, run, "1")
    _bury(database, clock)
    assert not save(database, session, run, "2")
    assert stands_at(database, run) == "1"


def test_a_checkpoint_waits_for_whoever_takes_its_run_back(postgres: PostgresDatabase) -> None:
    put_some(postgres, 1)
    session = open_session(postgres)
    run = claim_one(postgres, session)
    save(postgres, session, run, "1")
    taken, saved = threading.Event(), list[bool]()

    def take_back(tx: Tx) -> None:
        tx.core(update(runs).where(runs.c.id == run.id).values(state="ready", session_id=None))
        taken.set()
        # The other one has to wait for us, and then sees that the run is gone.
        until(lambda: _waiters(postgres) == 1)

    saving = threading.Thread(target=lambda: taken.wait(10) and saved.append(save(postgres, session, run, "2")))
    saving.start()
    postgres.write(take_back)
    saving.join(20)
    assert (saved, stands_at(postgres, run)) == ([False], "1")


def _waiters(database: Database) -> int:
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return int(database.read(lambda tx: tx.core(query).scalar_one()))


def test_a_run_that_does_not_exist_has_no_place_for_a_checkpoint(database: Database) -> None:
    session = open_session(database)
    missing = uuid7()
    assert not database.write(lambda tx: save_checkpoint(tx, session, missing, 1, "1", NOON))  # type: ignore[arg-type]
    assert count(database, "run_progress") == 0


@pytest.mark.parametrize("ended", [Ended.RETRIED, Ended.SNOOZED, Ended.INTERRUPTED, Ended.FAILED, Ended.CANCELLED])
def test_a_checkpoint_outlives_every_end_but_success(
    database: Database, held: tuple[SessionId, ClaimedRun], ended: Ended
) -> None:
    session, run = held
    save(database, session, run, "5")
    finish(database, session, outcome(run, ended, checkpoint=True))
    assert stands_at(database, run) == "5"


def test_success_forgets_it_in_the_same_transaction(database: Database, held: tuple[SessionId, ClaimedRun]) -> None:
    session, run = held
    save(database, session, run, "5")
    finish(database, session, outcome(run, checkpoint=True))
    assert stands_at(database, run) is None


def test_a_fenced_success_forgets_nothing(
    database: Database, clock: ManualClock, held: tuple[SessionId, ClaimedRun]
) -> None:
    session, run = held
    save(database, session, run, "5")
    _bury(database, clock)
    assert finish(database, session, outcome(run, checkpoint=True)).fenced == {run.id}
    assert stands_at(database, run) == "5"


def test_a_checkpoint_can_be_forgotten(database: Database, held: tuple[SessionId, ClaimedRun]) -> None:
    session, run = held
    save(database, session, run, "5")
    database.write(lambda tx: forget_checkpoint(tx, run.id))
    assert stands_at(database, run) is None


# --- results that are kept

KEY = "a" * 64


def test_a_result_is_kept_with_its_end_and_outlives_its_run(
    database: Database, held: tuple[SessionId, ClaimedRun]
) -> None:
    session, run = held
    long = encode("x" * 100_000)
    finish(database, session, outcome(run, result=long, cached=Cached(KEY, NOON + HOUR)))
    database.write(lambda tx: tx.core(_delete_run(run)))
    found = database.read(lambda tx: find_results(tx, [KEY, "b" * 64], NOON + MINUTE))
    assert set(found) == {KEY}
    assert (found[KEY].run_id, found[KEY].result, found[KEY].created_at) == (run.id, long, NOON)
    assert database.read(lambda tx: find_results(tx, [KEY], NOON + HOUR)) == {}


def _delete_run(run: ClaimedRun) -> Delete:
    return run_payloads.delete().where(run_payloads.c.run_id == run.id)


@pytest.mark.parametrize("ended", [Ended.FAILED, Ended.RETRIED, Ended.CANCELLED])
def test_only_a_success_is_kept(database: Database, held: tuple[SessionId, ClaimedRun], ended: Ended) -> None:
    session, run = held
    finish(database, session, outcome(run, ended, cached=Cached(KEY, NOON + HOUR)))
    assert count(database, "result_cache") == 0


def test_a_fenced_result_is_not_kept(
    database: Database, clock: ManualClock, held: tuple[SessionId, ClaimedRun]
) -> None:
    session, run = held
    _bury(database, clock)
    finish(database, session, outcome(run, cached=Cached(KEY, NOON + HOUR)))
    assert count(database, "result_cache") == 0


def test_of_several_with_one_key_the_last_is_kept(database: Database) -> None:
    put_some(database, 3)
    session = open_session(database)
    runs = [claim_one(database, session) for _ in range(3)]
    kept = Cached(KEY, NOON + HOUR)
    finish(database, session, *(outcome(run, result=str(n), cached=kept) for n, run in enumerate(runs[:2])))
    assert database.read(lambda tx: find_results(tx, [KEY], NOON))[KEY].result == "1"
    finish(database, session, outcome(runs[2], result="2", cached=kept))
    assert database.read(lambda tx: find_results(tx, [KEY], NOON))[KEY].result == "2"
    assert count(database, "result_cache") == 1


def test_a_result_that_was_taken_over_says_so(database: Database, held: tuple[SessionId, ClaimedRun]) -> None:
    session, run = held
    finish(database, session, outcome(run, reason="result of run 1, 3 minutes old", taken_from=run.id))
    assert look(database, run.id).state_reason == "result of run 1, 3 minutes old"


def test_expired_results_go_in_batches_and_those_of_a_task_when_asked(database: Database) -> None:
    put_some(database, 6)
    session = open_session(database)
    for n in range(6):
        run = claim_one(database, session)
        until = NOON + (n + 1) * MINUTE
        finish(database, session, outcome(run, cached=Cached(f"{n}" * 64, until)))
    assert not database.read(lambda tx: has_expired(tx, NOON))
    assert database.read(lambda tx: has_expired(tx, NOON + MINUTE))
    assert database.write(lambda tx: forget_expired(tx, NOON + 4 * MINUTE, 3)) == 3
    assert database.write(lambda tx: forget_expired(tx, NOON + 4 * MINUTE, 3)) == 1
    assert database.write(lambda tx: forget_results(tx, "demo.other")) == 0
    assert database.write(lambda tx: forget_results(tx, "demo.task")) == 2
    assert count(database, "result_cache") == 0


def test_a_run_says_in_its_snapshot_that_it_wants_a_fresh_result(database: Database) -> None:
    (fresh,) = put_some(database, 1, snapshot=encode({"fresh": True}))
    (plain,) = put_some(database, 1, snapshot=encode({"fresh_water": True}))
    assert database.read(lambda tx: want_fresh(tx, [fresh, plain])) == {fresh}


def test_a_run_that_reported_and_saved_nothing_leaves_no_row(database: Database) -> None:
    put_some(database, 1)
    session = open_session(database)
    finish(database, session, outcome(claim_one(database, session)))
    assert (count(database, "run_progress"), count(database, "result_cache")) == (0, 0)
