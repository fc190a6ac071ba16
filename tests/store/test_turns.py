"""Keys take turns in their queue; runs without one go as they come."""

from __future__ import annotations

from mainspring.clock import ManualClock
from mainspring.domain.runs import ClaimedRun, Ended
from mainspring.ids import RunId, SessionId
from mainspring.store import turns
from mainspring.store.database import Database
from mainspring.store.queueing import stage_due
from mainspring.store.runs import reopen
from tests.store.arrange import (
    MINUTE,
    NOON,
    claim,
    count,
    finish,
    look,
    new_run,
    open_session,
    outcome,
    put,
    put_some,
)


def serve(database: Database, session: SessionId, n: int) -> list[RunId]:
    """Claim and finish *n* runs one after the other while turns advance; return them in order."""
    served = []
    for _ in range(n):
        claimed = claim(database, session, 1)
        finish(database, session, *(outcome(run) for run in claimed))
        served += [run.id for run in claimed]
        database.write(turns.advance)
    return served


def test_without_keys_runs_go_as_they_come_and_nothing_is_remembered(database: Database) -> None:
    ids = put_some(database, 5)
    assert serve(database, open_session(database), 5) == ids
    assert (count(database, "key_turns"), count(database, "runs", "turn <> 0")) == (0, 0)


def test_keys_take_turns(database: Database) -> None:
    a = put_some(database, 3, turn_key="a")
    b = put_some(database, 3, turn_key="b")
    order = [run.id for run in claim(database, open_session(database), 10)]
    assert order == [a[0], b[0], a[1], b[1], a[2], b[2]]


def test_ten_runs_of_one_key_end_within_a_hundredth_of_what_another_keys_backlog_takes(database: Database) -> None:
    many = 4_000
    for _ in range(4):
        put_some(database, many // 4, turn_key="a")
    session = open_session(database)
    running = claim(database, session, 10)
    database.write(turns.advance)
    late = set(put_some(database, 10, turn_key="b"))
    begun = 0
    while late:
        done, running = running[:1], running[1:]
        finish(database, session, outcome(done[0]))
        late -= {done[0].id}
        running += claim(database, session, 1)
        begun += 1
    assert begun - 10 <= many / 100, "ten slots stand between the start of the last one and its end"


def test_a_key_that_was_busy_before_waits_no_longer_than_a_new_one(database: Database) -> None:
    put_some(database, 50, turn_key="a")
    session = open_session(database)
    serve(database, session, 50)
    assert database.write(turns.forget) == 1
    (b,) = put_some(database, 1, turn_key="b")
    (a,) = put_some(database, 1, turn_key="a")
    assert serve(database, session, 2) == [b, a]


def test_new_keys_without_end_do_not_starve_one_that_has_come_twice(database: Database) -> None:
    first, second = put_some(database, 2, turn_key="a")
    session = open_session(database)
    served: list[RunId] = []
    for number in range(10):
        put_some(database, 2, turn_key=f"new {number}")
        served += serve(database, session, 1)
    assert served[0] == first
    assert second in served


def test_runs_without_a_key_and_keys_share_a_queue(database: Database) -> None:
    plain = put_some(database, 3)
    keyed = put_some(database, 3, turn_key="a")
    session = open_session(database)
    assert serve(database, session, 4) == [*plain, keyed[0]]
    later = put_some(database, 2)
    assert serve(database, session, 4) == [keyed[1], keyed[2], *later], "who comes now joins the turn after this one"


def test_turns_are_counted_apart_in_each_queue_and_priority(database: Database) -> None:
    put_some(database, 5, turn_key="a", priority=8)
    put_some(database, 5, turn_key="a", queue="other")
    (run_id,) = put_some(database, 1, turn_key="a")
    assert count(database, "ready", "turn = 0 AND rank = 4 AND queue = 'default'") == 1
    assert serve(database, open_session(database), 6)[-1] == run_id


def test_a_run_takes_its_turn_when_it_comes_due(database: Database) -> None:
    put(database, *(new_run(turn_key="a", due_at=NOON + MINUTE) for _ in range(2)), new_run(due_at=NOON + MINUTE))
    put_some(database, 2, turn_key="a")
    database.write(lambda tx: stage_due(tx, NOON + MINUTE))
    assert [run.turn for run in claim(database, open_session(database), 10)] == [0, 0, 1, 2, 3]


def test_an_interrupted_run_keeps_its_turn_and_a_retried_one_takes_a_new_one(
    database: Database, clock: ManualClock
) -> None:
    put_some(database, 3, turn_key="a")
    session = open_session(database)
    first, second = claim(database, session, 2)
    finish(database, session, outcome(first, Ended.INTERRUPTED), outcome(second, Ended.RETRIED))
    database.write(lambda tx: stage_due(tx, NOON + MINUTE))
    again: list[ClaimedRun] = claim(database, session, 10)
    assert [(run.id, run.turn) for run in again] == [(first.id, 0), (again[1].id, 2), (second.id, 3)]


def test_a_run_retried_by_hand_takes_a_new_turn(database: Database) -> None:
    put_some(database, 2, turn_key="a")
    session = open_session(database)
    run = claim(database, session, 1)[0]
    finish(database, session, outcome(run, Ended.FAILED))
    failed = look(database, run.id)
    assert database.write(lambda tx: reopen(tx, failed, 1_000_000, NOON, 1))
    assert [one.turn for one in claim(database, session, 10)] == [1, 2]


def test_turns_that_have_passed_are_forgotten_and_those_to_come_are_not(database: Database) -> None:
    put_some(database, 1, turn_key="a")
    put_some(database, 3, turn_key="b")
    session = open_session(database)
    serve(database, session, 1)
    assert database.write(turns.forget) == 1
    assert count(database, "key_turns", "key = 'b' AND turn = 2") == 1
    serve(database, session, 3)
    assert database.read(turns.any_kept)
    assert database.write(turns.forget) == 1
    assert not database.read(turns.any_kept)
    assert count(database, "key_turns", "key = '' AND turn = 3") == 1


def test_two_turns_at_once_for_one_key_never_go_back(database: Database) -> None:
    line = ("default", 4, "a")
    assert database.write(lambda tx: turns.take_turns(tx, [line] * 3)) == [0, 1, 2]
    database.write(lambda tx: tx.many("save_turns", [("a", "default", 4, 1)]))
    assert database.write(lambda tx: turns.take_turns(tx, [line])) == [3]
