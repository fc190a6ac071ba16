"""Steer the cache of results."""

from __future__ import annotations

from mainspring.clock import Clock
from mainspring.errors import UnknownName
from mainspring.store import result_cache, tables
from mainspring.store.database import Database, Tx
from mainspring.store.schedules import write_audit


class Caching:
    """Acts on results that are kept for later runs, each action audited."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def clear(self, task: str, actor: str) -> int:
        """Forget all results that are kept of a task; return how many there were.

        Raises:
            UnknownName: no worker has ever described such a task, and nothing is kept of it.
        """
        now = self._clock.now()
        known = self._database.read(tables.list_tasks)
        if task not in known and not self._database.read(lambda tx: result_cache.count_results(tx, task)):
            raise UnknownName("task", task, known)

        def work(tx: Tx) -> int:
            count = result_cache.forget_results(tx, task)
            if count:
                write_audit(tx, now, actor, "cache.clear", task, {"results": count})
            return count

        return self._database.write(work)
