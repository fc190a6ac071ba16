"""Runs that have not started are changed where they wait; what has begun is left alone, and all is audited."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Literal

import pytest
import sqlalchemy

from mainspring import task
from mainspring.domain.dependencies import Need
from mainspring.domain.runs import Ended
from mainspring.domain.states import RunState
from mainspring.encoding import INLINE_LIMIT
from mainspring.errors import Conflict, InvalidInput, ParametersInvalid
from mainspring.services.editing import Edit, EditedMany, Editing
from mainspring.services.enqueue import Request
from mainspring.store import editing
from mainspring.store.editing import Change
from mainspring.store.needs import filled_parameters
from mainspring.store.runs import RunFilter
from mainspring.store.schema import audit, metadata, runs
from tests.services.arrange import Installation
from tests.store.arrange import HOUR, MINUTE, NOON, contents, count, new_run, put, together
from tests.store.conftest import Open


@task(name="report")
def report(day: int, kind: Literal["short", "long"] = "short", hosts: list[str] | None = None) -> None:
    """Report."""


def enqueue(installation: Installation, **options: Any) -> str:
    parameters = options.pop("parameters", {"day": 1})
    return installation.enqueuer.enqueue(Request(report, parameters, **options))


def edit(installation: Installation, run_id: str, **changes: Any) -> Any:
    return Editing(installation.database, installation.clock).edit(run_id, Edit(**changes), "ann")


def queued(installation: Installation) -> list[tuple[str, int]]:
    """Return where ready runs wait, in the order in which they are claimed."""
    table = metadata.tables["ready"]
    query = sqlalchemy.select(table.c.queue, table.c.rank).order_by(table.c.queue, table.c.rank, table.c.seq)
    return installation.database.read(lambda tx: [tuple(row) for row in tx.core(query)])


def audited(installation: Installation) -> list[tuple[str, str, dict[str, Any]]]:
    query = sqlalchemy.select(audit).where(audit.c.action == "run.edit").order_by(audit.c.id)
    return installation.database.read(lambda tx: [(r.actor, r.subject, json.loads(r.body)) for r in tx.core(query)])


def test_a_priority_moves_a_run_forward_and_keeps_its_place_among_its_like(installation: Installation) -> None:
    first, second, third = (enqueue(installation) for _ in range(3))
    edit(installation, second, priority=8)
    edit(installation, third, priority=8)
    edit(installation, second, priority=7)
    edit(installation, second, priority=8)
    assert [run.id for run in installation.claim()] == [second, third, first]


def test_a_run_comes_last_in_another_queue(installation: Installation) -> None:
    moved, there = enqueue(installation), enqueue(installation, queue="other")
    assert edit(installation, moved, queue="other").queue == "other"
    assert [run.id for run in installation.claim(queue="other")] == [there, moved]
    assert installation.claim() == []


def test_a_due_time_moves_a_run_out_of_its_queue_and_back_and_its_expiry_along(installation: Installation) -> None:
    run = enqueue(installation, expires=HOUR)
    after = edit(installation, run, due_at=NOON + MINUTE)
    assert (after.state, after.expires_at, queued(installation)) == (RunState.SCHEDULED, NOON + MINUTE + HOUR, [])
    after = edit(installation, run, due_at=NOON)
    assert (after.state, after.expires_at, queued(installation)) == (RunState.READY, NOON + HOUR, [("default", 4)])
    installation.finish(*installation.claim(), ended=Ended.RETRIED)
    after = edit(installation, run, due_at=NOON)
    assert (after.state, after.tries) == (RunState.READY, 1)


def test_parameters_are_changed_by_name_and_the_others_stay(installation: Installation) -> None:
    installation.describe(report)
    run = enqueue(installation, parameters={"day": 1, "kind": "long"})
    edit(installation, run, parameters={"day": 2})
    (claimed,) = installation.claim()
    assert json.loads(claimed.parameters or "") == {"day": 2, "kind": "long", "hosts": None}


def test_parameters_that_grow_and_shrink_are_read_whole(installation: Installation) -> None:
    installation.describe(report)
    run = enqueue(installation)
    for hosts in (["x" * INLINE_LIMIT], ["y"], ["z" * INLINE_LIMIT]):
        edit(installation, run, parameters={"hosts": hosts})
        assert installation.reading.run(installation.look(run).id).parameters["hosts"] == hosts


def test_the_audit_says_what_was_and_what_is(installation: Installation) -> None:
    installation.describe(report)
    run = enqueue(installation)
    edit(installation, run, priority=9, parameters={"day": 2})
    assert audited(installation) == [
        ("ann", run, {"before": {"priority": 5, "parameters": {"day": 1}},
                      "after": {"priority": 9, "parameters": {"day": 2}}})
    ]  # fmt: skip


def test_a_run_under_way_and_one_that_has_ended_are_left_as_they_are(installation: Installation) -> None:
    run = enqueue(installation)
    claimed = installation.claim()
    before = contents(installation.database)
    with pytest.raises(Conflict, match=f"run {run} is running; it is under way"):
        edit(installation, run, priority=9)
    assert contents(installation.database) == before
    installation.finish(*claimed)
    with pytest.raises(Conflict, match="is succeeded; what has ended is not changed"):
        edit(installation, run, priority=9)


def test_a_run_that_waits_for_others_keeps_waiting(installation: Installation) -> None:
    first = new_run()
    second = new_run(needs=(Need(first.id),))
    put(installation.database, first, second)
    assert edit(installation, second.id, queue="other", priority=9).state is RunState.WAITING
    with pytest.raises(Conflict, match="waits for other runs"):
        edit(installation, second.id, due_at=NOON)
    installation.finish(*installation.claim())
    installation.stager.run_once()
    assert [run.id for run in installation.claim(queue="other")] == [second.id]


def test_what_results_of_others_fill_stays_theirs(installation: Installation) -> None:
    installation.describe(report)
    first = new_run()
    given = new_run(task="report", parameters='{"kind":"short"}', needs=(Need(first.id, gives='{"day":null}'),))
    put(installation.database, first, given)
    with pytest.raises(ParametersInvalid, match="parameter 'day' is the result of another run"):
        edit(installation, given.id, parameters={"day": 3})
    edit(installation, given.id, parameters={"kind": "long"})
    installation.finish(*installation.claim())
    (claimed,) = installation.claim()
    assert claimed.parameters is None, "its worker has to ask for them"
    filled = installation.database.read(lambda tx: filled_parameters(tx, claimed.id))
    assert json.loads(filled or "") == {"day": {"ok": True}, "kind": "long"}


def test_a_held_run_is_judged_again(installation: Installation) -> None:
    run = enqueue(installation)
    installation.finish(*installation.claim(), ended=Ended.HELD)
    holds = metadata.tables["holds"]
    values = {"run_id": run, "resource": "brapi", "queue": "default", "rank": 4, "turn": 0, "seq": 1, "held_at": NOON}
    installation.database.write(lambda tx: tx.core(holds.insert().values(**values)))
    assert edit(installation, run, priority=8).state is RunState.READY
    assert count(installation.database, "holds") == 0
    assert queued(installation) == [("default", 1)]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"dya": 2}, "unknown parameter 'dya'; did you mean 'day'?"),
        ({"day": "two"}, "parameter 'day' = 'two': is no integer"),
        ({"kind": "middle"}, "parameter 'kind' = 'middle': is none of 'short', 'long'"),
        ({"hosts": "a"}, "parameter 'hosts' = 'a': is no array or null"),
    ],
)
def test_parameters_that_do_not_fit_the_description_are_refused(
    installation: Installation, parameters: dict[str, Any], said: str
) -> None:
    installation.describe(report)
    run = enqueue(installation)
    before = contents(installation.database)
    with pytest.raises(ParametersInvalid) as caught:
        edit(installation, run, parameters=parameters)
    assert said in str(caught.value)
    assert contents(installation.database) == before


def test_parameters_of_a_task_that_nobody_described_cannot_be_checked(installation: Installation) -> None:
    with pytest.raises(InvalidInput, match="no worker has described task 'report' yet"):
        edit(installation, enqueue(installation), parameters={"day": 2})


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, "nothing is to be changed"), ({"queue": "no spaces"}, "is not usable"), ({"priority": 11}, "priority 11")],
)
def test_an_edit_that_cannot_be_meant_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Edit(**changes)


def test_all_that_a_filter_chooses_are_changed_and_others_not(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.services.editing._BATCH", 2)
    for _ in range(5):
        enqueue(installation)
    other = enqueue(installation, queue="other")
    begun = installation.claim(1)[0]
    editor, wanted = Editing(installation.database, installation.clock), RunFilter(queue="default")
    before = contents(installation.database)
    assert (editor.count(wanted), len(editor.find(wanted, 3))) == (4, 3)
    assert contents(installation.database) == before
    assert editor.edit_all(wanted, Edit(priority=9, due_at=NOON + MINUTE), "ann") == EditedMany(4, 0)
    assert {run.priority for run in installation.runs(None, RunState.SCHEDULED)} == {9}
    assert [installation.look(i).priority for i in (other, begun.id)] == [5, 5]
    assert len(audited(installation)) == 4
    with pytest.raises(InvalidInput, match="runs that are running are not edited"):
        editor.count(RunFilter(states=(RunState.RUNNING,)))


def test_an_edit_and_a_claim_at_once_leave_no_run_in_two_states(open_database: Open, clock: Any) -> None:
    one, two = Installation(open_database(), clock), Installation(open_database(), clock)
    _ = two.session
    for n in range(10):
        run = enqueue(one, parameters={"day": n})

        def change(run: str = run) -> bool:
            try:
                edit(one, run, priority=9)
            except Conflict:
                return False
            return True

        changed, claimed = together(change, lambda: two.claim(1))
        claimed = claimed or two.claim(1)  # type: ignore[operator]
        assert [c.id for c in claimed] == [run]  # type: ignore[union-attr]
        assert claimed[0].rank == (0 if changed else 4)  # type: ignore[index]
        assert count(one.database, "ready") == 0


def test_a_change_of_a_run_that_was_not_taken_out_is_not_written(installation: Installation) -> None:
    run = enqueue(installation)
    taken = installation.database.read(lambda tx: editing._unstarted(
        tx, *tx.rows("lock_unstarted", {"ids": tx.ids([run])})[0]
    ))  # fmt: skip
    installation.claim()
    with pytest.raises(AssertionError, match="not all of them could be changed"):
        installation.database.write(lambda tx: editing.put_back(tx, [(taken, Change(priority=9))], NOON))
    assert installation.look(run).priority == 5


def test_an_edit_whose_reply_was_lost_counts_as_done_though_the_run_has_begun(installation: Installation) -> None:
    run, _ = enqueue(installation), installation.session
    real = installation.database.write

    def twice(work: Any) -> Any:
        installation.database.write = real  # type: ignore[method-assign]
        real(work)
        installation.claim()

        def again(tx: Any) -> Any:
            tx.repeated = True
            try:
                return work(tx)
            finally:
                tx.repeated = False

        return real(again)

    installation.database.write = twice  # type: ignore[method-assign]
    assert edit(installation, run, priority=9).state is RunState.RUNNING
    assert len(audited(installation)) == 1


def test_an_edit_due_later_is_staged_when_its_time_comes(installation: Installation) -> None:
    run = enqueue(installation)
    edit(installation, run, due_at=NOON + timedelta(minutes=5), queue="other")
    installation.at("12:05")
    assert installation.stager.run_once().staged == 1
    assert [r.id for r in installation.claim(queue="other")] == [run]


@task(name="rank", fair="{customer}")
def rank(customer: str) -> None:
    """Rank."""


@task(name="ask", uses=["host:{host}"], fair="{customer}")
def ask(host: str, customer: str = "a") -> None:
    """Ask."""


def test_other_parameters_mean_other_limits_and_another_turn(installation: Installation) -> None:
    installation.describe(ask)
    first = installation.enqueuer.enqueue(Request(ask, {"host": "one"}))
    installation.enqueuer.enqueue(Request(ask, {"host": "one"}))
    third = installation.enqueuer.enqueue(Request(ask, {"host": "one"}))
    edit(installation, third, parameters={"host": "two", "customer": "b"})
    query = sqlalchemy.select(runs.c.uses, runs.c.concurrency_key).where(runs.c.id == third)
    (row,) = installation.database.read(lambda tx: tx.core(query).all())
    assert "host:two" in row.uses
    assert row.concurrency_key.endswith("b")
    # Of a host about which nothing is known, one run at a time begins.
    assert [run.id for run in installation.claim()] == [first, third]


def test_another_priority_takes_its_turn_there(installation: Installation) -> None:
    many = [installation.enqueuer.enqueue(Request(rank, {"customer": "a"}, priority=8)) for _ in range(3)]
    low = [installation.enqueuer.enqueue(Request(rank, {"customer": "b"})) for _ in range(2)]
    edit(installation, low[1], priority=8)
    order = [run.id for run in installation.claim()]
    assert order.index(low[1]) < order.index(many[1])
