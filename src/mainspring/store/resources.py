"""Read and edit resources: what is declared of each, what happened, and how many runs use it or wait for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, insert, select, update

from mainspring.domain.resources import ResourceLimits, ResourceState
from mainspring.domain.states import RunState
from mainspring.store.database import Tx
from mainspring.store.schedules import audited, write_audit
from mainspring.store.schema import holdings, holds, resources, runs

FROM_FILE: Final = "file"
"""The source of what the configuration declares; empty means that nobody declared it, anything else who edited it."""
COUNT_AT_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class StoredResource:
    """A resource as its row says it."""

    name: str
    source: str
    limits: ResourceLimits
    state: ResourceState
    version: int
    updated_at: datetime
    """When its limits were last edited."""

    @property
    def edited_by(self) -> str | None:
        """Who edited it by hand, if it stands as somebody left it."""
        return self.source if self.source not in ("", FROM_FILE) else None


@dataclass(frozen=True, slots=True)
class Use:
    """How many attempts use a resource now, and how many runs it holds back: counted to `COUNT_AT_MOST` and one."""

    in_use: int = 0
    held: int = 0


def lock(tx: Tx, names: Iterable[str]) -> None:
    """Let nobody else decide about these resources until the commit."""
    if tx.dialect == "postgresql":
        tx.rows("lock_limits", {"names": tx.ids(sorted(set(names)))})


def list_resources(tx: Tx) -> list[StoredResource]:
    """Return all resources by name."""
    return [_stored(row) for row in tx.core(select(resources).order_by(resources.c.name))]


def find_resource(tx: Tx, name: str) -> StoredResource | None:
    """Return the resource of this name, or None."""
    row = tx.core(select(resources).where(resources.c.name == name)).first()
    return None if row is None else _stored(row)


def use_of(tx: Tx, names: Sequence[str]) -> dict[str, Use]:
    """Return how much these resources are in use, and how many runs they hold back."""
    running = (
        select(holdings.c.resource, func.count().label("n"))
        .join(runs, runs.c.id == holdings.c.run_id)
        .where(
            holdings.c.resource.in_(names),
            runs.c.state == RunState.RUNNING.value,
            runs.c.attempt == holdings.c.attempt,
        )
        .group_by(holdings.c.resource)
    )
    in_use: dict[str, int] = {row.resource: row.n for row in tx.core(running)}
    return {name: Use(in_use.get(name, 0), _held(tx, name)) for name in names}


def _held(tx: Tx, name: str) -> int:
    some = select(holds.c.run_id).where(holds.c.resource == name).limit(COUNT_AT_MOST + 1).subquery()
    return int(tx.core(select(func.count()).select_from(some)).scalar() or 0)


def put_limits(
    tx: Tx, name: str, limits: ResourceLimits, source: str, now: datetime, actor: str, version: int | None = None
) -> bool:
    """Declare the limits of a resource, which hold at once; the caller has locked it.

    Returns False when its row is not of *version* any more (0: there was none); None takes it as it is.
    """
    before = find_resource(tx, name)
    if version is not None and (0 if before is None else before.version) != version:
        return tx.repeated and audited(tx, now, actor, "resource.edit", name)
    values: dict[str, Any] = {"source": source, "limits": limits.to_json(), "updated_at": now}
    if before is None:
        tx.core(insert(resources).values(name=name, state="{}", version=1, **values))
    else:
        # What the old rate spoke for does not hold up the new one.
        state = replace(before.state, paced_until=None)
        edited = update(resources).where(resources.c.name == name, resources.c.version == before.version)
        tx.core(edited.values(version=before.version + 1, state=state.to_json(), **values))
    old = {} if before is None else before.limits.to_mapping()
    write_audit(tx, now, actor, "resource.edit", name, {"from": old, "to": limits.to_mapping(), "source": source})
    return True


def claim_for_file(tx: Tx, name: str) -> None:
    """Note that a resource stands as the file declares it, whoever wrote it so."""
    tx.core(update(resources).where(resources.c.name == name).values(source=FROM_FILE))


def put_state(
    tx: Tx, name: str, state: ResourceState, now: datetime, actor: str, action: str, body: dict[str, Any]
) -> None:
    """Write what is to have happened to a resource, by hand; the caller has locked it."""
    tx.core(update(resources).where(resources.c.name == name).values(state=state.to_json()))
    write_audit(tx, now, actor, action, name, body)


def _stored(row: Any) -> StoredResource:
    limits, state = ResourceLimits.from_json(row.limits), ResourceState.from_json(row.state)
    return StoredResource(row.name, row.source, limits, state, row.version, row.updated_at)
