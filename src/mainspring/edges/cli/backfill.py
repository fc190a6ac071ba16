"""Make up for fire times of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.schedule_view import NameArgument
from mainspring.edges.cli.screen import print_json, say
from mainspring.edges.cli.times import read_moment, span, weekday_stamp
from mainspring.edges.cli.wording import many

if TYPE_CHECKING:
    from mainspring.services.backfill import BackfillLook
    from mainspring.services.reading import StoredSchedule


def backfill(
    context: typer.Context,
    name: NameArgument,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="The first: 2026-11-01, or 7d for ago.")],
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this; now unless given.")] = None,
    rate: Annotated[str | None, typer.Option("--rate", help="How fast they come due: 10/min. At once if not.")] = None,
    priority: Annotated[str, typer.Option("--priority", help="high, normal, low or 0 (last) to 9 (first).")] = "low",
    queue: Annotated[str | None, typer.Option("--queue", help="Queue; that of the schedule unless given.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Leave out what has fired.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only what would be done is shown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make runs of the fire times of a range, each once, apart from ordinary ones: the ledger stays as it is."""
    from mainspring.domain.priority import parse_priority
    from mainspring.domain.rate import Rate
    from mainspring.services.backfill import Backfill

    application = open_existing(context)
    schedule, now = application.scheduling.require(name), application.clock.now()
    wanted = Backfill(
        read_moment(since, "--since", now, ago=True),
        now if until is None else read_moment(until, "--until", now, ago=True),
        None if rate is None else Rate.parse(rate),
        parse_priority(priority),
        queue,
        missing,
    )
    look = application.backfilling.look(schedule, wanted)
    if yes and look.fire_times:
        ids = application.backfilling.start(schedule, wanted, actor())
        print_json({"runs": ids}) if as_json else say(f"{many(len(ids), 'run')} made, of {_times(look)}")
    elif as_json:
        print_json(_json(look))
    else:
        _print(schedule, look)


def _json(look: BackfillLook) -> dict[str, Any]:
    return {"fire_times": list(look.fire_times), "runs": look.runs, "left_out": dict(look.barred), "done": look.done,
            "fired": look.fired, "takes": look.takes}  # fmt: skip


def _times(look: BackfillLook) -> str:
    return many(len(look.fire_times), "fire time")


def _print(schedule: StoredSchedule, look: BackfillLook) -> None:
    from mainspring.domain.zones import zone

    where = zone(schedule.spec.zone)
    for why, count in look.barred.items():
        say(f"{many(count, 'fire time')} left out: {why}", "dim")
    if look.done:
        say(f"{many(look.done, 'fire time')} left out: made up for already", "dim")
    if look.fired:
        say(f"{many(look.fired, 'fire time')} left out: fired", "dim")
    if not look.fire_times:
        say(f"there is nothing to make up for in this range of {schedule.name!r}")
        return
    first, last = (weekday_stamp(one, where) for one in (look.fire_times[0], look.fire_times[-1]))
    takes = f", the last coming due {span(look.takes)} after the first" if look.takes else ""
    say(f"would make {many(look.runs, 'run')} of {_times(look)}, {first} to {last} ({schedule.spec.zone}){takes}")
    say("nothing has been done; give --yes to do it", "dim")
