"""The driver's own repetition of a transaction whose commit nobody heard of."""

from __future__ import annotations

from typing import Any

import psycopg

from mainspring.store import claiming
from mainspring.store.postgres.database import PostgresDatabase
from tests.store.arrange import NOON, count, open_session, put_some


def test_a_claim_whose_commit_was_heard_of_by_nobody_is_adopted_by_the_drivers_own_repetition(
    postgres: PostgresDatabase,
) -> None:
    session = open_session(postgres)
    wanted = set(put_some(postgres, 2))
    once = postgres._once
    lost: list[Any] = []

    def deaf(*arguments: Any, **more: Any) -> Any:
        result = once(*arguments, **more)
        if more["transaction"] and not lost:
            lost.append(result)
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return result

    postgres._once = deaf  # type: ignore[method-assign]
    _, claimed = claiming.cycle(postgres, session, (), list, ("default",), 2, NOON)

    assert len(lost) == 1, "a commit went unheard"
    assert {run.id for run in claimed} == wanted
    assert [run.attempt for run in claimed] == [1, 1]
    assert count(postgres, "runs", "state = 'running'") == 2
