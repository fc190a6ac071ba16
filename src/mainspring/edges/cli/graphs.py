"""Show the graph around a run, and cancel graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson, RunIdArgument
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import print_json, say
from mainspring.edges.cli.wording import many, state_cell

if TYPE_CHECKING:
    from mainspring.app import Application
    from mainspring.services.graphs import Branch
    from mainspring.services.reading import Neighbour

_AFTER = {"stop": "", "go_on": "goes on after a failure", "compensate": "only after a failure", "": ""}


def tree(
    context: typer.Context,
    run: RunIdArgument,
    depth: Annotated[int, typer.Option("--depth", min=1, max=100, help="How many steps to show each way.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Show the graph around a run: what it needs, and what needs it, each with its state.

    At most 20 runs stand beside each other. One that was shown above is not unfolded again.
    """
    from mainspring.edges.cli.runs import run_json
    from mainspring.services.graphs import branch_json

    application = open_existing(context)
    found = application.graphs.tree(application.steering.require(run), depth)
    if as_json:
        sides = {"needs": branch_json(found.needs), "needed_by": branch_json(found.dependants)}
        print_json({"run": run_json(found.run), **{name: side["branches"] for name, side in sides.items()}})
        return
    _print(found.needs.run, "")
    for title, side in (("needs", found.needs), ("is needed by", found.dependants)):
        if side.branches:
            say(f"{title}:")
            _print_branches(side, "  ")
    if not found.needs.branches and not found.dependants.branches:
        say("it needs no run, and no run needs it", "dim")


def _print_branches(branch: Branch, indent: str) -> None:
    last = None if branch.more else branch.branches[-1:]
    for one in branch.branches:
        head, below = ("└─ ", "   ") if last and one is last[0] else ("├─ ", "│  ")
        _print(one.run, indent + head, again=one.again)
        _print_branches(one, indent + below)
    if branch.more:
        say(f"{indent}└─ and {branch.more:,} more", "dim")


def _print(run: Neighbour, head: str, *, again: bool = False) -> None:
    said = [run.id, run.task or "", _AFTER[run.policy], "(see above)" if again else ""]
    cell = state_cell(run.state) if run.state is not None else None
    state = "gone" if cell is None else cell.text
    say(f"{head}{state}  " + "  ".join(part for part in said if part), "" if cell is None else cell.style)


def cancel_graph(application: Application, graph: str, reason: str, *, yes: bool, as_json: bool) -> None:
    """Cancel all of a graph, after asking unless *yes*."""
    found = application.graphs.require(graph)
    if not yes:
        left = application.graphs.unfinished(found)
        typer.confirm(f"Cancel {many(left, 'run')} of graph {found} that {_have(left)} not ended?", abort=True)
    done = application.graphs.cancel(found, actor(), reason)
    if as_json:
        print_json({"graph": done.graph, "cancelled": done.ended, "cancel_asked": done.asked})
    else:
        say(done.in_words())


def _have(n: int) -> str:
    return "has" if n == 1 else "have"
