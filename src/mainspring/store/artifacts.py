"""Record artifacts: what they are, and where their files lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.engine import Row

from mainspring.ids import RunId, is_id
from mainspring.store.database import Tx
from mainspring.store.schema import artifacts


def add_artifact(tx: Tx, values: Mapping[str, Any]) -> None:
    """Record an artifact that has been saved."""
    if tx.repeated and find_artifact(tx, values["id"]) is not None:
        return
    tx.core(insert(artifacts).values(**values))


def list_artifacts(tx: Tx, run_id: RunId | None = None, most: int = 100) -> Sequence[Row[Any]]:
    """Return artifacts, newest first; those of one run if given."""
    query = select(artifacts).order_by(artifacts.c.id.desc()).limit(most)
    return tx.core(query if run_id is None else query.where(artifacts.c.run_id == run_id)).all()


def find_artifact(tx: Tx, artifact_id: str) -> Row[Any] | None:
    """Return the artifact of this id, or None."""
    if not is_id(artifact_id):
        return None
    return tx.core(select(artifacts).where(artifacts.c.id == artifact_id)).one_or_none()


def newest_artifact(tx: Tx, run_id: RunId, name: str) -> Row[Any] | None:
    """Return what a run saved last under *name*, or None."""
    query = select(artifacts).where(artifacts.c.run_id == run_id, artifacts.c.name == name)
    return tx.core(query.order_by(artifacts.c.id.desc()).limit(1)).first()


def artifact_bytes(tx: Tx, run_id: RunId | None = None) -> int:
    """Return how many bytes all artifacts have, or those of one run."""
    query = select(func.coalesce(func.sum(artifacts.c.size), 0))
    return int(tx.core(query if run_id is None else query.where(artifacts.c.run_id == run_id)).scalar_one())


def expired_artifacts(tx: Tx, now: datetime, most: int, after: str | None = None) -> Sequence[Row[Any]]:
    """Return artifacts whose time is over, at most *most*, by id, those after the id *after*."""
    query = select(artifacts).where(artifacts.c.expires_at <= now).order_by(artifacts.c.id).limit(most)
    return tx.core(query if after is None else query.where(artifacts.c.id > after)).all()


def forget_artifacts(tx: Tx, ids: Sequence[str]) -> int:
    """Delete the rows of artifacts whose files are gone; return how many there were."""
    # Locked by ascending id: several processes clear away at once.
    locked = select(artifacts.c.id).where(artifacts.c.id.in_(ids)).order_by(artifacts.c.id).with_for_update()
    found = [row.id for row in tx.core(locked)]
    return tx.core(delete(artifacts).where(artifacts.c.id.in_(found))).rowcount if found else 0


def known_artifacts(tx: Tx, ids: Sequence[str]) -> set[str]:
    """Return those of *ids* that are artifacts."""
    return {row.id for row in tx.core(select(artifacts.c.id).where(artifacts.c.id.in_(ids)))}
