"""Limits are asked before an attempt begins, and what they hold back goes on in its order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, update

from mainspring.clock import ManualClock
from mainspring.domain.needs import QueueLimits
from mainspring.domain.resources import BreakerRule, Rate, Report, ResourceLimits
from mainspring.domain.runs import Blame, Ended
from mainspring.domain.states import FailureKind, RunState
from mainspring.encoding import encode
from mainspring.ids import RunId
from mainspring.store import limiting, queueing
from mainspring.store.database import Database
from mainspring.store.queueing import cancel, stage_due
from mainspring.store.schema import queues, resources
from mainspring.store.tables import set_queue_paused
from tests.store.arrange import (
    MINUTE,
    NOON,
    SECOND,
    TTL,
    claim,
    claim_one,
    count,
    finish,
    look,
    new_run,
    open_session,
    outcome,
    put,
    put_some,
    renew,
    rescue,
)

Open = Callable[[], Database]


def key(value: str, limit: int) -> dict[str, Any]:
    """Return a need: a place under a key."""
    return {"name": f"key/task:demo:{value}", "limit": limit}


def uses(*needs: str | dict[str, Any]) -> str:
    """Return what a run needs, as its row keeps it."""
    return encode([{"name": need} if isinstance(need, str) else need for need in needs])


def declare(database: Database, name: str, **limits: Any) -> None:
    """Declare a resource."""
    text = ResourceLimits(**limits).to_json()
    row = {"name": name, "limits": text, "state": "{}", "version": 1, "updated_at": NOON}
    database.write(lambda tx: tx.core(insert(resources).values(**row)))


def refused_for(pause: timedelta) -> Blame:
    """Return what an attempt says whose service asked for a pause."""
    return Blame(Report.REFUSED, None, pause)


def limit_queue(database: Database, name: str, **limits: int) -> None:
    """Limit a queue."""
    text = QueueLimits(**limits).to_json()
    database.write(lambda tx: tx.core(insert(queues).values(name=name, limits=text)))


def let_go(database: Database, now: datetime = NOON) -> int:
    """Do what the duty does for every limit that holds runs back."""
    names = [usage.name for usage in database.read(limiting.held_limits)]
    return database.write(lambda tx: limiting.let_go(tx, names, now, again=True))


def ids_of(runs: Any) -> list[RunId]:
    """Return the ids of claimed runs."""
    return [run.id for run in runs]


def test_a_key_lets_as_many_begin_as_it_says_and_holds_the_others(database: Database) -> None:
    first, second, third = put_some(database, 3, uses=uses(key("a", 2)))
    session = open_session(database)
    claimed = claim(database, session, 10)
    assert ids_of(claimed) == [first, second]
    held = look(database, third)
    assert (held.state, held.state_reason) == (RunState.HELD, "held by key 'a' of task demo (2 of 2 running)")
    assert (count(database, "holds"), count(database, "holdings"), count(database, "ready")) == (1, 2, 0)


def test_the_end_of_an_attempt_lets_the_next_one_go_in_the_same_transaction(database: Database) -> None:
    ids = put_some(database, 3, uses=uses(key("a", 1)))
    session = open_session(database)
    for number, expected in enumerate(ids):
        (run,) = claim(database, session, 10)
        assert run.id == expected
        assert finish(database, session, outcome(run)).released == (1 if number < 2 else 0)
    assert (count(database, "holds"), count(database, "holdings")) == (0, 0)


def test_every_end_gives_its_place_back(database: Database) -> None:
    session = open_session(database)
    for ended in (Ended.FAILED, Ended.RETRIED, Ended.SNOOZED, Ended.INTERRUPTED, Ended.RETURNED, Ended.CANCELLED):
        first, second = put_some(database, 2, uses=uses(key(ended.value, 1)))
        (run,) = claim(database, session, 10)
        assert (run.id, look(database, second).state) == (first, RunState.HELD)
        finish(database, session, outcome(run, ended))
        assert look(database, second).state is RunState.READY
        for left in claim(database, session, 10):
            finish(database, session, outcome(left))
        database.write(lambda tx: cancel(tx, [first, second], "enough", NOON))  # noqa: B023


def test_a_lost_attempt_gives_its_place_back(database: Database, clock: ManualClock) -> None:
    first, second = put_some(database, 2, uses=uses(key("a", 1)))
    claim(database, open_session(database), 10)
    clock.advance(TTL)
    assert rescue(database).returned == (first,)
    assert look(database, second).state is RunState.READY
    assert ids_of(claim(database, open_session(database), 10)) == [first]
    assert look(database, second).state is RunState.HELD


def test_a_holding_of_an_attempt_that_does_not_run_counts_for_nothing(database: Database) -> None:
    first, second = put_some(database, 2, uses=uses(key("a", 1)))
    session = open_session(database)
    claim(database, session, 1)
    values = {"state": "succeeded", "finished_at": NOON}
    from mainspring.store.schema import runs

    database.write(lambda tx: tx.core(update(runs).where(runs.c.id == first).values(**values)))
    assert ids_of(claim(database, session, 10)) == [second]
    assert database.read(limiting.any_stale)
    assert database.write(limiting.forget_stale) == 1
    assert not database.read(limiting.any_stale)


def test_free_slots_go_to_whoever_stands_behind_those_held_back(database: Database) -> None:
    limited = put_some(database, 60, uses=uses(key("a", 1)))
    free = put_some(database, 3)
    session = open_session(database)
    assert ids_of(claim(database, session, 3)) == [limited[0], *free[:2]]
    assert count(database, "holds") == 59


def test_a_run_behind_one_that_is_held_back_does_not_overtake_it(database: Database) -> None:
    declare(database, "api", concurrency=1)
    first, second = put_some(database, 2, uses=uses("api"))
    session = open_session(database)
    (run,) = claim(database, session, 10)
    (late,) = put_some(database, 1, uses=uses("api"))
    # What ends without a word of it (a crash between two transactions) leaves a place that nobody was told of.
    from mainspring.store.schema import holdings

    database.write(lambda tx: tx.core(holdings.delete()))
    assert claim(database, session, 10) == []
    assert look(database, late).state is RunState.HELD
    assert ids_of(claim(database, session, 10)) == [second]
    assert run.id == first


def test_priority_is_strict_among_runs_that_limits_hold_back(database: Database) -> None:
    put_some(database, 1, uses=uses(key("a", 1)))
    session = open_session(database)
    (run,) = claim(database, session, 10)
    (low,) = put_some(database, 1, uses=uses(key("a", 1)), priority=2)
    (high,) = put_some(database, 1, uses=uses(key("a", 1)), priority=8)
    (usual,) = put_some(database, 1, uses=uses(key("a", 1)))
    order = []
    assert claim(database, session, 10) == []
    for _ in range(3):
        finish(database, session, outcome(run))
        (run,) = claim(database, session, 10)
        order.append(run.id)
    assert order == [high, usual, low]


def test_a_run_takes_all_that_it_needs_or_nothing(database: Database) -> None:
    declare(database, "api", rate=Rate(1, MINUTE))
    session = open_session(database)
    put_some(database, 1, uses=uses(key("a", 1)))
    (holder,) = claim(database, session, 10)
    (both,) = put_some(database, 1, uses=uses("api", key("a", 1)))
    assert claim(database, session, 10) == []
    (other,) = put_some(database, 1, uses=uses("api"))
    assert ids_of(claim(database, session, 10)) == [other], "the rate is not spent on what cannot begin"
    finish(database, session, outcome(holder))
    assert claim(database, session, 10) == []
    assert (look(database, both).state_reason or "").startswith("held by api until 12:01")


def test_a_rate_is_not_spent_on_a_run_that_another_need_refuses(database: Database) -> None:
    declare(database, "first", rate=Rate(1, MINUTE))
    declare(database, "second", concurrency=1)
    put_some(database, 1, uses=uses("second"))
    session = open_session(database)
    claim(database, session, 10)
    put_some(database, 1, uses=uses("first", "second"))
    assert claim(database, session, 10) == []
    (other,) = put_some(database, 1, uses=uses("first"))
    assert ids_of(claim(database, session, 10)) == [other]


def test_a_rate_lets_runs_go_one_after_the_other(database: Database, clock: ManualClock) -> None:
    declare(database, "api", rate=Rate(1, 10 * SECOND))
    ids = put_some(database, 3, uses=uses("api"))
    session = open_session(database)
    (run,) = claim(database, session, 10)
    finish(database, session, outcome(run))
    assert claim(database, session, 10) == []
    (usage,) = database.read(limiting.held_limits)
    then = usage.next_at(NOON)
    assert then is not None
    assert NOON + 10 * SECOND <= then < NOON + 11 * SECOND
    assert let_go(database, NOON + 9 * SECOND) == 0
    assert let_go(database, then) == 1
    assert ids_of(claim(database, session, 10, now=then)) == [ids[1]]
    assert look(database, ids[2]).state is RunState.HELD


def test_what_was_let_go_and_has_not_begun_is_not_let_go_twice(database: Database) -> None:
    put_some(database, 3, uses=uses(key("a", 1)))
    session = open_session(database)
    (run,) = claim(database, session, 10)
    finish(database, session, outcome(run))
    assert count(database, "ready") == 1
    names = ["key/task:demo:a"]
    assert database.write(lambda tx: limiting.let_go(tx, names, NOON)) == 0
    assert database.write(lambda tx: limiting.let_go(tx, names, NOON, again=True)) == 1


def test_a_refused_attempt_is_held_and_not_charged(database: Database) -> None:
    (run_id,) = put_some(database, 1, uses=uses("api"))
    session = open_session(database)
    run = claim_one(database, session)
    assert run.limited
    refused = outcome(run, Ended.RETRIED, blame=refused_for(7 * SECOND), error_message="429")
    assert finish(database, session, refused).fenced == frozenset()
    held = look(database, run_id)
    assert (held.state, held.tries, held.attempt) == (RunState.HELD, 0, 1)
    assert (held.state_reason or "").startswith("held by api until 12:00:07")
    assert let_go(database, NOON + 6 * SECOND) == 0
    assert let_go(database, NOON + 8 * SECOND) == 1
    again = claim_one(database, session, NOON + 8 * SECOND)
    assert (again.id, again.attempt, again.turn, again.seq) == (run_id, 2, run.turn, run.seq)
    assert count(database, "attempts", "outcome = 'held' AND NOT charged") == 1


def test_the_last_try_is_held_too_when_the_service_refuses_it(database: Database) -> None:
    (run_id,) = put_some(database, 1, uses=uses("api"), max_tries=1)
    (once,) = put_some(database, 1, uses=uses("other"), max_tries=1, at_most_once=True)
    session = open_session(database)
    refusal = {"blame": refused_for(7 * SECOND), "failure_kind": FailureKind.ERROR}
    for run in claim(database, session, 10):
        finish(database, session, outcome(run, Ended.FAILED, **refusal))
    assert look(database, run_id).state is RunState.HELD
    assert look(database, once).state is RunState.FAILED, "it may have happened in part"


def test_a_refusal_by_one_resource_says_nothing_of_the_other(database: Database) -> None:
    put_some(database, 1, uses=uses("api", "other"))
    session = open_session(database)
    run = claim_one(database, session)
    finish(database, session, outcome(run, Ended.RETRIED, blame=Blame(Report.REFUSED, "api", MINUTE)))
    (other,) = put_some(database, 1, uses=uses("other"))
    (api,) = put_some(database, 1, uses=uses("api"))
    assert ids_of(claim(database, session, 10)) == [other]
    assert look(database, api).state is RunState.HELD


def test_a_held_end_given_twice_is_done_and_tells_the_resource_once(database: Database) -> None:
    (run_id,) = put_some(database, 1, uses=uses("api"))
    session = open_session(database)
    run = claim_one(database, session)
    refused = outcome(run, Ended.RETRIED, blame=Blame(Report.REFUSED))
    finish(database, session, refused)
    before = database.read(lambda tx: tx.core(resources.select()).all())
    assert finish(database, session, refused).fenced == frozenset()
    assert database.read(lambda tx: tx.core(resources.select()).all()) == before
    assert (count(database, "attempts"), look(database, run_id).state) == (1, RunState.HELD)


def test_an_attempt_whose_lease_was_lost_tells_no_limit(database: Database, clock: ManualClock) -> None:
    put_some(database, 2, uses=uses(key("a", 1)))
    late = open_session(database)
    run = claim_one(database, late)
    clock.advance(TTL)
    rescue(database)
    (second,) = claim(database, open_session(database), 10)
    assert finish(database, late, outcome(run)).fenced == {run.id}
    assert (second.id, second.attempt) == (run.id, 2)
    assert count(database, "holdings") == 1


def test_a_run_that_always_fails_does_not_probe_for_ever(database: Database, clock: ManualClock) -> None:
    declare(database, "brapi", concurrency=1, breaker=BreakerRule(failures=1, cool_down=5 * SECOND))
    (bad,) = put_some(database, 1, priority=9, uses=uses("brapi"))
    good = put_some(database, 2, uses=uses("brapi"))
    session = open_session(database)
    ended: list[tuple[RunId, str]] = []
    for _ in range(5):
        renew(database, session, clock.now())
        # The worker looks again after each end: while the breaker is open, that holds everybody back.
        while claimed := claim(database, session, 1, now=clock.now()):
            (run,) = claimed
            how = Ended.RETRIED if run.id == bad else Ended.SUCCEEDED
            told = outcome(run, how, clock.now(), blame=Blame(Report.FAILED) if run.id == bad else None)
            told = replace(told, due_at=clock.now()) if how is Ended.RETRIED else told
            finish(database, session, told, now=clock.now())
            ended.append((run.id, look(database, run.id).state.value))
        clock.advance(6 * SECOND)
        database.write(lambda tx: stage_due(tx, clock.now()))
        let_go(database, clock.now())
    assert [run_id for run_id, state in ended if state == "succeeded"] == good
    assert look(database, bad).tries < look(database, bad).attempt, "no probe is charged"


def test_a_queue_runs_as_many_as_it_says(database: Database) -> None:
    limit_queue(database, "default", running=3, per_key=1)
    first, second = put_some(database, 2, turn_key="a")
    (third,) = put_some(database, 1)
    session = open_session(database)
    claimed = claim(database, session, 10)
    assert ids_of(claimed) == [first, third]
    assert all(run.limited for run in claimed)
    assert look(database, second).state_reason == "held by key 'a' of queue default (1 of 1 running)"
    fourth, fifth = put_some(database, 2)
    assert ids_of(claim(database, session, 10)) == [fourth]
    assert look(database, fifth).state_reason == "held by queue default (3 of 3 running)"
    finish(database, session, *(outcome(run) for run in claimed))
    assert set(ids_of(claim(database, session, 10))) == {second, fifth}


def test_a_limit_that_was_lifted_holds_nobody_back(database: Database) -> None:
    limit_queue(database, "default", running=1)
    put_some(database, 5)
    session = open_session(database)
    claim(database, session, 10)
    database.write(lambda tx: tx.core(update(queues).values(limits="{}")))
    assert let_go(database) == 4
    assert len(claim(database, session, 10)) == 4


def test_a_cancelled_held_run_leaves_nothing_behind(database: Database) -> None:
    first, second = put_some(database, 2, uses=uses(key("a", 1)))
    session = open_session(database)
    (run,) = claim(database, session, 10)
    assert database.write(lambda tx: cancel(tx, [second], "enough", NOON)).ended == {second}
    assert count(database, "holds") == 0
    assert finish(database, session, outcome(run)).released == 0
    assert look(database, first).state is RunState.SUCCEEDED


def test_a_held_run_that_expires_is_cancelled(database: Database) -> None:
    put_some(database, 1, uses=uses(key("a", 1)))
    (late,) = put_some(database, 1, uses=uses(key("a", 1)), expires_at=NOON + MINUTE)
    claim(database, open_session(database), 10)
    assert database.write(lambda tx: queueing.expire(tx, NOON + MINUTE)) == 1
    assert (look(database, late).state, count(database, "holds")) == (RunState.CANCELLED, 0)


def test_a_held_run_of_a_paused_queue_waits_and_keeps_nobody_else(database: Database) -> None:
    session = open_session(database)
    put_some(database, 1, uses=uses(key("a", 1)))
    (run,) = claim(database, session, 10)
    (paused,) = put_some(database, 1, uses=uses(key("a", 1)), queue="quiet")
    (other,) = put_some(database, 1, uses=uses(key("a", 1)))
    assert claim(database, session, 10, "quiet") == claim(database, session, 10) == []
    database.write(lambda tx: set_queue_paused(tx, "quiet", True, "repairs", NOON, "ann"))
    finish(database, session, outcome(run))
    (run,) = claim(database, session, 10)
    assert run.id == other
    finish(database, session, outcome(run))
    assert look(database, paused).state is RunState.HELD
    database.write(lambda tx: set_queue_paused(tx, "quiet", False, "", NOON, "ann"))
    assert let_go(database) == 1
    assert ids_of(claim(database, session, 10, "quiet")) == [paused]


def test_the_limited_are_marked_in_their_queue_however_they_came_there(database: Database) -> None:
    put(database, new_run(uses=uses(key("a", 1))), new_run(uses=uses(key("a", 1)), due_at=NOON + MINUTE), new_run())
    database.write(lambda tx: stage_due(tx, NOON + MINUTE))
    assert (count(database, "ready", "limited"), count(database, "ready", "NOT limited")) == (2, 1)


def test_a_claim_whose_reply_was_lost_is_adopted_with_its_limits(database: Database) -> None:
    from mainspring.ids import ClaimId, uuid7
    from mainspring.store import claiming

    limit_queue(database, "default", running=1)
    put_some(database, 1)
    session, mark = open_session(database), ClaimId(uuid7())
    taken = database.write(lambda tx: claiming.claim(tx, session, "default", 2, NOON, database.lease_now(), mark))
    assert database.read(lambda tx: claiming.adopt(tx, session, mark)) == taken
    assert taken[0].limited
