"""The hot statements reach their rows by the index meant for them, however much else there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mainspring.ids import uuid7
from mainspring.store.database import statement_texts
from mainspring.store.migrate import upgrade
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.types import to_micros
from tests.servers import PostgresCluster
from tests.store.arrange import HOUR, NOON, add, every, open_session

FINISHED, LATER, READY, HELD, RUNNING = 20_000, 20_000, 5_000, 5_000, 50
RUN_COLUMNS = (
    "id, task, queue, priority, state, kind, max_tries, at_most_once, seq, due_at, expires_at, created_at, started_at, "
    "finished_at, session_id, attempt, schedule_id, labels"
)
IDS = [f"00000000-0000-7000-8000-{n:012x}" for n in range(1, 101)]
SQLITE, POSTGRES = statement_texts("sqlite", None), statement_texts("postgres", "mainspring")


def _rows(first: int, n: int, state: str, session: str, schedule: str) -> Iterator[tuple[Any, ...]]:
    for i in range(first, first + n):
        ended = state == "succeeded"
        begun = ended or state == "running"
        due_at = NOON + timedelta(days=1, seconds=i) if state == "scheduled" else NOON
        yield (
            f"00000000-0000-7000-8000-{i:012x}", "demo.task", "default", 5, state, "enqueued", 4, False,
            i if state in ("ready", "held") else None, due_at, due_at + HOUR if i % 3 == 0 else None, NOON,
            NOON if begun else None, NOON if ended else None, session if begun else None, 1 if begun else 0,
            schedule if i % 2 else None, "{}",
        )  # fmt: skip


def _fill(database: Any, finished: int, later: int, first: int = 1) -> None:
    """Put in runs of all kinds, as many as say the names above; *first* is the number of the first."""
    session = open_session(database)
    schedule = add(database, every(HOUR, name=f"s{first}")).id
    counts = (("succeeded", finished), ("scheduled", later))
    if first == 1:
        counts += (("ready", READY), ("held", HELD), ("running", RUNNING), ("waiting", 20))  # type: ignore[assignment]
    for state, n in counts:
        _insert(database, list(_rows(first, n, state, session, schedule)))
        first += n


def _fill_limits(database: Any) -> None:
    """Let limits hold back runs, and keys take turns, as many as make a scan the dearer way."""
    prefix = "" if database.dialect == "sqlite" else "mainspring."
    held = f"FROM {prefix}runs WHERE state = 'held'"
    texts = (
        f"INSERT INTO {prefix}holds (run_id, resource, queue, rank, turn, seq, held_at) "
        f"SELECT id, 'limit ' || seq % 50, 'default', 4, 0, seq, created_at {held}",
        f"INSERT INTO {prefix}holdings (resource, run_id, attempt) "
        f"SELECT 'limit ' || substr(CAST(id AS text), 36), id, 1 FROM {prefix}runs WHERE state = 'succeeded'",
        f"INSERT INTO {prefix}key_turns (key, queue, rank, turn) SELECT 'key ' || seq, 'default', 4, seq {held}",
        f"INSERT INTO {prefix}key_turns (key, queue, rank, turn) VALUES ('', 'default', 4, 7)",
    )
    for text in texts:
        database.write(lambda tx, text=text: tx.raw().execute(text))


def _connect(database: Any) -> None:
    """Let each run need the one before it."""
    ids = [f"00000000-0000-7000-8000-{i:012x}" for i in range(1, FINISHED + LATER + READY + RUNNING + 21)]
    rows = [(run_id, needed, "stop", None) for needed, run_id in pairwise(ids)]
    database.write(lambda tx: tx.many("insert_dependencies", rows))


def _insert(database: Any, rows: list[tuple[Any, ...]]) -> None:
    marks = ", ".join(["?" if database.dialect == "sqlite" else "%s"] * len(rows[0]))
    prefix = "" if database.dialect == "sqlite" else "mainspring."
    query = f"INSERT INTO {prefix}runs ({RUN_COLUMNS}) VALUES ({marks})"
    fill_ready = (
        f"INSERT INTO {prefix}ready (queue, rank, turn, seq, run_id) "
        f"SELECT queue, 9 - priority, turn, seq, id FROM {prefix}runs WHERE state = 'ready' ON CONFLICT DO NOTHING"
    )

    def work(tx: Any) -> None:
        if tx.dialect == "sqlite":
            plain = [tuple(to_micros(v) if isinstance(v, datetime) else v for v in row) for row in rows]
            tx.raw().executemany(query, plain)
        else:
            with tx.raw().cursor().copy(f"COPY {prefix}runs ({RUN_COLUMNS}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        tx.raw().execute(fill_ready)

    database.write(work)


@pytest.fixture(scope="module", params=["analysed", "never analysed"])
def full_sqlite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteDatabase]:
    # Nobody runs ANALYZE on a file of ours unless they wish to.
    database = SqliteDatabase(tmp_path_factory.mktemp("plans") / "full.db")
    upgrade(database)
    _fill(database, FINISHED, LATER)
    _fill_limits(database)
    _connect(database)
    if request.param == "analysed":
        database.write(lambda tx: tx.raw().execute("ANALYZE"))
    yield database
    database.close()


@pytest.fixture(scope="module")
def full_postgres(shared_postgres: PostgresCluster, migrated_database: str) -> Iterator[PostgresDatabase]:
    name = shared_postgres.create_database(template=migrated_database)
    database = PostgresDatabase(shared_postgres.url(name))
    _fill(database, FINISHED, LATER)
    _fill_limits(database)
    _connect(database)
    with shared_postgres.connect(name) as admin:
        admin.execute("VACUUM ANALYZE")
    yield database
    database.close()
    shared_postgres.drop_database(name)


# Statement, its parameters, and the index by which it reaches its main table: on SQLite, on PostgreSQL.
# "primary key" is the primary key of the table named.
NAMED: dict[str, Any] = {
    "queue": "default", "session": uuid7(), "claim": uuid7(), "n": 10, "now": NOON, "lease_now": NOON, "ids": IDS,
    "reason": "x", "boot_id": "boot-1", "queues": ["default", "other"], "name": "limit 3",
    "after": "00000000-0000-0000-0000-000000000000", "names": ["limit 3", "limit 4"], "keys": ["", "a"],
}  # fmt: skip
EXPECTED = [
    ("due_runs", "ix_runs_due", "ix_runs_due"),
    ("next_due_run", "ix_runs_due", "ix_runs_due"),
    ("due_schedules", "ix_schedules_due", "ix_schedules_due"),
    ("next_fire", "ix_schedules_due", "ix_schedules_due"),
    ("orphaned_runs", "ix_runs_session", "ix_runs_session"),
    ("free_waiting", "ix_runs_free", "ix_runs_free"),
    ("missed_waiting", "ix_runs_waiting", "ix_runs_waiting"),
    ("dependants", "ix_dependencies_needs_run_id", "ix_dependencies_needs_run_id"),
    ("needs_of", "sqlite_autoindex_dependencies_1", "pk_dependencies"),
    ("given_results", "sqlite_autoindex_dependencies_1", "pk_dependencies"),
    ("given_any", "sqlite_autoindex_dependencies_1", "pk_dependencies"),
    ("lock_dependants", "pk r", "ix_runs_waiting"),
    ("lock_waiting", "pk runs", "ix_runs_waiting"),
    ("await_runs", "pk runs", "pk_runs"),
    ("expired_runs", "ix_runs_expires", "ix_runs_expires"),
    ("held_by_session", "ix_runs_session", "ix_runs_session"),
    ("adopt_claim", "ix_runs_session", "ix_runs_session"),
    ("unfinished_runs", "ix_runs_schedule_unfinished", "ix_runs_schedule_unfinished"),
    ("attempt_states", "pk runs", "pk_runs"),
    ("cancel_unstarted", "pk runs", "pk_runs"),
    ("ask_cancel", "pk runs", "ix_runs_session"),
    ("lock_unfinished", "pk runs", "pk_runs"),
    ("claim_runs", "pk runs", "pk_runs"),
    ("lock_unstarted", "pk runs", "pk_runs"),
    ("clear_ready", "ready", "uq_ready_run_id"),
    ("limited_runs", "pk r", "pk_runs"),
    ("keyed_runs", "pk runs", "pk_runs"),
    ("holdings_of", "ix_holdings_run_id", "ix_holdings_run_id"),
    ("drop_holdings", "ix_holdings_run_id", "ix_holdings_run_id"),
    ("best_held", "ix_holds_order", "ix_holds_order"),
    ("limit_usage", "ix_holds_order", "ix_holds_order"),
    ("held_limits", "ix_holds_order", "ix_holds_order"),
    ("served_turns", "key_turns", "pk_key_turns"),
]


def _sqlite_plan(database: SqliteDatabase, name: str, parameters: Any) -> list[str]:
    query = "EXPLAIN QUERY PLAN " + SQLITE[name]
    return [row[3] for row in database.read(lambda tx: tx.raw().execute(query, parameters).fetchall())]


def _sqlite_parameters(name: str) -> dict[str, Any]:
    given = {k: to_micros(v) if isinstance(v, datetime) else v for k, v in NAMED.items()}
    return {k: json.dumps(v) if isinstance(v, list) else v for k, v in given.items()}


def _scans(plan: list[str], table: str, alias: str = "") -> list[str]:
    """Return the steps that walk through all of *table*: a partial index that holds only live rows is no such walk."""
    small = ("ix_runs_session", "ix_runs_waiting", "ix_runs_due", "ix_runs_expires", "ix_runs_free",
             "ix_schedules_due")  # fmt: skip
    names = f"(?:{table}|{alias})" if alias else table
    return [s for s in plan if re.match(rf"SCAN {names}\b", s) and not any(index in s for index in small)]


@pytest.mark.parametrize(("name", "index"), [(name, index) for name, index, _ in EXPECTED])
def test_sqlite_reaches_rows_by_the_index_meant_for_it(full_sqlite: SqliteDatabase, name: str, index: str) -> None:
    plan = _sqlite_plan(full_sqlite, name, _sqlite_parameters(name))
    assert _scans(plan, "runs", "[rw]") == [], plan
    if index.startswith("pk "):
        table = index.removeprefix("pk ")
        assert any(re.search(rf"SEARCH {table} USING (COVERING )?INDEX sqlite_autoindex_runs_1", s) for s in plan), plan
    elif index in ("ready", "key_turns"):
        assert any(re.match(rf"SEARCH ({index}|t) USING", s) for s in plan), plan
    else:
        assert any(index in s for s in plan), plan


def test_sqlite_picks_ready_runs_in_the_order_of_the_primary_key(full_sqlite: SqliteDatabase) -> None:
    plan = _sqlite_plan(full_sqlite, "pick_ready", _sqlite_parameters("pick_ready"))
    assert "SEARCH ready USING PRIMARY KEY (queue=?)" in plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


@pytest.mark.parametrize("name", ["due_runs", "due_schedules", "expired_runs"])
def test_sqlite_takes_the_first_rows_without_sorting_all(full_sqlite: SqliteDatabase, name: str) -> None:
    plan = _sqlite_plan(full_sqlite, name, _sqlite_parameters(name))
    assert not any(step == "USE TEMP B-TREE FOR ORDER BY" for step in plan), plan


@pytest.mark.parametrize("name", ["finish_runs", "lose_runs", "stage_runs"])
def test_sqlite_changes_a_run_by_its_primary_key(full_sqlite: SqliteDatabase, name: str) -> None:
    plan = _sqlite_plan(full_sqlite, name, [None] * SQLITE[name].count("?"))
    assert plan[0] == "SEARCH runs USING INDEX sqlite_autoindex_runs_1 (id=?)"
    assert not any(step.startswith("SCAN") for step in plan), plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _postgres_plan(database: PostgresDatabase, text: str, parameters: Any, how: str = "") -> list[dict[str, Any]]:
    def work(tx: Any) -> Any:
        tx.raw().execute("SET LOCAL plan_cache_mode = force_custom_plan")
        found = tx.raw().execute(f"EXPLAIN ({how} FORMAT JSON) {text}", parameters).fetchone()[0]
        raise _Undo(found[0])

    try:
        database.write(work)
    except _Undo as undone:
        return list(_nodes(undone.plan["Plan"]))
    raise AssertionError


class _Undo(Exception):
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan


@pytest.mark.parametrize(("name", "index"), [(name, index) for name, _, index in EXPECTED])
def test_postgres_reaches_rows_by_the_index_meant_for_it(
    full_postgres: PostgresDatabase, name: str, index: str
) -> None:
    nodes = _postgres_plan(full_postgres, POSTGRES[name], NAMED)
    scanned = {n["Relation Name"] for n in nodes if n["Node Type"] == "Seq Scan"}
    assert not scanned & {"runs", "dependencies"}, nodes
    used = {n["Index Name"] for n in nodes if "Index Name" in n}
    if index == "ix_schedules_due":
        # One schedule: a page to read is less than an index to open.
        assert used | scanned & {"schedules"} or index in used
    else:
        assert index in used, (used, scanned)


def test_postgres_claims_in_the_order_of_the_primary_key(full_postgres: PostgresDatabase) -> None:
    nodes = _postgres_plan(full_postgres, POSTGRES["claim_runs"], NAMED)
    assert "pk_ready" in {n.get("Index Name") for n in nodes}
    assert not [n for n in nodes if n["Node Type"] == "Sort"], "the index gives the order"


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("finish_runs", ["succeeded", None, None, None, None, 1, 0, 0, False, None, NOON, None, 1, uuid7()]),
        ("lose_runs", ["ready", "died", None, None, None, 1, 1, None, None, 1, uuid7()]),
        ("stage_runs", [1, 1, None]),
    ],
)
@pytest.mark.parametrize("n", [1, 100])
def test_postgres_changes_runs_by_an_index(full_postgres: PostgresDatabase, name: str, row: list[Any], n: int) -> None:
    place = row.index(None, len(row) - 3)
    rows = [[*row[:place], run_id, *row[place + 1 :]] for run_id in IDS[:n]]
    nodes = _postgres_plan(full_postgres, POSTGRES[name], [list(column) for column in zip(*rows, strict=True)])
    assert "runs" not in {x["Relation Name"] for x in nodes if x["Node Type"] == "Seq Scan"}, nodes
    assert {x.get("Index Name") for x in nodes} & {"pk_runs", "ix_runs_session"}


def _claim_buffers(database: PostgresDatabase) -> int:
    session = open_session(database)
    given = NAMED | {"session": session, "lease_now": None, "now": NOON}
    nodes = _postgres_plan(database, POSTGRES["claim_runs"], given, "ANALYZE, BUFFERS, TIMING OFF,")
    assert nodes[0]["Actual Rows"] == 10
    return int(nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"])


def test_a_claim_on_postgres_reads_no_more_when_much_else_is_there(full_postgres: PostgresDatabase) -> None:
    for _ in range(2):
        before = _claim_buffers(full_postgres)
    _fill(full_postgres, 25_000, 25_000, first=100_001)
    for _ in range(2):
        after = _claim_buffers(full_postgres)
    # Ten runs by their primary key, their rows written anew with the entries of the indexes that hold running runs.
    assert before <= 250
    assert after <= before + 40


def _claim_steps(database: SqliteDatabase) -> int:
    """Return how many steps of SQLite's machine a claim of ten takes; a page read costs a fixed number of them."""
    session = open_session(database, now=NOON)
    given = _sqlite_parameters("claim_runs") | {"session": session, "lease_now": to_micros(NOON) - 1}
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def work(tx: Any) -> None:
        tx.raw().execute("UPDATE worker_sessions SET lease_until = :now WHERE id = :session", given)
        tx.raw().set_progress_handler(count, 1)
        try:
            picked = [run_id for run_id, _ in tx.rows("pick_ready", given)]
            assert len(picked) == 10
            tx.rows("clear_ready", {"ids": json.dumps(picked)})
            assert len(tx.rows("claim_runs", given | {"ids": json.dumps(picked)})) == 10
        finally:
            tx.raw().set_progress_handler(None, 0)
        raise _Undo({})

    with pytest.raises(_Undo):
        database.write(work)
    return steps


def test_a_claim_on_sqlite_takes_no_more_steps_when_much_else_is_there(full_sqlite: SqliteDatabase) -> None:
    before = _claim_steps(full_sqlite)
    _fill(full_sqlite, 25_000, 25_000, first=100_001)
    after = _claim_steps(full_sqlite)
    assert before <= 4_000
    assert after <= before + 100


def test_the_file_of_a_statement_is_what_runs(full_sqlite: SqliteDatabase) -> None:
    folder = Path(__file__).parents[2] / "src/mainspring/store/sqlite"
    assert SQLITE["due_runs"] == (folder / "due_runs.sql").read_text()
