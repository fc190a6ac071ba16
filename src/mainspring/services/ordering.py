"""Order runs of tasks whose code is not at hand: by name, their parameters judged by the stored schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from mainspring.clock import Clock
from mainspring.domain.parameters import misfits
from mainspring.domain.runs import NewRun, RunKind
from mainspring.encoding import encode
from mainspring.errors import InvalidInput, ParametersInvalid, unknown_name
from mainspring.ids import RunId, new_run_id
from mainspring.services.directory import Directory
from mainspring.services.enqueue import check_options, snapshot
from mainspring.store import keys, queueing
from mainspring.store.database import Database, Tx
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.schedules import write_audit
from mainspring.store.tables import StoredTask

MOST: Final = 1_000
"""Runs that one request makes at most: they are written in one transaction, all or none."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A wish for one run. What is None is decided by routes and the task."""

    task: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    due_at: datetime | None = None
    """When it comes due; None means now."""
    expires: timedelta | None = None
    max_tries: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_options(self.queue, self.priority, self.max_tries, self.expires)


class Ordering:
    """Makes runs of tasks that a worker has described."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._directory = Directory(database, clock)

    def place(self, wishes: Sequence[Wish], owner_id: str, actor: str) -> list[RunId]:
        """Make one run of each wish, all or none, and return their ids in the same order.

        A task may say which runs are the same: a wish for one that is there already comes to that one.

        Raises:
            DuplicateRun: such a run is there already, and its task refuses another; nothing was written.
            InvalidInput: a task is not known; nothing was written.
            ParametersInvalid: parameters do not fit; nothing was written.
        """
        if not 0 < len(wishes) <= MOST:
            raise InvalidInput(f"{len(wishes):,} runs were asked for; one request makes 1 to {MOST:,}")
        now = self._clock.now()
        runs = [self._new_run(wish, owner_id, now) for wish in wishes]

        def work(tx: Tx) -> tuple[list[RunId], bool]:
            settled = keys.settle(tx, runs, now)
            ready = queueing.insert_runs(tx, settled.fresh, now)
            ids = [settled.stand_ins.get(run.id, run.id) for run in runs]
            for run, run_id in zip(runs, ids, strict=True):
                body = {"task": run.task} if run.id == run_id else {"task": run.task, "existing": True}
                write_audit(tx, now, actor, "run.enqueue", run_id, body)
            return ids, ready or settled.ready

        ids, ready = self._database.write(work)
        self._database.sender.send(READY if ready else SCHEDULES)
        return ids

    def _new_run(self, wish: Wish, owner_id: str, now: datetime) -> NewRun:
        task = self._known(wish.task)
        problems = misfits(task.schema, wish.parameters)
        if problems:
            raise ParametersInvalid(task.name, problems)
        decided = self._directory.decide(
            task.name, queue=wish.queue, priority=wish.priority, max_tries=wish.max_tries, expires=wish.expires
        )
        wanted = self._directory.needs(task.name, wish.parameters)
        due_at = wish.due_at or now + (self._directory.wait_of(task.name) or timedelta(0))
        return NewRun(
            id=new_run_id(),
            task=task.name,
            queue=decided.queue,
            priority=decided.priority,
            max_tries=decided.max_tries,
            at_most_once=decided.at_most_once,
            parameters=encode(dict(wish.parameters)),
            due_at=due_at,
            expires_at=None if decided.expires is None else due_at + decided.expires,
            kind=RunKind.ENQUEUED,
            labels=encode(dict(wish.labels)),
            owner_id=owner_id,
            snapshot=snapshot(task.name, task.code_version, decided),
            uses=wanted.uses,
            turn_key=wanted.key,
            key=self._directory.key_of(task.name, wish.parameters, now, owner_id),
        )

    def _known(self, name: str) -> StoredTask:
        found = self._directory.tasks.get(name)
        if found is None:
            # A worker may have described it within the seconds for which the directory is fresh.
            self._directory.forget()
            found = self._directory.tasks.get(name)
        if found is None:
            raise InvalidInput(unknown_name("task", name, self._directory.tasks))
        return found
