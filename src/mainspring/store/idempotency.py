"""Keep answers to requests that may be sent again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import and_, delete, select, update

from mainspring.encoding import decode, encode
from mainspring.store.database import Tx
from mainspring.store.schema import idempotency_keys
from mainspring.store.tables import insert_ignoring

_table = idempotency_keys
LASTS: Final = timedelta(hours=24)
"""How long an answer is kept."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a key; without a status its first request has not been answered."""

    fingerprint: str
    status: int | None
    headers: Mapping[str, str]
    body: str
    created_at: datetime


def begin(tx: Tx, account: str, key: str, fingerprint: str, now: datetime, too_old: datetime) -> Kept | None:
    """Take a key for a request; return what is known of it where it was taken after *too_old* already."""
    same = and_(_table.c.account == account, _table.c.key == key)
    tx.core(delete(_table).where(same, _table.c.created_at <= too_old))
    values = {"account": account, "key": key, "fingerprint": fingerprint, "created_at": now}
    if tx.core(insert_ignoring(tx, _table).values(**values).returning(_table.c.key)).scalar() is not None:
        return None
    row = tx.core(select(_table).where(same)).one()
    if tx.repeated and row.status is None and (row.fingerprint, row.created_at) == (fingerprint, now):
        return None
    return Kept(row.fingerprint, row.status, decode(row.headers) or {}, row.body or "", row.created_at)


def end(tx: Tx, account: str, key: str, status: int, headers: Mapping[str, str], body: str) -> None:
    """Keep the answer."""
    same = and_(_table.c.account == account, _table.c.key == key)
    tx.core(update(_table).where(same).values(status=status, headers=encode(dict(headers)), body=body))


def forget(tx: Tx, account: str, key: str) -> None:
    """Give a key back whose request changed nothing."""
    tx.core(delete(_table).where(_table.c.account == account, _table.c.key == key))


def has_old(tx: Tx, before: datetime) -> bool:
    """Return whether there are answers that were asked for before."""
    return tx.core(select(_table.c.key).where(_table.c.created_at <= before).limit(1)).scalar() is not None


def forget_old(tx: Tx, before: datetime) -> int:
    """Delete answers that were asked for before; return how many."""
    return tx.core(delete(_table).where(_table.c.created_at <= before)).rowcount
