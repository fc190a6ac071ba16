"""A commit whose reply was lost is done again: the second time changes nothing, and the answer is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainspring.clock import ManualClock
from mainspring.domain.runs import Ended
from mainspring.domain.states import RunState
from mainspring.domain.tasks import task
from mainspring.ids import SessionId, uuid7
from mainspring.services.catalog import describe
from mainspring.services.dead_letters import DeadFilter, DeadLetters, Edit
from mainspring.services.enqueue import Enqueuer, Request
from mainspring.services.fire import Firer
from mainspring.services.maintenance import Rescuer, Stager
from mainspring.services.queues import Queueing
from mainspring.services.resources import ResourceLimits, Resources
from mainspring.services.runs import Steering
from mainspring.services.schedules import Scheduling
from mainspring.store import claiming, sessions
from mainspring.store.artifacts import add_artifact
from mainspring.store.database import Database
from mainspring.store.queueing import cancel
from mainspring.store.schema import metadata
from mainspring.store.tables import end_process, put_queues, put_tasks
from tests.store.arrange import (
    BOOT,
    MINUTE,
    NOON,
    SECOND,
    TTL,
    add,
    claim,
    claim_one,
    contents,
    every,
    finish,
    open_session,
    outcome,
    put_some,
    schedule,
)


@task(name="demo.task")
def demo() -> None: ...


class Lossy:
    """Commits, does not hear of it, and does the work again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, work: Callable[[Any], Any]) -> Any:
        self._database.write(work)

        def again(tx: Any) -> Any:
            tx.repeated = True
            try:
                return work(tx)
            finally:
                tx.repeated = False

        return self._database.write(again)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


class Case:
    """A use case to be done on a database; *name* tells what it makes from what other cases make."""

    def __init__(self, database: Any, plain: Database, clock: ManualClock, name: str) -> None:
        self.database, self.plain, self.clock, self.name = database, plain, clock, name
        self.scheduling, self.steering = Scheduling(database, clock), Steering(database, clock)

    def enqueue(self) -> Any:
        return len(Enqueuer(self.database, self.clock).enqueue_many([Request(demo), Request(demo)], by="ann"))

    def enqueue_for_later(self) -> Any:
        request = Request(demo, due_at=self.clock.now() + MINUTE)
        Enqueuer(self.database, self.clock).enqueue(request, by="ann")

    def add_a_schedule(self) -> Any:
        return self.scheduling.put(every(MINUTE, self.name), "file", "ann")

    def edit_a_schedule(self) -> Any:
        add(self.plain, every(MINUTE, self.name), self.clock.now())
        answer = self.scheduling.put(every(2 * MINUTE, self.name), "file", "ann")
        return answer, schedule(self.plain, self.name).version

    def pause_a_schedule(self) -> Any:
        add(self.plain, every(MINUTE, self.name), self.clock.now())
        pause = self.scheduling.pause(self.name, "ann", "because").position.pause
        return pause is not None and (pause.by, pause.reason)

    def resume_a_schedule(self) -> Any:
        add(self.plain, every(MINUTE, self.name), self.clock.now())
        Scheduling(self.plain, self.clock).pause(self.name, "ann")
        return self.scheduling.resume(self.name, "ann").position.pause

    def delete_a_schedule(self) -> Any:
        add(self.plain, every(MINUTE, self.name), self.clock.now())
        return self.scheduling.delete(self.name, "ann")

    def trigger_a_schedule_of_a_pack(self) -> Any:
        add(self.plain, every(MINUTE, self.name, pack="market"), self.clock.now())
        return len(self.scheduling.trigger(self.name, "ann"))

    def fire(self) -> Any:
        add(self.plain, every(MINUTE, self.name), self.clock.now() - MINUTE)
        Firer(self.database, self.clock).run_once()
        return schedule(self.plain, self.name).position.last_at is not None

    def cancel_a_run_that_waits(self) -> Any:
        (run_id,) = put_some(self.plain, 1)
        return self.steering.cancel(run_id, "ann", "because").asked

    def cancel_a_run_under_way(self) -> Any:
        run_id = self._claimed().id
        return self.steering.cancel(run_id, "ann", "because").asked

    def retry_a_failed_run(self) -> Any:
        put_some(self.plain, 1)
        session = open_session(self.plain, now=self.clock.now())
        run = claim_one(self.plain, session)
        finish(self.plain, session, outcome(run, Ended.FAILED))
        return self.steering.retry(run.id, "ann").state

    def replay_dead_letters(self) -> Any:
        letters = self._dead(3)
        look = letters.look(DeadFilter(), Edit())
        return letters.replay(look, "ann").count

    def retry_dead_letters(self) -> Any:
        return self._dead(3).retry(DeadFilter(), "ann")

    def discard_and_restore_dead_letters(self) -> Any:
        letters = self._dead(3)
        return letters.discard(DeadFilter(), "ann", "x"), letters.restore(DeadFilter(), "ann")

    def _dead(self, n: int) -> DeadLetters:
        self.plain.write(lambda tx: put_tasks(tx, [describe(demo)], NOON))
        put_some(self.plain, n)
        session = open_session(self.plain, now=self.clock.now())
        failed = claim(self.plain, session, n)
        finish(self.plain, session, *(outcome(run, Ended.FAILED) for run in failed))
        return DeadLetters(self.database, self.clock)

    def pause_a_queue(self) -> Any:
        self.plain.write(lambda tx: put_queues(tx, {self.name: ""}))
        return Queueing(self.database, self.clock).pause(self.name, "ann").paused_by

    def resume_a_queue(self) -> Any:
        self.plain.write(lambda tx: put_queues(tx, {self.name: ""}))
        Queueing(self.plain, self.clock).pause(self.name, "ann")
        return Queueing(self.database, self.clock).resume(self.name, "ann").paused_by

    def edit_a_resource(self) -> Any:
        found = Resources(self.database, self.clock).set_limits(self.name, ResourceLimits(concurrency=4), 0, "ann")
        return found.version, found.limits

    def open_a_breaker(self) -> Any:
        Resources(self.plain, self.clock).set_limits(self.name, ResourceLimits(concurrency=4), 0, "ann")
        return Resources(self.database, self.clock).trip(self.name, "ann").words

    def reset_a_resource(self) -> Any:
        Resources(self.plain, self.clock).set_limits(self.name, ResourceLimits(concurrency=4), 0, "ann")
        return Resources(self.database, self.clock).reset(self.name, "ann").words

    def record_an_artifact(self) -> Any:
        values = {
            "id": uuid7(), "run_id": uuid7(), "attempt": 1, "name": "x", "media_type": "text/plain", "size": 1,
            "sha256": "0", "location": "x", "created_at": NOON,
        }  # fmt: skip
        self.database.write(lambda tx: add_artifact(tx, values))

    def stage_and_expire(self) -> Any:
        put_some(self.plain, 3, due_at=self.clock.now(), now=self.clock.now() - MINUTE)
        put_some(self.plain, 2, expires_at=self.clock.now())
        Stager(self.database, self.clock).run_once()

    def rescue(self) -> Any:
        run = self._claimed()
        self.clock.advance(TTL)
        Rescuer(self.database, self.clock, BOOT).run_once()
        return self.steering.require(run.id).losses

    def open_and_end_a_session(self) -> Any:
        new = sessions.NewSession(SessionId(uuid7()), "worker", "w", "h", 1, BOOT, "0", "[]", "*", 1, "")
        lease_now = self.database.lease_now()
        self.database.write(lambda tx: sessions.open_session(tx, new, TTL, NOON, lease_now))
        renewed = self.database.write(lambda tx: sessions.renew_session(tx, new.id, TTL, NOON, lease_now))
        self.database.write(lambda tx: sessions.end_session(tx, new.id, "stopped", "", NOON))
        self.database.write(lambda tx: end_process(tx, "h", 1, BOOT, NOON))
        return renewed

    def finish_and_claim(self) -> Any:
        put_some(self.plain, 8)
        session = open_session(self.plain, now=self.clock.now())
        ended = [
            outcome(run, end, log=b"x")
            for run, end in zip(claim(self.plain, session, 5), (*_ENDS, Ended.LOST), strict=True)
        ]
        self.plain.write(lambda tx: cancel(tx, [ended[3].run.id], "x", NOON))
        result, claimed = claiming.cycle(self.database, session, ended, list, ["default"], 2, NOON)
        return sorted(result.fenced), len(claimed)

    def _claimed(self) -> Any:
        put_some(self.plain, 1)
        return claim_one(self.plain, open_session(self.plain, now=self.clock.now()))


_ENDS = (Ended.SUCCEEDED, Ended.FAILED, Ended.RETRIED, Ended.INTERRUPTED)
CASES = [name for name in vars(Case) if not name.startswith("_")]


@pytest.mark.parametrize("case", CASES)
def test_doing_it_again_changes_nothing_and_answers_the_same(database: Database, clock: ManualClock, case: str) -> None:
    answers, counts = [], []
    for name, used in (("once", database), ("again", Lossy(database))):
        clock.advance(10 * SECOND)
        before = _rows(database)
        answers.append(getattr(Case(used, database, clock, name), case)())
        after = _rows(database)
        counts.append({table: n - before.get(table, 0) for table, n in after.items() if n != before.get(table, 0)})
        _clear(database)
    assert answers[1] == answers[0]
    assert counts[1] == counts[0]
    assert counts[0]


def _rows(database: Database) -> dict[str, int]:
    found = {table: len(rows) for table, rows in contents(database, "meta", "counters").items()}
    states = [row[4] for row in contents(database).get("runs", [])]
    return found | {f"runs {state}": states.count(state) for state in RunState}


def _clear(database: Database) -> None:
    """Leave nothing that the next case could take up."""
    for table in metadata.sorted_tables:
        if table.name not in ("meta", "counters"):
            database.write(lambda tx, table=table: tx.core(table.delete()))  # type: ignore[misc]
