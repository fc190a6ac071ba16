"""The hot statements: one file each, the same ones for both databases, all of them in use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import mainspring
from mainspring.store.database import statement_texts
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite.database import SqliteDatabase

ONLY_POSTGRES = {"claim_chosen", "lock_ending", "lock_limits", "try_limits"}
"""SQLite has one writer at a time, and claims any runs by their ids with `claim_runs`."""

SOURCE = Path(mainspring.__file__).parent
SQLITE, POSTGRES = statement_texts("sqlite", None), statement_texts("postgres", "mainspring")
FILES = sorted((SOURCE / "store").glob("*/*.sql"))


def test_both_databases_have_the_same_statements() -> None:
    assert set(POSTGRES) - ONLY_POSTGRES == set(SQLITE)
    assert set(POSTGRES) >= ONLY_POSTGRES


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_statement_says_its_name_and_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(rf"-- {path.name}: \S", text), text.splitlines()[0]
    assert ";" not in re.sub(r"--.*", "", text), "one statement a file, without its end"
    assert text.endswith("\n")


@pytest.mark.parametrize("name", sorted(POSTGRES))
def test_a_statement_is_used(name: str) -> None:
    code = [path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")]
    assert any(re.search(rf'\.(rows|run|many|returning)\(\s*"{name}"', text) for text in code)


def test_every_statement_prepares_on_sqlite(sqlite: SqliteDatabase) -> None:
    for name, text in SQLITE.items():
        body = re.sub(r"--.*", "", text)
        named = dict.fromkeys(re.findall(r":([a-z_]+)", body))
        parameters: Any = named or [None] * body.count("?")
        query = "EXPLAIN " + body
        found = sqlite.read(lambda tx, query=query, given=parameters: tx.raw().execute(query, given).fetchall())
        assert found, name


def test_every_statement_prepares_on_postgres(postgres: PostgresDatabase) -> None:
    for name, text in POSTGRES.items():
        query = f'PREPARE "{name}" AS {_with_numbers(re.sub(r"--.*", "", text))}'.encode()
        postgres.read(lambda tx, query=query: tx.raw().execute(query))


def _with_numbers(text: str) -> str:
    places: dict[str, str] = {}

    def place(match: re.Match[str]) -> str:
        return places.setdefault(match[1] or str(len(places)), f"${len(places) + 1}")

    return re.sub(r"%(?:\(([a-z_]+)\))?s", place, text)


def test_no_statement_of_postgres_forgets_the_schema() -> None:
    tables = (
        "runs|ready|queues|schedules|occurrences|worker_sessions|attempts|run_payloads|snapshots|blobs|outbox|stats"
        "|resources|holds|holdings|key_turns|dependencies"
    )
    bare = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE|USING)\s+({tables})\b")
    for path in FILES:
        if path.parent.name == "postgres":
            body = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
            assert bare.search(body) is None, path.name


def test_a_schema_with_an_odd_name_works(postgres_database: str) -> None:
    from mainspring.store.migrate import upgrade
    from tests.store.arrange import claim_one, finish, open_session, outcome, put_some

    database = PostgresDatabase(postgres_database, schema='odd "name" ☂')
    upgrade(database)
    put_some(database, 1)
    session = open_session(database)
    finish(database, session, outcome(claim_one(database, session)))
    database.sender.send("ready")
    database.close()
