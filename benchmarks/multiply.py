"""Fill large tables: one row that Mainspring wrote becomes many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mainspring.store.database import Database, Tx

_CHUNK: Final = 100_000
_KEY: Final = {
    "sqlite": "printf('%08x-%04x-7000-8000-%012x', {n} >> 16, {n} & 65535, {n})",
    "postgresql": "(lpad(to_hex({n} >> 16), 8, '0') || '-' || lpad(to_hex({n} & 65535), 4, '0') || '-7000-8000-' "
    "|| lpad(to_hex({n}), 12, '0'))::uuid",
}
_NUMBERS: Final = {
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM c WHERE n < {last}) "
    "SELECT n FROM c)",
    "postgresql": "generate_series({first}::bigint, {last}::bigint)",
}


def key(database: Database, n: str = "g.n") -> str:
    """Return SQL for an id made from the number *n*; greater numbers give greater ids."""
    return _KEY[database.dialect].format(n=n)


def multiply(database: Database, table: str, where: str, numbers: range, changed: Mapping[str, str]) -> None:
    """Copy the one row of *table* that *where* finds for each of *numbers*.

    *changed* gives SQL for columns that differ; ``g.n`` in it is the number.
    """
    first = numbers.start
    while first < numbers.stop:
        last = min(first + _CHUNK, numbers.stop) - 1
        database.write(lambda tx, a=first, b=last: _copy(tx, table, where, (a, b), changed))  # type: ignore[misc]
        first = last + 1


def _copy(tx: Tx, table: str, where: str, numbers: tuple[int, int], changed: Mapping[str, str]) -> None:
    tx.allow(None)
    columns = _columns(tx, table)
    values = ", ".join(changed.get(column, f"r.{column}") for column in columns)
    source = _NUMBERS[tx.dialect].format(first=numbers[0], last=numbers[1])
    named = f"{source} AS g(n)" if tx.dialect == "postgresql" else f"{source} AS g"
    name = qualified(tx, table)
    statement = f"INSERT INTO {name} ({', '.join(columns)}) SELECT {values} FROM {name} r, {named} WHERE r.{where}"
    tx.raw().execute(statement)  # type: ignore[attr-defined]


def copy_with(database: Database, table: str, where: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Copy the one row of *table* that *where* finds for each of *rows*, which give values of columns that differ."""
    changed = list(rows)

    def work(tx: Tx) -> None:
        tx.allow(None)
        columns = _columns(tx, table)
        raw: Any = tx.raw()  # type: ignore[attr-defined]
        (row,) = raw.execute(f"SELECT {', '.join(columns)} FROM {qualified(tx, table)} r WHERE r.{where}").fetchall()
        marks = ", ".join(["?" if tx.dialect == "sqlite" else "%s"] * len(columns))
        statement = f"INSERT INTO {qualified(tx, table)} ({', '.join(columns)}) VALUES ({marks})"
        values = [[new.get(name, old) for name, old in zip(columns, row, strict=True)] for new in changed]
        raw.cursor().executemany(statement, values)

    database.write(work)


def qualified(tx: Tx, table: str) -> str:
    """Return the name of *table* as plain SQL must write it."""
    return table if tx.dialect == "sqlite" else f"mainspring.{table}"


def _columns(tx: Tx, table: str) -> Sequence[str]:
    cursor = tx.raw().execute(f"SELECT * FROM {qualified(tx, table)} LIMIT 0")  # type: ignore[attr-defined]
    return [column[0] for column in cursor.description]
