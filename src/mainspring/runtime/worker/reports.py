"""Write what running attempts report: progress every second, logs every three."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from mainspring.clock import Clock
from mainspring.domain.progress import Progress
from mainspring.ids import RunId
from mainspring.runtime.worker.attempt import Attempt
from mainspring.store import runs
from mainspring.store.database import Database, Tx
from mainspring.store.queueing import log_key

_EVERY: Final = 1.0
_LOG_EVERY: Final = 3.0


class Reporter:
    """Saves progress and logs of attempts that still run; writes nothing when nothing is new."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        attempts: Callable[[], list[Attempt]],
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:
        """Report on those that *attempts* gives; *redact* takes secrets out of their logs."""
        self._database, self._clock, self._attempts, self._redact = database, clock, attempts, redact
        self._ended: deque[Attempt] = deque()
        self._logs_at = 0.0

    def ended(self, attempt: Attempt) -> None:
        """Be told that an attempt has ended: its last progress is saved at the next look."""
        if attempt.progress_changed:
            self._ended.append(attempt)

    def run_once(self) -> float:
        """Save what is new; return when to look again."""
        live = self._attempts()
        ended = [self._ended.popleft() for _ in range(len(self._ended))]
        told = [attempt for attempt in {*live, *ended} if attempt.progress_changed]
        logged = [attempt for attempt in live if attempt.log.changed] if self._logs_are_due() else []
        if not told and not logged:
            return _EVERY
        now = self._clock.monotonic()
        for attempt in told:
            attempt.progress_changed = False
            if attempt.progress is not None:
                attempt.pace.add(now, attempt.progress[0])
        try:
            self._save(told, logged)
        except BaseException:
            for attempt in told:
                attempt.progress_changed = True
            for attempt in logged:
                attempt.log.changed = True
            self._ended.extendleft(reversed(ended))
            raise
        return _EVERY

    def _logs_are_due(self) -> bool:
        now = self._clock.monotonic()
        if now < self._logs_at:
            return False
        self._logs_at = now + _LOG_EVERY
        return True

    def _save(self, told: Sequence[Attempt], logged: Sequence[Attempt]) -> None:
        now = self._clock.now()
        progress = sorted(
            ((a.run.id, a.run.attempt, progress_of(a)) for a in told if a.progress is not None),
            key=lambda row: row[0],
        )
        logs = [(a.key, a.log.redacted(self._redact)) for a in logged]

        def work(tx: Tx) -> None:
            latest = _latest_attempts(tx, [a.run.id for a in told])
            runs.save_progress(tx, [row for row in progress if latest.get(row[0]) == row[1]], now)
            # The log of an ended attempt is complete; this one is not.
            live = runs.still_running(tx, [(a.run.id, a.run.attempt) for a in logged])
            tx.many("save_blobs", [(log_key(*key), content, tx.at(now)) for key, content in logs if key in live])

        self._database.write(work)


def progress_of(attempt: Attempt) -> Progress:
    """Return what an attempt has reported last, and how fast it goes."""
    said = attempt.progress or (0.0, None, "")
    return Progress(*said, attempt.pace.gained, attempt.pace.span)


def _latest_attempts(tx: Tx, ids: Sequence[RunId]) -> dict[RunId, int]:
    return {run_id: attempt for run_id, _, attempt, _ in tx.rows("attempt_states", {"ids": tx.ids(ids)})}
