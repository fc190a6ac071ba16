"""Know what the database says of tasks and routes, fresh to two seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from mainspring.clock import Clock
from mainspring.domain.needs import RunNeeds, described_needs
from mainspring.domain.routes import Route
from mainspring.domain.unique import RunKey, Unique
from mainspring.encoding import fingerprint
from mainspring.services.catalog import Decided, decide
from mainspring.store.database import Database, Tx
from mainspring.store.tables import StoredTask, list_routes, list_tasks

_FRESH: Final = 2.0


class Directory:
    """Tasks as workers described them and the routes of the installation; nobody's code is needed for them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._tasks: Mapping[str, StoredTask] = {}
        self._routes: Sequence[Route] = ()
        self._read_at = float("-inf")

    @property
    def tasks(self) -> Mapping[str, StoredTask]:
        """Return all described tasks by name."""
        self._refresh()
        return self._tasks

    @property
    def routes(self) -> Sequence[Route]:
        """Return the routes in the order in which they are tried."""
        self._refresh()
        return self._routes

    def forget(self) -> None:
        """Read anew at the next question."""
        self._read_at = float("-inf")

    def decide(self, task: str, **given: Any) -> Decided:
        """Decide queue, priority, tries and expiry of a run of *task*, whether it is described or not."""
        described = self.tasks.get(task)
        defaults, policies = (described.defaults, described.policies) if described else ({}, {})
        return decide(task, defaults, policies, self.routes, **given)

    def needs(self, task: str, parameters: Mapping[str, Any]) -> RunNeeds:
        """Return what a run of *task* needs, as far as its description says."""
        described = self.tasks.get(task)
        if described is None:
            return RunNeeds()
        return described_needs(task, described.policies.get("flow"), described.schema, parameters)

    def code_version(self, task: str) -> str:
        """Return the version of the task's code that was described last, or ``unknown``."""
        described = self.tasks.get(task)
        return described.code_version if described else "unknown"

    def key_of(self, task: str, parameters: Mapping[str, Any], moment: datetime, owner_id: str = "") -> RunKey | None:
        """Return the unique key of a run of *task* with these parameters that is asked for at *moment*, if it has one.

        What is not given counts as the default that the task's description names. The runs of each account are unique
        among themselves: nobody meets, let alone changes, those of others by asking for the same.
        """
        described = self.tasks.get(task)
        unique = described.policies.get("unique") if described else None
        if described is None or unique is None:
            return None
        properties: Mapping[str, Any] = described.schema.get("properties", {})
        defaults = {name: body["default"] for name, body in properties.items() if "default" in body}
        found = Unique.from_json(unique).key_of(task, {**defaults, **parameters}, moment)
        return replace(found, key=fingerprint(f"{owner_id}:{found.key}")) if owner_id else found

    def wait_of(self, task: str) -> timedelta | None:
        """Return how long a run of *task* waits for a later wish for the same."""
        described = self.tasks.get(task)
        unique = described.policies.get("unique") if described else None
        return None if unique is None else Unique.from_json(unique).wait

    def _refresh(self) -> None:
        now = self._clock.monotonic()
        if now - self._read_at < _FRESH:
            return

        def look(tx: Tx) -> tuple[Mapping[str, StoredTask], Sequence[Route]]:
            return list_tasks(tx), list_routes(tx)

        self._tasks, self._routes = self._database.read(look)
        self._read_at = now
