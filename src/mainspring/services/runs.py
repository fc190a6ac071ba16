"""Steer runs: find, cancel and retry them."""

from __future__ import annotations

from dataclasses import dataclass

from mainspring.clock import Clock
from mainspring.domain.states import FINAL, RunState
from mainspring.encoding import decode
from mainspring.errors import Conflict, InvalidInput, NotFound
from mainspring.ids import RunId, is_id
from mainspring.store import queueing
from mainspring.store import runs as stored
from mainspring.store.database import Database, Tx
from mainspring.store.hints import CANCEL, READY
from mainspring.store.runs import StoredRun
from mainspring.store.schedules import write_audit

_SHORTEST_PART = 6


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What became of a wish to cancel: done, or only asked because the run is under way."""

    run: StoredRun
    asked: bool

    def in_words(self) -> str:
        """Return the answer in a sentence that does not lie."""
        if self.asked:
            return f"run {self.run.id} is under way and was asked to cancel"
        return f"run {self.run.id} is cancelled"


class Steering:
    """Acts on runs, each action audited."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def require(self, run_id: str) -> StoredRun:
        """Return the run of this id, or of the only id that begins or ends so.

        Runs of one moment have ids that begin alike; their ends tell them apart. Ends are looked for among the newest
        100,000 runs.

        Raises:
            InvalidInput: *run_id* is no id, or part of several.
            NotFound: there is no such run.
        """
        text = run_id.strip().lower()
        if is_id(text):
            found = self._database.read(lambda tx: stored.find_run(tx, RunId(text)))
            if found is None:
                raise NotFound("run", text)
            return found
        if len(text) < _SHORTEST_PART or set(text) - set("0123456789abcdef-"):
            raise InvalidInput(f"{run_id!r} is not the id of a run; `mainspring runs list` shows ids")
        ids = self._database.read(lambda tx: stored.find_by_prefix(tx, text) or stored.find_by_ending(tx, text))
        if not ids:
            raise NotFound("run", text)
        if len(ids) > 1:
            raise InvalidInput(f"{run_id!r} fits several runs ({', '.join(ids)}, …); give more of the id")
        return self.require(ids[0])

    def cancel(self, run_id: str, actor: str, reason: str = "") -> CancelAnswer:
        """Cancel a run that has not started, or ask a running one to stop.

        Raises:
            Conflict: it has ended already.
        """
        run = self.require(run_id)
        if run.state in FINAL:
            raise Conflict(f"run {run.id} is {run.state} and cannot be cancelled")
        now = self._clock.now()
        why = f"cancelled by {actor}: {reason}" if reason else f"cancelled by {actor}"

        def work(tx: Tx) -> queueing.Cancelled:
            done = queueing.cancel(tx, [run.id], why, now)
            write_audit(tx, now, actor, "run.cancel", run.id, {"reason": reason, "asked": bool(done.asked)})
            return done

        done = self._database.write(work)
        if done.asked:
            self._database.sender.send(CANCEL)
        if done.released:
            self._database.sender.send(READY)
        after = self.require(run.id)
        if after.state in FINAL and after.state is not RunState.CANCELLED:
            raise Conflict(f"run {run.id} is {after.state} and cannot be cancelled")
        return CancelAnswer(after, asked=after.state not in FINAL)

    def retry(self, run_id: str, actor: str, *, from_start: bool = False) -> StoredRun:
        """Make a failed run ready again, with as many tries as it had at first.

        It goes on from its checkpoint, if it has saved one, unless it is to begin *from_start*.

        Raises:
            Conflict: it has not failed.
        """
        run = self.require(run_id)
        now = self._clock.now()

        def work(tx: Tx) -> bool:
            (place,) = queueing.take_places(tx, 1)
            done = stored.reopen(tx, run, place, now, _tries_at_first(tx, run))
            if done and from_start:
                stored.forget_checkpoint(tx, run.id)
            if done:
                write_audit(tx, now, actor, "run.retry", run.id, {"from_start": True} if from_start else {})
            return done

        if run.state is not RunState.FAILED or not self._database.write(work):
            raise Conflict(f"run {run.id} is {self.require(run.id).state}, and only a failed run can be retried")
        self._database.sender.send(READY)
        return self.require(run.id)


def _tries_at_first(tx: Tx, run: StoredRun) -> int:
    # Each retry by hand raises what the run's own row allows.
    body = decode(stored.snapshot_of(tx, run)) or {}
    return max(int(body.get("max_tries", run.max_tries)), 1)
