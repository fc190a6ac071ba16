"""Change runs that have not started: priority, queue, due time and parameters, each change audited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from mainspring.clock import Clock
from mainspring.domain.needs import described_needs
from mainspring.domain.parameters import misfits
from mainspring.domain.priority import parse_priority
from mainspring.domain.queue_order import QUEUE_NAME
from mainspring.domain.states import FINAL, RunState
from mainspring.encoding import decode, encode
from mainspring.errors import Conflict, InvalidInput, ParametersInvalid
from mainspring.ids import RunId
from mainspring.services.runs import Steering
from mainspring.store import editing as waiting
from mainspring.store import runs as stored
from mainspring.store.database import Database, Tx
from mainspring.store.editing import Change, Unstarted
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.runs import RunFilter, StoredRun
from mainspring.store.schedules import audited, write_audit
from mainspring.store.tables import StoredTask, list_tasks

UNSTARTED: Final = (RunState.SCHEDULED, RunState.WAITING, RunState.HELD, RunState.READY)
_ACTION: Final = "run.edit"
_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Edit:
    """What runs get instead of what they have; None leaves it as it is."""

    priority: int | None = None
    queue: str | None = None
    due_at: datetime | None = None
    """When they come due; their expiry moves along."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """New values by name; the other parameters stay."""

    def __post_init__(self) -> None:
        if self.priority is not None:
            parse_priority(self.priority)
        if self.queue is not None and QUEUE_NAME.fullmatch(self.queue) is None:
            raise InvalidInput(f"queue {self.queue!r} is not usable; write 1 to 100 letters, digits, '_', '.' and '-'")
        if self.due_at is not None and self.due_at.tzinfo is None:
            raise InvalidInput(f"due_at {self.due_at} has no time zone; instants are aware")
        if not self.parameters and (self.priority, self.queue, self.due_at) == (None, None, None):
            raise InvalidInput("nothing is to be changed; give a priority, queue, due time or parameter")


@dataclass(frozen=True, slots=True)
class EditedMany:
    """What became of a wish to edit many runs."""

    changed: int
    passed_by: int
    """Runs that had started or ended when it was their turn."""


class Editing:
    """Edits runs that have not started."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._steering = Steering(database, clock)

    def edit(self, run_id: str, edit: Edit, actor: str) -> StoredRun:
        """Change one run and return it as it is now.

        Raises:
            Conflict: it is under way, or has ended; or it waits for other runs and was to come due at another time.
            ParametersInvalid: the parameters do not fit what the task's worker said of it.
        """
        run = self._steering.require(run_id)
        now = self._clock.now()
        tasks = self._database.read(list_tasks)
        if not self._write([run], edit, tasks, now, actor, alone=True):
            after = self._steering.require(run.id)
            ended = after.state in FINAL
            raise Conflict(
                f"run {run.id} is {after.state}; " + ("what has ended is not changed" if ended else "it is under way")
            )
        return self._steering.require(run.id)

    def count(self, wanted: RunFilter) -> int:
        """Return how many runs `edit_all` would change now."""
        counts = self._database.read(lambda tx: stored.count_by_state(tx, _unstarted(wanted)))
        return sum(counts.values())

    def find(self, wanted: RunFilter, most: int) -> list[StoredRun]:
        """Return runs that `edit_all` would change now, newest first, at most *most*."""
        return self._database.read(lambda tx: stored.list_runs(tx, _unstarted(wanted), most))

    def edit_all(self, wanted: RunFilter, edit: Edit, actor: str) -> EditedMany:
        """Change all runs that *wanted* lets through and that have not started, 200 in a transaction.

        Raises:
            ParametersInvalid: the parameters do not fit one of them; those before it are changed.
        """
        wanted = _unstarted(wanted)
        tasks = self._database.read(list_tasks)
        changed = passed_by = 0
        before: RunId | None = None
        while True:
            found = self._database.read(lambda tx: stored.list_runs(tx, wanted, _BATCH, before))  # noqa: B023
            if not found:
                return EditedMany(changed, passed_by)
            before = found[-1].id
            done = self._write(found, edit, tasks, self._clock.now(), actor, alone=False)
            changed, passed_by = changed + done, passed_by + len(found) - done

    def _write(
        self, runs: Sequence[StoredRun], edit: Edit, tasks: Mapping[str, StoredTask], now: datetime, actor: str,
        *, alone: bool,
    ) -> int:  # fmt: skip
        def work(tx: Tx) -> tuple[int, bool]:
            taken = waiting.take_out(tx, [run.id for run in runs])
            named = {run.id: run.task for run in runs}
            changes = [(run, self._change(tx, run, named[run.id], edit, tasks, alone)) for run in taken.values()]
            parameters = {run.id: decode(stored.parameters_of(tx, run.id)) for run, _ in changes if edit.parameters}
            ready = waiting.put_back(tx, changes, now) if changes else False
            for run, change in changes:
                write_audit(tx, now, actor, _ACTION, run.id, _told(run, change, edit, parameters.get(run.id, {})))
            landed = [
                r.id for r in runs if r.id not in taken and tx.repeated and audited(tx, now, actor, _ACTION, r.id)
            ]
            return len(changes) + len(landed), ready

        done, ready = self._database.write(work)
        self._database.sender.send(READY if ready else SCHEDULES)
        return done

    def _change(
        self, tx: Tx, run: Unstarted, task: str, edit: Edit, tasks: Mapping[str, StoredTask], alone: bool
    ) -> Change:
        due_at = edit.due_at
        if due_at is not None and run.state is RunState.WAITING:
            if alone:
                raise Conflict(f"run {run.id} waits for other runs and comes due when they have ended")
            due_at = None
        text = needs = None
        if edit.parameters:
            if task not in tasks:
                raise InvalidInput(f"no worker has described task {task!r} yet, so its parameters cannot be checked")
            given = {**decode(stored.parameters_of(tx, run.id)), **edit.parameters}
            coming = waiting.filled_by_results(tx, run.id)
            problems = [
                f"parameter {name!r} is the result of another run" for name in sorted(coming & set(edit.parameters))
            ]
            problems += misfits(tasks[task].schema, given, coming)
            if problems:
                raise ParametersInvalid(task, problems)
            text = encode(given)
            described = tasks[task]
            known = {name: said for name, said in described.schema.get("properties", {}).items() if name not in coming}
            schema = {**described.schema, "properties": known}
            needs = described_needs(task, described.policies.get("flow"), schema, given)
        return Change(edit.queue, edit.priority, due_at, text, needs)


def _unstarted(wanted: RunFilter) -> RunFilter:
    begun = [state for state in wanted.states if state not in UNSTARTED]
    if begun:
        raise InvalidInput(f"runs that are {begun[0]} are not edited; only those that have not started are")
    return replace(wanted, states=tuple(wanted.states) or UNSTARTED)


def _told(run: Unstarted, change: Change, edit: Edit, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the audit keeps: of all that was changed how it was, and how it is."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for name in ("queue", "priority", "due_at"):
        value = getattr(change, name)
        if value is not None:
            before[name], after[name] = getattr(run, name), value
    if edit.parameters:
        before["parameters"] = _chosen(parameters, edit.parameters)
        after["parameters"] = dict(edit.parameters)
    return {"before": before, "after": after}


def _chosen(parameters: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: parameters[name] for name in names if name in parameters}
