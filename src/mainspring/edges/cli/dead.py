"""List dead letters by what they have in common, and decide on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mainspring.edges.cli.dead_view import (
    exporter,
    group_json,
    look_json,
    print_group,
    print_groups,
    print_look,
)
from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson, Reason
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.runs import pairs, print_runs, require_known, run_json
from mainspring.edges.cli.screen import print_json, say
from mainspring.edges.cli.times import read_moment, stamp
from mainspring.edges.cli.wording import many, short_id

if TYPE_CHECKING:
    from mainspring.app import Application
    from mainspring.services.dead_letters import DeadFilter, Edit

_SIGNATURE: Final = frozenset("0123456789abcdef")
_SIGNATURE_LENGTH: Final = 16
_UNSIGNED: Final = "unsigned"

What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SIGNATURE|RUN]...", help="A signature from `dead list`, or ids of runs.", show_default=False
    ),
]
All = Annotated[bool, typer.Option("--all", help="All dead letters there are; needed where nothing else is named.")]
Task = Annotated[str | None, typer.Option("--task", help="Only runs of this task.")]
Queue = Annotated[str | None, typer.Option("--queue", help="Only runs that failed in this queue.")]
Schedule = Annotated[str | None, typer.Option("--schedule", help="Only runs of this schedule.")]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Only runs with this label.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Failed then or later: 2026-12-01T09:00, or 2h for ago.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Failed before then.")]
Text = Annotated[str | None, typer.Option("--text", help="Only where the message contains this.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only what would be done is shown.")]


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Dead letters, the failed runs on which nobody has decided: list, replay, retry, discard, export.",
    )
    group.command("list")(list_)
    group.command("show")(show)
    group.command("replay")(replay)
    group.command("retry")(retry)
    group.command("discard")(discard)
    group.command("restore")(restore)
    group.command("export")(export)
    app.add_typer(group, name="dead")


def list_(
    context: typer.Context,
    task: Task = None,
    queue: Queue = None,
    schedule: Schedule = None,
    label: Labels = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="Show at most this many groups.")] = 20,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Leave out this many groups: the next page.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List dead letters by what they have in common: task, error, place, and a message without what varies.

    The newest 100,000 are looked at.
    """
    application = open_existing(context)
    wanted = _wanted(application, [], task, queue, schedule, label, since, until, text)
    found = application.dead_letters.groups(wanted, limit + 1, offset)
    groups, more = found[:limit], len(found) > limit
    if as_json:
        print_json({"groups": [group_json(group) for group in groups], "next_offset": offset + limit if more else None})
    elif not groups:
        say("no dead letters" if wanted == _everything() else "no dead letter fits; leave out an option to see more")
    else:
        print_groups(groups, application.clock.now())
        if more:
            say(f"smaller ones: --offset {offset + limit}", "dim")


def show(
    context: typer.Context,
    signature: Annotated[str, typer.Argument(metavar="SIGNATURE", help="16 digits from `dead list`.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Show at most this many runs.")] = 10,
    before: Annotated[
        str | None, typer.Option("--before", metavar="RUN", help="Show runs older than this one: the next page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the dead letters of one signature have in common, the newest traceback, and the runs."""
    from mainspring.services.dead_letters import DeadFilter

    application = open_existing(context)
    groups = application.dead_letters.group(_signature(signature))
    start = None if before is None else application.steering.require(before).id
    found = application.dead_letters.runs(DeadFilter(signature=groups[0].signature), limit, start)
    following = found[-1].id if len(found) == limit else None
    if as_json:
        bodies = [group_json(group) | {"traceback": group.traceback} for group in groups]
        print_json({"groups": bodies, "runs": [run_json(run) for run in found], "next_before": following})
        return
    for group in groups:
        print_group(group, application.clock.now())
    if found:
        say()
        print_runs(application, found)
    if following is not None:
        say(f"older ones: --before {short_id(following)}", "dim")


def replay(
    context: typer.Context,
    what: What = None,
    all_: All = False,
    task: Task = None,
    queue: Queue = None,
    schedule: Schedule = None,
    label: Labels = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    rate: Annotated[str | None, typer.Option("--rate", help="Spread them over time: 10/s, 100/min.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Give all of them this parameter.")
    ] = None,
    edits: Annotated[
        Path | None,
        typer.Option("--edits", metavar="FILE", help="Parameters of single runs: a JSON object of objects by run id."),
    ] = None,
    to_queue: Annotated[str | None, typer.Option("--to-queue", help="Put them into this queue.")] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", help="high, normal, low or 0 (last) to 9 (first).")
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin anew instead of at the last checkpoint.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Do the work of dead letters again in new runs; without --yes only show what would be done.

    Each dead letter is decided once, whoever else replays at the same time. What was interrupted goes on with the same
    command. A replay cannot be undone; runs that have not come due can be cancelled.
    """
    application = open_existing(context)
    wanted = _wanted(application, what or [], task, queue, schedule, label, since, until, text, everything=all_)
    edit = _edit(application, rate, set_ or [], edits, to_queue, priority, from_checkpoint=not from_start)
    look = application.dead_letters.look(wanted, edit)
    if not as_json:
        print_look(look)
    if not yes or not look.replayable:
        _only_shown(look_json(look), look.replayable, "replay", as_json=as_json)
        return
    with _counted(look.replayable, "replayed") as told:
        done = application.dead_letters.replay(look, actor(), told)
    if as_json:
        print_json(look_json(look) | {"done": True, "replayed": done.count, "last_due_at": done.until})
        return
    last = f"; the last comes due {stamp(done.until, None)}" if done.until and edit.rate else ""
    say(f"replayed {many(done.count, 'dead letter')}{last}")


def retry(
    context: typer.Context,
    what: What = None,
    all_: All = False,
    task: Task = None,
    queue: Queue = None,
    schedule: Schedule = None,
    label: Labels = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make the same runs ready again at once, with as many tries as they had at first.

    Parameters, attempts and logs stay with the run. A new run, a rate or other parameters: `dead replay`.
    """
    application = open_existing(context)
    wanted = _wanted(application, what or [], task, queue, schedule, label, since, until, text, everything=all_)
    count = application.dead_letters.count_of(wanted)
    if not yes or not count:
        _only_shown({"count": count}, count, "retry", as_json=as_json)
        return
    with _counted(count, "retried") as told:
        done = application.dead_letters.retry(wanted, actor(), told)
    _say_done({"count": count, "done": True, "retried": done}, f"retried {many(done, 'dead letter')}", as_json=as_json)


def discard(
    context: typer.Context,
    what: What = None,
    all_: All = False,
    task: Task = None,
    queue: Queue = None,
    schedule: Schedule = None,
    label: Labels = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Decide that nothing becomes of dead letters; `dead restore` undoes it as long as the runs are there."""
    application = open_existing(context)
    wanted = _wanted(application, what or [], task, queue, schedule, label, since, until, text, everything=all_)
    count = application.dead_letters.count_of(wanted)
    with _counted(count, "discarded") as told:
        done = application.dead_letters.discard(wanted, actor(), reason, told)
    _say_done({"discarded": done}, f"discarded {many(done, 'dead letter')}", as_json=as_json)


def restore(
    context: typer.Context,
    what: What = None,
    all_: Annotated[bool, typer.Option("--all", help="All runs that were ever discarded.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make discarded runs dead letters again."""
    application = open_existing(context)
    wanted = _wanted(application, what or [], everything=all_)
    done = application.dead_letters.restore(wanted, actor())
    _say_done({"restored": done}, f"restored {many(done, 'dead letter')}", as_json=as_json)


def export(
    context: typer.Context,
    what: What = None,
    task: Task = None,
    queue: Queue = None,
    schedule: Schedule = None,
    label: Labels = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="A table for spreadsheets instead of JSON lines.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file, which must not exist.")
    ] = None,
) -> None:
    """Write dead letters with parameters, errors and tracebacks as JSON lines, or as CSV.

    All of them unless some are named. Secrets were taken out of errors when they were recorded.
    """
    application = open_existing(context)
    wanted = _wanted(application, what or [], task, queue, schedule, label, since, until, text)
    with exporter(output, as_csv=as_csv) as write:
        count = 0
        for letter in application.dead_letters.export(wanted):
            write(letter)
            count += 1
    if output is not None:
        say(f"wrote {many(count, 'dead letter')} to {output}")


def _everything() -> DeadFilter:
    from mainspring.services.dead_letters import DeadFilter

    return DeadFilter()


def _wanted(
    application: Application,
    what: Sequence[str],
    task: str | None = None,
    queue: str | None = None,
    schedule: str | None = None,
    label: list[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    text: str | None = None,
    *,
    everything: bool = True,
) -> DeadFilter:
    """Return the filter that arguments and options say; *everything* is False where none at all is refused."""
    from mainspring.errors import InvalidInput
    from mainspring.services.dead_letters import DeadFilter, RunFilter

    signatures = [word for word in what if _is_signature(word)]
    if len(signatures) > 1 or (signatures and len(what) > 1):
        raise InvalidInput("give one signature, or ids of runs; several signatures are several commands")
    ids = [application.steering.require(word).id for word in what if not _is_signature(word)]
    like = RunFilter(task=task, queue=queue, schedule=schedule, labels=pairs(label or [], "--label") or None)
    now = application.clock.now()
    wanted = DeadFilter(
        like,
        signature=signatures[0].lower() if signatures else None,
        ids=ids or None,
        since=None if since is None else read_moment(since, "--since", now, ago=True),
        until=None if until is None else read_moment(until, "--until", now, ago=True),
        text=text or None,
    )
    if not everything and wanted == DeadFilter():
        raise InvalidInput("say which dead letters: a signature, ids of runs, a filter such as --task, or --all")
    require_known(application, like)
    return wanted


def _is_signature(word: str) -> bool:
    text = word.lower()
    return text == _UNSIGNED or (len(text) == _SIGNATURE_LENGTH and set(text) <= _SIGNATURE)


def _signature(word: str) -> str:
    from mainspring.errors import InvalidInput

    if not _is_signature(word):
        raise InvalidInput(f"{word!r} is no signature; `mainspring dead list` shows them")
    return word.lower()


def _edit(
    application: Application,
    rate: str | None,
    given: Sequence[str],
    edits: Path | None,
    to_queue: str | None,
    priority: str | None,
    *,
    from_checkpoint: bool,
) -> Edit:
    from mainspring.domain.priority import parse_priority
    from mainspring.domain.rate import Rate
    from mainspring.services.dead_letters import Edit

    return Edit(
        texts=pairs(given, "--set"),
        each={} if edits is None else _edits_of(application, edits),
        queue=to_queue,
        priority=None if priority is None else parse_priority(priority),
        rate=None if rate is None else Rate.parse(rate),
        checkpoint=from_checkpoint,
    )


def _edits_of(application: Application, path: Path) -> dict[Any, dict[str, Any]]:
    from mainspring.errors import InvalidInput

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"--edits {path} cannot be read as JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise InvalidInput(f'--edits {path} is no object of objects; write {{"RUN": {{"name": value}}}}')
    return {application.steering.require(run).id: values for run, values in found.items()}


def _only_shown(body: dict[str, Any], count: int, verb: str, *, as_json: bool) -> None:
    if as_json:
        print_json(body | {"done": False})
    elif count:
        say(f"nothing has been done; add --yes to {verb} {many(count, 'dead letter')}", "yellow")
    else:
        say(f"there is nothing to {verb}")


def _say_done(body: dict[str, Any], said: str, *, as_json: bool) -> None:
    if as_json:
        print_json(body)
    else:
        say(said)


@contextmanager
def _counted(count: int, verb: str) -> Iterator[Callable[[int], None]]:
    """Say how many of *count* are done where the work ends before its end."""
    from mainspring.edges.cli.failures import complain

    done = [0]

    def told(so_far: int) -> None:
        done[0] = so_far

    try:
        yield told
    except BaseException:
        complain(f"{verb} {done[0]:,} of {count:,}; the same command goes on with the rest")
        raise
