"""Damage a database with plain SQL, the same for both kinds."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from mainspring.store.database import Database, Tx
from mainspring.store.types import to_micros

STRANGER = "01900000-0000-7000-8000-00000000dead"


def damage(database: Database, *statements: str) -> int:
    """Run *statements*; return how many rows the last one changed.

    `at('2026-03-27T05:00')` is an instant, `minutes(5)` a span, `schedule('x')` the id of a schedule, `STRANGER` an id
    that nothing has. Checks of the tables do not hold meanwhile.
    """

    def work(tx: Tx) -> int:
        _let_go_of_checks(tx)
        changed = 0
        for statement in statements:
            changed = tx.connection.exec_driver_sql(_own(statement, tx.dialect)).rowcount
        return changed

    try:
        return database.write(work)
    finally:
        if database.dialect == "sqlite":
            database.write(lambda tx: tx.connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF"))


def _let_go_of_checks(tx: Tx) -> None:
    run = tx.connection.exec_driver_sql
    if tx.dialect == "sqlite":
        run("PRAGMA ignore_check_constraints = ON")
        return
    run("SET LOCAL search_path = mainspring")
    found = run(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint "
        "WHERE contype = 'c' AND connamespace = 'mainspring'::regnamespace"
    ).fetchall()
    for table, name in found:
        run(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')


def _own(statement: str, dialect: str) -> str:
    postgres = dialect == "postgresql"

    def instant(match: re.Match[str]) -> str:
        moment = datetime.fromisoformat(match[1] + "+00:00")
        return f"TIMESTAMPTZ '{match[1]}Z'" if postgres else str(to_micros(moment))

    def span(match: re.Match[str]) -> str:
        micros = timedelta(minutes=int(match[1])) // timedelta(microseconds=1)
        return f"INTERVAL '{match[1]} minutes'" if postgres else str(micros)

    text = re.sub(r"at\('([^']+)'\)", instant, statement)
    text = re.sub(r"minutes\((-?\d+)\)", span, text)
    text = re.sub(r"schedule\('([^']+)'\)", r"(SELECT id FROM schedules WHERE name = '\1')", text)
    text = text.replace("STRANGER", f"'{STRANGER}'")
    return text.replace("%", "%%") if postgres else text
