"""Look for results that earlier runs have given, before functions are called."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mainspring.clock import Clock
from mainspring.domain.runs import ClaimedRun
from mainspring.domain.tasks import Task
from mainspring.errors import MainspringError, StoreUnavailable
from mainspring.ids import RunId
from mainspring.store.database import Database, Tx
from mainspring.store.needs import filled_parameters
from mainspring.store.result_cache import CachedResult, find_results, want_fresh

_log = logging.getLogger("mainspring.worker")


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look for the result of a run has found."""

    key: str
    """Under which the result that it gives itself is to be kept."""
    found: CachedResult | None = None


class ResultCache:
    """Finds results that answer for runs; asks the database only for runs of tasks that have a cache."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def look(self, runs: Iterable[tuple[ClaimedRun, Task[..., Any] | None]]) -> dict[RunId, Looked]:
        """Return what is known for each of *runs* whose task has a cache, in one read."""
        wanted = [(run, task) for run, task in runs if task is not None and task.cache is not None]
        if not wanted:
            return {}
        try:
            return self._database.read(lambda tx: self._find(tx, wanted))
        except StoreUnavailable as error:
            # A result that is computed once more is no mistake.
            _log.warning("result_cache_not_read error=%s; %d runs compute their results", error, len(wanted))
            return {}

    def _find(self, tx: Tx, wanted: list[tuple[ClaimedRun, Task[..., Any]]]) -> dict[RunId, Looked]:
        keys = {run.id: key for run, task in wanted if (key := _key(tx, run, task)) is not None}
        now = self._clock.now()
        found = find_results(tx, sorted(set(keys.values())), now) if keys else {}
        fresh = want_fresh(tx, [run_id for run_id, key in keys.items() if key in found]) if found else set()
        looked = {}
        for run, task in wanted:
            if (key := keys.get(run.id)) is None:
                continue
            result = found.get(key)
            assert task.cache is not None
            # A task may have been given a shorter time to live since.
            if result is not None and (run.id in fresh or now - result.created_at >= task.cache.ttl):
                result = None
            looked[run.id] = Looked(key, result)
        return looked


def _key(tx: Tx, run: ClaimedRun, task: Task[..., Any]) -> str | None:
    """Return the key of a run; None when its parameters do not fit or are not there, which its attempt will say."""
    try:
        text = run.parameters if run.parameters is not None else filled_parameters(tx, run.id)
        # Checked once more: a schedule leaves out what has a default.
        parameters = task.validate(json.loads(text or "{}"))
    except MainspringError:
        return None
    assert task.cache is not None
    return task.cache.key(task.name, task.code_version, parameters)
