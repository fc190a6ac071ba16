"""Show how the clocks stand, say that one is right, and set back what a wrong one has moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import Column, print_facts, print_json, print_table, say
from mainspring.edges.cli.times import read_moment, span
from mainspring.edges.cli.wording import many

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from mainspring.services.clock_state import ClockState
    from mainspring.services.rewind import Rewound

_REWOUND = (
    Column("schedule"),
    Column("stood at"),
    Column("goes back to"),
    Column("undecided again", right=True),
    Column("keep their runs", right=True),
    Column("next", flexible=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(invoke_without_command=True, help="Show how the clocks stand; confirm that one is right.")
    group.callback()(clock)
    group.command("confirm")(confirm)
    app.add_typer(group, name="clock")


def clock(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how the clocks stand: this machine's, the database server's, and which process does not believe its own."""
    if context.invoked_subcommand is None:
        _show(_state(context), as_json)


def confirm(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say that the clock of this machine is right as it is now; its schedulers then fire again within a second.

    What has come due by that clock is caught up with by each schedule's misfire policy. Run it on the machine whose
    clock is doubted.
    """
    from mainspring.services.clock_guard import confirm as confirm_clock

    state = _state(context)
    if not yes:
        say(f"The clock of this machine says {_utc(state.now)}.")
        if state.server is not None:
            say(f"The clock of the database's server says {_utc(state.server)}.")
        typer.confirm("Is the clock of this machine right?", abort=True)
    application = open_existing(context)
    confirm_clock(application.database, application.clock, actor())
    if as_json:
        print_json(_json(_state(context)))
    else:
        say("the clock of this machine is believed as it is now")


def rewind(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of the schedule.")] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="TIME", help="Where it goes on from: now, or 2026-12-01T09:00.")
    ] = "now",
    all_: Annotated[bool, typer.Option("--all", help="All schedules whose marks lie in the future.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Fire times that had their runs already get others when they come.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set a schedule back that a wrong clock has moved into the future: it goes on from --to, now unless given.

    Fire times after that which had no run are undecided again. Those that had their runs keep them, labelled in the
    ledger, and get no others when they come.
    """
    from mainspring.errors import InvalidInput
    from mainspring.services.rewind import Rewinding

    if (name is None) == (not all_):
        raise InvalidInput("name a schedule, or write --all for all whose marks lie in the future")
    application = open_existing(context)
    now = application.clock.now()
    moment = now if to.strip() == "now" else read_moment(to, "--to", now)
    rewinding = Rewinding(application.database, application.clock)
    if name is None:
        done = rewinding.rewind_all(moment, actor(), again=again, dry_run=dry_run)
    else:
        done = [rewinding.rewind(name, moment, actor(), again=again, dry_run=dry_run)]
    _say_rewound(done, dry_run, as_json)


def _say_rewound(done: list[Rewound], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, "schedules": [rewound_json(one) for one in done]})
    elif not done:
        say("no schedule stands in the future")
    else:
        print_table(_REWOUND, [_row(one) for one in done])
        say(f"{many(len(done), 'schedule')} " + ("would be rewound" if dry_run else "rewound"), "dim")


def rewound_json(one: Rewound) -> dict[str, Any]:
    """Return what a rewind did as JSON values; the keys are stable."""
    return {
        "name": one.name, "from": one.mark, "to": one.to, "kept": one.kept, "undecided": one.undecided,
        "next_at": one.next_at,
    }  # fmt: skip


def _row(one: Rewound) -> tuple[str, ...]:
    following = "-" if one.next_at is None else _utc(one.next_at)
    return one.name, _utc(one.mark), _utc(one.to), f"{one.undecided:,}", f"{one.kept:,}", following


def _state(context: typer.Context) -> ClockState:
    from mainspring.services.clock_state import clock_state

    application = open_existing(context)
    return clock_state(application.database, application.clock)


def _show(state: ClockState, as_json: bool) -> None:
    if as_json:
        print_json(_json(state))
        return
    server = "none (SQLite)" if state.server is None else f"{_utc(state.server)} ({_off(state.server - state.now)})"
    anchor = state.anchor
    believed = "not yet" if anchor is None else f"yes; since then {_off(state.jump)}"
    if anchor is not None and anchor.confirmed_by is not None and anchor.confirmed_at is not None:
        believed += f"; confirmed by {anchor.confirmed_by} at {_utc(anchor.confirmed_at)}"
    print_facts(
        [
            ("this machine", f"{state.host}: {_utc(state.now)}"),
            ("server", server),
            ("believed", believed),
            ("in doubt", ", ".join(f"{one.who} on {one.host} ({one.cause})" for one in state.doubters)),
        ]
    )
    say()
    problems = list(state.problems())
    for problem in problems:
        say(f"! {problem}", "yellow")
    if not problems:
        say("nothing is wrong with the clocks", "green")


def _json(state: ClockState) -> dict[str, Any]:
    anchor = state.anchor
    return {
        "host": state.host,
        "now": state.now,
        "server": state.server,
        "jump_seconds": state.jump,
        "confirmed_at": None if anchor is None else anchor.confirmed_at,
        "confirmed_by": None if anchor is None else anchor.confirmed_by,
        "doubters": [{name: getattr(one, name) for name in one.__slots__} for one in state.doubters],
        "ahead": [{"name": name, "mark": mark} for name, mark in state.ahead],
        "problems": list(state.problems()),
    }


def _off(difference: timedelta) -> str:
    if abs(difference.total_seconds()) < 1:
        return "no difference"
    return f"{span(abs(difference))} {'ahead' if difference.total_seconds() > 0 else 'behind'}"


def _utc(moment: datetime) -> str:
    from datetime import UTC

    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
