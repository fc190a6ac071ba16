"""Graphs are written as a whole, run in order with their results passed on, shown, and cancelled as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mainspring import Cache, DuplicateRun, Fail, Graph, Unique, chain, group, previous, task
from mainspring.app import Application
from mainspring.client import Client
from mainspring.clock import ManualClock
from mainspring.domain.runs import Ended
from mainspring.domain.states import RunState
from mainspring.encoding import INLINE_LIMIT
from mainspring.errors import InvalidInput, NotFound, ParametersInvalid
from mainspring.ids import uuid7
from mainspring.services import graphs
from mainspring.services.reading import RunFilter
from mainspring.store.database import Database
from mainspring.store.dead_letters import letters
from mainspring.store.schema import audit
from mainspring.testing import TestApp, open_test_app
from tests.services.arrange import Installation
from tests.store.arrange import HOUR, NOON, claim, contents, count, finish, open_session, outcome


@task(name="g.one")
def one(text: str = "x") -> str:
    return text


@task(name="g.join")
def join(parts: list[str | None], more: str | None = None) -> str:
    return "+".join(map(str, [*parts, more]))


@task(name="g.fail")
def fail() -> str:
    raise Fail("no")


@task(name="g.number")
def number(n: int) -> int:
    return n


@task(name="g.alone", unique=Unique(fields=("text",)))
def alone(text: str = "x", n: int = 0) -> str:
    return text


@task(name="g.kept", cache=Cache(ttl=HOUR))
def kept(text: str = "x") -> str:
    return f"kept {text}"


@task(name="g.limited", uses=("desk-{text}",))
def limited(text: str) -> str:
    return f"limited {text}"


TASKS = [one, join, fail, number, alone, kept, limited]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[TestApp]:
    with open_test_app(tmp_path, TASKS) as app:
        yield app


@pytest.fixture
def client(database: Database, clock: ManualClock) -> Client:
    return Client(Application(database, clock), "ann")


def test_results_are_passed_on_in_the_order_given(app: TestApp) -> None:
    g = Graph()
    parts = [g.add(one, text=text) for text in "abc"]
    again = g.add(join, parts=[parts[2], parts[0], parts[2].result], more=parts[1].result)
    enqueued = app.client.enqueue_graph(g)
    app.drain()
    assert enqueued[again].result(0) == "c+a+c+b"


def test_a_long_result_is_passed_on_as_well(app: TestApp) -> None:
    long = "y" * (INLINE_LIMIT + 1)
    enqueued = app.client.enqueue_graph(chain([(one, {"text": long}), (one, {"text": previous})]))
    app.drain()
    assert [run.result(0) for run in enqueued] == [long, long]


def test_what_goes_on_after_a_failure_is_given_none(app: TestApp) -> None:
    enqueued = app.client.enqueue_graph(group([fail, one], then=(join, {"parts": previous}), on_failure="go_on"))
    app.drain()
    assert list(enqueued)[-1].result(0) == "None+x+None"


def test_a_result_of_the_wrong_type_fails_the_run_and_is_not_tried_again(app: TestApp) -> None:
    enqueued = app.client.enqueue_graph(chain([one, (number, {"n": previous})]))
    app.drain()
    record = app.run(list(enqueued)[-1].id)
    assert (record.state, record.attempts) == (RunState.FAILED, 1)
    assert "parameter 'n' = 'x'" in (record.error or "")


def test_a_replay_is_given_the_results_that_the_failed_run_was_given(app: TestApp) -> None:
    enqueued = app.client.enqueue_graph(chain([one, (number, {"n": previous})]))
    app.drain()
    (letter,) = app.client._application.database.read(lambda tx: letters(tx, [list(enqueued)[-1].id]))
    assert letter.parameters == '{"n":"x"}'


def test_a_run_may_wait_for_runs_that_were_enqueued_before(app: TestApp) -> None:
    first, bad = app.client.enqueue(one), app.client.enqueue(fail)
    after = app.client.enqueue_with(one, after=[first, bad.id], on_failure="go_on")
    undo = app.client.enqueue_with(one, {"text": "undo"}, after=bad, on_failure="compensate")
    assert after.state is undo.state is RunState.WAITING
    app.drain()
    assert (after.result(0), undo.result(0)) == ("x", "undo")
    stopped = app.client.enqueue_with(one, after=[bad])
    assert stopped.state is RunState.CANCELLED, "it had ended already"


def test_a_kept_result_is_found_by_the_results_that_a_run_is_given(app: TestApp) -> None:
    app.client.enqueue(kept)
    app.drain()
    steps = [(one, {"text": "y"}), (kept, {"text": previous})]
    first, second = (list(app.client.enqueue_graph(chain(steps)))[-1] for _ in range(2))
    app.drain()
    assert (first.result(0), second.result(0)) == ("kept y", "kept y")
    reasons = [app.client._application.steering.require(run.id).state_reason for run in (first, second)]
    assert sorted(reason is None for reason in reasons) == [False, True], "one computed it, the other took it over"


def test_limits_by_a_result_are_asked_when_it_is_there(app: TestApp) -> None:
    run = list(app.client.enqueue_graph(chain([one, (limited, {"text": previous})])))[-1]
    app.drain()
    assert run.result(0) == "limited x"


def test_unique_runs_of_a_graph_are_all_made_or_none(client: Client, database: Database) -> None:
    there = client.enqueue(alone)
    before = contents(database)
    with pytest.raises(DuplicateRun) as caught:
        client.enqueue_graph(chain([one, alone]))
    assert caught.value.run_id == there.id
    assert contents(database) == before
    enqueued = client.enqueue_graph(chain([one, (alone, {"text": "y"})]))
    with pytest.raises(DuplicateRun):
        client.enqueue(alone, text="y")
    assert [run.state for run in enqueued] == [RunState.READY, RunState.WAITING]


def test_unique_runs_that_no_graph_can_have_are_refused(client: Client, database: Database) -> None:
    before = contents(database)
    graph = group([(alone, {"n": n}) for n in range(2)])
    with pytest.raises(InvalidInput, match=r"node 1 \(g.alone\) and node 2 \(g.alone\) have the same unique key"):
        client.enqueue_graph(graph)
    with pytest.raises(InvalidInput, match="unique by parameter 'text', which the result of another run will fill"):
        client.enqueue_graph(chain([one, (alone, {"text": previous})]))
    graph = Graph()
    graph.add_with(one, unique=Unique(on_conflict="existing"))
    with pytest.raises(InvalidInput, match="give this one unique=Unique"):
        client.enqueue_graph(graph)
    assert contents(database) == before


def test_a_graph_of_several_transactions_has_no_unique_runs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "AT_ONCE", 2)
    with pytest.raises(InvalidInput, match=r"node 1 \(g.alone\) is unique, and the graph has 3 nodes, more than the 2"):
        client.enqueue_graph(chain([alone, one, one]))


def test_many_runs_may_wait_for_the_same_one(app: TestApp) -> None:
    first = app.client.enqueue(one)
    many = app.client.enqueue_many(number, ({"n": n} for n in range(3)), after=first)
    assert {run.state for run in many} == {RunState.WAITING}
    app.drain()
    assert [run.result(0) for run in many] == [0, 1, 2]


def test_what_cannot_be_waited_for_is_refused_and_nothing_is_written(client: Client, database: Database) -> None:
    before = contents(database)
    stranger = uuid7()
    with pytest.raises(NotFound, match=f"there is no run {stranger}"):
        client.enqueue_with(one, after=[stranger])
    with pytest.raises(InvalidInput, match="after 'abc' is not the id of a run"):
        client.enqueue_with(one, after=["abc"])
    with pytest.raises(InvalidInput, match="give after, or due_at or delay, not both"):
        client.enqueue_with(one, after=[stranger], due_at=NOON)
    with pytest.raises(InvalidInput, match="on_failure 'x' is not known"):
        client.enqueue_with(one, after=[stranger], on_failure="x")
    assert contents(database) == before


def test_a_graph_that_cannot_run_is_refused_and_nothing_is_written(client: Client, database: Database) -> None:
    before = contents(database)
    circle = Graph()
    a = circle.add(one)
    a.after(circle.add(one, after=a))
    with pytest.raises(InvalidInput, match="in a circle"):
        client.enqueue_graph(circle)
    with pytest.raises(InvalidInput, match="the graph has no nodes"):
        client.enqueue_graph(Graph())
    with pytest.raises(InvalidInput, match="is no graph"):
        client.enqueue_graph([one])  # type: ignore[arg-type]
    wrong = Graph()
    node = wrong.add(one)
    wrong.add(number, n=node.result, m=3)
    with pytest.raises(ParametersInvalid, match="unknown parameter 'm'"):
        client.enqueue_graph(wrong)
    missing = Graph()
    missing.add(number, after=missing.add(one))
    with pytest.raises(ParametersInvalid, match="parameter 'n' is missing"):
        client.enqueue_graph(missing)
    assert contents(database) == before


def test_all_runs_of_a_graph_carry_its_id_and_what_each_waits_for(client: Client) -> None:
    g = group([(one, {"text": str(n)}) for n in range(25)], then=(join, {"parts": previous}))
    enqueued = client.enqueue_graph(g)
    reading = client._application.reading
    assert reading.counts(RunFilter(graph=enqueued.id)) == {RunState.READY: 25, RunState.WAITING: 1}
    view = reading.run(enqueued[g.nodes[-1]].id)
    assert (len(view.needs), view.needs_count, view.needs_left, view.run.root_id) == (20, 25, 25, enqueued.id)
    assert view.needs[3].gives == {"parts": [3]}
    assert len(enqueued) == 26


def test_a_graph_in_parts_begins_only_when_the_last_part_is_written(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "AT_ONCE", 4)
    seen: list[int] = []
    write = database.write

    def watched(work: Any) -> Any:
        result = write(work)
        seen.append(count(database, "runs", "state = 'ready'"))
        return result

    monkeypatch.setattr(database, "write", watched)
    enqueued = client.enqueue_graph(group([one] * 6, then=(join, {"parts": previous})))
    assert seen == [0, 0, 0]
    monkeypatch.undo()
    installation = Installation(database, client._application.clock)  # type: ignore[arg-type]
    assert installation.stager.run_once().staged == 6
    session = open_session(database)
    finish(database, session, *(outcome(run, result='"z"') for run in claim(database, session, 10)))
    assert list(enqueued)[-1].state is RunState.READY


def test_a_graph_is_cancelled_as_a_whole_and_each_run_says_by_whom(client: Client, database: Database) -> None:
    g = Graph()
    first, second = g.add(one), g.add(one)
    last = g.add(one, after=[first, second])
    enqueued, other = client.enqueue_graph(g), client.enqueue(one)
    session = open_session(database)
    (running,) = claim(database, session)
    assert running.id == enqueued[first].id
    done = client._application.graphs.cancel(enqueued.id, "ann", "no need")
    assert done.in_words() == f"2 runs of graph {enqueued.id} are cancelled; 1 are under way and were asked to cancel"
    for node in (second, last):
        run = client._application.steering.require(enqueued[node].id)
        assert (run.state, run.state_reason) == (RunState.CANCELLED, "cancelled by ann: no need")
    finish(database, session, outcome(running, Ended.CANCELLED))
    assert other.state is RunState.READY
    query = select(audit.c.action).where(audit.c.subject == enqueued.id)
    assert database.read(lambda tx: tx.core(query).scalars().all()) == ["graph.cancel"]
    with pytest.raises(NotFound, match="there is no graph"):
        client._application.graphs.cancel(uuid7(), "ann")


def test_the_tree_around_a_run_unfolds_each_once_and_counts_what_it_leaves_out(client: Client) -> None:
    g = Graph()
    top = g.add(one)
    middle = [g.add(one, text=top.result) for _ in range(25)]
    foot = g.add(join, parts=middle)
    end = g.add(one, after=foot)
    enqueued = client.enqueue_graph(g)
    application = client._application
    tree = application.graphs.tree(application.steering.require(enqueued[foot].id))
    assert [branch.run.id for branch in tree.dependants.branches] == [enqueued[end].id]
    assert (len(tree.needs.branches), tree.needs.more) == (20, 5)
    ups = [branch.branches[0] for branch in tree.needs.branches]
    assert {up.run.id for up in ups} == {enqueued[top].id}
    shallow = application.graphs.tree(application.steering.require(enqueued[end].id), depth=1)
    assert [branch.branches for branch in shallow.needs.branches] == [()]
