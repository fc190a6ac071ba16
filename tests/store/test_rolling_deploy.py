"""While a new release is rolled out, processes of the one before work beside it, on the schema of the new one."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from mainspring.domain.states import RunState
from mainspring.ids import uuid7
from mainspring.store import claiming, migrate
from mainspring.store.database import Database
from mainspring.store.migrate import require_current, status, upgrade
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.schema import MIN_APP_VERSION, runs
from mainspring.store.sqlite.database import SqliteDatabase
from tests.store.arrange import (
    NOON,
    TTL,
    claim_one,
    contents,
    count,
    look,
    open_session,
    outcome,
    put_some,
    rescue,
    together,
)

PREVIOUS = Path(__file__).parent / "previous"
PREVIOUS_SCHEMA = "0001"
_MICROS = 1_000_000


def previous_statements(dialect: str) -> Mapping[str, str]:
    """Return the statements of the release before."""
    folder, prefix = ("sqlite", "") if dialect == "sqlite" else ("postgres", '"mainspring".')
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (PREVIOUS / folder).glob("*.sql")}
    return {name: text.replace("$schema.", prefix) for name, text in texts.items()}


class OldWorker:
    """A worker of the release before, as far as the database sees it."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._texts = previous_statements(database.dialect)
        self.id = uuid7()
        given = {
            "id": self.id, "kind": "worker", "name": "old", "host": "h", "pid": 1, "boot_id": "boot-1",
            "version": "0.0.9", "tasks": "[]", "queues": "default", "slots": 5, "wake_address": "",
        }  # fmt: skip
        self._do(lambda tx: self._run(tx, "open_session", given | self._lease(tx) | {"ttl_us": 12 * _MICROS}))

    def renew(self) -> bool:
        """Renew its lease."""
        return self._do(
            lambda tx: (
                self._run(tx, "renew_session", {"session": self.id, "ttl_us": 12 * _MICROS} | self._lease(tx)).rowcount
                == 1
            )
        )

    def claim(self, n: int) -> list[tuple[str, int]]:
        """Claim runs; return their ids and attempts."""

        def work(tx: Any) -> list[tuple[str, int]]:
            given = {"session": self.id, "queue": "default", "n": n, "claim": uuid7()} | self._lease(tx)
            if tx.dialect == "sqlite":
                picked = [row[0] for row in self._run(tx, "pick_ready", given).fetchall()]
                given["ids"] = tx.ids(picked)
                self._run(tx, "clear_ready", given)
            rows = self._run(tx, "claim_runs", given).fetchall()
            assert all(len(row) == 18 for row in rows), "what the old code unpacks"
            return [(row[0], row[1]) for row in rows]

        return self._do(work)

    def succeed(self, claimed: list[tuple[str, int]]) -> int:
        """Report attempts as succeeded; return how many rows that changed."""

        def work(tx: Any) -> int:
            at = tx.at(NOON)
            ends = [("succeeded", None, None, None, 1, False, None, at, *pair, self.id) for pair in claimed]
            changed = self._many(tx, "finish_runs", ends)
            rows = [(*pair, self.id, at, at, "succeeded", True, None, None, None, None, None) for pair in claimed]
            if changed == len(claimed):
                self._many(tx, "insert_attempts", rows)
            return changed

        return self._do(work)

    def rescue(self) -> int:
        """Bury and rescue as the old release did; return how many runs went back."""

        def work(tx: Any) -> int:
            self._run(tx, "bury_sessions", {"boot_id": "boot-1"} | self._lease(tx))
            rows = self._run(tx, "orphaned_runs", {"n": 100}).fetchall()
            at = tx.at(NOON)
            back = [("ready", "died", None, None, 1, None, row[0], row[1], row[2]) for row in rows]
            lost = self._many(tx, "lose_runs", back)
            gone = [(r[0], r[1], r[2], r[4], at, "lost", False, None, None, None, None, None) for r in rows]
            self._many(tx, "insert_attempts", gone)
            self._many(tx, "insert_ready", [(row[0],) for row in rows])
            return lost

        return self._do(work)

    def _do(self, work: Callable[[Any], Any]) -> Any:
        return self._database.write(work)

    def _lease(self, tx: Any) -> dict[str, Any]:
        return {"now": tx.at(NOON), "lease_now": tx.at(self._database.lease_now())}

    def _run(self, tx: Any, name: str, given: Any) -> Any:
        return tx.raw().execute(self._texts[name], given)

    def _many(self, tx: Any, name: str, rows: list[tuple[Any, ...]]) -> int:
        if not rows:
            return 0
        if tx.dialect == "sqlite":
            return int(tx.raw().executemany(self._texts[name], rows).rowcount)
        return int(self._run(tx, name, [list(column) for column in zip(*rows, strict=True)]).rowcount)


# --- the old release on the new schema


@pytest.mark.parametrize("name", sorted(previous_statements("sqlite")))
def test_every_statement_of_the_release_before_is_understood_by_sqlite(sqlite: SqliteDatabase, name: str) -> None:
    body = re.sub(r"--.*", "", previous_statements("sqlite")[name])
    named = dict.fromkeys(re.findall(r":([a-z_]+)", body))
    query, given = "EXPLAIN " + body, named or [None] * body.count("?")
    assert sqlite.read(lambda tx: tx.raw().execute(query, given).fetchall())


def test_every_statement_of_the_release_before_is_understood_by_postgres(postgres: PostgresDatabase) -> None:
    from tests.store.test_statements import _with_numbers

    for name, text in previous_statements("postgresql").items():
        query = f'PREPARE "old {name}" AS {_with_numbers(re.sub(r"--.*", "", text))}'.encode()
        postgres.read(lambda tx, query=query: tx.raw().execute(query))


def test_old_and_new_workers_drain_a_queue_together(open_database: Callable[[], Database], database: Database) -> None:
    ids = put_some(database, 150)
    others = [open_database() for _ in range(3)]

    def old_lane(own: Database) -> int:
        worker, done = OldWorker(own), 0
        while claimed := worker.claim(5):
            assert worker.renew()
            assert worker.succeed(claimed) == len(claimed)
            done += len(claimed)
        return done

    def new_lane(own: Database) -> int:
        session, done = open_session(own), 0
        ended: list[Any] = []
        while True:
            result, claimed = claiming.cycle(own, session, ended, list, ["default"], 5, NOON)
            assert result.fenced == frozenset()
            done += len(ended)
            ended = [outcome(run) for run in claimed]
            if not ended:
                return done

    lanes = [lambda: old_lane(others[0]), lambda: new_lane(others[1]), lambda: old_lane(others[2])]
    assert sum(together(*lanes, lambda: new_lane(database))) == 150
    assert count(database, "runs", "state = 'succeeded' AND attempt = 1") == len(ids)
    assert count(database, "attempts") == len(ids)


def test_what_an_old_worker_leaves_behind_a_new_one_rescues_and_the_other_way_round(
    database: Database, clock: Any
) -> None:
    (run_id,) = put_some(database, 1)
    old = OldWorker(database)
    assert old.claim(1) == [(run_id, 1)]
    clock.advance(TTL)
    assert rescue(database).returned == (run_id,)
    new = open_session(database)
    assert claim_one(database, new).attempt == 2
    assert old.succeed([(run_id, 1)]) == 0
    clock.advance(TTL)
    assert OldWorker(database).rescue() == 1
    run = look(database, run_id)
    # The old release knows no suspects: it counts a loss, and none in isolation.
    assert (run.state, run.losses, run.isolated_losses, run.attempt) == (RunState.READY, 2, 0, 2)
    late = claim_one(database, open_session(database))
    assert (late.attempt, late.losses, late.isolated_losses) == (3, 2, 0)


def test_the_release_before_is_allowed_to_start_on_the_new_schema() -> None:
    assert MIN_APP_VERSION == "0.1.0"


# --- the way from the schema before


@pytest.fixture(params=["sqlite", "postgres"])
def previous(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with the schema of the release before."""
    database: Database
    if request.param == "sqlite":
        database = SqliteDatabase(tmp_path / "previous.db")
    else:
        database = PostgresDatabase(request.getfixturevalue("postgres_database"))
    database.write(lambda tx: migrate._migrate(tx, PREVIOUS_SCHEMA))
    yield database
    database.close()


def test_an_upgrade_keeps_what_was_there_and_lets_old_work_under_way_end(previous: Database) -> None:
    previous_runs = [str(uuid7()) for _ in range(3)]
    _insert_old_runs(previous, previous_runs)
    worker = OldWorker(_RealLeases(previous))
    held = worker.claim(2)
    assert status(previous).current == PREVIOUS_SCHEMA
    with pytest.raises(migrate.SchemaOutdated, match="run `mainspring db upgrade`"):
        require_current(previous)
    before = {name: rows for name, rows in _old_contents(previous).items() if name != "meta"}
    upgrade(previous)
    require_current(previous)
    after = contents(previous, "meta")
    assert set(after) == set(before)
    assert {name: len(rows) for name, rows in after.items()} == {name: len(rows) for name, rows in before.items()}
    assert worker.renew()
    assert worker.succeed(held) == 2
    assert len(worker.claim(2)) == 1
    assert count(previous, "runs", "isolated_losses = 0") == 3


def test_an_upgrade_waits_for_nobody_long_while_old_processes_are_at_work(previous: Database) -> None:
    _insert_old_runs(previous, [str(uuid7()) for _ in range(60)])
    stop = threading.Event()

    def works() -> int:
        worker, done = OldWorker(_RealLeases(previous)), 0
        while (claimed := worker.claim(2)) or not stop.is_set():
            done += worker.succeed(claimed) if claimed else 0
        return done

    def upgrades() -> int:
        upgrade(previous)
        stop.set()
        return 0

    assert sum(together(works, works, upgrades)) == 60
    require_current(previous)
    assert count(previous, "attempts") == 60


class _RealLeases:
    """A database whose leases are judged as in production."""

    def __init__(self, database: Database) -> None:
        self.dialect, self.write, self.lease_now = database.dialect, database.write, database.lease_now


def _insert_old_runs(database: Database, ids: list[str]) -> None:
    texts = previous_statements(database.dialect)

    def work(tx: Any) -> None:
        rows = [
            (run_id, "t", "default", 5, "ready", "enqueued", 4, False, None, None, "", place, tx.at(NOON), None, "{}",
             "", 1, None, tx.at(NOON))
            for place, run_id in enumerate(ids, start=1)
        ]  # fmt: skip
        if tx.dialect == "sqlite":
            tx.raw().executemany(texts["insert_runs"], rows)
            tx.raw().executemany(texts["insert_ready"], [(run_id,) for run_id in ids])
        else:
            tx.raw().execute(texts["insert_runs"], [list(column) for column in zip(*rows, strict=True)])
            tx.raw().execute(texts["insert_ready"], [ids])

    database.write(work)


def _old_contents(database: Database) -> dict[str, list[Any]]:
    found = {}
    prefix = "" if database.dialect == "sqlite" else "mainspring."
    existing = database.table_names()
    for table in (table for table in runs.metadata.sorted_tables if table.name in existing):
        query = sqlalchemy.text(f"SELECT * FROM {prefix}{table.name}")
        rows = database.read(lambda tx, query=query: tx.connection.execute(query).all())  # type: ignore[misc]
        if rows:
            found[table.name] = list(rows)
    return found
