"""List, show and steer resources: their limits, their breakers, what they learnt."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson, Reason
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import Cell, Column, print_json, print_table, say
from mainspring.edges.cli.times import from_now, local_zone, read_moment, stamp
from mainspring.edges.cli.wording import state_cell

if TYPE_CHECKING:
    from mainspring.services.resources import ResourceLimits, ResourceView

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the resource.")]
_NONE = "none"
_COLUMNS = (
    Column("resource"),
    Column("state"),
    Column("in use", right=True),
    Column("held", right=True),
    Column("limits", drop=1),
    Column("about", drop=2, flexible=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(no_args_is_help=True, help="List, show and steer resources: what runs share.")
    group.command("list")(list_)
    group.command("show")(show)
    group.command("set")(set_)
    group.command("trip")(trip)
    group.command("reset")(reset)
    app.add_typer(group, name="resources")


def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List resources with how they stand, what uses them and what they hold back."""
    application = open_existing(context)
    found, now = application.resources.all(), application.clock.now()
    if as_json:
        print_json({"resources": [resource_json(one) for one in found]})
    elif not found:
        say("no resources yet; declare some under 'resources' in mainspring.yaml, or let a task use one")
    else:
        print_table(_COLUMNS, [_row(one, now) for one in found])


def show(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """Show a resource: its limits and who set them, how it stands and until when, what it has learnt."""
    application = open_existing(context)
    _print(application.resources.require(name), application.clock.now(), as_json)


def set_(
    context: typer.Context,
    name: NameArgument,
    concurrency: Annotated[
        str | None, typer.Option("--concurrency", metavar="N", help="Attempts at the same time; none for any number.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="RATE", help="5/s, 100/min, 1000/h, 5/s burst 10; none for any.")
    ] = None,
    failures: Annotated[
        str | None, typer.Option("--failures", metavar="N", help="Breaker: open after so many in a row; none for any.")
    ] = None,
    ratio: Annotated[
        str | None, typer.Option("--ratio", metavar="SHARE", help="Breaker: open at this share of failures; none.")
    ] = None,
    window: Annotated[
        str | None, typer.Option("--window", metavar="TIME", help="Breaker: time over which the share is counted.")
    ] = None,
    minimum: Annotated[
        str | None, typer.Option("--minimum", metavar="N", help="Breaker: attempts before the share says anything.")
    ] = None,
    cool_down: Annotated[
        str | None, typer.Option("--cool-down", metavar="TIME", help="Breaker: how long it stays open.")
    ] = None,
    no_breaker: Annotated[bool, typer.Option("--no-breaker", help="Take the breaker away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set limits of a resource; they hold at once, and `apply` leaves them alone. What is not given stays."""
    from mainspring.errors import InvalidInput

    given = {"concurrency": _whole(concurrency), "rate": rate}
    breaker = {
        "failures": _whole(failures), "ratio": _number(ratio), "window": window, "minimum": _whole(minimum),
        "cool_down": cool_down,
    }  # fmt: skip
    told = [name for name, value in {**given, **breaker}.items() if value is not None]
    if not told and not no_breaker:
        raise InvalidInput(f"nothing to set for resource {name!r}; give --concurrency, --rate, --failures or others")
    if no_breaker and any(value is not None for value in breaker.values()):
        raise InvalidInput("--no-breaker takes the breaker away; leave the options of the breaker out")
    application = open_existing(context)
    before, version = application.resources.find_limits(name)
    limits = _edited(before, given, breaker, no_breaker)
    found = application.resources.set_limits(name, limits, version, actor())
    _answer(found, as_json, f"resource {name!r}: {found.limits}")


def trip(
    context: typer.Context,
    name: NameArgument,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Until then: 2026-12-01T09:00, or for 2h.")
    ] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Open the breaker of a resource: runs that need it are held until then, or until `resources reset`."""
    application = open_existing(context)
    now = application.clock.now()
    end = None if until is None else read_moment(until, "--until", now)
    found = application.resources.trip(name, actor(), end, reason)
    end_in_words = f"`mainspring resources reset {name}`" if found.until is None else _moment(found.until, now)
    _answer(found, as_json, f"resource {name!r} is open until {end_in_words}")


def reset(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """Close the breaker of a resource and forget the pause it asked for and the rate it taught."""
    application = open_existing(context)
    found = application.resources.reset(name, actor())
    _answer(found, as_json, f"resource {name!r} is reset; {found.words}")


def resource_json(one: ResourceView) -> dict[str, Any]:
    """Return a resource as JSON values; the keys are stable."""
    names = ("name", "source", "edited_by", "version", "updated_at", "until", "in_use", "held", "held_more",
             "learnt_rate")  # fmt: skip
    said = {name: getattr(one, name) for name in names}
    return {**said, "limits": one.limits.to_mapping(), "state": str(one.standing), "reason": one.words}


def _edited(before: ResourceLimits, given: dict[str, Any], breaker: dict[str, Any], no_breaker: bool) -> ResourceLimits:
    from mainspring.errors import InvalidInput

    body = before.to_mapping()
    rule = {**body.pop("breaker", {}), **{name: value for name, value in breaker.items() if value is not None}}
    body.update({name: value for name, value in given.items() if value is not None})
    if rule.get("failures") == _NONE and rule.get("ratio", _NONE) == _NONE:
        raise InvalidInput("--failures none leaves the breaker nothing to open for; give --ratio, or use --no-breaker")
    body = {name: value for name, value in body.items() if value != _NONE}
    rule = {name: value for name, value in rule.items() if value != _NONE}
    return type(before).from_mapping(body if no_breaker or not rule else {**body, "breaker": rule})


def _whole(text: str | None) -> Any:
    """Return the whole number that *text* says, and anything else as it is: what may be used is not decided here."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 10 else text


def _number(text: str | None) -> Any:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _answer(one: ResourceView, as_json: bool, said: str) -> None:
    if as_json:
        print_json(resource_json(one))
        return
    waiting = f"; {_held(one)} held" if one.held else ""
    say(said + waiting)


def _print(one: ResourceView, now: datetime, as_json: bool) -> None:
    if as_json:
        print_json(resource_json(one))
        return
    until = "" if one.until is None else f", until {_moment(one.until, now)}"
    lines = [
        ("resource", one.name),
        ("state", one.words + until),
        ("in use", f"{one.in_use:,}"),
        ("held", _held(one)),
        ("limits", str(one.limits)),
        ("set by", _set_by(one, now)),
    ]
    if one.learnt_rate is not None:
        lines.append(("learnt", f"{one.learnt_rate:.3g}/s"))
    for title, text in lines:
        say(f"{title:<10}{text}")


def _set_by(one: ResourceView, now: datetime) -> str:
    if not one.source:
        return "nobody: it is in use without being declared"
    who = f"{one.edited_by}, by hand" if one.edited_by is not None else "the configuration"
    return f"{who} ({from_now(one.updated_at, now)})"


def _held(one: ResourceView) -> str:
    return f"more than {one.held:,}" if one.held_more else f"{one.held:,}"


def _moment(moment: datetime, now: datetime) -> str:
    zone, name = local_zone()
    return f"{stamp(moment, zone)} {name} ({from_now(moment, now)})"


def _row(one: ResourceView, now: datetime) -> tuple[str | Cell, ...]:
    state = state_cell(str(one.standing).replace("_", " "))
    _, _, why = one.words.partition(": ")
    about = [why] if why else []
    about += [f"until {_moment(one.until, now)}"] if one.until is not None else []
    about += [f"learnt {one.learnt_rate:.3g}/s"] if one.learnt_rate is not None else []
    about += [f"edited by {one.edited_by}"] if one.edited_by is not None else []
    return one.name, state, f"{one.in_use:,}", _held(one), str(one.limits), "; ".join(about)
