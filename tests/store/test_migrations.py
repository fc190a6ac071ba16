"""A fresh schema is the sum of the migrations; they run once, forward, under a lock; others are refused in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, inspect, text

import mainspring.store
from mainspring.errors import StoreUnavailable
from mainspring.store import migrate
from mainspring.store.database import Database
from mainspring.store.migrate import SchemaOutdated, SchemaStatus, installation_id, require_current, status, upgrade
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.schema import MIN_APP_VERSION, SCHEMA_VERSION, meta, metadata
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.version import VERSION
from tests.store.arrange import contents, put_some, together

Open = Callable[[], Database]


@pytest.fixture
def open_empty(database_url: str) -> Iterator[Open]:
    """Open a database without any tables, as often as wanted."""
    opened: list[Database] = []

    def open_again() -> Database:
        if database_url.startswith("sqlite:///"):
            opened.append(SqliteDatabase(Path(database_url.removeprefix("sqlite:///"))))
        else:
            opened.append(PostgresDatabase(database_url))
        return opened[-1]

    yield open_again
    for database in opened:
        database.close()


def test_an_empty_database_is_refused_with_the_way_out(open_empty: Open) -> None:
    database = open_empty()
    assert status(database).current is None
    with pytest.raises(SchemaOutdated, match=r"has no Mainspring tables yet; run `mainspring db upgrade`"):
        require_current(database)


def test_an_upgrade_makes_an_empty_database_current(open_empty: Open) -> None:
    database = open_empty()
    assert upgrade(database).current is None
    assert status(database).current == SCHEMA_VERSION
    require_current(database)
    assert re.fullmatch(r"[0-9a-f-]{36}", installation_id(database))
    put_some(database, 1)


def test_a_second_upgrade_changes_nothing(open_empty: Open) -> None:
    database = open_empty()
    upgrade(database)
    put_some(database, 1)
    before = contents(database)
    assert upgrade(database).current == SCHEMA_VERSION
    assert contents(database) == before


def test_two_upgrades_at_once_both_succeed(open_empty: Open) -> None:
    databases = [open_empty() for _ in range(4)]
    together(*(lambda own=own: upgrade(own) for own in databases))  # type: ignore[misc]
    assert {status(database).current for database in databases} == {SCHEMA_VERSION}
    assert len({installation_id(database) for database in databases}) == 1


def test_upgrades_of_different_databases_at_once_do_not_mix(tmp_path: Path) -> None:
    databases = [SqliteDatabase(tmp_path / f"{n}.db") for n in range(4)]
    together(*(lambda own=own: upgrade(own) for own in databases))  # type: ignore[misc]
    assert len({installation_id(database) for database in databases}) == 4
    for database in databases:
        put_some(database, 1)
        database.close()


@pytest.mark.parametrize("version", ["9999", SCHEMA_VERSION])
def test_a_database_that_needs_a_newer_release_is_refused_and_left_alone(database: Database, version: str) -> None:
    _set_version(database, version)
    _set_oldest_release(database, "99.1.0")
    said = rf"has schema {version} of a newer release, which works with Mainspring 99\.1\.0 and later; this is 0"
    with pytest.raises(SchemaOutdated, match=said):
        require_current(database)
    with pytest.raises(SchemaOutdated, match="install a newer one"):
        upgrade(database)
    assert status(database).current == version
    _set_version(database, SCHEMA_VERSION)
    _set_oldest_release(database, MIN_APP_VERSION)


def test_a_newer_schema_on_which_this_release_may_work_is_accepted_and_left_alone(database: Database) -> None:
    _set_version(database, "9999")
    _set_oldest_release(database, VERSION)
    require_current(database)
    assert upgrade(database).current == "9999"
    assert (status(database).current, status(database).is_current) == ("9999", True)
    _set_version(database, SCHEMA_VERSION)
    _set_oldest_release(database, MIN_APP_VERSION)


@pytest.mark.parametrize(
    ("oldest", "refused"), [("0.0.9", False), ("0.1.0", False), ("0.1.1", True), ("0.10.0", True), ("1.0.0rc1", True)]
)
def test_releases_are_compared_by_their_numbers(monkeypatch: pytest.MonkeyPatch, oldest: str, refused: bool) -> None:
    monkeypatch.setattr(migrate, "VERSION", "0.1.0")
    assert SchemaStatus("9999", oldest_release=oldest).is_too_new is refused


def test_an_older_schema_is_refused_with_the_way_out(database: Database) -> None:
    _set_version(database, "0000")
    with pytest.raises(SchemaOutdated, match=r"has schema 0000, this release needs \d{4}; run `mainspring db upgrade`"):
        require_current(database)
    _set_version(database, SCHEMA_VERSION)


def _set_version(database: Database, version: str) -> None:
    _set(database, "schema_version", version)


def _set_oldest_release(database: Database, version: str) -> None:
    _set(database, "min_app_version", version)


def _set(database: Database, key: str, value: str) -> None:
    change = sqlalchemy.update(meta).where(meta.c.key == key).values(value=value)
    database.write(lambda tx: tx.core(change))


def test_a_failed_upgrade_leaves_nothing_behind(open_empty: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_empty()

    def fail(*_: Any) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrate, "_write_meta", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        upgrade(database)
    assert database.table_names() == set()
    monkeypatch.undo()
    upgrade(database)
    require_current(database)


def test_migrations_are_one_line_that_only_goes_forward() -> None:
    folder = Path(mainspring.store.__file__).parent / "migrations"
    revisions = list(ScriptDirectory(str(folder)).walk_revisions())
    assert revisions[0].revision == SCHEMA_VERSION
    assert [r.revision for r in reversed(revisions)] == [f"{n:04}" for n in range(1, len(revisions) + 1)]
    assert len(ScriptDirectory(str(folder)).get_heads()) == 1
    assert not any(hasattr(revision.module, "downgrade") for revision in revisions)


def test_the_tables_of_the_code_are_those_that_the_migrations_make(database: Database, open_fresh: Database) -> None:
    _create_all(open_fresh)
    assert _described(database) == _described(open_fresh)


@pytest.fixture
def open_fresh(request: pytest.FixtureRequest, database: Database) -> Iterator[Database]:
    """An empty database of the same kind as `database`."""
    fresh: Database
    if database.dialect == "sqlite":
        fresh = SqliteDatabase(request.getfixturevalue("tmp_path") / "fresh.db")
    else:
        fresh = PostgresDatabase(request.getfixturevalue("postgres_database"))
    yield fresh
    fresh.close()


def _create_all(database: Database) -> None:
    def work(tx: Any) -> None:
        if tx.dialect == "postgresql":
            tx.core(text("CREATE SCHEMA mainspring"))
            tx.core(text("CREATE SEQUENCE mainspring.ready_seq CACHE 1"))
        metadata.create_all(tx.connection)

    database.write(work)


def _described(database: Database) -> dict[str, Any]:
    """Return all that a database says of our tables, in one form for both ways of making them."""
    if database.dialect == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name <> 'schema_versions'"
        rows = database.read(lambda tx: tx.connection.execute(text(query)).all())
        return {name: _parts(sql) for name, sql in rows}
    found: dict[str, Any] = {}
    queries = {
        "columns": """SELECT table_name || '.' || column_name, data_type, is_nullable, column_default,
                        character_maximum_length FROM information_schema.columns WHERE table_schema = 'mainspring'""",
        "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'mainspring'",
        "constraints": """SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint
                           WHERE connamespace = 'mainspring'::regnamespace""",
        "options": "SELECT relname, reloptions::text FROM pg_class WHERE relnamespace = 'mainspring'::regnamespace",
        "sequences": "SELECT sequencename, data_type, cache_size, increment_by FROM pg_sequences",
    }
    for name, query in queries.items():
        rows = database.read(lambda tx, query=query: tx.connection.execute(text(query)).all())
        found[name] = {row[0]: tuple(row[1:]) for row in rows if "schema_versions" not in row[0]}
    return found


def _parts(sql: str) -> list[str]:
    # The migration lists constraints in another order than the tables do.
    head, _, body = re.sub(r"\s+", " ", sql).partition("(")
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(body):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            parts.append(body[start:place].strip())
            start = place + 1
    return [head.strip(), *sorted([*parts, body[start:].strip().rstrip(")").strip()])]


def test_every_table_and_check_of_the_code_has_a_name_in_the_database(database: Database) -> None:
    def look(tx: Any) -> None:
        seen = inspect(tx.connection)
        schema = "mainspring" if tx.dialect == "postgresql" else None
        assert set(seen.get_table_names(schema=schema)) == set(metadata.tables) | {"schema_versions"}
        for table in metadata.sorted_tables:
            checks = {c["name"] for c in seen.get_check_constraints(table.name, schema=schema)}
            assert checks == {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}, table.name
            columns = {c["name"]: c["nullable"] for c in seen.get_columns(table.name, schema=schema)}
            assert columns == {c.name: c.nullable for c in table.columns}, table.name

    database.read(look)


def test_lists_of_the_domain_are_those_of_the_constraints() -> None:
    from mainspring.domain.runs import Ended

    (outcome,) = (
        c
        for c in metadata.tables["attempts"].constraints
        if isinstance(c, CheckConstraint) and "outcome" in str(c.name)
    )
    assert set(re.findall(r"'(\w+)'", str(outcome.sqltext))) == {str(ended) for ended in Ended}


def test_an_unreachable_database_is_an_outage_and_not_an_empty_one() -> None:
    database = PostgresDatabase("postgresql://nobody:hush@127.0.0.1:1/none", retry_for=0)
    with pytest.raises(StoreUnavailable, match=r"cannot connect to postgresql://nobody@127\.0\.0\.1:1/none") as caught:
        status(database)
    assert "hush" not in str(caught.value)
    database.close()


def test_the_tables_that_change_most_are_vacuumed_early(postgres: PostgresDatabase) -> None:
    query = """SELECT relname, reloptions FROM pg_class
                WHERE relnamespace = 'mainspring'::regnamespace AND relname = ANY(%s) ORDER BY 1"""
    tables = ["outbox", "ready", "worker_sessions"]
    wanted = {
        "autovacuum_vacuum_scale_factor=0.01", "autovacuum_vacuum_threshold=500", "autovacuum_vacuum_cost_delay=0",
    }  # fmt: skip
    rows = postgres.read(lambda tx: tx.raw().execute(query, (tables,)).fetchall())
    assert [name for name, _ in rows] == tables
    assert all(wanted <= set(options) for _, options in rows)
