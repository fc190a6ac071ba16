"""Read what people and programs did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Row

from mainspring.store.database import Tx
from mainspring.store.schema import audit


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries to list; every given condition must hold."""

    actor: str | None = None
    action: str | None = None
    """An action such as ``schedule.edit``, or the first part of several: ``schedule``."""
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_audit(tx: Tx, wanted: AuditFilter, most: int, before: str | None) -> Sequence[Row[Any]]:
    """Return entries that *wanted* lets through, newest first, at most *most*, older than *before*."""
    query = select(audit).order_by(audit.c.id.desc()).limit(most)
    if before is not None:
        query = query.where(audit.c.id < before)
    if wanted.actor is not None:
        query = query.where(audit.c.actor == wanted.actor)
    if wanted.action is not None:
        below = audit.c.action.startswith(f"{wanted.action}.", autoescape=True)
        query = query.where((audit.c.action == wanted.action) | below)
    if wanted.subject is not None:
        query = query.where(audit.c.subject == wanted.subject)
    if wanted.since is not None:
        query = query.where(audit.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit.c.at < wanted.until)
    return tx.core(query).all()
