"""The mark of a schedule moves only from where the plan began, and with it goes all that was planned, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy

from mainspring.store import ledger
from mainspring.store.database import Database, Row, Tx
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.schema import schedules
from tests.store.arrange import HOUR, MINUTE, NOON, add, count, every, plan_due, schedule

LATER = NOON + MINUTE


@pytest.fixture
def other(postgres: PostgresDatabase, postgres_store_url: str) -> Iterator[PostgresDatabase]:
    """Another process on the same database."""
    database = PostgresDatabase(postgres_store_url)
    yield database
    database.close()


def set_schedule(tx: Tx, **values: Any) -> None:
    """Change the schedule behind everybody's back."""
    tx.core(sqlalchemy.update(schedules).values(**values))


@pytest.mark.parametrize("moved", ["version", "last_at", "effective_at"])
def test_a_mark_moves_only_from_where_the_plan_began(database: Database, moved: str) -> None:
    add(database, every(MINUTE))
    (planned,) = plan_due(database, LATER)
    value: object = {"version": 2}.get(moved, NOON - HOUR)
    database.write(lambda tx: set_schedule(tx, **{moved: value}))

    row = database.read(lambda tx: ledger._advance_row(tx, planned.plan, "2026a"))

    assert database.write(lambda tx: tx.many("advance_schedules", [row])) == 0
    assert schedule(database).next_at == LATER, "it stands where it stood"


def test_a_mark_that_does_not_move_lets_nothing_be_written(database: Database) -> None:
    add(database, every(MINUTE))
    planned = plan_due(database, LATER)

    def work(tx: Tx) -> None:
        ledger.fire(_ChangedAfterTheLock(tx), planned, LATER, "2026a")

    with pytest.raises(AssertionError, match="1 schedules were locked, yet the marks of 0 moved"):
        database.write(work)

    assert count(database, "runs") == 0
    assert count(database, "occurrences") == 0
    assert schedule(database).position.version == 1


class _ChangedAfterTheLock:
    """A transaction in which the schedule changes although it is locked."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        found = self._tx.rows(statement, parameters)
        if statement == "lock_schedules":
            set_schedule(self._tx, version=2)
        return found

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        return self._tx.many(statement, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)


def test_a_scheduler_leaves_out_what_another_one_holds(postgres: PostgresDatabase, other: PostgresDatabase) -> None:
    mine, theirs = postgres, other
    add(mine, every(MINUTE, "a"))
    add(mine, every(MINUTE, "b"))
    planned = plan_due(mine, LATER)
    (held,) = plan_due(theirs, LATER, only="a")

    def hold(tx: Tx) -> tuple[frozenset[Any], datetime | None]:
        ledger._standing(tx, [held.plan.position.schedule_id])
        done = mine.write(lambda other: ledger.fire(other, planned, LATER, "2026a"))
        return done.advanced, schedule(mine, "a").position.last_at

    advanced, mark = theirs.write(hold)

    assert advanced == {schedule(mine, "b").id}
    assert mark is None, "what another one holds is left to it"
