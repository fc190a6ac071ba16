"""Workers ask limits, hold what they refuse, and go on as soon as there is room."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from mainspring import Concurrency, Fail, ResourceRefused, task
from mainspring.domain.retry import Backoff
from mainspring.domain.states import RunState
from mainspring.store.queueing import insert_runs
from tests.runtime.arrange import Fleet, until
from tests.store.arrange import MINUTE, NOON, SECOND, count, new_run


def test_runs_of_one_key_run_one_after_the_other_and_those_of_others_beside_them(fleet: Fleet) -> None:
    lock, running, most = threading.Lock(), Counter[str](), Counter[str]()
    both = threading.Barrier(2)

    @task(name="work", concurrency=Concurrency(1, "{customer}"))
    def work(customer: str, n: int) -> None:
        with lock:
            running[customer] += 1
            most[customer] = max(most[customer], running[customer])
        if n == 0:
            both.wait(20)
        with lock:
            running[customer] -= 1

    ids = fleet.enqueue_many(work, [{"customer": c, "n": n} for c in ("a", "b") for n in range(5)])
    fleet.worker(work, slots=10)
    assert {fleet.ends(run_id).state for run_id in ids} == {RunState.SUCCEEDED}
    assert most == {"a": 1, "b": 1}
    until(lambda: count(fleet.database, "holdings") == 0)


def test_what_only_the_code_knows_is_asked_by_the_worker_before_the_run_begins(fleet: Fleet) -> None:
    asked: list[Any] = []

    def hosts(parameters: Any) -> list[str]:
        asked.append(dict(parameters))
        return [f"host:{parameters['host']}"]

    @task(name="fetch", uses=hosts)
    def fetch(host: str) -> str:
        return host

    run = new_run(task="fetch", parameters='{"host":"a"}', uses='"?"', max_tries=1)
    fleet.database.write(lambda tx: insert_runs(tx, [run], NOON))
    fleet.worker(fetch)
    ended = fleet.ends(run.id)
    assert (ended.state, ended.attempt, ended.tries) == (RunState.SUCCEEDED, 2, 1)
    assert (fleet.attempt(run.id, 1).outcome, fleet.attempt(run.id, 1).charged) == ("interrupted", False)
    assert asked == [{"host": "a"}]
    assert count(fleet.database, "runs", "uses LIKE '%host:a%'") == 1


def test_a_run_made_before_its_task_was_described_asks_its_limits_all_the_same(fleet: Fleet) -> None:
    gate = fleet.gate()

    @task(name="slow", concurrency=1)
    def slow() -> None:
        gate.wait(20)

    made = [new_run(task="slow"), new_run(task="slow")]
    fleet.database.write(lambda tx: insert_runs(tx, made, NOON))
    fleet.worker(slow)
    fleet.becomes(made[1].id, RunState.HELD)
    assert fleet.run(made[0].id).state is RunState.RUNNING
    gate.set()
    assert {fleet.ends(run.id).state for run in made} == {RunState.SUCCEEDED}


def test_a_function_that_fails_to_say_what_a_run_needs_is_a_failed_try(fleet: Fleet) -> None:
    def broken(parameters: Any) -> list[str]:
        raise LookupError("no such host")

    @task(name="fetch", uses=broken)
    def fetch() -> None: ...

    run = new_run(task="fetch", uses='"?"', max_tries=1)
    fleet.database.write(lambda tx: insert_runs(tx, [run], NOON))
    fleet.worker(fetch)
    ended = fleet.ends(run.id)
    assert (ended.state, ended.tries) == (RunState.FAILED, 1)
    assert "no such host" in (ended.failure_message or "")


def test_a_refused_run_waits_as_long_as_it_was_asked_to_and_no_try_is_charged(fleet: Fleet) -> None:
    calls: list[int] = []

    @task(name="fetch", uses=["api"], max_retries=0)
    def fetch() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ResourceRefused("api", 30 * SECOND)
        return "fine"

    fleet.maintenance()
    fleet.worker(fetch)
    first = fleet.enqueue(fetch)
    held = fleet.becomes(first, RunState.HELD)
    assert (held.state_reason or "").startswith("held by api until 12:00:30")
    second = fleet.enqueue(fetch)
    fleet.becomes(second, RunState.HELD)
    hold = fleet.view(second).hold
    assert hold is not None
    assert hold.in_words().endswith(", second of 2")
    fleet.passes(29)
    assert len(calls) == 1
    # The first success after a pause of 30 s proves no more than that one in 30 s is served.
    for _ in range(12):
        fleet.passes(5)
    ended = fleet.ends(first), fleet.ends(second)
    assert [(run.state, run.tries) for run in ended] == [(RunState.SUCCEEDED, 1)] * 2
    assert (ended[0].attempt, len(calls)) == (2, 3)


def test_a_failure_that_is_not_the_services_charges_its_try(fleet: Fleet) -> None:
    @task(name="fetch", uses=["api"], max_retries=1, backoff=Backoff(SECOND, jitter="none"))
    def fetch(kind: str) -> None:
        raise Fail("no such thing") if kind == "fail" else ValueError("broken")

    fleet.maintenance()
    fleet.worker(fetch)
    given_up, retried = fleet.enqueue_many(fetch, [{"kind": "fail"}, {"kind": "error"}])
    assert fleet.ends(given_up).tries == 1
    fleet.becomes(retried, RunState.SCHEDULED)
    fleet.passes(5)
    assert (fleet.ends(retried).state, fleet.run(retried).tries) == (RunState.FAILED, 2)


def test_a_place_that_nobody_let_go_is_found_by_the_duty(fleet: Fleet) -> None:
    @task(name="work", concurrency=1)
    def work() -> None: ...

    run = new_run(task="work", uses='[{"name":"key/task:work","limit":1}]')
    fleet.database.write(lambda tx: insert_runs(tx, [run], NOON))
    hold = ("key/task:work", None, fleet.database.write(lambda tx: tx.at(NOON)), "default", 4, 0, 1, run.id)

    def lose_the_wake_up(tx: Any) -> None:
        tx.rows("clear_ready", {"ids": tx.ids([run.id])})
        tx.many("hold_runs", [("held", run.id, 0)])
        tx.many("insert_holds", [hold])

    fleet.database.write(lose_the_wake_up)
    fleet.worker(work)
    fleet.maintenance()
    assert fleet.ends(run.id).state is RunState.SUCCEEDED


def test_a_held_run_expires(fleet: Fleet) -> None:
    gate = fleet.gate()

    @task(name="slow", concurrency=1)
    def slow() -> None:
        gate.wait(20)

    fleet.maintenance()
    fleet.worker(slow)
    first = fleet.enqueue(slow)
    fleet.becomes(first, RunState.RUNNING)
    late = fleet.enqueue(slow, expires=MINUTE)
    fleet.becomes(late, RunState.HELD)
    for _ in range(13):
        fleet.passes(5)
    assert fleet.becomes(late, RunState.CANCELLED).state_reason == "expired: not started in time"
