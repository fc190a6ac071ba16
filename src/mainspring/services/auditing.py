"""Read who did what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.store import audit as stored
from mainspring.store.audit import AuditFilter
from mainspring.store.database import Database

__all__ = ["AuditFilter", "Auditing"]


@dataclass(frozen=True, slots=True)
class Auditing:
    """Reads the audit; nothing changes it."""

    database: Database

    def entries(self, wanted: AuditFilter, most: int = 50, before: str | None = None) -> Sequence[Any]:
        """Return entries (id, at, actor, action, subject, body) that *wanted* lets through, newest first."""
        return self.database.read(lambda tx: stored.list_audit(tx, wanted, most, before))
