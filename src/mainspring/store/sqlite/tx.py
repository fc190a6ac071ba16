"""Run statements on a SQLite connection inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult
from sqlalchemy.sql import Executable

from mainspring.errors import StoreUnavailable
from mainspring.store.database import DialectName, Row
from mainspring.store.types import from_micros, to_micros

T = TypeVar("T")


class SqliteTx:
    """A connection inside a transaction."""

    dialect: DialectName = "sqlite"
    repeated = False

    def __init__(
        self,
        raw: Any,
        connection: Connection,
        texts: Mapping[str, str],
        refusal: Callable[[Any], StoreUnavailable | None] = lambda raw: None,
    ) -> None:
        """Run the statements *texts* on *raw*; *refusal* says why nothing new may be taken at present."""
        self._raw, self._connection, self._texts, self._refusal = raw, connection, texts, refusal
        self._depth = 0

    def refusal(self) -> StoreUnavailable | None:
        """Return why no new work may be taken at present: the disk is full, or the file is a copy; else None."""
        return self._refusal(self._raw)

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Run the hot statement of this name and return its rows."""
        found: list[Row] = self._raw.execute(self._texts[statement], parameters).fetchall()
        return found

    def run(self, statement: str, parameters: Mapping[str, Any]) -> int:
        """Run the hot statement of this name and return how many rows it changed."""
        return int(self._raw.execute(self._texts[statement], parameters).rowcount)

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run the hot statement of this name for all *rows*; return how many database rows it changed."""
        return int(self._raw.executemany(self._texts[statement], rows).rowcount) if rows else 0

    def returning(self, statement: str, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Run the hot statement of this name for each of *rows*; return the rows that it gives back."""
        # SQLite drops what a statement returns that is executed for many rows at once.
        execute, text = self._raw.execute, self._texts[statement]
        return [found for row in rows for found in execute(text, row).fetchall()]

    def core(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run an ordinary SQLAlchemy Core statement in this transaction."""
        return self.connection.execute(statement, parameters)

    def allow(self, seconds: float | None) -> None:
        """Do nothing: statements have no time limit here."""

    def at(self, moment: datetime | None) -> int | None:
        """Return *moment* as a parameter of hot statements."""
        return None if moment is None else to_micros(moment)

    def instant(self, value: int) -> datetime:
        """Return the instant that a hot statement gave back."""
        return from_micros(value)

    def ids(self, ids: Iterable[str]) -> str:
        """Return a list of ids as one parameter of hot statements."""
        return json.dumps(list(ids))

    def savepoint(self, work: Callable[[], T]) -> T:
        """Run *work* so that its failure undoes only what it did itself, and is raised."""
        self._depth += 1
        name = f"s{self._depth}"
        self._raw.execute(f"SAVEPOINT {name}")
        try:
            result = work()
        except BaseException:
            self._undo(name)
            raise
        else:
            self._raw.execute(f"RELEASE {name}")
            return result
        finally:
            self._depth -= 1

    def _undo(self, savepoint: str) -> None:
        if not self._raw.in_transaction:
            return
        try:
            self._raw.execute(f"ROLLBACK TO {savepoint}")
            self._raw.execute(f"RELEASE {savepoint}")
        except BaseException:
            # What cannot be undone alone is undone with all that shares the transaction; half of it must not stay.
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            raise

    @property
    def connection(self) -> Connection:
        """The SQLAlchemy connection over the same SQLite connection; it never begins or commits by itself."""
        return self._connection

    @property
    def plain(self) -> Connection:
        """The same connection: a SQLite file has no schemas."""
        return self._connection

    def is_open(self) -> bool:
        """Return whether a transaction is under way."""
        return bool(self._raw.in_transaction)

    def raw(self) -> Any:
        """Return the driver's connection."""
        return self._raw

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()
