"""An attempt's end is recorded once, by whoever holds its lease, or not at all."""

from __future__ import annotations

import pytest

from mainspring.clock import ManualClock
from mainspring.domain.runs import Ended
from mainspring.domain.states import FailureKind, RunState
from mainspring.encoding import INLINE_LIMIT, encode, fingerprint
from mainspring.store import claiming
from mainspring.store.database import Database
from mainspring.store.queueing import parameters_key, result_key
from mainspring.store.runs import list_attempts, log_of, parameters_of, reopen, result_of
from tests.store.arrange import (
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
    new_run,
    open_session,
    outcome,
    put,
    put_some,
    rescue,
)


@pytest.mark.parametrize(
    ("ended", "state", "tries", "due_at"),
    [
        (Ended.SUCCEEDED, RunState.SUCCEEDED, 1, NOON),
        (Ended.FAILED, RunState.FAILED, 1, NOON),
        (Ended.RETRIED, RunState.SCHEDULED, 1, NOON + MINUTE),
        (Ended.SNOOZED, RunState.SCHEDULED, 0, NOON + MINUTE),
        (Ended.RETURNED, RunState.SCHEDULED, 0, NOON + MINUTE),
        (Ended.HELD, RunState.HELD, 0, NOON),
        (Ended.INTERRUPTED, RunState.READY, 0, NOON),
        (Ended.CANCELLED, RunState.CANCELLED, 0, NOON),
    ],
)
def test_each_end_leads_to_its_state_and_charges_a_try_or_not(
    database: Database, ended: Ended, state: RunState, tries: int, due_at: object
) -> None:
    (run_id,) = put_some(database, 1)
    session = open_session(database)
    finish(database, session, outcome(claim_one(database, session), ended))
    run = look(database, run_id)
    assert (run.state, run.tries, run.attempt, run.due_at) == (state, tries, 1, due_at)
    assert (run.finished_at is not None) == (state in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED))
    assert count(database, "ready") == (1 if state is RunState.READY else 0)
    (attempt,) = database.read(lambda tx: list_attempts(tx, run_id))
    assert (attempt.attempt, attempt.outcome, attempt.charged) == (1, ended.value, tries == 1)


def test_a_failure_keeps_its_kind_message_type_and_traceback(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    session = open_session(database)
    run = claim_one(database, session)
    finish(database, session, outcome(run, Ended.FAILED, traceback="Traceback: it broke", log=b"line\n"))
    failed = look(database, run_id)
    assert (failed.failure_kind, failed.failure_message) == (FailureKind.ERROR, "it broke")
    (attempt,) = database.read(lambda tx: list_attempts(tx, run_id))
    assert (attempt.error_type, attempt.error_message, attempt.traceback) == (
        "ValueError", "it broke", "Traceback: it broke",
    )  # fmt: skip
    assert database.read(lambda tx: log_of(tx, run_id, 1)) == b"line\n"


def test_a_worker_that_lost_its_lease_cannot_finish_the_run(database: Database, clock: ManualClock) -> None:
    (run_id,) = put_some(database, 1)
    session = open_session(database)
    run = claim_one(database, session)
    clock.advance(TTL)
    rescue(database)
    before = contents(database)
    assert finish(database, session, outcome(run, log=b"late")).fenced == {run_id}
    assert contents(database) == before


# A worker never says LOST: that is what the rescuer writes.
@pytest.mark.parametrize("ended", [ended for ended in Ended if ended is not Ended.LOST])
def test_no_late_end_of_any_kind_changes_a_run_that_another_session_claimed(
    database: Database, clock: ManualClock, ended: Ended
) -> None:
    (run_id,) = put_some(database, 1)
    old = open_session(database)
    stale = claim_one(database, old)
    clock.advance(TTL)
    rescue(database)
    new = open_session(database)
    fresh = claim_one(database, new)
    assert fresh.attempt == 2
    before = contents(database)
    assert finish(database, old, outcome(stale, ended)).fenced == {run_id}
    assert contents(database) == before
    assert finish(database, new, outcome(fresh)).fenced == frozenset()
    assert look(database, run_id).state is RunState.SUCCEEDED


def test_an_old_attempt_of_the_same_session_is_fenced(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    session = open_session(database)
    stale = claim_one(database, session)
    finish(database, session, outcome(stale, Ended.INTERRUPTED))
    claim_one(database, session)
    before = contents(database)
    assert finish(database, session, outcome(stale)).fenced == {run_id}
    assert contents(database) == before


def test_a_session_that_does_not_hold_the_run_is_fenced(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    run = claim_one(database, open_session(database))
    before = contents(database)
    thief = open_session(database)
    assert finish(database, thief, outcome(run)).fenced == {run_id}
    assert look(database, run_id).state is RunState.RUNNING
    assert contents(database, "worker_sessions") == {k: v for k, v in before.items() if k != "worker_sessions"}


def test_one_fenced_run_in_a_batch_undoes_nobody_else(database: Database, clock: ManualClock) -> None:
    first, lost, third = put_some(database, 3)
    session = open_session(database)
    runs = {run.id: run for run in claim(database, session, 3)}
    _steal(database, runs[lost])
    result = finish(database, session, *(outcome(run) for run in runs.values()))
    assert result.fenced == {lost}
    assert look(database, first).state is look(database, third).state is RunState.SUCCEEDED
    assert look(database, lost).state is RunState.CANCELLED
    assert database.read(lambda tx: result_of(tx, first)) == '{"ok":true}'
    assert database.read(lambda tx: result_of(tx, lost)) is None
    assert count(database, "attempts") == 2
    assert _succeeded(database) == 2


def _steal(database: Database, run: object) -> None:
    from sqlalchemy import update

    from mainspring.store.schema import runs

    query = update(runs).where(runs.c.id == run.id).values(state="cancelled", finished_at=NOON)  # type: ignore[attr-defined]
    database.write(lambda tx: tx.core(query))


def _succeeded(database: Database) -> int:
    from sqlalchemy import func, select

    from mainspring.store.schema import stats

    return int(database.read(lambda tx: tx.core(select(func.sum(stats.c.succeeded))).scalar()) or 0)


@pytest.mark.parametrize("ended", [Ended.SUCCEEDED, Ended.FAILED, Ended.RETRIED, Ended.INTERRUPTED, Ended.CANCELLED])
def test_a_finish_given_twice_is_done_and_doubles_nothing(database: Database, ended: Ended) -> None:
    put_some(database, 2)
    session = open_session(database)
    outcomes = [outcome(run, ended, log=b"log") for run in claim(database, session, 2)]
    finish(database, session, *outcomes)
    before = contents(database)
    assert finish(database, session, *outcomes).fenced == frozenset()
    assert contents(database) == before


def test_a_finish_given_twice_is_done_even_if_the_run_was_claimed_again_meanwhile(database: Database) -> None:
    put_some(database, 1)
    session = open_session(database)
    returned = outcome(claim_one(database, session), Ended.INTERRUPTED)
    finish(database, session, returned)
    claim_one(database, session)
    before = contents(database)
    assert finish(database, session, returned).fenced == frozenset()
    assert contents(database) == before


def test_another_result_for_an_attempt_that_ended_is_fenced(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    session = open_session(database)
    run = claim_one(database, session)
    finish(database, session, outcome(run, result="1"))
    assert finish(database, session, outcome(run, result="2")).fenced == {run_id}
    assert database.read(lambda tx: result_of(tx, run_id)) == "1"


def test_a_batch_of_old_new_and_lost_ends_is_sorted_out(database: Database) -> None:
    landed_id, new_id, lost_id = put_some(database, 3)
    session = open_session(database)
    runs = {run.id: run for run in claim(database, session, 3)}
    finish(database, session, outcome(runs[landed_id]))
    _steal(database, runs[lost_id])
    result = finish(database, session, *(outcome(run) for run in runs.values()))
    assert result.fenced == {lost_id}
    assert look(database, new_id).state is RunState.SUCCEEDED
    assert _succeeded(database) == 2


def test_finishing_nothing_writes_nothing(database: Database) -> None:
    assert finish(database, open_session(database)).fenced == frozenset()


def test_the_earliest_new_due_time_is_told(database: Database) -> None:
    put_some(database, 3)
    session = open_session(database)
    one, two, three = claim(database, session, 3)
    result = finish(
        database, session,
        outcome(one), outcome(two, Ended.RETRIED, due_at=NOON + MINUTE),
        outcome(three, Ended.RETRIED, due_at=NOON + SECOND),
    )  # fmt: skip
    assert result.earliest_due_at == NOON + SECOND


def test_statistics_add_up_by_minute_task_and_queue(database: Database) -> None:
    from sqlalchemy import select

    from mainspring.store.schema import stats

    put_some(database, 4)
    session = open_session(database)
    runs = claim(database, session, 4)
    finish(database, session, outcome(runs[0], finished_at=NOON + 2 * SECOND), outcome(runs[1], Ended.FAILED))
    finish(database, session, outcome(runs[2], finished_at=NOON + 5 * SECOND), outcome(runs[3], Ended.INTERRUPTED))
    (row,) = database.read(lambda tx: tx.core(select(stats)).all())
    assert (row.minute, row.task, row.queue, row.session_id) == (NOON, "demo.task", "default", session)
    assert (row.succeeded, row.failed, row.retried, row.other) == (2, 1, 0, 1)
    assert (row.seconds, row.longest) == (7.0, 5.0)


def test_returns_are_counted_until_the_run_is_taken_up(database: Database) -> None:
    put_some(database, 1)
    session = open_session(database)
    run = claim_one(database, session)
    for expected in (1, 2):
        finish(database, session, outcome(run, Ended.RETURNED, due_at=NOON))
        from mainspring.store.queueing import stage_due

        database.write(lambda tx: stage_due(tx, NOON))
        run = claim_one(database, session)
        assert (run.returns, run.tries) == (expected, 0)
    finish(database, session, outcome(run, Ended.INTERRUPTED))
    assert claim_one(database, session).returns == 0


def test_long_parameters_and_results_are_kept_apart_and_come_back(database: Database) -> None:
    at_limit, over = encode("x" * (INLINE_LIMIT - 2)), encode("é☂" * INLINE_LIMIT)
    short_id, long_id = put(database, new_run(parameters=at_limit), new_run(parameters=over))
    assert [len(at_limit), count(database, "blobs")] == [INLINE_LIMIT, 1]
    session = open_session(database)
    short, long = claim(database, session, 2)
    assert short.parameters == at_limit
    assert long.parameters is None
    assert fingerprint(database.read(lambda tx: parameters_of(tx, long_id)) or "") == fingerprint(over)
    finish(database, session, outcome(short, result=over), outcome(long, result=at_limit))
    assert fingerprint(database.read(lambda tx: result_of(tx, short_id)) or "") == fingerprint(over)
    assert database.read(lambda tx: result_of(tx, long_id)) == at_limit
    assert count(database, "blobs", f"key IN ('{parameters_key(long_id)}', '{result_key(short_id)}')") == 2


ODD = [
    "\N{SNOWMAN} \N{GRINNING FACE} \U0001f468‍\U0001f469‍\U0001f467",
    "עברית العربية ‮reversed",
    "quote ' double \" backslash \\ percent %s :name ? $1 $schema. {x}",
    "line\nbreak\ttab\r\x01\x7f\x85\u2028",
    "",
    "combining e\N{COMBINING ACUTE ACCENT} is not é",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_text_comes_back_as_it_was(database: Database, text: str) -> None:
    parameters = encode({"text": text, text: 1})
    labels = encode({"odd": text})
    (run_id,) = put(database, new_run(parameters=parameters, labels=labels, task="t " + text, queue="q " + text))
    session = open_session(database)
    (run,) = claim(database, session, queue="q " + text)
    assert (run.parameters, run.task, run.queue) == (parameters, "t " + text, "q " + text)
    finish(database, session, outcome(run, Ended.FAILED, error_message=text or None, traceback=text))
    assert look(database, run_id).labels == {"odd": text}
    (attempt,) = database.read(lambda tx: list_attempts(tx, run_id))
    assert (attempt.error_message or "", attempt.traceback) == (text, text)


def test_an_error_text_that_no_database_can_hold_does_not_keep_the_batch_from_ending(database: Database) -> None:
    broken_id, other_id = put_some(database, 2)
    session = open_session(database)
    broken, other = claim(database, session, 2)
    bad = outcome(
        broken, Ended.FAILED,
        error_type="T" * 500, error_message="a\x00b\udc80c", traceback="\x00", reason="r\x00\udcff",
    )  # fmt: skip
    assert finish(database, session, bad, outcome(other)).fenced == frozenset()
    assert look(database, broken_id).failure_message == "a␀b\\udc80c"
    assert look(database, other_id).state is RunState.SUCCEEDED
    (attempt,) = database.read(lambda tx: list_attempts(tx, broken_id))
    assert (attempt.error_type, attempt.traceback, attempt.reason) == ("T" * 400, "␀", "r␀\\udcff")


def test_a_failed_run_can_be_opened_again_with_more_tries(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    session = open_session(database)
    finish(database, session, outcome(claim_one(database, session), Ended.FAILED))
    failed = look(database, run_id)
    assert database.write(lambda tx: reopen(tx, failed, 99, NOON + MINUTE, 2)) is True
    again = look(database, run_id)
    assert (again.state, again.tries, again.max_tries, again.attempt) == (RunState.READY, 1, 3, 1)
    assert (again.failure_kind, again.failure_message, again.finished_at) == (None, None, None)
    run = claim_one(database, session)
    assert run.attempt == 2
    assert database.write(lambda tx: reopen(tx, failed, 100, NOON + MINUTE, 2)) is False


def test_a_cycle_records_and_claims_in_one_transaction(database: Database) -> None:
    put_some(database, 3)
    session = open_session(database)
    runs = claim(database, session, 2)
    result, claimed = claiming.cycle(
        database, session, [outcome(run) for run in runs], list, ["default"], 5, NOON + SECOND
    )
    assert result.fenced == frozenset()
    assert len(claimed) == 1
    assert count(database, "runs", "state = 'succeeded'") == 2
