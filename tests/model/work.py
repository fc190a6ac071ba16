"""Take the steps of those who enqueue, work, cancel and stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainspring.domain.dependencies import Need
from mainspring.domain.queue_order import QueueOrder
from mainspring.domain.runs import ClaimedRun, Ended, NewRun, Outcome
from mainspring.domain.states import FailureKind
from mainspring.encoding import fingerprint
from mainspring.errors import Conflict
from mainspring.ids import ClaimId, RunId, SessionId, new_run_id, uuid7
from mainspring.runtime.worker import outcomes
from mainspring.services.enqueue import Request
from mainspring.store import claiming, queueing
from tests.model.base import Base, Grant
from tests.model.choices import (
    DUE_IN,
    ENDS,
    EXPIRES,
    FAILURES,
    MICROSECOND,
    MINUTE,
    ORDERS,
    PEOPLE,
    PRIORITIES,
    moment,
    span,
)
from tests.model.compare import Mismatch
from tests.model.expected import ENDED, SECOND, UNSTARTED, End, Run
from tests.model.found import QUEUE, REASON, RETRY
from tests.model.store import ONCE, QUEUES, TASK


class Work(Base):
    """Runs and queues."""

    def submit(
        self,
        n: int = 1,
        *,
        queue: int = 0,
        priority: int = 0,
        due: int = 0,
        expires: int = 0,
        tries: int = 1,
        once: bool = False,
        lost: bool = False,
    ) -> None:
        """Enqueue runs that are alike."""
        task = ONCE if once else TASK
        due_at = None if DUE_IN[due] == 0 else self.now + DUE_IN[due] * MICROSECOND
        request = Request(
            task, {}, QUEUES[queue], PRIORITIES[priority], due_at, span(EXPIRES[expires]), tries, {"kind": "model"}
        )
        node = self.nodes[0]
        node.gate.loses_reply = lost
        ids = node.enqueuer.enqueue_many([request] * n)
        self._rest(node)
        due_us, lasts = self.model.wall + DUE_IN[due], EXPIRES[expires]
        self.model.add([
            Run(
                run_id, task.name, QUEUES[queue], PRIORITIES[priority], tries, once, due_us, self.model.wall, "new",
                expires_at=None if lasts is None else due_us + lasts,
            )
            for run_id in ids
        ])  # fmt: skip
        self.accepted |= set(ids)
        self.check()

    def submit_after(self, needed: Sequence[int], *, lost: bool = False) -> None:
        """Put in a run that waits for others to end."""
        runs = list(self.model.runs)
        needs = tuple(dict.fromkeys(runs[-1 - pick % len(runs)] for pick in needed))
        run_id = new_run_id()
        new = NewRun(
            run_id, TASK.name, "low", 5, 2, "{}", self.now, needs=tuple(Need(RunId(needed)) for needed in needs)
        )  # fmt: skip
        node = self.nodes[0]
        node.gate.loses_reply = lost
        node.gate.write(lambda tx: queueing.insert_runs(tx, [new], self.now))
        self._rest(node)
        wall = self.model.wall
        self.model.add([Run(run_id, TASK.name, "low", 5, 2, False, wall, wall, "new", needs=needs)])
        self.accepted.add(run_id)
        self.check()

    def claim(
        self, session: int, *, slots: int = 1, order: int = 0, lost: bool = False, overtaken: bool = False
    ) -> None:
        """Claim for a session; perhaps another one, which has more luck, does so in the same moment."""
        self.cycle(session, slots=slots, order=order, lost=lost, overtaken=overtaken)

    def finish(self, session: int, ends: Sequence[tuple[int, int]], *, late: bool = False, lost: bool = False) -> None:
        """Report ends of attempts, (attempt, how) each; *late* prefers attempts that hold no lease any more."""
        self.cycle(session, ends, late=late, slots=0, lost=lost)

    def cycle(
        self,
        session: int,
        ends: Sequence[tuple[int, int]] = (),
        *,
        late: bool = False,
        slots: int = 1,
        order: int = 0,
        lost: bool = False,
        overtaken: bool = False,
    ) -> None:
        """Report ends and claim for free slots in one transaction, as a worker does."""
        if slots:
            self._begin_if_all_are_dead()
        session_id = self._session(session, holding=bool(ends))
        told = self._told(session_id, ends, late)
        text, turn, wanted = ORDERS[order]
        picked = QueueOrder.parse(text).pick_order(turn)
        node = self.nodes[0]
        node.gate.loses_reply = lost
        if overtaken:
            node.gate.overtaken_by = lambda: self._overtake(session, slots, order)
        database: Any = node.gate
        result, claimed = claiming.cycle(
            database, SessionId(session_id), [outcome for outcome, _ in told],
            lambda queues: [name for name in picked if name in queues], wanted, slots, self.now, ClaimId(uuid7()),
        )  # fmt: skip
        self._rest(node)
        fenced = self.model.finish(session_id, [end for _, end in told])
        self.agree("fenced", set(result.fenced), fenced)
        taken = self._predict(session_id, wanted, slots)
        expected = [_claimed(run) for run in taken]
        found = [_found(run) for run in claimed]
        if lost:
            # What was adopted comes in the order of all queues together.
            found, expected = sorted(found), sorted(expected)
        self.agree("claimed", found, expected)
        self.grants += [Grant(run, session_id) for run in claimed]
        self._drop_expired(session_id, claimed)
        self.check()

    def _overtake(self, session: int, slots: int, order: int) -> None:
        other = self._session(session + 1)
        lease_now, wanted = self.store.database.lease_now(), ORDERS[order][2]
        for queue in wanted:
            mark = ClaimId(uuid7())
            claimed = self.store.database.write(
                lambda tx, queue=queue, mark=mark: claiming.claim(  # type: ignore[misc]
                    tx, SessionId(other), queue, slots, self.now, lease_now, mark
                )
            )
            taken = self._predict(other, [queue], slots)
            self.agree("claimed by the other", [_found(run) for run in claimed], [_claimed(run) for run in taken])
            self.grants += [Grant(run, other) for run in claimed]
            self._drop_expired(other, claimed)

    def _predict(self, session_id: str, order: Sequence[str], slots: int) -> list[Run]:
        """Return what a session claims; the ends before it in the same step may have let go who waited for them."""
        if self.model.arrivals:
            self.comparison.take_places(self.model, self.store.read())
        return self.model.claim(session_id, order, slots)

    def _drop_expired(self, session_id: str, claimed: Sequence[ClaimedRun]) -> None:
        """Give back what came too late to be started: a worker does not start it."""
        late = [r for r in claimed if r.attempt == 1 and r.expires_at is not None and r.expires_at <= self.now]
        if [run.id for run in late] != [r.id for r in claimed if self.model.expired(self.model.runs[r.id])]:
            raise Mismatch(f"of {[run.id for run in claimed]} those that expired are told to be {late}")
        if late:
            ends = [outcomes.expired(run, self.now) for run in late]
            self.store.database.write(lambda tx: claiming.finish(tx, SessionId(session_id), ends, self.now))
            self.model.finish(session_id, [End(run.id, run.attempt, "cancelled", reason="expired") for run in late])

    def _told(self, session_id: str, ends: Sequence[tuple[int, int]], late: bool) -> list[tuple[Outcome, End]]:
        mine = [grant for grant in self.grants if grant.session == session_id]
        held = [g for g in mine if self.model.holds(session_id, g.run.id, g.run.attempt)]
        over = [g for g in reversed(mine) if g not in held]
        pool = (over + held) if late else (held + over)
        told: dict[str, tuple[Outcome, End]] = {}
        for pick, how in ends:
            if not pool:
                break
            grant = pool[pick % len(pool)]
            if grant.run.id in told:
                continue
            if how < len(ENDS) or grant.told is None:
                grant.told = self._end(grant, ENDS[how % len(ENDS)], pick)
            # Otherwise what was said before is said again, word for word.
            told[grant.run.id] = grant.told
        return list(told.values())

    def _end(self, grant: Grant, how: str, pick: int) -> tuple[Outcome, End]:
        run, now = grant.run, self.now
        failure: str | None = None
        alone = how == "lost"
        if how == "retried" and run.tries + 1 >= run.max_tries:
            how = "failed"
        if how == "failed":
            failure = FAILURES[pick % len(FAILURES)]
        if how == "lost":
            poison = run.isolated_losses + 1 >= 3
            failure = "lost" if run.at_most_once else "poison" if poison else None
        if how == "interrupted" and run.at_most_once:
            how, failure = "failed", "lost"
        waits = {"retried": 30 * SECOND, "snoozed": MINUTE, "returned": 5 * SECOND}.get(how)
        due_at = None if waits is None else self.model.wall + waits
        text = f'{{"by":"{run.attempt}"}}' if how == "succeeded" else None
        mark = None if text is None else fingerprint(text)
        outcome = Outcome(
            run, Ended(how), now, now, text, mark, None if failure is None else FailureKind(failure), "told",
            due_at=None if due_at is None else moment(due_at), lost_in_isolation=alone,
        )  # fmt: skip
        return outcome, End(run.id, run.attempt, how, due_at, mark, failure, alone, "told")

    def _run(self, pick: int, *states: str) -> str | None:
        runs = [run.id for run in self.model.runs.values() if run.state in states]
        return runs[-1 - pick % len(runs)] if runs else None

    def cancel(
        self, run: int, *, ended: bool = False, who: int = 0, overtaken: bool = False, lost: bool = False
    ) -> None:
        """Cancel a run by hand; perhaps it is claimed in the same moment."""
        self._a_moment_later()
        run_id = self._run(run, *(ENDED if ended else (*UNSTARTED, "running")))
        if run_id is None:
            return
        node = self.nodes[0]
        node.gate.loses_reply = lost
        if overtaken and self.can_act():
            node.gate.overtaken_by = lambda: self._overtake(0, 3, 0)
        try:
            answer = "asked" if node.steering.cancel(run_id, PEOPLE[who]).asked else "ended"
        except Conflict:
            answer = "neither"
        self._rest(node)
        became = self.model.cancel(run_id, f"cancelled by {PEOPLE[who]}")
        if became == "neither" and not ended and self.model.runs[run_id].state == "cancelled":
            # Somebody else was quicker; what was asked for is done.
            became = "ended"
        self.agree("cancel", answer, became)
        self.check()

    def retry(self, run: int, *, lost: bool = False) -> None:
        """Open a failed run again by hand; a run that has not failed is refused."""
        self._a_moment_later()
        run_id = self._run(run, "failed") or self._run(run, "succeeded", "cancelled", "ready", "running")
        if run_id is None or (self._avoids(REASON) and self.model.runs[run_id].cancel_at is not None):
            return
        node = self.nodes[0]
        node.gate.loses_reply = lost and not self._avoids(RETRY)
        try:
            node.steering.retry(run_id, "ada")
            answer = True
        except Conflict:
            answer = False
        self._rest(node)
        self.agree("retry", answer, self.model.retry(run_id))
        self.check()

    def maintain(self, *, by: int = 0, lost: bool = False) -> None:
        """Stage what has come due, release what was overlooked, expire what is worthless."""
        node = self.nodes[by]
        node.gate.loses_reply = lost
        result = node.stager.run_once()
        self._rest(node)
        done = self.model.stage()
        if not lost:
            self.agree("staged, released, expired", (result.staged, result.released, result.expired), done)
        scheduled = [run.due_at for run in self.model.runs.values() if run.state == "scheduled"]
        self.agree("next due", result.next_due_at, moment(min(scheduled)) if scheduled else None)
        self.check()

    def pause_queue(self, queue: int, *, resume: bool = False, lost: bool = False) -> None:
        """Pause a queue, or resume it; what is so already is refused."""
        self._a_moment_later()
        name, node = QUEUES[queue], self.nodes[0]
        service = node.queueing
        node.gate.loses_reply = lost and not self._avoids(QUEUE)
        try:
            depth = service.resume(name, "ada") if resume else service.pause(name, "ada")
            self.agree("paused", depth.paused_at is None, resume)
            changed = True
        except Conflict:
            changed = False
        self._rest(node)
        self.agree("changed", changed, (name in self.model.paused) is resume)
        (self.model.paused.discard if resume else self.model.paused.add)(name)
        self.check()


def _claimed(run: Run) -> tuple[Any, ...]:
    return (
        run.id, run.attempt, run.queue, 9 - run.priority, 0, run.seq, run.tries, run.losses, run.isolated_losses,
        run.max_tries, run.once, run.returns, moment(run.due_at),
    )  # fmt: skip


def _found(run: ClaimedRun) -> tuple[Any, ...]:
    return (
        run.id, run.attempt, run.queue, run.rank, run.turn, run.seq, run.tries, run.losses, run.isolated_losses,
        run.max_tries, run.at_most_once, run.returns, run.due_at,
    )  # fmt: skip
