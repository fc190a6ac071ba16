"""Two transactions at once on one limit: only PostgreSQL lets the second one begin."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mainspring.domain.runs import ClaimedRun
from mainspring.domain.states import RunState
from mainspring.ids import ClaimId, SessionId, uuid7
from mainspring.store import claiming, limiting
from mainspring.store.database import Database, Tx
from mainspring.store.limiting import Judge
from mainspring.store.postgres.database import PostgresDatabase
from tests.store.arrange import NOON, claim, count, finish, look, open_session, outcome, put_some, together
from tests.store.test_limits import key, uses

Open = Callable[[], Database]


def _claiming(postgres: PostgresDatabase, session: SessionId, meanwhile: Callable[[Tx], Any]) -> list[ClaimedRun]:
    def work(tx: Tx) -> list[ClaimedRun]:
        taken = claiming.claim(tx, session, "default", 1, NOON, postgres.lease_now(), ClaimId(uuid7()))
        meanwhile(tx)
        return taken

    return postgres.write(work)


def test_who_claims_second_counts_what_the_first_has_taken(postgres: PostgresDatabase) -> None:
    put_some(postgres, 2, uses=uses(key("a", 1)))
    sessions = [open_session(postgres), open_session(postgres)]
    second: list[list[ClaimedRun]] = []
    thread = threading.Thread(target=lambda: second.append(claim(postgres, sessions[1], 1)))

    def start_second(tx: Any) -> None:
        thread.start()
        # It has committed, which must not happen, or it waits for what we hold.
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while thread.is_alive() and not tx.raw().execute(waiting).fetchone()[0]:
            thread.join(0.01)

    first = _claiming(postgres, sessions[0], start_second)
    thread.join(20)
    assert len(first) == 1
    assert second == [[]]
    assert count(postgres, "runs", "state = 'held'") == 1


def test_a_claim_that_holds_a_limit_does_not_wait_for_another(postgres: PostgresDatabase) -> None:
    put_some(postgres, 1, uses=uses("b"))
    (other,) = put_some(postgres, 1, uses=uses("a"), queue="other")
    session = open_session(postgres)

    def with_a_held_elsewhere(tx: Tx) -> list[ClaimedRun]:
        judge = Judge(tx, NOON)
        mark, lease_now = ClaimId(uuid7()), postgres.lease_now()
        taken = claiming.claim(tx, session, "default", 1, NOON, lease_now, mark, judge)

        def hold_a(second: Tx) -> None:
            assert Judge(second, NOON).lock(["a"])
            taken.extend(claiming.claim(tx, session, "other", 1, NOON, lease_now, mark, judge))

        postgres.write(hold_a)
        assert judge.more
        return taken

    assert len(postgres.write(with_a_held_elsewhere)) == 1
    assert look(postgres, other).state is RunState.READY
    assert len(claim(postgres, session, 1, "other")) == 1


def test_the_ends_of_limited_runs_are_recorded_before_anything_is_claimed(database: Database) -> None:
    put_some(database, 1, uses=uses(key("a", 1)))
    put_some(database, 1)
    session = open_session(database)
    run = next(run for run in claim(database, session, 2) if run.limited)
    put_some(database, 1)
    held: list[int] = []
    result, claimed = claiming.cycle(
        database, session, [outcome(run)], lambda names: held.append(count(database, "holdings")) or names,
        ["default"], 5, NOON,
    )  # fmt: skip
    assert held == [0], "another transaction sees it"
    assert (result.fenced, len(claimed)) == (frozenset(), 1)


@pytest.mark.parametrize("limit", [1, 3])
def test_four_workers_at_once_never_exceed_a_limit(open_database: Open, database: Database, limit: int) -> None:
    ids = put_some(database, 60, uses=uses(key("a", limit)))
    lock, running, most, done = threading.Lock(), [0], [0], Counter[str]()

    def worker(own: Database) -> None:
        session = open_session(own)
        for _ in range(2_000):
            claimed = claim(own, session, 2)
            with lock:
                running[0] += len(claimed)
                most[0] = max(most[0], running[0])
                done.update(run.id for run in claimed)
                running[0] -= len(claimed)
            finish(own, session, *(outcome(run) for run in claimed))
            if sum(done.values()) >= len(ids):
                return
            own.write(lambda tx: limiting.let_go(tx, ["key/task:demo:a"], NOON))

    databases: Sequence[Database] = [database, open_database(), open_database()]
    together(*(lambda own=own: worker(own) for own in databases))  # type: ignore[misc]
    assert done == Counter(ids)
    assert most[0] <= limit
    assert count(database, "runs", "state = 'succeeded'") == len(ids)
    assert (count(database, "holds"), count(database, "holdings"), count(database, "ready")) == (0, 0, 0)


def test_a_refusal_while_another_ends_at_the_same_moment_loses_no_wake_up(postgres: PostgresDatabase) -> None:
    for _ in range(15):
        put_some(postgres, 2, uses=uses(key("a", 1)))
        first, second = open_session(postgres), open_session(postgres)
        (run,) = claim(postgres, first, 1)
        taken: list[list[ClaimedRun]] = []
        together(
            lambda: finish(postgres, first, outcome(run)),  # noqa: B023
            lambda: taken.append(claim(postgres, second, 1)),  # noqa: B023
        )
        rest = taken[0] or claim(postgres, second, 1)
        assert len(rest) == 1
        finish(postgres, second, outcome(rest[0]))
