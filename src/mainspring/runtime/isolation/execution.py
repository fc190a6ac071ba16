"""One attempt in a child process, as its worker sees it: what is sent, and what becomes of what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from mainspring.domain.runs import Outcome
from mainspring.domain.tasks import Task
from mainspring.errors import MainspringError
from mainspring.runtime.isolation import frames, system, wire
from mainspring.runtime.worker import outcomes
from mainspring.runtime.worker.attempt import Attempt, StopCause, silence_in_words
from mainspring.runtime.worker.execution import ParametersUnread, Surroundings


class IsolatedExecution:
    """The call of a task's function in a child, for one attempt."""

    def __init__(self, attempt: Attempt, task: Task[..., Any], around: Surroundings) -> None:
        self.attempt, self._task, self._around = attempt, task, around

    def order(self, spool: Path) -> bytes | None:
        """Return what tells a child to begin; None when the run ends here, before it has begun."""
        if self.attempt.stop is not None:
            self._done(outcomes.stopped(self.attempt, self._now(), self._around.redact))
            return None
        text = self.attempt.run.parameters
        try:
            if text is None:
                text = self._around.long_parameters(self.attempt.run.id)
        except ParametersUnread as error:
            self._done(outcomes.given_back(self.attempt.run, self._now(), str(error)))
            return None
        except MainspringError as error:
            self._done(outcomes.raised(self.attempt, error, self._now(), self._around.redact))
            return None
        limits = self._task.limits.to_json()
        own = {"memory": limits["memory_limit"], "cpu": limits["cpu_limit"]}
        times = {"soft": limits["soft_time_limit"], "hard": limits["time_limit"], "silence": limits["silence_limit"]}
        further = {"recycle": limits["recycle_after"], "output": limits["output_limit"]}
        body = {"run": wire.run_to_json(self.attempt.run), "parameters": text, "limits": own, "spool": str(spool)}
        return frames.message(frames.LIMITS, own | times | further) + frames.message(frames.RUN, body)

    @property
    def hard_limit(self) -> float | None:
        """Return after how many seconds its keeper kills it, if at all."""
        limit = self._task.limits.time_limit
        return None if limit is None else limit.total_seconds()

    def started_as(self, tell: Callable[[], None]) -> None:
        """Remember how the child can be told to stop; one that was asked before it began is told at once."""
        self.attempt.cancel_task = tell
        if self.attempt.stop is not None:
            tell()

    def reports(self, progress: list[Any] | None) -> None:
        """Take the progress that the child reports."""
        if progress is not None:
            done, total, note = progress
            self.attempt.progress = (done, total, note)
            self.attempt.progress_changed = True

    def writes(self, data: bytes) -> None:
        """Take what the child's processes wrote."""
        self.attempt.log.write_bytes(data)

    def answer(self, question: dict[str, Any], spool: Path) -> Any:
        """Return the answer to a question of the child.

        Raises:
            MainspringError: it cannot be answered.
        """
        host = self._around.host
        if question["what"] == "artifact":
            # The name alone: what a child says never becomes a path outside of the folder.
            file = spool / Path(question["file"]).name
            return host.save_artifact(self.attempt, question["name"], file, question["media_type"])
        if question["what"] == "checkpoint":
            return host.read_checkpoint(self.attempt)
        if question["what"] == "save_checkpoint":
            return host.save_checkpoint(self.attempt, question["text"])
        raise MainspringError(f"a child asked for {question['what']!r}, which this worker does not know")

    def ended(self, body: dict[str, Any]) -> None:
        """Record how the function ended, as the child says."""
        attempt, now, redact = self.attempt, self._now(), self._around.redact
        self.reports(body.get("progress"))
        if body["how"] == "returned":
            outcome = outcomes.returned(attempt, body["result"], now, redact)
        elif body["how"] == "not_serialisable":
            outcome = outcomes.not_serialisable(attempt, body["type"], body["message"], now, redact)
        else:
            outcome = outcomes.ended_by(attempt, wire.raised_from_json(body["error"]), now, redact)
        self._done(outcome)

    def gone(self, body: dict[str, Any]) -> None:
        """Record that the child was killed, or died."""
        attempt, now, redact = self.attempt, self._now(), self._around.redact
        why = body["why"]
        if why == "died":
            outcome = outcomes.child_died(attempt, _how(body), now, redact)
        elif why == "garbage":
            outcome = outcomes.child_died(attempt, "it wrote over the line to its worker", now, redact)
        elif why == "not_begun":
            said = attempt.log.content().decode("utf-8", "replace").strip().rpartition("\n")[2]
            reason = f"no child process could begin it: {_how(body)}" + (f" ({said})" if said else "")
            outcome = outcomes.given_back(attempt.run, now, redact(reason[:1_000]))
        elif why == "stop" and attempt.stop in (StopCause.CANCELLED, StopCause.INTERRUPTED):
            outcome = outcomes.stopped(attempt, now, redact)
        elif why in ("time", "silent", "memory", "cpu", "processes"):
            outcome = outcomes.limit_exceeded(attempt, why, self._said(why, body), now, redact)
        else:
            reason = "its worker could not renew the lease" if why == "lease" else "its child process was stopped"
            outcome = outcomes.interrupted(attempt, now, redact, reason)
        self._done(outcome)

    def died(self, how: str, *, alone: bool) -> None:
        """Record that the keeper died, and the child with it."""
        self._done(outcomes.child_died(self.attempt, how, self._now(), self._around.redact, alone=alone))

    def not_begun(self, why: str) -> None:
        """Give the run back: no child has seen it."""
        self._done(outcomes.given_back(self.attempt.run, self._now(), why))

    def _said(self, why: str, body: dict[str, Any]) -> str:
        limits = self._task.limits
        if why == "time":
            return f"it ran longer than its time limit of {self.hard_limit or 0:g} s and was killed"
        if why == "silent":
            return f"{silence_in_words(limits)}; it went on when it was told to stop and was killed"
        if why == "memory":
            return (
                f"it took {body['used']} bytes of memory, more than its limit of {limits.memory_limit}, and was killed"
            )
        if why == "cpu":
            allowed = limits.cpu_limit.total_seconds() if limits.cpu_limit is not None else 0
            return (
                f"it used {body['used']:.1f} s of processor time, more than its limit of {allowed:g} s, and was killed"
            )
        return f"it started {body['processes']} processes, more than any run may, and was killed"

    def _done(self, outcome: Outcome) -> None:
        if self.attempt.settle() and self.attempt.stop is not StopCause.LOST:
            self._around.on_done(self.attempt, outcome)

    def _now(self) -> datetime:
        return self._around.clock.now()


def _how(body: dict[str, Any]) -> str:
    return system.how_it_died(body["code"])


def answer_frame(number: int, work: Callable[[], Any]) -> bytes:
    """Return the answer to question *number* that *work* gives, or its error."""
    try:
        body = {"number": number, "value": work()}
        return frames.frame(frames.ANSWER, json.dumps(body).encode())
    except Exception as error:  # whatever it is, the task waits for an answer
        return frames.message(frames.ANSWER, {"number": number, "error": type(error).__name__, "message": str(error)})
