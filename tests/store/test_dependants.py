"""What follows for runs that wait when those that they need end: they become ready, or may never start."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, update

from mainspring.clock import ManualClock
from mainspring.domain.dependencies import Need, OnFailure, is_open, why_not
from mainspring.domain.runs import ClaimedRun, Ended
from mainspring.domain.states import FINAL, RunState
from mainspring.ids import RunId, SessionId
from mainspring.store import dependants, queueing
from mainspring.store import runs as stored
from mainspring.store.database import Database
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.schema import runs
from tests.store.arrange import (
    HOUR,
    NOON,
    SECOND,
    claim,
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

T = TypeVar("T")
STOP, GO_ON, COMPENSATE = OnFailure
S = RunState


def need(*ids: RunId, policy: OnFailure = STOP) -> tuple[Need, ...]:
    return tuple(Need(run_id, policy) for run_id in ids)


def put_after(database: Database, *ids: RunId, policy: OnFailure = STOP, **changes: Any) -> RunId:
    (run_id,) = put(database, new_run(needs=need(*ids, policy=policy), **changes))
    return run_id


def state(database: Database, run_id: RunId) -> tuple[RunState, str | None]:
    run = look(database, run_id)
    return run.state, run.state_reason


def needs_left(database: Database, run_id: RunId) -> int:
    query = select(runs.c.needs_left).where(runs.c.id == run_id)
    return int(database.read(lambda tx: tx.core(query).scalar_one()))


def work(database: Database, *ends: tuple[RunId, Ended]) -> int:
    """Claim these runs, which must be ready, and end them in one transaction; return how many others that released."""
    session = open_session(database)
    held = {run.id: run for run in claim(database, session, 50)}
    result = finish(database, session, *(outcome(held.pop(run_id), how) for run_id, how in ends))
    finish(database, session, *(outcome(run, Ended.INTERRUPTED) for run in held.values()))
    assert not result.fenced
    return result.released


def retry(database: Database, run_id: RunId) -> None:
    run = look(database, run_id)
    (place,) = database.write(lambda tx: list(queueing.take_places(tx, 1)))
    assert database.write(lambda tx: stored.reopen(tx, run, place, NOON + HOUR, 1))


def overlooked(database: Database) -> dependants.Followed:
    found = database.read(dependants.look).found
    return database.write(lambda tx: queueing.release_waiting(tx, found, NOON))


def test_a_run_starts_when_the_last_that_it_needs_has_ended_and_not_before(database: Database) -> None:
    first, second = put_some(database, 2)
    both = put_after(database, first, second)
    assert needs_left(database, both) == 2
    assert work(database, (first, Ended.SUCCEEDED)) == 0
    assert (state(database, both)[0], needs_left(database, both)) == (S.WAITING, 1)
    assert work(database, (second, Ended.SUCCEEDED)) == 1
    assert state(database, both)[0] is S.READY


def test_two_that_end_in_one_transaction_release_what_needs_both_once(database: Database) -> None:
    first, second = put_some(database, 2)
    both = put_after(database, first, second)
    assert work(database, (first, Ended.SUCCEEDED), (second, Ended.SUCCEEDED)) == 1
    assert count(database, "ready", f"run_id = '{both}'") == 1


def test_a_try_that_is_not_the_last_releases_nothing(database: Database) -> None:
    (first,) = put_some(database, 1)
    after = put_after(database, first)
    assert work(database, (first, Ended.RETRIED)) == 0
    assert (state(database, after)[0], needs_left(database, after)) == (S.WAITING, 1)


def test_a_failure_stops_all_that_needs_it_step_by_step_with_the_reason(database: Database) -> None:
    (first,) = put_some(database, 1, task="demo.fetch")
    second = put_after(database, first, task="demo.parse")
    third = put_after(database, second)
    assert work(database, (first, Ended.FAILED)) == 0
    assert state(database, second) == (S.CANCELLED, f"run {first} of task demo.fetch failed")
    assert state(database, third) == (S.CANCELLED, f"run {second} of task demo.parse was cancelled")
    assert look(database, third).finished_at == NOON


def test_a_failure_stops_at_once_what_waits_for_others_as_well(database: Database) -> None:
    first, second = put_some(database, 2)
    both = put_after(database, first, second)
    work(database, (first, Ended.FAILED))
    assert state(database, both)[0] is S.CANCELLED
    assert work(database, (second, Ended.SUCCEEDED)) == 0, "and what ends later changes nothing"
    assert state(database, both)[0] is S.CANCELLED


@pytest.mark.parametrize("how", [Ended.SUCCEEDED, Ended.FAILED, Ended.CANCELLED])
def test_what_goes_on_runs_however_the_needed_run_ended(database: Database, how: Ended) -> None:
    (first,) = put_some(database, 1)
    after = put_after(database, first, policy=GO_ON)
    assert work(database, (first, how)) == 1
    assert state(database, after)[0] is S.READY


def test_a_compensation_runs_only_if_the_needed_run_failed_or_was_stopped_half_way(database: Database) -> None:
    good, bad, stopped, never = put_some(database, 4, task="t")
    undo = {run_id: put_after(database, run_id, policy=COMPENSATE) for run_id in (good, bad, stopped, never)}
    assert len(database.write(lambda tx: queueing.cancel(tx, [never], "x", NOON)).ended) == 1
    assert work(database, (good, Ended.SUCCEEDED), (bad, Ended.FAILED), (stopped, Ended.CANCELLED)) == 2
    assert state(database, undo[bad])[0] is state(database, undo[stopped])[0] is S.READY
    assert state(database, undo[good]) == (S.CANCELLED, f"not needed: run {good} of task t succeeded")
    begin = "was cancelled before it began"
    assert state(database, undo[never]) == (S.CANCELLED, f"not needed: run {never} of task t {begin}")


def test_what_needs_runs_that_have_ended_is_judged_as_it_is_put_in(database: Database) -> None:
    good, bad = put_some(database, 2, task="t")
    work(database, (good, Ended.SUCCEEDED), (bad, Ended.FAILED))
    assert state(database, put_after(database, good))[0] is S.READY
    assert state(database, put_after(database, good, bad)) == (S.CANCELLED, f"run {bad} of task t failed")
    assert state(database, put_after(database, bad, policy=COMPENSATE))[0] is S.READY
    assert state(database, put_after(database, good, bad, policy=GO_ON))[0] is S.READY


def test_a_run_that_was_purged_gives_nothing_but_does_not_hold_up_what_goes_on(database: Database) -> None:
    gone = new_run().id
    assert state(database, put_after(database, gone, policy=GO_ON))[0] is S.READY
    assert state(database, put_after(database, gone)) == (S.CANCELLED, f"run {gone} does not exist any more")


def test_putting_in_twice_changes_nothing(database: Database) -> None:
    first = new_run()
    after = new_run(needs=need(first.id))
    put(database, first, after)
    before = contents(database, "counters")
    put(database, first, after)
    assert contents(database, "counters") == before
    work(database, (first.id, Ended.SUCCEEDED))
    work(database, (after.id, Ended.SUCCEEDED))
    put(database, first, after)
    assert state(database, after.id)[0] is S.SUCCEEDED


def test_cancel_and_expiry_are_ends_like_any_other(database: Database) -> None:
    (cancelled, expired) = put(database, new_run(), new_run(expires_at=NOON + SECOND))
    stopped, goes_on = put_after(database, cancelled), put_after(database, expired, policy=GO_ON)
    database.write(lambda tx: queueing.cancel(tx, [cancelled], "not wanted", NOON))
    assert state(database, stopped)[0] is S.CANCELLED
    assert database.write(lambda tx: queueing.expire(tx, NOON + SECOND)) == 1
    assert state(database, goes_on)[0] is S.READY


def test_a_run_asked_to_cancel_that_was_to_be_tried_again_is_an_end(database: Database) -> None:
    (first,) = put_some(database, 1)
    after = put_after(database, first)
    session = open_session(database)
    (held,) = claim(database, session)
    database.write(lambda tx: queueing.cancel(tx, [first], "not wanted", NOON))
    finish(database, session, outcome(held, Ended.RETRIED))
    assert state(database, first)[0] is state(database, after)[0] is S.CANCELLED


def test_a_run_lost_with_its_worker_is_an_end(database: Database, clock: ManualClock) -> None:
    (once,) = put_some(database, 1, at_most_once=True)
    stopped, undo = put_after(database, once), put_after(database, once, policy=COMPENSATE)
    session = open_session(database)
    claim(database, session)
    clock.advance(timedelta(minutes=1))
    done = rescue(database, clock.now())
    assert (done.lost, done.released) == ((once,), (undo,))
    assert state(database, stopped)[0] is S.CANCELLED


def test_what_an_older_release_ended_is_found_by_the_look_at_those_who_wait(database: Database) -> None:
    good, bad, under_way = put_some(database, 3)
    after = put_after(database, good)
    stopped = put_after(database, bad, under_way)
    # As if its code knew nothing of those who wait.
    for run_id, end in ((good, S.SUCCEEDED), (bad, S.CANCELLED)):
        values = {"state": end.value, "finished_at": NOON}
        database.write(lambda tx, r=run_id, v=values: tx.core(update(runs).where(runs.c.id == r).values(**v)))  # type: ignore[misc]
    done = overlooked(database)
    assert (done.released, done.cancelled) == ([after], [stopped])
    assert database.read(dependants.look) == dependants.Look((), dependants.FIRST)


def test_a_count_that_is_too_low_is_mended_and_starts_nothing(database: Database) -> None:
    first, second = put_some(database, 2)
    both = put_after(database, first, second)
    database.write(lambda tx: tx.core(update(runs).where(runs.c.id == both).values(needs_left=0)))
    assert overlooked(database) == dependants.Followed()
    assert (state(database, both)[0], needs_left(database, both)) == (S.WAITING, 2)
    assert work(database, (first, Ended.SUCCEEDED), (second, Ended.SUCCEEDED)) == 1


def test_a_look_reads_a_page_and_goes_on_where_it_stopped(database: Database) -> None:
    first, second = put_some(database, 2)
    waiting = sorted(put(database, *(new_run(needs=need(first, second)) for _ in range(5))))
    query = update(runs).where(runs.c.id == waiting[3]).values(needs_left=7)
    database.write(lambda tx: tx.core(query))
    page = database.read(lambda tx: dependants.look(tx, most=2))
    assert page == dependants.Look((), waiting[1])
    page = database.read(lambda tx: dependants.look(tx, page.after, 2))
    assert page.after == waiting[3]
    page = database.read(lambda tx: dependants.look(tx, page.after, 2))
    assert page.after == waiting[4]
    assert database.read(lambda tx: dependants.look(tx, page.after, 2)).after == dependants.FIRST


def test_a_retry_by_hand_lets_wait_again_what_the_failure_had_stopped(database: Database) -> None:
    first, other = put_some(database, 2)
    second = put_after(database, first)
    third = put_after(database, second, other)
    apart = put_after(database, first, other, policy=GO_ON)
    by_hand = put_after(database, first)
    database.write(lambda tx: queueing.cancel(tx, [by_hand], "cancelled by ada", NOON))
    work(database, (first, Ended.FAILED))
    retry(database, first)
    assert [needs_left(database, r) for r in (second, third, apart)] == [1, 2, 2]
    assert state(database, second) == state(database, third) == (S.WAITING, None)
    assert state(database, by_hand) == (S.CANCELLED, "cancelled by ada")
    assert work(database, (first, Ended.SUCCEEDED), (other, Ended.SUCCEEDED)) == 2
    assert work(database, (second, Ended.SUCCEEDED)) == 1
    assert state(database, third)[0] is S.READY


def test_what_two_failures_stopped_waits_again_only_when_both_are_retried(database: Database) -> None:
    one, two = put_some(database, 2, task="t")
    both = put_after(database, one, two)
    work(database, (one, Ended.FAILED), (two, Ended.FAILED))
    stopper = one if one in (state(database, both)[1] or "") else two
    other = two if stopper == one else one
    retry(database, stopper)
    assert state(database, both) == (S.CANCELLED, f"run {other} of task t failed")
    retry(database, other)
    assert (state(database, both), needs_left(database, both)) == ((S.WAITING, None), 2)


def test_a_graph_is_worked_off_as_its_policies_say_whatever_happens(database: Database) -> None:
    """Compare random graphs, ended in random ways, with the rules applied to the whole graph at once."""
    chance = random.Random(20260302)
    for _ in range(6):
        made: list[tuple[RunId, tuple[Need, ...]]] = []
        for _ in range(14):
            picked = chance.sample(made, min(len(made), chance.choice((0, 1, 1, 2, 3))))
            run = new_run(needs=tuple(Need(r, chance.choice(list(OnFailure))) for r, _ in picked))
            put(database, run)
            made.append((run.id, run.needs))
        _work_off(database, made, chance)
    assert overlooked(database) == dependants.Followed(), "nothing was overlooked"


def _work_off(database: Database, made: Sequence[tuple[RunId, tuple[Need, ...]]], chance: random.Random) -> None:
    session = open_session(database)
    endings = (Ended.SUCCEEDED, Ended.SUCCEEDED, Ended.FAILED, Ended.CANCELLED, Ended.INTERRUPTED)
    query = select(runs.c.id, runs.c.task, runs.c.state, runs.c.attempt, runs.c.needs_left)
    while held := claim(database, session, chance.choice((1, 2, 5))):
        finish(database, session, *(outcome(run, chance.choice(endings)) for run in held))
        found = {row.id: row for row in database.read(lambda tx: tx.core(query).all())}
        unstarted = [run_id for run_id, _ in made if found[run_id].state in (S.WAITING, S.READY)]
        if unstarted and chance.random() < 0.2:
            one = chance.choice(unstarted)
            database.write(lambda tx, one=one: queueing.cancel(tx, [one], "by hand", NOON))  # type: ignore[misc]
            found = {row.id: row for row in database.read(lambda tx: tx.core(query).all())}
        for run_id, needs in made:
            _judge(found[run_id], [(need, found[need.run_id]) for need in needs])


def _judge(run: Any, needs: Sequence[tuple[Need, Any]]) -> None:
    doomed = any(
        why_not(need.policy, other.id, other.task, S(other.state), began=other.attempt > 0) for need, other in needs
    )
    unfinished = sum(is_open(S(other.state)) for _, other in needs)
    if doomed:
        assert (run.state, run.attempt) == (S.CANCELLED, 0)
    elif unfinished:
        assert run.state == S.CANCELLED or (run.state, run.needs_left) == (S.WAITING, unfinished)
    else:
        assert run.state != S.WAITING


# Two at the same moment, on PostgreSQL. The first holds its transaction open until the second waits for it.

_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
def other(postgres_store_url: str, clock: ManualClock) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(postgres_store_url, lease_clock=clock.now)
    yield database
    database.close()


def overlapping(
    first: PostgresDatabase, mine: Callable[[Any], T], theirs: Callable[[], Any], looker: PostgresDatabase
) -> tuple[T, Any]:
    """Do *mine* in a transaction of *first* that stays open until *theirs* waits for it."""
    with ThreadPoolExecutor(1) as pool:
        begun: list[Future[Any]] = []

        def work(tx: Any) -> T:
            result = mine(tx)
            begun.append(pool.submit(theirs))
            _wait_until_blocked(looker, begun[0])
            return result

        done = first.write(work)
        return done, begun[0].result(20)


def _wait_until_blocked(looker: PostgresDatabase, rival: Future[Any]) -> None:
    pause = threading.Event()
    for _ in range(1_000):
        if rival.done() or looker.read(lambda tx: tx.raw().execute(_BLOCKED).fetchone()[0]):
            return
        pause.wait(0.01)
    raise AssertionError("the rival neither waits nor ends")


def _held(database: Database, *ids: RunId) -> tuple[SessionId, dict[RunId, ClaimedRun]]:
    session = open_session(database)
    held = {run.id: run for run in claim(database, session, 10)}
    assert set(held) == set(ids)
    return session, held


def test_two_that_end_at_the_same_moment_release_what_needs_both(
    postgres: PostgresDatabase, other: PostgresDatabase, open_postgres: Callable[[], PostgresDatabase]
) -> None:
    from mainspring.store import claiming

    first, second = put_some(postgres, 2)
    both = put_after(postgres, first, second)
    # Two workers: one alone would meet itself at its own statistics before.
    session, rival = open_session(postgres), open_session(postgres)
    (held,), (rivals,) = claim(postgres, session), claim(postgres, rival)
    assert (held.id, rivals.id) == (first, second)
    mine, theirs = overlapping(
        postgres,
        lambda tx: claiming.finish(tx, session, [outcome(held)], NOON),
        lambda: finish(other, rival, outcome(rivals)),
        open_postgres(),
    )
    assert (mine.released, theirs.released) == (0, 1), "whoever comes second counts from what the first has left"
    assert (state(postgres, both)[0], needs_left(postgres, both)) == (S.READY, 0)


def test_what_is_put_in_while_the_needed_run_ends_is_released_by_that_end(
    postgres: PostgresDatabase, other: PostgresDatabase, open_postgres: Callable[[], PostgresDatabase]
) -> None:
    (first,) = put_some(postgres, 1)
    session, held = _held(postgres, first)
    after = new_run(needs=need(first))
    _, theirs = overlapping(
        postgres,
        lambda tx: queueing.insert_runs(tx, [after], NOON),
        lambda: finish(other, session, outcome(held[first])),
        open_postgres(),
    )
    assert theirs.released == 1
    assert state(postgres, after.id)[0] is S.READY


def test_what_is_put_in_after_an_end_that_is_not_committed_yet_is_released_by_itself(
    postgres: PostgresDatabase, other: PostgresDatabase, open_postgres: Callable[[], PostgresDatabase]
) -> None:
    from mainspring.store import claiming

    (first,) = put_some(postgres, 1)
    session, held = _held(postgres, first)
    after = new_run(needs=need(first))
    overlapping(
        postgres,
        lambda tx: claiming.finish(tx, session, [outcome(held[first])], NOON),
        lambda: put(other, after),
        open_postgres(),
    )
    assert state(postgres, after.id)[0] is S.READY


@pytest.fixture
def open_postgres(postgres_store_url: str, clock: ManualClock) -> Iterator[Callable[[], PostgresDatabase]]:
    opened: list[PostgresDatabase] = []

    def open_again() -> PostgresDatabase:
        opened.append(PostgresDatabase(postgres_store_url, lease_clock=clock.now))
        return opened[-1]

    yield open_again
    for database in opened:
        database.close()


def test_an_end_is_final_for_those_who_wait_only_once(database: Database) -> None:
    first, second = put_some(database, 2)
    both = put_after(database, first, second)
    session = open_session(database)
    held = {run.id: run for run in claim(database, session, 2)}
    finish(database, session, outcome(held[first]))
    again = finish(database, session, outcome(held[first]))
    assert (again.released, again.fenced) == (0, frozenset()), "said twice after a lost reply"
    assert (state(database, both)[0], needs_left(database, both)) == (S.WAITING, 1)
    assert {S.SUCCEEDED, S.FAILED, S.CANCELLED} == FINAL
