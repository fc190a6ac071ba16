"""A run goes to one worker, the best one first, and only to a session that lives."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from mainspring.clock import ManualClock
from mainspring.domain.runs import ClaimedRun, Ended
from mainspring.domain.states import RunState
from mainspring.ids import ClaimId, RunId, SessionId, uuid7
from mainspring.store import claiming, sessions
from mainspring.store.database import Database, Tx
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.queueing import stage_due
from mainspring.store.tables import set_queue_paused
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
    together,
)

Open = Callable[[], Database]


def test_enqueue_claim_finish(database: Database) -> None:
    (run_id,) = put(database, new_run(parameters='{"ticker":"PETR4"}'))
    session = open_session(database)
    run = claim_one(database, session, NOON + SECOND)
    assert (run.id, run.attempt, run.task, run.queue) == (run_id, 1, "demo.task", "default")
    assert (run.parameters, run.tries, run.losses, run.max_tries) == ('{"ticker":"PETR4"}', 0, 0, 4)
    running = look(database, run_id)
    assert (running.state, running.session_id, running.started_at) == (RunState.RUNNING, session, NOON + SECOND)
    assert finish(database, session, outcome(run, at=NOON + MINUTE)).fenced == frozenset()
    ended = look(database, run_id)
    assert (ended.state, ended.tries, ended.finished_at) == (RunState.SUCCEEDED, 1, NOON + MINUTE)


def test_priority_is_strict_and_within_one_the_first_come_is_first_served(database: Database) -> None:
    priorities = [2, 5, 9, 5, 0, 8, 9]
    ids = put(database, *(new_run(priority=priority) for priority in priorities))
    session = open_session(database)
    one_by_one = [claim_one(database, session) for _ in range(3)]
    rest = claim(database, session, 10)
    expected = [ids[2], ids[6], ids[5], ids[1], ids[3], ids[0], ids[4]]
    assert [run.id for run in [*one_by_one, *rest]] == expected


def test_an_interrupted_run_keeps_its_place(database: Database) -> None:
    first, second, third = put_some(database, 3)
    session = open_session(database)
    run = claim_one(database, session)
    finish(database, session, outcome(run, Ended.INTERRUPTED))
    assert [run.id for run in claim(database, session, 5)] == [first, second, third]


def test_a_rescued_run_keeps_its_place(database: Database, clock: ManualClock) -> None:
    first, second = put_some(database, 2)
    claim_one(database, open_session(database))
    clock.advance(TTL)
    assert rescue(database).returned == (first,)
    session = open_session(database)
    assert [run.id for run in claim(database, session, 5)] == [first, second]


def test_a_retried_run_goes_to_the_end_of_the_queue(database: Database) -> None:
    first, second = put_some(database, 2)
    session = open_session(database)
    finish(database, session, outcome(claim_one(database, session), Ended.RETRIED))
    assert look(database, first).state is RunState.SCHEDULED
    assert look(database, first).due_at == NOON + MINUTE
    database.write(lambda tx: stage_due(tx, NOON + MINUTE))
    assert [run.id for run in claim(database, session, 5)] == [second, first]


def test_a_claim_takes_no_more_than_was_asked_for(database: Database) -> None:
    put_some(database, 5)
    session = open_session(database)
    assert len(claim(database, session, 3)) == 3
    assert count(database, "ready") == 2


def test_a_claim_takes_only_from_its_queue(database: Database) -> None:
    put_some(database, 1, queue="other")
    assert claim(database, open_session(database), 5) == []


def test_a_dead_session_claims_nothing(database: Database) -> None:
    put_some(database, 1)
    session = open_session(database)
    database.write(lambda tx: sessions.end_session(tx, session, "dead", "killed", NOON))
    assert claim(database, session) == []
    assert count(database, "ready") == 1


def test_a_session_claims_nothing_from_the_moment_its_lease_ends(database: Database, clock: ManualClock) -> None:
    put_some(database, 2)
    session = open_session(database)
    clock.advance(TTL - SECOND)
    assert len(claim(database, session)) == 1
    clock.advance(SECOND)
    assert claim(database, session) == []
    assert count(database, "ready") == 1


def test_an_unknown_session_claims_nothing(database: Database) -> None:
    put_some(database, 1)
    assert claim(database, SessionId(uuid7())) == []


def test_a_paused_queue_is_not_claimed(database: Database) -> None:
    put_some(database, 1)
    session = open_session(database)
    assert database.write(lambda tx: set_queue_paused(tx, "default", True, "repairs", NOON, "ann")) is True
    assert claim(database, session) == []
    assert database.read(lambda tx: claiming.queues_with_work(tx, ["default"])) == []
    assert database.write(lambda tx: set_queue_paused(tx, "default", False, "", NOON, "ann")) is True
    assert len(claim(database, session)) == 1


def test_pausing_twice_changes_nothing(database: Database) -> None:
    database.write(lambda tx: set_queue_paused(tx, "default", True, "repairs", NOON, "ann"))
    before = contents(database)
    assert database.write(lambda tx: set_queue_paused(tx, "default", True, "again", NOON + SECOND, "bob")) is False
    assert contents(database) == before


def test_queues_with_work_keep_the_order_in_which_they_were_asked_for(database: Database) -> None:
    for queue in ("low", "high", "odd 'queue' \\ ☂"):
        put_some(database, 1, queue=queue)
    asked = ["odd 'queue' \\ ☂", "empty", "high", "low"]
    assert database.read(lambda tx: claiming.queues_with_work(tx, asked)) == ["odd 'queue' \\ ☂", "high", "low"]


def test_attempt_numbers_only_grow(database: Database, clock: ManualClock) -> None:
    (run_id,) = put_some(database, 1)
    seen = []
    for _ in range(3):
        session = open_session(database)
        run = claim_one(database, session)
        seen.append(run.attempt)
        finish(database, session, outcome(run, Ended.INTERRUPTED))
        run = claim_one(database, session)
        seen.append(run.attempt)
        clock.advance(TTL)
        rescue(database)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert (look(database, run_id).tries, look(database, run_id).losses) == (0, 3)


def test_four_workers_at_once_claim_each_of_2000_runs_exactly_once(open_database: Open, database: Database) -> None:
    ids = put_some(database, 2_000)

    def worker(own: Database) -> list[RunId]:
        session, mine = open_session(own), []
        while runs := claim(own, session, 25):
            mine += [run.id for run in runs]
        return mine

    # Two share a connection pool, as lanes of one worker do; two are processes of their own.
    databases = [database, database, open_database(), open_database()]
    claimed = together(*(lambda own=own: worker(own) for own in databases))  # type: ignore[misc]
    times = Counter(run_id for mine in claimed for run_id in mine)
    assert times == Counter(ids)
    assert count(database, "ready") == 0
    assert count(database, "runs", "state = 'running' AND attempt = 1") == 2_000


def test_each_worker_claims_in_order_though_others_claim_too(open_database: Open, database: Database) -> None:
    order = {run_id: place for place, run_id in enumerate(put_some(database, 300))}

    def worker(own: Database) -> list[int]:
        session, mine = open_session(own), []
        while runs := claim(own, session, 7):
            mine += [order[run.id] for run in runs]
        return mine

    for mine in together(lambda: worker(database), lambda: worker(open_database())):
        assert mine == sorted(mine)


def test_a_claim_whose_reply_was_lost_is_adopted_by_its_mark(database: Database) -> None:
    put_some(database, 3)
    session = open_session(database)
    mark = ClaimId(uuid7())
    taken = database.write(lambda tx: claiming.claim(tx, session, "default", 2, NOON, database.lease_now(), mark))
    assert database.read(lambda tx: claiming.adopt(tx, session, mark)) == taken
    assert database.read(lambda tx: claiming.adopt(tx, session, ClaimId(uuid7()))) == []


def test_a_repeated_cycle_adopts_what_its_first_try_took_and_does_not_take_twice(database: Database) -> None:
    put_some(database, 5)
    session = open_session(database)
    mark = ClaimId(uuid7())
    taken = database.write(lambda tx: claiming.claim(tx, session, "default", 3, NOON, database.lease_now(), mark))
    repeating = _Repeating(database)
    _, claimed = claiming.cycle(repeating, session, [], list, ["default"], 3, NOON, mark)  # type: ignore[arg-type]
    assert claimed == taken
    assert count(database, "ready") == 2


class _Repeating:
    """A database that says of every transaction that it may have been committed before."""

    def __init__(self, database: Database) -> None:
        self.read, self.lease_now, self._write = database.read, database.lease_now, database.write

    def write(self, work: Callable[[object], object]) -> object:
        def again(tx: object) -> object:
            tx.repeated = True  # type: ignore[attr-defined]
            try:
                return work(tx)
            finally:
                tx.repeated = False  # type: ignore[attr-defined]

        return self._write(again)


def _cycle(database: Database, session: SessionId, queues: list[str], free: int) -> list[ClaimedRun]:
    return claiming.cycle(database, session, [], lambda names: names, queues, free, NOON)[1]


def test_a_cycle_fills_the_free_slots_from_queues_in_their_order(database: Database) -> None:
    low = put_some(database, 3, queue="low")
    high = put_some(database, 2, queue="high")
    session = open_session(database)
    claimed = _cycle(database, session, ["high", "low"], 4)
    assert [run.id for run in claimed] == [*high, *low[:2]]


def test_a_cycle_without_free_slots_claims_nothing(database: Database) -> None:
    put_some(database, 1)
    assert _cycle(database, open_session(database), ["default"], 0) == []


def test_a_cycle_with_nothing_to_do_does_not_write(database: Database) -> None:
    session = open_session(database)

    def refuse(_: object) -> None:
        raise AssertionError("wrote")

    idle = _Repeating(database)
    idle.write = refuse  # type: ignore[method-assign,assignment]
    assert claiming.cycle(idle, session, [], list, ["default"], 5, NOON)[1] == []  # type: ignore[arg-type]


def test_a_row_in_a_queue_whose_run_is_not_ready_is_swept_away_and_not_claimed(database: Database) -> None:
    (run_id,) = put_some(database, 1)
    from sqlalchemy import update

    from mainspring.store.schema import runs

    values = {"state": "cancelled", "finished_at": NOON}
    database.write(lambda tx: tx.core(update(runs).where(runs.c.id == run_id).values(**values)))
    assert claim(database, open_session(database), 5) == []
    assert count(database, "ready") == 0


def test_a_claim_and_a_burial_at_once_never_park_a_run_on_a_dead_session(open_database: Open) -> None:
    first, second = open_database(), open_database()
    for _ in range(10):
        put_some(first, 4)
        session = open_session(first)
        start = threading.Event()

        def bury() -> None:
            start.wait(5)  # noqa: B023
            second.write(lambda tx: sessions.end_session(tx, session, "dead", "killed", NOON))  # noqa: B023
            rescue(second)

        def take() -> None:
            start.set()  # noqa: B023
            claim(first, session, 4)  # noqa: B023

        together(take, bury)
        rescue(first)
        assert count(first, "runs", "state = 'running'") == 0
        assert count(first, "ready") == count(first, "runs", "state = 'ready'")


# What follows needs two transactions at once: only PostgreSQL lets a second one begin.


def _while_claiming(postgres: PostgresDatabase, session: SessionId, n: int, meanwhile: Callable[[], None]) -> None:
    def work(tx: Tx) -> None:
        taken = claiming.claim(tx, session, "default", n, NOON, postgres.lease_now(), ClaimId(uuid7()))
        assert len(taken) == n
        meanwhile()

    postgres.write(work)


def test_a_claim_does_not_wait_for_another_and_takes_the_next_runs(postgres: PostgresDatabase) -> None:
    ids = put_some(postgres, 4)
    first, second = open_session(postgres), open_session(postgres)
    taken: list[RunId] = []
    _while_claiming(postgres, first, 2, lambda: taken.extend(run.id for run in claim(postgres, second, 2)))
    assert taken == ids[2:]


def test_a_session_is_not_buried_while_it_claims(postgres: PostgresDatabase, clock: ManualClock) -> None:
    (run_id,) = put_some(postgres, 1)
    session = open_session(postgres)
    meanwhile: list[sessions.Rescued] = []

    def bury() -> None:
        clock.advance(TTL)
        meanwhile.append(rescue(postgres))

    _while_claiming(postgres, session, 1, bury)
    assert meanwhile == [sessions.Rescued()]
    assert rescue(postgres).returned == (run_id,)


def test_a_session_of_which_one_lane_claims_can_claim_in_another(postgres: PostgresDatabase) -> None:
    put_some(postgres, 2)
    session = open_session(postgres)
    taken: list[ClaimedRun] = []
    _while_claiming(postgres, session, 1, lambda: taken.extend(claim(postgres, session, 1)))
    assert len(taken) == 1
