"""Ask the reading services, and hold the answers against the model."""

from __future__ import annotations

from typing import Any

from mainspring.domain.states import RunState
from mainspring.ids import RunId, SessionId
from mainspring.services.reading import RunFilter
from mainspring.store import sessions
from tests.model.base import Base
from tests.model.store import QUEUES


class Looking(Base):
    """Questions."""

    def look(self, *, state: int = 0, queue: int = 0, most: int = 5) -> None:
        """Ask the reading services, and what each session is told that it holds."""
        reading, runs = self.nodes[1].reading, self.model.runs
        counts: dict[str, int] = {}
        for run in runs.values():
            counts[run.state] = counts.get(run.state, 0) + 1
        self.agree("counts", {key.value: n for key, n in reading.counts().items()}, counts)
        states: Any = sorted(counts)[state % len(counts) :] if counts else ["ready"]
        wanted = RunFilter(states=[RunState(name) for name in states], queue=QUEUES[queue], labels={"kind": "model"})
        listed = [
            r.id for r in sorted(runs.values(), key=lambda r: r.id, reverse=True)
            if r.state in states and r.queue == QUEUES[queue] and r.kind == "enqueued" and not r.needs
        ]  # fmt: skip
        self.agree("listed", [run.id for run in reading.runs(wanted, most)], listed[:most])
        live = [
            s.id for s in sorted(self.model.sessions.values(), key=lambda s: s.id, reverse=True) if s.state == "live"
        ]
        self.agree("sessions", [session.id for session in reading.sessions()], live)
        for depth in reading.queues():
            waiting = [9 - rank for rank, _ in (run.place for run in self.model.ready(depth.name))]
            running = sum(run.state == "running" and run.queue == depth.name for run in runs.values())
            found = (depth.paused_at is not None, depth.ready, dict(depth.ready_by_priority), depth.running)
            by_priority = {priority: waiting.count(priority) for priority in waiting}
            self.agree(depth.name, found, (depth.name in self.model.paused, len(waiting), by_priority, running))
        self._look_at_sessions()
        self._look_at_one(state)

    def _look_at_sessions(self) -> None:
        for session_id in self.model.sessions:
            held = self.store.database.read(lambda tx, s=session_id: sessions.held_by(tx, SessionId(s)))  # type: ignore[misc]
            expected = {
                (run.id, run.attempt, run.cancel_at is not None)
                for run in self.model.runs.values()
                if run.state == "running" and run.session == session_id
            }
            self.agree("held", {(item.run_id, item.attempt, item.cancel_asked) for item in held}, expected)

    def _look_at_one(self, pick: int) -> None:
        if not self.model.runs:
            return
        run = list(self.model.runs.values())[-1 - pick % len(self.model.runs)]
        view = self.nodes[1].reading.run(RunId(run.id))
        numbers = [number for run_id, number in self.model.attempts if run_id == run.id]
        self.agree("attempts shown", [a.attempt for a in view.attempts], sorted(numbers))
        kept = self.model.results.get(run.id)
        self.agree("result shown", view.result, None if kept is None else {"by": str(kept[1])})
