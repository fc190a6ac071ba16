"""Put faults between the services and a real database: at any statement, before a commit and after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from mainspring.errors import StoreUnavailable
from mainspring.store.database import Database, Row, Tx

T = TypeVar("T")
Moment = Literal["before", "after", "commit", "committed"]


@dataclass(frozen=True, slots=True)
class Point:
    """A place where a fault can strike."""

    number: int
    """Counted over all points of this layer, from 1."""
    moment: Moment
    """Before or after a statement; before the commit of a transaction, or after it."""
    statement: str
    """The statement's name; for commits the name of the function that asked for the transaction."""
    writing: bool


class Repeat(Exception):
    """Raised at a moment `committed`: the reply to the commit was lost, and the driver tries the work again."""


class FaultLayer:
    """A database in front of another that tells *strike* every point it passes; *strike* may raise, wait or exit."""

    def __init__(self, inner: Database, strike: Callable[[Point], None] = lambda point: None) -> None:
        self.inner, self.strike = inner, strike
        self.points = 0
        self._lock = threading.Lock()

    def write(self, work: Callable[[Tx], T], **more: Any) -> T:
        """Run *work* in a transaction of the database behind, with faults."""
        name, passing = getattr(work, "__qualname__", "work"), self.pass_

        def watched(tx: Tx, *, repeated: bool = False) -> T:
            result = work(_FaultTx(tx, passing, writing=True, repeated=repeated))
            passing("commit", name, True)
            return result

        result = self.inner.write(watched, **more)
        try:
            self.pass_("committed", name, True)
        except Repeat:
            return self.inner.write(lambda tx: watched(tx, repeated=True), **more)
        return result

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run *work* for reading, with faults."""
        return self.inner.read(lambda tx: work(_FaultTx(tx, self.pass_, writing=False)))

    def pass_(self, moment: Moment, statement: str, writing: bool) -> None:
        """Count a point and let *strike* look at it."""
        with self._lock:
            self.points += 1
            number = self.points
        self.strike(Point(number, moment, statement, writing))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _FaultTx:
    def __init__(
        self, inner: Tx, passing: Callable[[Moment, str, bool], None], *, writing: bool, repeated: bool = False
    ) -> None:
        self._inner, self._passing, self._writing = inner, passing, writing
        self.repeated = repeated or inner.repeated

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        return self._around(statement, lambda: self._inner.rows(statement, parameters))

    def run(self, statement: str, parameters: Mapping[str, Any]) -> int:
        return self._around(statement, lambda: self._inner.run(statement, parameters))

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        if not rows:
            return self._inner.many(statement, rows)
        return self._around(statement, lambda: self._inner.many(statement, rows))

    def returning(self, statement: str, rows: Sequence[Sequence[Any]]) -> list[Row]:
        if not rows:
            return self._inner.returning(statement, rows)
        return self._around(statement, lambda: self._inner.returning(statement, rows))

    def core(self, statement: Any, parameters: Any = None) -> Any:
        return self._around("core", lambda: self._inner.core(statement, parameters))

    def _around(self, statement: str, call: Callable[[], T]) -> T:
        self._passing("before", statement, self._writing)
        result = call()
        self._passing("after", statement, self._writing)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def unavailable(point: Point) -> StoreUnavailable:
    """Return the error of a database that stops answering at *point*."""
    return StoreUnavailable(f"no answer at {point.moment} {point.statement}")
