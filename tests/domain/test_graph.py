"""Graphs are built from nodes, and what cannot run is refused before anything is written."""

from __future__ import annotations

import pytest

from mainspring import Graph, chain, group, previous, task
from mainspring.domain import graph as graphs
from mainspring.domain.dependencies import OnFailure
from mainspring.errors import InvalidInput, ParametersInvalid


@task(name="t.fetch")
def fetch(day: str = "") -> list[int]:
    return [len(day)]


@task(name="t.parse")
def parse(rows: list[int], title: str = "") -> int:
    return sum(rows)


def test_a_node_waits_for_those_whose_results_it_is_given_and_for_those_it_is_put_after() -> None:
    g = Graph()
    one, two, three = g.add(fetch), g.add(fetch), g.add(fetch)
    node = g.add(parse, after=three, rows=[one.result, two], title="x", on_failure="go_on")
    assert node.needs == dict.fromkeys([three, one, two], OnFailure.GO_ON)
    assert (node.given(), node.coming()) == ({"title": "x"}, {"rows": [one, two]})
    assert g.add(parse, rows=one.result).coming() == {"rows": one}


def test_an_edge_can_be_added_later_with_a_policy_of_its_own() -> None:
    g = Graph()
    one, two, node = g.add(fetch), g.add(fetch), g.add(fetch)
    assert node.after(one).after(two, on_failure="compensate") is node
    assert node.needs == {one: OnFailure.STOP, two: OnFailure.COMPENSATE}


def test_nodes_come_in_an_order_in_which_each_follows_what_it_needs() -> None:
    g = Graph()
    last, middle, first = (g.add(fetch) for _ in range(3))
    middle.after(first)
    last.after(middle, first)
    assert g.in_order() == [first, middle, last]


def test_a_circle_is_refused_and_named_in_the_order_of_work() -> None:
    g = Graph()
    before, one, two, three, behind = (g.add(fetch) for _ in range(5))
    one.after(before, three)
    two.after(one)
    three.after(two)
    behind.after(three)
    with pytest.raises(InvalidInput) as caught:
        g.in_order()
    assert str(caught.value) == (
        "the nodes of the graph wait for each other in a circle: node 2 (t.fetch) → node 3 (t.fetch) → "
        "node 4 (t.fetch) → node 2 (t.fetch); take one of these edges out"
    )


def test_of_a_long_circle_the_ends_are_named() -> None:
    g = Graph()
    nodes = [g.add(fetch) for _ in range(1_000)]
    for place, node in enumerate(nodes):
        node.after(nodes[place - 1])
    with pytest.raises(InvalidInput, match=r"node 1 \(t\.fetch\) → .* → … 989 more … → node 1 \(t\.fetch\); take"):
        g.in_order()


def test_a_node_of_another_graph_or_none_at_all_is_refused() -> None:
    g, other = Graph(), Graph()
    stranger = other.add(fetch)
    with pytest.raises(InvalidInput, match=r"node 1 \(t.fetch\) belongs to another graph"):
        g.add(fetch, after=stranger)
    with pytest.raises(InvalidInput, match=r"belongs to another graph"):
        g.add(parse, rows=stranger.result)
    with pytest.raises(InvalidInput, match=r"'fetch' is no node; give what Graph\.add returned"):
        g.add(fetch, after=["fetch"])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="is no task"):
        g.add(print)  # type: ignore[arg-type]
    node = g.add(fetch)
    with pytest.raises(InvalidInput, match=r"node 1 \(t.fetch\) cannot wait for itself"):
        node.after(node)
    with pytest.raises(InvalidInput, match="on_failure 'ignore' is not known; write 'stop', 'go_on', 'compensate'"):
        g.add(fetch, on_failure="ignore")


def test_a_result_that_could_not_be_filled_in_is_refused() -> None:
    g = Graph()
    node = g.add(fetch)
    with pytest.raises(InvalidInput, match="parameter 'rows' mixes results and other values"):
        g.add(parse, rows=[node.result, 3])
    with pytest.raises(InvalidInput, match=r"parameter 'rows' = <node 1 \(t.fetch\)> .*; write node.result"):
        g.add(parse, rows=node)
    for nested in ({"a": node.result}, [[node.result]]):
        with pytest.raises(InvalidInput, match="cannot be filled with a result; give it a parameter of its own"):
            g.add(parse, rows=nested)


def test_a_graph_has_a_size_that_it_may_not_exceed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert graphs.MOST_NODES == 100_000
    monkeypatch.setattr(graphs, "MOST_NODES", 2)
    g = Graph()
    g.add(fetch)
    g.add(fetch)
    with pytest.raises(InvalidInput, match="a graph has at most 2 nodes"):
        g.add(fetch)


def test_a_chain_passes_each_result_to_the_next_step() -> None:
    g = chain([(fetch, {"day": "x"}), (parse, {"rows": previous}), fetch], on_failure="go_on")
    first, second, third = g.nodes
    assert (second.coming(), second.needs) == ({"rows": first}, {first: OnFailure.GO_ON})
    assert third.needs == {second: OnFailure.GO_ON}


def test_a_group_gives_all_results_to_its_final_run() -> None:
    g = group([fetch, (fetch, {"day": "x"})], then=(parse, {"rows": previous}))
    *members, final = g.nodes
    assert final.coming() == {"rows": members}
    assert [node.needs for node in members] == [{}, {}]
    assert len(group([fetch, fetch]).nodes) == 2


def test_what_is_no_step_is_refused() -> None:
    for wrong in ("fetch", (fetch,), (fetch, 3)):
        with pytest.raises(InvalidInput, match=r"is no step; write a task, or \(task, \{parameters\}\)"):
            chain([wrong])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="a chain has at least one step"):
        chain([])
    with pytest.raises(InvalidInput, match="a group has at least one member"):
        group([])
    with pytest.raises(InvalidInput, match="parameter 'rows' = previous cannot be filled"):
        chain([(parse, {"rows": previous})])


def test_parameters_are_checked_as_far_as_they_are_known() -> None:
    assert parse.validate({"title": "x"}, coming={"rows"}) == {"title": "x"}
    assert parse.validate({}, coming={"rows", "title"}) == {}
    with pytest.raises(ParametersInvalid, match="parameter 'title' = 3"):
        parse.validate({"title": 3}, coming={"rows"})
    with pytest.raises(ParametersInvalid, match="unknown parameter 'row'; did you mean 'rows'"):
        parse.validate({}, coming={"row"})
    with pytest.raises(ParametersInvalid, match="parameter 'rows' is missing"):
        parse.validate({}, coming={"title"})
