"""What asks for dead letters reads them alone: decided ones cost nothing, however many there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement, Executable

from mainspring.ids import RunId
from mainspring.store import dead_letters
from mainspring.store.database import Database, Tx
from mainspring.store.dead_letters import DeadFilter
from mainspring.store.types import to_micros
from tests.store.arrange import NOON

DECIDED, UNDECIDED = 20_000, 20_000
GROUP = DeadFilter(signature="00000000000000aa")
NEWEST = RunId("00000000-0000-7000-8000-00000000ffff")


class _Explained(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement: Any) -> None:
        self.statement = statement


@compiles(_Explained)
def _compiled(element: Any, compiler: Any, **given: Any) -> str:
    how = "EXPLAIN QUERY PLAN " if compiler.dialect.name == "sqlite" else "EXPLAIN "
    return how + str(compiler.process(element.statement, **given))


class _Planning:
    """A transaction that keeps the plan of every query."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.plans: list[str] = []
        self.dialect = tx.dialect

    def core(self, statement: Any, parameters: Any = None) -> Any:
        self.plans.append("\n".join(str(row[-1]) for row in self._tx.core(_Explained(statement))))
        return self._tx.core(statement, parameters)


_FILL = """
INSERT INTO {runs} (id, task, queue, priority, state, failure_kind, kind, max_tries, at_most_once, due_at, created_at,
                    finished_at, decided_at, failure_signature)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})
SELECT {id}, 'demo.task', 'default', 5, 'failed', 'error', 'enqueued', 1, {false}, {at}, {at}, {at},
       CASE WHEN i < {decided} THEN {at} END, {signature} FROM n
"""
_PARTS = {
    "sqlite": {
        "runs": "runs", "id": "printf('00000000-0000-7000-8000-%012x', i)", "false": "0",
        "at": f"{to_micros(NOON)} + i",
        "signature": "printf('%016x', i % 200)",
    },
    "postgresql": {
        "runs": "mainspring.runs", "id": "CAST('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0') AS uuid)",
        "false": "false", "at": f"CAST('{NOON}' AS timestamptz) + i * interval '1 microsecond'",
        "signature": "lpad(to_hex(i % 200), 16, '0')",
    },
}  # fmt: skip


@pytest.fixture
def full(database: Database) -> Database:
    fill = _FILL.format(last=DECIDED + UNDECIDED - 1, decided=DECIDED, **_PARTS[database.dialect])
    database.write(lambda tx: tx.core(sqlalchemy.text(fill)))
    if database.dialect == "postgresql":
        database.write(lambda tx: tx.core(sqlalchemy.text("ANALYZE mainspring.runs")))
    return database


_UNDECIDED = ("ix_runs_failed", "ix_runs_failure_signature")
QUERIES: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "count": (dead_letters.count, _UNDECIDED),
    "groups": (lambda tx: dead_letters.groups(tx, DeadFilter(), 20), _UNDECIDED),
    "group": (lambda tx: dead_letters.groups(tx, GROUP, 1), _UNDECIDED[1:]),
    "page": (lambda tx: dead_letters.page(tx, DeadFilter(), None, NEWEST), _UNDECIDED),
    "page of a group": (lambda tx: dead_letters.page(tx, GROUP, None, NEWEST), _UNDECIDED[1:]),
    "last": (lambda tx: dead_letters.last_id(tx, GROUP), _UNDECIDED[1:]),
    "discarded": (lambda tx: dead_letters.last_id(tx, GROUP, discarded=True), ("ix_runs_decided",)),
    "replays": (lambda tx: dead_letters.replays_of(tx, NEWEST), ("ix_runs_replay_of",)),
}


def test_dead_letters_are_reached_by_their_indices(full: Database) -> None:
    for name, (query, indices) in QUERIES.items():
        plan: str = full.read(lambda tx, query=query: _plan(tx, query))  # type: ignore[misc]
        assert any(index in plan for index in indices), (name, plan)
        found = re.findall(r"(?:Seq Scan on|SCAN) runs(?: USING (?:COVERING )?INDEX (\w+))?", plan)
        assert set(found) <= set(indices), (name, plan)


def _plan(tx: Tx, query: Callable[[Any], Any]) -> str:
    planning = _Planning(tx)
    query(planning)
    return planning.plans[0]


def test_a_list_looks_at_no_more_than_the_newest(full: Database) -> None:
    found = full.read(lambda tx: dead_letters.groups(tx, DeadFilter(), 1_000, within=500))
    assert sum(group.count for group in found) == 500
    assert min(group.first_at for group in found) == NOON + (DECIDED + UNDECIDED - 500) * timedelta(microseconds=1)
