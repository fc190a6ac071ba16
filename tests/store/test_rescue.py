"""What a dead worker left behind is taken back, once, and nobody who lives is harmed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from mainspring.clock import ManualClock
from mainspring.domain.runs import Ended
from mainspring.domain.states import FailureKind, RunState
from mainspring.store import queueing, sessions
from mainspring.store.database import Database
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.runs import list_attempts
from mainspring.store.schema import worker_sessions
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.tables import end_process, forget_sessions, list_sessions
from tests.store.arrange import (
    HOUR,
    MINUTE,
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
    renew,
    rescue,
    together,
)

Open = Callable[[], Database]


def test_an_expired_session_is_buried_and_its_runs_go_back_with_a_loss(database: Database, clock: ManualClock) -> None:
    ids = put_some(database, 2)
    session = open_session(database, name="w7")
    claim(database, session, 2)
    clock.advance(TTL - SECOND)
    assert rescue(database).count == 0
    clock.advance(SECOND)
    rescued = rescue(database, now=NOON + TTL)
    assert rescued.buried == ((session, "w7", "its lease ran out"),)
    assert set(rescued.returned) == set(ids)
    for run_id in ids:
        run = look(database, run_id)
        assert (run.state, run.losses, run.tries, run.attempt) == (RunState.READY, 1, 0, 1)
        assert run.state_reason == "the worker of attempt 1 died"
        (attempt,) = database.read(lambda tx, run_id=run_id: list_attempts(tx, run_id))
        assert (attempt.outcome, attempt.charged, attempt.finished_at) == ("lost", False, NOON + TTL)
    assert count(database, "ready") == 2


def test_a_second_rescue_finds_nothing(database: Database, clock: ManualClock) -> None:
    put_some(database, 1)
    claim_one(database, open_session(database))
    clock.advance(TTL)
    rescue(database)
    before = contents(database)
    assert rescue(database) == sessions.Rescued()
    assert contents(database) == before


def test_a_lost_run_that_may_happen_only_once_fails(database: Database, clock: ManualClock) -> None:
    (run_id,) = put_some(database, 1, at_most_once=True)
    claim_one(database, open_session(database))
    clock.advance(TTL)
    assert rescue(database, now=NOON + TTL).lost == (run_id,)
    run = look(database, run_id)
    assert (run.state, run.failure_kind, run.losses, run.finished_at) == (
        RunState.FAILED, FailureKind.LOST, 1, NOON + TTL,
    )  # fmt: skip
    assert "may or may not have happened" in (run.failure_message or "")
    assert count(database, "ready") == 0


def test_a_lost_run_that_was_asked_to_cancel_is_cancelled(database: Database, clock: ManualClock) -> None:
    (run_id,) = put_some(database, 1)
    claim_one(database, open_session(database))
    database.write(lambda tx: queueing.cancel(tx, [run_id], "not wanted", NOON))
    clock.advance(TTL)
    assert rescue(database).cancelled == (run_id,)
    assert look(database, run_id).state is RunState.CANCELLED


def test_a_session_that_renews_between_look_and_burial_is_left_alone(database: Database, clock: ManualClock) -> None:
    put_some(database, 1)
    session = open_session(database)
    run = claim_one(database, session)
    clock.advance(TTL - SECOND)
    judged_at = clock.now() + 5 * SECOND
    assert renew(database, session) is True
    # A rescuer that looked before the renewal comes with its judgement only now.
    rescued = database.write(lambda tx: sessions.rescue(tx, "boot-1", NOON, judged_at))
    assert rescued == sessions.Rescued()
    assert finish(database, session, outcome(run)).fenced == frozenset()


def test_a_session_that_is_renewing_at_this_moment_is_left_alone(
    postgres: PostgresDatabase, clock: ManualClock
) -> None:
    other = PostgresDatabase(_url(postgres), lease_clock=clock.now)
    try:
        session = open_session(postgres)
        clock.advance(TTL)

        def renew_slowly(tx: sessions.Tx) -> None:
            assert sessions.renew_session(tx, session, TTL, NOON, clock.now() - SECOND) is True
            assert rescue(other) == sessions.Rescued()

        postgres.write(renew_slowly)
        assert [row.id for row in postgres.read(list_sessions)] == [session]
    finally:
        other.close()


def _url(database: PostgresDatabase) -> str:
    return database._url


def test_a_dead_session_can_never_renew(database: Database, clock: ManualClock) -> None:
    session = open_session(database)
    clock.advance(TTL)
    assert renew(database, session) is False
    clock.advance(-SECOND)
    assert renew(database, session) is True
    clock.advance(TTL)
    rescue(database)
    clock.advance(-TTL)
    assert renew(database, session) is False


def test_a_renewal_lasts_from_the_moment_it_was_made(database: Database, clock: ManualClock) -> None:
    session = open_session(database)
    for _ in range(5):
        clock.advance(TTL - SECOND)
        assert renew(database, session) is True
    assert rescue(database).buried == ()


def test_the_runs_of_a_worker_that_said_goodbye_are_taken_back_without_a_loss(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    session = open_session(database)
    claim_one(database, session)
    database.write(lambda tx: sessions.end_session(tx, session, "stopped", "asked to stop", NOON))
    assert rescue(database).returned == (run_id,)
    run = look(database, run_id)
    assert (run.losses, run.state_reason) == (0, "the worker of attempt 1 stopped without giving it back")


def test_a_run_of_a_session_that_nobody_knows_is_taken_back(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    claim_one(database, open_session(database))
    database.write(lambda tx: tx.core(worker_sessions.delete()))
    assert rescue(database).returned == (run_id,)


def test_a_session_is_not_forgotten_while_it_still_holds_a_run(database: Database) -> None:
    put_some(database, 1)
    session = open_session(database)
    claim_one(database, session)
    database.write(lambda tx: sessions.end_session(tx, session, "dead", "killed", NOON))
    assert database.write(lambda tx: forget_sessions(tx, NOON + HOUR, MINUTE)) == 0
    rescue(database)
    assert database.write(lambda tx: forget_sessions(tx, NOON + HOUR, MINUTE)) == 1


def test_rescue_takes_back_in_batches(database: Database) -> None:
    put_some(database, 5)
    session = open_session(database)
    claim(database, session, 5)
    database.write(lambda tx: sessions.end_session(tx, session, "dead", "killed", NOON))
    assert [rescue(database, most=2).count for _ in range(4)] == [2, 2, 1, 0]


def test_two_rescuers_at_once_take_each_run_once(open_database: Open, database: Database) -> None:
    put_some(database, 60)
    session = open_session(database)
    claim(database, session, 60)
    database.write(lambda tx: sessions.end_session(tx, session, "dead", "killed", NOON))
    other = open_database()

    def rescuer(own: Database) -> int:
        return queueing.repeat(lambda: rescue(own, most=5).count, 5)

    done = together(lambda: rescuer(database), lambda: rescuer(other))
    queueing.repeat(lambda: rescue(database).count)
    assert sum(done) <= 60
    assert count(database, "runs", "state = 'ready' AND losses = 1") == 60
    assert count(database, "ready") == count(database, "attempts") == 60


def test_a_finish_and_a_rescue_at_once_give_one_end(
    open_database: Open, database: Database, clock: ManualClock
) -> None:
    other = open_database()
    for _ in range(8):
        put_some(database, 3)
        session = open_session(database)
        runs = claim(database, session, 3)
        clock.advance(TTL)
        result, rescued = together(
            lambda: finish(database, session, *(outcome(run) for run in runs)),  # noqa: B023
            lambda: rescue(other),
        )
        taken = set(rescue(database).returned) | set(rescued.returned)  # type: ignore[attr-defined]
        assert result.fenced == taken  # type: ignore[attr-defined]
        for run in runs:
            state = look(database, run.id).state
            assert state is (RunState.READY if run.id in taken else RunState.SUCCEEDED)
        database.write(lambda tx: queueing.cancel(tx, [run.id for run in runs], "done", NOON))  # noqa: B023


def test_after_a_reboot_every_session_of_the_boot_before_is_dead(sqlite: SqliteDatabase) -> None:
    (run_id,) = put_some(sqlite, 1)
    old = open_session(sqlite, boot_id="boot-1")
    claim_one(sqlite, old)
    young = open_session(sqlite, boot_id="boot-2")
    rescued = rescue(sqlite, boot_id="boot-2")
    assert [(session, why) for session, _, why in rescued.buried] == [(old, "the machine was restarted")]
    assert rescued.returned == (run_id,)
    assert renew(sqlite, young) is True


def test_held_by_says_what_a_session_holds_and_what_is_asked_of_it(database: Database) -> None:
    first, second = put_some(database, 2)
    session = open_session(database)
    claim(database, session, 2)
    database.write(lambda tx: queueing.cancel(tx, [second], "not wanted", NOON))
    held = sorted(database.read(lambda tx: sessions.held_by(tx, session)), key=lambda h: h.run_id)
    assert [(h.run_id, h.attempt, h.cancel_asked) for h in held] == [(first, 1, False), (second, 1, True)]
    assert held[0].claim_id is not None


def test_opening_a_session_again_after_a_lost_reply_is_no_error(database: Database) -> None:
    session = open_session(database)
    before = contents(database)

    def again(tx: sessions.Tx) -> None:
        tx.repeated = True
        try:
            new = sessions.NewSession(session, "worker", "w1", "host", 1, "boot-1", "0.1.0", "[]", "default", 10, "")
            sessions.open_session(tx, new, TTL, NOON, database.lease_now())
        finally:
            tx.repeated = False

    database.write(again)
    assert contents(database) == before


def test_sessions_that_ended_long_ago_are_forgotten(database: Database) -> None:
    ended, live = open_session(database), open_session(database)
    database.write(lambda tx: sessions.end_session(tx, ended, "stopped", "", NOON))
    assert database.write(lambda tx: forget_sessions(tx, NOON + HOUR, timedelta(hours=2))) == 0
    assert database.write(lambda tx: forget_sessions(tx, NOON + 3 * HOUR, timedelta(hours=2))) == 1
    assert [row.id for row in database.read(lambda tx: list_sessions(tx, live_only=False))] == [live]


def test_the_sessions_of_a_process_that_was_seen_to_die_end_at_once(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    dead = open_session(database, pid=7)
    claim_one(database, dead)
    others = [
        open_session(database, pid=8),
        open_session(database, pid=7, host="other"),
        open_session(database, pid=7, boot_id="boot-0"),
    ]
    assert database.write(lambda tx: end_process(tx, "host", 7, "boot-1", NOON)) == 1
    assert database.write(lambda tx: end_process(tx, "host", 7, "boot-1", NOON)) == 0
    assert {row.id for row in database.read(list_sessions)} == set(others)
    assert rescue(database, boot_id="boot-1").returned == (run_id,)


def test_an_interrupted_attempt_is_not_charged(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    session = open_session(database)
    for _ in range(3):
        finish(database, session, outcome(claim_one(database, session), Ended.INTERRUPTED))
    run = look(database, run_id)
    assert (run.attempt, run.tries, run.losses) == (3, 0, 0)
    assert [a.charged for a in database.read(lambda tx: list_attempts(tx, run_id))] == [False, False, False]
