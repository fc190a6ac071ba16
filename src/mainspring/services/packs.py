"""Find packs, give them their doors, and tell them what happened."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, select, text

from mainspring.errors import InvalidInput, StoreUnavailable, UnknownName
from mainspring.pack.interface import FiredRun, OccurrenceFired, Pack
from mainspring.store.database import Database, Tx
from mainspring.store.schema import outbox

_log = logging.getLogger("mainspring.packs")
_GROUP = "mainspring.packs"
_BATCH = 100
T = TypeVar("T")


def find_pack(name: str) -> Pack:
    """Return the pack of this name (an installed one), or the object that ``module:object`` names.

    Raises:
        UnknownName: no installed pack is called so.
        InvalidInput: the module or object does not exist, or is no pack.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InvalidInput(f"pack {name!r} cannot be loaded: {error}") from error
    else:
        installed = {point.name: point for point in entry_points(group=_GROUP)}
        if name not in installed:
            raise UnknownName("pack", name, installed)
        found = installed[name].load()
    if not isinstance(found, Pack):
        raise InvalidInput(f"pack {name!r} is {found!r}, not an instance of mainspring.pack.Pack")
    return found


class PackDoor:
    """The database as packs see it: SQLAlchemy connections to the default schema, transactions that are ours."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run *work* in one durable transaction."""
        return self._database.write(lambda tx: work(tx.plain))

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run *work* on a connection for reading."""
        return self._database.read(lambda tx: work(tx.plain))

    async def awrite(self, work: Callable[[Connection], T]) -> T:
        """`write`, on a thread."""
        return await asyncio.to_thread(self.write, work)

    async def aread(self, work: Callable[[Connection], T]) -> T:
        """`read`, on a thread."""
        return await asyncio.to_thread(self.read, work)


def make_tables(database: Database, pack: Pack) -> None:
    """Make the pack's tables that are missing."""
    tables = pack.tables()
    if tables is None:
        return

    def work(tx: Tx) -> None:
        if tx.dialect == "postgresql":
            # Processes that start together would otherwise make the same table at once, and all but one fail.
            tx.plain.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"pack {pack.name}"})
        tables.create_all(tx.plain)

    database.write(work)


class PackEvents:
    """Tells packs of their schedules' firings, each exactly once: the message goes in the transaction it causes."""

    def __init__(self, database: Database, packs: Mapping[str, Pack]) -> None:
        self._database, self._packs = database, packs
        self._failing: dict[str, str] = {}

    def run_once(self) -> int:
        """Tell what waits, at most 100 messages a pack; return how many were told.

        A pack that raises hears the same message again at the next call, before any later one.
        """
        return sum(self._tell(name, pack) for name, pack in self._packs.items())

    def _tell(self, name: str, pack: Pack) -> int:
        waiting = select(outbox.c.id, outbox.c.body).where(outbox.c.topic == f"pack:{name}")
        query = waiting.order_by(outbox.c.id).limit(_BATCH)
        if not self._database.read(lambda tx: tx.core(query.limit(1)).all()):
            return 0

        def work(tx: Tx) -> tuple[list[str], Exception | None]:
            told: list[str] = []
            failure = None
            for row in tx.core(query.with_for_update(skip_locked=True)).all():
                try:
                    tx.savepoint(lambda row=row: pack.on_occurrence_fired(_event(row.body), tx.plain))  # type: ignore[misc]
                except StoreUnavailable:
                    raise
                except Exception as error:  # the pack's own code; other packs and earlier messages stand
                    failure = error
                    self._note(name, row.id, error)
                    break
                told.append(row.id)
            tx.core(delete(outbox).where(outbox.c.id.in_(told)))
            return told, failure

        told, failure = self._database.write(work)
        if failure is None:
            self._failing.pop(name, None)
        return len(told)

    def _note(self, pack: str, message: str, error: Exception) -> None:
        if self._failing.get(pack) != message:
            self._failing[pack] = message
            _log.error("pack_event_failed pack=%s message=%s; it is told again", pack, message, exc_info=error)


def _event(text: str) -> OccurrenceFired:
    body: dict[str, Any] = json.loads(text)
    return OccurrenceFired(
        schedule=body["schedule"],
        fire_at=datetime.fromisoformat(body["fire_at"]),
        recorded_at=datetime.fromisoformat(body["recorded_at"]),
        runs=tuple(FiredRun(run["id"], run["member"], run["parameters"]) for run in body["runs"]),
        labels=body["labels"],
    )
