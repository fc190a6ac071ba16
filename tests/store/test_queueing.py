"""Runs go in once, wait for their time, and leave the queue when somebody cancels them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pysqlite3 import dbapi2 as driver

from mainspring.clock import ManualClock
from mainspring.domain.dependencies import Need
from mainspring.domain.runs import Ended, RunKind
from mainspring.domain.states import RunState
from mainspring.ids import ScheduleId, uuid7
from mainspring.store import queueing
from mainspring.store.database import Database
from mainspring.store.ledger import next_due_at
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.runs import parameters_of
from tests.store.arrange import (
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    claim,
    claim_one,
    contents,
    count,
    finish,
    look,
    new_run,
    open_session,
    outcome,
    put,
    put_some,
)


def test_a_run_that_is_due_is_ready_at_once(database: Database) -> None:
    run = new_run()
    assert database.write(lambda tx: queueing.insert_runs(tx, [run], NOON)) is True
    assert look(database, run.id).state is RunState.READY
    assert count(database, "ready") == 1


def test_a_run_of_the_future_is_scheduled_and_not_in_a_queue(database: Database) -> None:
    run = new_run(due_at=NOON + SECOND)
    assert database.write(lambda tx: queueing.insert_runs(tx, [run], NOON)) is False
    assert look(database, run.id).state is RunState.SCHEDULED
    assert count(database, "ready") == 0


def test_inserting_a_run_twice_changes_nothing(database: Database) -> None:
    run = new_run(parameters='{"a":1}')
    put(database, run)
    before = contents(database, "counters")
    put(database, run)
    assert contents(database, "counters") == before


def test_a_second_insert_with_other_long_parameters_leaves_the_first_as_it_was(database: Database) -> None:
    first = new_run(parameters='"' + "a" * 70_000 + '"')
    put(database, first)
    put(database, new_run(id=first.id, parameters='"' + "b" * 70_000 + '"'))
    assert database.read(lambda tx: parameters_of(tx, first.id)) == first.parameters


def test_inserting_a_finished_run_again_does_not_make_it_ready(database: Database) -> None:
    run = new_run()
    put(database, run)
    session = open_session(database)
    finish(database, session, outcome(claim_one(database, session)))
    put(database, run)
    assert look(database, run.id).state is RunState.SUCCEEDED
    assert count(database, "ready") == 0


def test_an_occurrence_of_a_schedule_has_one_run_for_each_member(database: Database) -> None:
    schedule_id = ScheduleId(uuid7())
    same = {"schedule_id": schedule_id, "fire_at": NOON, "kind": RunKind.SCHEDULED}
    put(database, new_run(member="PETR4", **same), new_run(member="VALE3", **same))
    with pytest.raises((psycopg.errors.UniqueViolation, driver.IntegrityError)):
        put(database, new_run(member="PETR4", **same))
    assert count(database, "runs") == 2


def test_runs_started_by_hand_have_their_own_key_space(database: Database) -> None:
    schedule_id = ScheduleId(uuid7())
    same = {"schedule_id": schedule_id, "fire_at": NOON}
    put(database, new_run(kind=RunKind.SCHEDULED, **same), new_run(kind=RunKind.MANUAL, **same))
    put(database, new_run(kind=RunKind.MANUAL, **same), new_run(kind=RunKind.BACKFILL, **same))
    assert count(database, "runs") == 4


def test_due_runs_are_staged_in_order_and_in_batches(database: Database) -> None:
    late = [new_run(due_at=NOON + timedelta(seconds=10 - i)) for i in range(10)]
    put(database, *late)
    now = NOON + 8 * SECOND
    assert database.write(lambda tx: queueing.stage_due(tx, now, most=5)) == 5
    assert database.write(lambda tx: queueing.stage_due(tx, now, most=5)) == 3
    assert database.write(lambda tx: queueing.stage_due(tx, now, most=5)) == 0
    session = open_session(database)
    assert [run.id for run in claim(database, session, 20)] == [run.id for run in reversed(late)][:8]


def test_a_run_is_staged_at_the_microsecond_it_comes_due_and_not_before(database: Database) -> None:
    due_at = NOON + timedelta(microseconds=1)
    (run_id,) = put(database, new_run(due_at=due_at))
    assert database.write(lambda tx: queueing.stage_due(tx, NOON)) == 0
    assert database.read(next_due_at) == due_at
    assert database.write(lambda tx: queueing.stage_due(tx, due_at)) == 1
    assert look(database, run_id).due_at == due_at


def test_repeat_goes_on_until_a_batch_is_not_full(database: Database) -> None:
    put_some(database, 7, due_at=NOON + SECOND)
    staged = queueing.repeat(lambda: database.write(lambda tx: queueing.stage_due(tx, NOON + SECOND, 3)), 3)
    assert staged == 7


def test_only_what_is_scheduled_or_waiting_is_staged(database: Database) -> None:
    put_some(database, 2)
    session = open_session(database)
    running, ended = claim(database, session, 2)
    finish(database, session, outcome(ended))
    before = contents(database, "counters")
    database.write(lambda tx: queueing.stage(tx, [running.id, ended.id]))
    assert contents(database, "counters") == before


def test_two_stagers_at_once_stage_each_run_once(open_database: object, database: Database) -> None:
    put_some(database, 40, due_at=NOON + SECOND)
    other: Database = open_database()  # type: ignore[operator]
    now = NOON + SECOND
    from tests.store.arrange import together

    done = together(
        lambda: queueing.repeat(lambda: database.write(lambda tx: queueing.stage_due(tx, now, 4)), 4),
        lambda: queueing.repeat(lambda: other.write(lambda tx: queueing.stage_due(tx, now, 4)), 4),
    )
    queueing.repeat(lambda: database.write(lambda tx: queueing.stage_due(tx, now)))
    assert sum(done) <= 40
    assert count(database, "ready") == 40


def test_a_waiting_run_is_released_when_all_runs_it_needs_have_ended(database: Database) -> None:
    first, second = put_some(database, 2)
    (waiting,) = put(database, new_run(needs=(Need(first), Need(second))))
    assert look(database, waiting).state is RunState.WAITING
    session = open_session(database)
    runs = {run.id: run for run in claim(database, session, 5)}
    assert set(runs) == {first, second}
    assert finish(database, session, outcome(runs[first])).released == 0
    assert look(database, waiting).state is RunState.WAITING
    assert finish(database, session, outcome(runs[second], Ended.FAILED)).released == 1
    assert [run.id for run in claim(database, session, 5)] == [waiting]


def test_a_waiting_run_is_released_when_the_run_it_needs_was_purged(database: Database) -> None:
    (waiting,) = put(database, new_run(needs=(Need(new_run().id),)))
    assert look(database, waiting).state is RunState.READY


def test_cancelling_ends_what_has_not_started_and_asks_what_runs(database: Database) -> None:
    running, ready = put_some(database, 2)
    scheduled, waiting = put(database, new_run(due_at=NOON + HOUR), new_run(needs=(Need(running),)))
    session = open_session(database)
    assert claim_one(database, session).id == running
    done = database.write(
        lambda tx: queueing.cancel(tx, [scheduled, waiting, running, ready], "not wanted", NOON + SECOND)
    )
    assert done == queueing.Cancelled(frozenset({scheduled, waiting, ready}), frozenset({running}))
    for run_id in (scheduled, waiting, ready):
        run = look(database, run_id)
        assert (run.state, run.state_reason, run.finished_at) == (RunState.CANCELLED, "not wanted", NOON + SECOND)
    assert look(database, running).state is RunState.RUNNING
    assert look(database, running).cancel_requested_at == NOON + SECOND
    assert count(database, "ready") == 0


def test_cancelling_a_finished_run_does_nothing(database: Database) -> None:
    put_some(database, 1)
    session = open_session(database)
    run = claim_one(database, session)
    finish(database, session, outcome(run))
    before = contents(database)
    assert database.write(lambda tx: queueing.cancel(tx, [run.id], "late", NOON)) == queueing.Cancelled()
    assert contents(database) == before


def test_asking_twice_keeps_who_asked_first_and_says_asked_both_times(database: Database) -> None:
    put_some(database, 1)
    session = open_session(database)
    run = claim_one(database, session)
    database.write(lambda tx: queueing.cancel(tx, [run.id], "first", NOON + SECOND))
    again = database.write(lambda tx: queueing.cancel(tx, [run.id], "second", NOON + MINUTE))
    assert again.asked == {run.id}
    assert look(database, run.id).cancel_requested_at == NOON + SECOND


@pytest.mark.parametrize("ended", [Ended.RETRIED, Ended.SNOOZED, Ended.INTERRUPTED, Ended.RETURNED])
def test_a_run_asked_to_cancel_is_not_claimed_again_however_its_attempt_ended(database: Database, ended: Ended) -> None:
    session = open_session(database)
    (run_id,) = put_some(database, 1)
    (claimed,) = claim(database, session, 1)
    database.write(lambda tx: queueing.cancel(tx, [run_id], "cancelled by ann", NOON))
    finish(database, session, outcome(claimed, ended, due_at=None if ended is Ended.INTERRUPTED else NOON))
    assert (look(database, run_id).state, look(database, run_id).state_reason) == (
        RunState.CANCELLED,
        "cancelled by ann",
    )
    assert count(database, "ready") == 0


def test_a_run_past_its_expiry_is_cancelled_and_not_started(database: Database) -> None:
    doomed, other = put(database, new_run(expires_at=NOON + MINUTE), new_run(expires_at=NOON + HOUR))
    assert database.write(lambda tx: queueing.expire(tx, NOON + MINUTE - SECOND)) == 0
    assert database.write(lambda tx: queueing.expire(tx, NOON + MINUTE)) == 1
    assert look(database, doomed).state is RunState.CANCELLED
    assert look(database, doomed).state_reason == "expired: not started in time"
    session = open_session(database)
    assert [run.id for run in claim(database, session, 5)] == [other]


def test_a_run_that_has_been_tried_does_not_expire_between_its_tries(database: Database) -> None:
    (run_id,) = put_some(database, 1, expires_at=NOON + SECOND)
    session = open_session(database)
    (claimed,) = claim(database, session, 1)
    finish(database, session, outcome(claimed, Ended.RETRIED, due_at=NOON + HOUR))
    assert database.write(lambda tx: queueing.expire(tx, NOON + HOUR)) == 0
    assert look(database, run_id).state is RunState.SCHEDULED


def test_a_running_run_does_not_expire(database: Database) -> None:
    put_some(database, 1, expires_at=NOON + SECOND)
    session = open_session(database)
    run = claim_one(database, session)
    assert database.write(lambda tx: queueing.expire(tx, NOON + HOUR)) == 0
    assert look(database, run.id).state is RunState.RUNNING


def test_instants_of_all_years_are_kept_to_the_microsecond(database: Database) -> None:
    instants = [
        datetime(1900, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 2, 12, 0, 0, 123_456, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]
    ids = put(database, *(new_run(due_at=NOON, expires_at=at) for at in instants))
    assert [look(database, run_id).expires_at for run_id in ids] == instants
    session = open_session(database)
    assert [run.expires_at for run in claim(database, session, 10)] == instants


def test_an_instant_in_another_zone_is_kept_as_the_same_instant(database: Database) -> None:
    zone = datetime.fromisoformat("2026-03-02T09:00:00-03:00")
    (run_id,) = put(database, new_run(due_at=zone))
    assert look(database, run_id).due_at == NOON
    assert look(database, run_id).due_at.tzinfo is UTC


def test_a_naive_instant_is_refused(database: Database) -> None:
    with pytest.raises((ValueError, TypeError)):
        put(database, new_run(expires_at=datetime(2026, 3, 2, 12)))
    assert count(database, "runs") == 0


def test_a_failure_inside_a_transaction_leaves_nothing(database: Database) -> None:
    before = contents(database)

    def work(tx: object) -> None:
        queueing.insert_runs(tx, [new_run(), new_run(due_at=NOON + HOUR)], NOON)  # type: ignore[arg-type]
        raise LookupError("after the inserts")

    with pytest.raises(LookupError, match="after the inserts"):
        database.write(work)
    assert contents(database) == before
    put_some(database, 1)
    assert count(database, "runs") == 1


def test_a_failure_inside_a_savepoint_undoes_only_that_part(database: Database) -> None:
    kept, dropped = new_run(), new_run()

    def fail(tx: object) -> None:
        queueing.insert_runs(tx, [dropped], NOON)  # type: ignore[arg-type]
        raise LookupError

    def work(tx: object) -> None:
        queueing.insert_runs(tx, [kept], NOON)  # type: ignore[arg-type]
        with pytest.raises(LookupError):
            tx.savepoint(lambda: fail(tx))  # type: ignore[attr-defined]

    database.write(work)
    assert look(database, kept.id).state is RunState.READY
    assert count(database, "runs") == 1


# What follows needs two transactions at once: only PostgreSQL lets a second one begin.


def _cancel_meanwhile(postgres: PostgresDatabase, run_id: object, hold: object) -> queueing.Cancelled:
    """Run *hold* in an open transaction, start the cancel, and commit once the cancel waits for it."""
    found: list[queueing.Cancelled] = []
    thread = threading.Thread(
        target=lambda: found.append(postgres.write(lambda tx: queueing.cancel(tx, [run_id], "stop", NOON)))  # type: ignore[list-item]
    )

    def work(tx: object) -> None:
        hold(tx)  # type: ignore[operator]
        thread.start()
        wait_until_blocked(postgres)

    postgres.write(work)
    thread.join(10)
    return found[0]


def wait_until_blocked(postgres: PostgresDatabase) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    for _ in range(2_000):
        if postgres.read(lambda tx: tx.raw().execute(query).fetchone()[0]):  # type: ignore[index]
            return
    raise AssertionError("nobody waits for a lock")


def test_a_run_staged_while_it_is_cancelled_leaves_no_row_in_the_queue(postgres: PostgresDatabase) -> None:
    (run_id,) = put(postgres, new_run(due_at=NOON + SECOND))
    done = _cancel_meanwhile(postgres, run_id, lambda tx: queueing.stage_due(tx, NOON + SECOND))
    assert done.ended == {run_id}
    assert look(postgres, run_id).state is RunState.CANCELLED
    assert count(postgres, "ready") == 0


@pytest.mark.parametrize("ended", [Ended.INTERRUPTED, Ended.RETRIED])
def test_a_run_given_back_while_it_is_cancelled_does_not_escape(postgres: PostgresDatabase, ended: Ended) -> None:
    from mainspring.store import claiming

    put_some(postgres, 1)
    session = open_session(postgres)
    run = claim_one(postgres, session)
    done = _cancel_meanwhile(postgres, run.id, lambda tx: claiming.finish(tx, session, [outcome(run, ended)], NOON))
    assert done.ended == {run.id}
    assert look(postgres, run.id).state is RunState.CANCELLED
    assert count(postgres, "ready") == 0


def test_a_run_claimed_while_it_is_cancelled_is_asked_to_stop(postgres: PostgresDatabase, clock: ManualClock) -> None:
    from mainspring.ids import ClaimId
    from mainspring.store import claiming

    (run_id,) = put_some(postgres, 1)
    session = open_session(postgres)
    done = _cancel_meanwhile(
        postgres,
        run_id,
        lambda tx: claiming.claim(tx, session, "default", 1, NOON, clock.now(), ClaimId(uuid7())),
    )
    assert done.asked == {run_id}
    assert look(postgres, run_id).state is RunState.RUNNING
