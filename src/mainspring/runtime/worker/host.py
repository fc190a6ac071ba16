"""Do for attempts of this process what they ask of their contexts."""

from __future__ import annotations

from typing import Any

from mainspring.clock import Clock
from mainspring.errors import LeaseLost
from mainspring.runtime.worker.attempt import Attempt
from mainspring.services.artifacts import ArtifactStore
from mainspring.store import runs
from mainspring.store.database import Database


class WorkerHost:
    """The worker, as its attempts see it."""

    def __init__(self, database: Database, clock: Clock, artifacts: ArtifactStore) -> None:
        self._database, self._clock, self._artifacts = database, clock, artifacts

    def save_artifact(self, attempt: Attempt, name: str, data: Any, media_type: str | None) -> str:
        """Keep *data*; return the new artifact's id."""
        return self._artifacts.save(attempt.run.id, attempt.run.attempt, name, data, media_type)

    def read_checkpoint(self, attempt: Attempt) -> str | None:
        """Return what was saved last, as JSON text, or None."""
        found = self._database.read(lambda tx: runs.checkpoint_of(tx, attempt.run.id))
        # A replay begins with the checkpoint of the run that it repeats.
        attempt.checkpoint_saved = attempt.checkpoint_saved or found is not None
        return found

    def save_checkpoint(self, attempt: Attempt, text: str) -> None:
        """Keep *text* durably.

        Raises:
            LeaseLost: the attempt does not hold its run any more.
        """
        run, session, now = attempt.run, attempt.session, self._clock.now()
        # Before the write: one whose reply is lost may have happened.
        attempt.checkpoint_saved = True
        if session is None or not self._database.write(
            lambda tx: runs.save_checkpoint(tx, session, run.id, run.attempt, text, now)
        ):
            raise LeaseLost(run.id, run.attempt)

    def monotonic(self) -> float:
        """Return the time by which attempts are heard of."""
        return self._clock.monotonic()
