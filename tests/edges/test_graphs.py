"""The commands that show and cancel graphs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainspring import Graph, connect, task
from tests.edges.conftest import Cli, work_off


@task(name="work.add")
def add(a: int, b: int = 0) -> int:
    return a + b


@pytest.fixture
def diamond(project: Path) -> tuple[str, list[str]]:
    """The id of a graph of four nodes, and those of its runs."""
    g = Graph()
    top = g.add(add, a=1)
    sides = [g.add(add, a=top.result, b=b) for b in (1, 2)]
    g.add(add, a=sides[0].result, b=sides[1].result)
    with connect(f"sqlite:///{project / 'mainspring.db'}") as client:
        enqueued = client.enqueue_graph(g)
        return enqueued.id, [run.id for run in enqueued]


def test_a_waiting_run_says_what_it_waits_for(cli: Cli, diamond: tuple[str, list[str]], project: Path) -> None:
    graph, (_, left, right, foot) = diamond

    lines = cli("runs", "show", foot).out.splitlines()
    body = cli("runs", "show", foot, "--json").json

    assert "waits for 2 of 2 runs:" in lines
    assert f"  ◌ waiting  {left}  work.add, its result fills a" in lines
    assert (body["graph"], body["needs_left"], body["needs_count"]) == (graph, 2, 2)
    assert body["needs"][1] == {
        "id": right, "task": "work.add", "state": "waiting", "policy": "stop", "gives": {"b": None},
    }  # fmt: skip
    work_off(project)
    done = cli("runs", "show", foot, "--json").json
    assert (done["state"], done["result"], done["needs_left"]) == ("succeeded", 5, 0)
    assert "needed 2 runs:" in cli("runs", "show", foot).out


def test_the_tree_shows_both_sides_of_a_run(cli: Cli, diamond: tuple[str, list[str]]) -> None:
    _, (top, left, right, foot) = diamond

    lines = cli("runs", "tree", foot).out.splitlines()
    body = cli("runs", "tree", left, "--json").json

    assert lines == [
        f"◌ waiting  {foot}  work.add",
        "needs:",
        f"  ├─ ◌ waiting  {left}  work.add",
        f"  │  └─ ○ ready  {top}  work.add",
        f"  └─ ◌ waiting  {right}  work.add",
        f"     └─ ○ ready  {top}  work.add",
    ]
    assert [one["id"] for one in body["needs"]] == [top]
    assert [one["id"] for one in body["needed_by"]] == [foot]


def test_a_run_alone_says_so(cli: Cli, project: Path) -> None:
    run = cli("enqueue", "work.add", "-p", "a=1").out.splitlines()[0]
    assert cli("runs", "tree", run).out.splitlines()[-1] == "it needs no run, and no run needs it"


def test_runs_of_a_graph_are_listed_and_cancelled_together(cli: Cli, diamond: tuple[str, list[str]]) -> None:
    graph, ids = diamond
    cli("enqueue", "work.add", "-p", "a=1")

    listed = cli("runs", "list", "--graph", graph, "--json").json["runs"]
    refused = cli("runs", "cancel", "--graph", graph)
    done = cli("runs", "cancel", "--graph", graph, "--yes", "--json").json

    assert [run["id"] for run in listed] == ids[::-1]
    assert refused.code != 0
    assert done == {"graph": graph, "cancelled": 4, "cancel_asked": 0}
    assert cli("runs", "cancel").code == cli("runs", "cancel", ids[0], "--graph", graph).code == 2
    assert "there is no graph" in cli("runs", "list", "--graph", ids[0]).err
