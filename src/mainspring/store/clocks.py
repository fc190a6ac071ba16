"""Keep what is known of the clocks of machines: what was last believed of each, and who doubts at present."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as _insert_postgres
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from mainspring.encoding import decode, encode
from mainspring.store.database import Tx
from mainspring.store.schema import meta, schedules, worker_sessions

_ANCHOR: Final = "clock.anchor."
_DOUBT: Final = "clock.doubt."
_KEY_LENGTH: Final = 64
ANCHORS_KEPT: Final = 200
"""Machines that are booted anew leave their row behind; the oldest go."""


def server_now(tx: Tx) -> datetime | None:
    """Return what the clock of the database's server says; None where there is no server."""
    if tx.dialect == "sqlite":
        return None
    said: datetime = tx.core(select(func.clock_timestamp())).scalar_one()
    return said.astimezone(UTC)


def last_used(tx: Tx) -> datetime | None:
    """Return the latest instant at which the database was surely used: by a session, an edit or a fire time."""
    live = schedules.c.deleted_at.is_(None)
    looks = (
        select(func.max(worker_sessions.c.seen_at)),
        select(func.max(schedules.c.last_at)).where(live),
        select(func.max(schedules.c.effective_at)).where(live),
    )
    return max((found for query in looks if (found := tx.core(query).scalar()) is not None), default=None)


def find_anchor(tx: Tx, boot_id: str) -> Mapping[str, Any] | None:
    """Return what was last believed of the clock of the machine of this boot."""
    found = tx.core(select(meta.c.value).where(meta.c.key == _key(_ANCHOR, boot_id))).scalar()
    return None if found is None else dict(decode(found))


def put_anchor(tx: Tx, boot_id: str, body: Mapping[str, Any], now: datetime) -> None:
    """Write what is believed of the clock of the machine of this boot."""
    _put(tx, _key(_ANCHOR, boot_id), {**body, "written_at": now.isoformat()})
    kept = sorted(_all(tx, _ANCHOR), key=lambda pair: str(pair[1].get("written_at")), reverse=True)
    for key, _ in kept[ANCHORS_KEPT:]:
        tx.core(meta.delete().where(meta.c.key == key))


def put_doubt(tx: Tx, doubter: str, body: Mapping[str, Any]) -> None:
    """Write that *doubter*, a process, doubts its clock; what dead processes of its machine wrote goes."""
    pids = _live_pids(tx)
    for key, other in _all(tx, _DOUBT):
        if other.get("boot_id") == body.get("boot_id") and (other.get("host"), other.get("pid")) not in pids:
            tx.core(meta.delete().where(meta.c.key == key))
    _put(tx, _key(_DOUBT, doubter), body)


def drop_doubt(tx: Tx, doubter: str) -> None:
    """Write that *doubter* doubts no more."""
    tx.core(meta.delete().where(meta.c.key == _key(_DOUBT, doubter)))


def list_doubts(tx: Tx) -> list[dict[str, Any]]:
    """Return who doubts its clock, of the processes that live."""
    pids = _live_pids(tx)
    return [body for _, body in _all(tx, _DOUBT) if (body.get("host"), body.get("pid")) in pids]


def _live_pids(tx: Tx) -> set[tuple[Any, Any]]:
    query = select(worker_sessions.c.host, worker_sessions.c.pid).where(worker_sessions.c.state == "live")
    return {(row.host, row.pid) for row in tx.core(query)}


def _all(tx: Tx, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    query = select(meta.c.key, meta.c.value).where(meta.c.key.startswith(prefix, autoescape=True)).order_by(meta.c.key)
    return [(row.key, dict(decode(row.value))) for row in tx.core(query)]


def _key(prefix: str, name: str) -> str:
    return (prefix + name)[:_KEY_LENGTH]


def _put(tx: Tx, key: str, body: Mapping[str, Any]) -> None:
    # Two processes of a machine may write at the same moment.
    insert = _insert_sqlite if tx.dialect == "sqlite" else _insert_postgres
    put: Any = insert(meta).values(key=key, value=encode(dict(body)))
    tx.core(put.on_conflict_do_update(index_elements=[meta.c.key], set_={"value": put.excluded.value}))
