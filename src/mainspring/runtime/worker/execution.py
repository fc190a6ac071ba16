"""Make one function call for an attempt, and hand over its outcome."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from mainspring.clock import Clock
from mainspring.domain.runs import ClaimedRun, Outcome
from mainspring.domain.tasks import Task
from mainspring.errors import NotFound, StoreUnavailable
from mainspring.ids import RunId
from mainspring.runtime.worker import outcomes
from mainspring.runtime.worker.attempt import Attempt, AttemptContext, StopCause
from mainspring.runtime.worker.host import WorkerHost
from mainspring.runtime.worker.logs import current_log
from mainspring.services.artifacts import ArtifactStore
from mainspring.store import needs
from mainspring.store.database import Database


class ParametersUnread(StoreUnavailable):
    """A run cannot begin: the database does not give its parameters. It goes back, and no try is charged."""


class Surroundings:
    """What every execution of a worker shares."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        artifacts: ArtifactStore,
        redact: Callable[[str], str],
        enter: Callable[[Task[..., Any], AttemptContext], dict[str, Any]] | None,
        on_done: Callable[[Attempt, Outcome], None],
    ) -> None:
        """*enter* gives further arguments to a task's function; *on_done* is told each outcome, from any thread."""
        self.database, self.clock, self.redact = database, clock, redact
        self.host = WorkerHost(database, clock, artifacts)
        self.enter, self.on_done = enter, on_done

    def with_parameters(self, claimed: Sequence[ClaimedRun]) -> list[ClaimedRun]:
        """Return *claimed* with the parameters that `long_parameters` gives, in one read; without those it cannot."""
        apart = [run.id for run in claimed if run.parameters is None]
        if not apart:
            return list(claimed)
        try:
            found = self.database.read(lambda tx: needs.fill_all(tx, apart))
        except StoreUnavailable:
            # Each run asks once more, and says what became of that.
            return list(claimed)
        return [replace(run, parameters=found[run.id]) if run.id in found else run for run in claimed]

    def long_parameters(self, run_id: RunId) -> str:
        """Return parameters that do not fit into the row of their run, or into which results of others are filled.

        Raises:
            ParametersUnread: the database did not answer; the run has not begun.
        """
        try:
            text = self.database.read(lambda tx: needs.filled_parameters(tx, run_id))
        except StoreUnavailable as error:
            raise ParametersUnread(f"its parameters could not be read: {error}") from error
        if text is None:
            raise NotFound("parameters of run", run_id)
        return text


class TaskExecution:
    """The call of a task's function for one attempt."""

    def __init__(self, attempt: Attempt, task: Task[..., Any], around: Surroundings) -> None:
        self._attempt, self._task, self._around = attempt, task, around

    @property
    def attempt(self) -> Attempt:
        """The attempt that the call is for."""
        return self._attempt

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return self._task.is_async

    def started_as(self, cancel: Callable[[], None]) -> None:
        """Remember how to cancel the coroutine; one that was asked to stop before it began is cancelled at once."""
        self._attempt.cancel_task = cancel
        if self._attempt.stop is not None:
            cancel()

    def call(self) -> None:
        """Run a plain function to its end."""
        current_log.set(self._attempt.log)
        try:
            if self._attempt.stop is not None:
                self._done(outcomes.stopped(self._attempt, self._now(), self._around.redact))
                return
            result = self._task.function(**self._arguments())
        except BaseException as error:  # whatever a task raises, SystemExit included, is its outcome
            self._failed(error)
        else:
            self._succeeded(result)

    async def coroutine(self) -> None:
        """Run a coroutine function to its end."""
        current_log.set(self._attempt.log)
        try:
            arguments = self._arguments()
            result = await self._task.function(**arguments)
        except asyncio.CancelledError as error:
            if self._attempt.stop is None:
                # The task cancelled itself, or something it awaited did: an error like any other.
                self._failed(error)
            else:
                self._done(outcomes.stopped(self._attempt, self._now(), self._around.redact))
        except BaseException as error:
            self._failed(error)
        else:
            self._succeeded(result)

    def _arguments(self) -> dict[str, Any]:
        text = self._attempt.run.parameters
        if text is None:
            text = self._around.long_parameters(self._attempt.run.id)
        arguments = self._task.bind(json.loads(text))
        context = AttemptContext(self._attempt, self._around.host)
        if self._task.context_parameter is not None:
            arguments[self._task.context_parameter] = context
        if self._around.enter is not None:
            arguments.update(self._around.enter(self._task, context))
        return arguments

    def _succeeded(self, result: Any) -> None:
        self._done(outcomes.succeeded(self._attempt, result, self._now(), self._around.redact))

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, ParametersUnread):
            self._done(outcomes.given_back(self._attempt.run, self._now(), str(error)))
            return
        try:
            outcome = outcomes.raised(self._attempt, error, self._now(), self._around.redact)
        except Exception as broken:  # an error whose own attributes raise must not leave the run without an end
            outcome = outcomes.raised(self._attempt, broken, self._now(), self._around.redact)
        self._done(outcome)

    def _done(self, outcome: Outcome) -> None:
        if self._attempt.settle() and self._attempt.stop is not StopCause.LOST:
            self._around.on_done(self._attempt, outcome)

    def _now(self) -> datetime:
        return self._around.clock.now()
