"""What both databases offer the statements: transactions, batches, hints and a clock for leases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult
from sqlalchemy.sql import Executable

from mainspring.errors import StoreUnavailable
from mainspring.store.hints import HintReceiver, HintSender

T = TypeVar("T")
Row = tuple[Any, ...]
DialectName = Literal["sqlite", "postgresql"]


class Tx(Protocol):
    """One open transaction, or one consistent look at the database."""

    dialect: DialectName
    repeated: bool
    """Whether this work has been tried before and may have been committed without our hearing of it."""

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Run the hot statement of this name and return its rows."""

    def run(self, statement: str, parameters: Mapping[str, Any]) -> int:
        """Run the hot statement of this name and return how many rows it changed."""

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run the hot statement of this name for all *rows* at once; return how many database rows it changed."""

    def returning(self, statement: str, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Run the hot statement of this name for all *rows* at once; return the rows that it gives back."""

    def core(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run an ordinary SQLAlchemy Core statement in this transaction."""

    def at(self, moment: datetime | None) -> Any:
        """Return *moment* as a parameter of hot statements."""

    def instant(self, value: Any) -> datetime:
        """Return the instant that a hot statement gave back."""

    def ids(self, ids: Iterable[str]) -> Any:
        """Return a list of ids as one parameter of hot statements."""

    def savepoint(self, work: Callable[[], T]) -> T:
        """Run *work* so that its failure undoes only what it did itself, and is raised."""

    def allow(self, seconds: float | None) -> None:
        """Let each statement of this transaction take *seconds*, or any time: for migrations and the verifier."""

    def refusal(self) -> StoreUnavailable | None:
        """Return why no new work may be taken or begun at present (the disk is full), or None; ends are recorded."""

    @property
    def connection(self) -> Connection:
        """The SQLAlchemy connection under this transaction."""

    @property
    def plain(self) -> Connection:
        """The same, for tables outside our schema."""


class Database(Protocol):
    """A SQLite file or a schema of a PostgreSQL database."""

    dialect: DialectName
    location: str
    """Where it is, without secrets, for people."""

    @property
    def sender(self) -> HintSender:
        """Where hints are given after a commit."""

    def write(self, work: Callable[[Tx], T]) -> T:
        """Run *work* in one durable transaction and return what it returned, after the commit.

        *work* may run more than once (a lost connection, a deadlock): it must be idempotent by its keys.

        Raises:
            StoreUnavailable: the database did not answer in time or cannot be written.
        """

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run *work* on a connection for reading."""

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Let each `write` and `read` of this thread inside the block take *seconds* at most, where that can be."""

    def lease_now(self) -> datetime | None:
        """Return the time by which leases are judged; None means the server's own clock."""

    def receiver(self, address: str) -> HintReceiver:
        """Return a receiver of hints that listens at *address* (from `wake_address`)."""

    def wake_address(self, session_id: str) -> str:
        """Return the address under which the session of this id can be woken; empty where none is needed."""

    def join(self, raw: Any) -> Tx:
        """Return a transaction inside that of *raw*, a driver's connection of somebody else: for hot statements alone.

        Raises:
            InvalidInput: it does not lead to this database, or is not safe beside ours.
        """

    def tidy(self) -> None:
        """Do the housekeeping that the database wants once a minute; fails quietly when it is busy."""

    def table_names(self) -> set[str]:
        """Return the names of the tables that exist in our schema."""

    def close(self) -> None:
        """Close all connections."""


def admit(tx: Tx) -> None:
    """Let new work pass, or refuse it.

    Raises:
        StoreUnavailable: the database takes none at present, such as `StoreFull`.
    """
    refusal = tx.refusal()
    if refusal is not None:
        raise refusal


_PLACEHOLDER = re.compile(r"\$schema\.")


@cache
def statement_texts(folder: str, schema: str | None) -> Mapping[str, str]:
    """Return the hot statements of *folder* by name, with the schema's name put in (quoted) where they say $schema."""
    prefix = "" if schema is None else '"' + schema.replace('"', '""') + '".'
    found = {}
    for entry in files("mainspring.store").joinpath(folder).iterdir():
        if entry.name.endswith(".sql"):
            found[entry.name.removesuffix(".sql")] = _PLACEHOLDER.sub(prefix, entry.read_text(encoding="utf-8"))
    return found
