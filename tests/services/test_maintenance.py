"""The queue is kept moving: what comes due is staged, the worthless expires, the lost returns."""

from __future__ import annotations

from datetime import timedelta

from mainspring.domain.runs import Ended
from mainspring.domain.states import FailureKind, RunState
from mainspring.domain.tasks import task
from mainspring.services.enqueue import Request
from mainspring.services.maintenance import Rescuer, Stager, Tidier
from mainspring.store import sessions
from tests.services.arrange import Faulty, Installation, when
from tests.store.arrange import BOOT, MINUTE, NOON, TTL, claim, count, finish, open_session, outcome


@task(name="demo.task")
def demo() -> None: ...


@task(name="demo.once", at_most_once=True)
def once() -> None: ...


def test_nothing_is_written_when_there_is_nothing_to_do(installation: Installation) -> None:
    installation.enqueuer.enqueue(Request(demo))
    installation.enqueuer.enqueue(Request(demo, due_at=NOON + MINUTE, expires=MINUTE))
    open_session(installation.database)
    faulty = Faulty(installation.database)
    result = Stager(faulty, installation.clock).run_once()
    rescued = Rescuer(faulty, installation.clock, BOOT).run_once()
    assert (result.staged, result.released, result.expired, rescued.count) == (0, 0, 0, 0)
    assert result.next_due_at == when("12:01")
    assert Tidier(faulty, installation.clock).run_once() == 0
    assert (faulty.writes, faulty.hints) == ([], [])


def test_what_comes_due_is_staged_in_order_however_much_it_is(installation: Installation) -> None:
    wishes = [Request(demo, due_at=NOON + timedelta(milliseconds=n)) for n in range(1_200, 0, -1)]
    ids = installation.enqueuer.enqueue_many(wishes)
    installation.at("12:01")
    faulty = Faulty(installation.database)
    result = Stager(faulty, installation.clock).run_once()
    assert (result.staged, result.next_due_at, faulty.hints) == (1_200, None, ["ready"])
    assert [run.id for run in installation.claim(1_200)] == list(reversed(ids))


def test_what_was_not_started_in_time_is_cancelled(installation: Installation) -> None:
    run_id = installation.enqueuer.enqueue(Request(demo, expires=MINUTE))
    later = installation.enqueuer.enqueue(Request(demo, due_at=NOON + MINUTE, expires=MINUTE))
    installation.at("12:00:59")
    assert installation.stager.run_once().expired == 0
    installation.at("12:01")
    assert installation.stager.run_once().expired == 1
    run = installation.look(run_id)
    assert (run.state, run.state_reason) == (RunState.CANCELLED, "expired: not started in time")
    installation.at("12:02")
    assert installation.stager.run_once().expired == 1
    assert installation.look(later).state is RunState.CANCELLED
    assert installation.claim() == []


def test_what_runs_does_not_expire(installation: Installation) -> None:
    run_id = installation.enqueuer.enqueue(Request(demo, expires=MINUTE))
    installation.claim()
    installation.at("13:00")
    assert installation.stager.run_once().expired == 0
    assert installation.look(run_id).state is RunState.RUNNING


def _dead(installation: Installation, *asked: object) -> list[str]:
    """Claim a run of each task for a session whose lease then runs out."""
    ids = [installation.enqueuer.enqueue(Request(one)) for one in asked]  # type: ignore[arg-type]
    session = open_session(installation.database, installation.clock.now())
    claim(installation.database, session, len(ids), now=installation.clock.now())
    installation.clock.advance(TTL)
    return list(ids)


def test_the_runs_of_a_dead_session_are_taken_back(installation: Installation) -> None:
    again, gone = _dead(installation, demo, once)
    faulty = Faulty(installation.database)
    rescued = Rescuer(faulty, installation.clock, BOOT).run_once()
    assert (rescued.returned, rescued.lost, [name for _, name, _ in rescued.buried]) == ((again,), (gone,), ["w1"])
    assert faulty.hints == ["ready"]
    back, lost = installation.look(again), installation.look(gone)
    assert (back.state, back.losses, back.tries) == (RunState.READY, 1, 0)
    assert (lost.state, lost.failure_kind) == (RunState.FAILED, FailureKind.LOST)


def test_more_than_one_batch_is_taken_back_in_one_go(installation: Installation) -> None:
    ids = _dead(installation, *[demo] * (2 * sessions.BATCH + 10))
    rescued = installation.rescuer.run_once()
    assert len(rescued.returned) == len(ids) == 210
    assert count(installation.database, "ready") == 210


def test_a_session_that_renews_is_left_alone(installation: Installation) -> None:
    installation.enqueuer.enqueue(Request(demo))
    session = open_session(installation.database)
    (claimed,) = claim(installation.database, session)
    installation.clock.advance(TTL - timedelta(seconds=1))
    lease_now = installation.database.lease_now()
    installation.database.write(lambda tx: sessions.renew_session(tx, session, TTL, NOON, lease_now))
    installation.clock.advance(timedelta(seconds=2))
    assert installation.rescuer.run_once().count == 0
    assert finish(installation.database, session, outcome(claimed, Ended.SUCCEEDED)).fenced == frozenset()


def test_sessions_that_ended_long_ago_are_forgotten(installation: Installation) -> None:
    session = open_session(installation.database)
    installation.database.write(lambda tx: sessions.end_session(tx, session, "stopped", "stopped", NOON))
    tidier = Tidier(installation.database, installation.clock)
    installation.clock.advance(timedelta(days=29))
    assert tidier.run_once() == 0
    installation.clock.advance(timedelta(days=2))
    assert tidier.run_once() == 1
    assert count(installation.database, "worker_sessions") == 0


def test_who_can_prepare_for_a_rescue_is_told_before_it(installation: Installation) -> None:
    open_session(installation.database)
    told: list[int] = []
    rescuer = Rescuer(installation.database, installation.clock, BOOT, on_overdue=lambda: told.append(1))
    installation.clock.advance(TTL * 2 / 3 - timedelta(seconds=1))
    assert (rescuer.run_once().buried, told, rescuer.next_in) == ((), [], None)
    installation.clock.advance(timedelta(seconds=1))
    assert (rescuer.run_once().buried, told, rescuer.next_in) == ((), [1], TTL.total_seconds() / 3)
    installation.clock.advance(TTL / 3)
    assert len(rescuer.run_once().buried) == 1
    rescuer.run_once()
    assert rescuer.next_in is None
