"""Show dead letters: groups, what a replay would do, and files for other programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from mainspring.edges.cli.screen import Cell, Column, as_json_value, print_facts, print_table, say
from mainspring.edges.cli.times import from_now, local_zone, span, stamp
from mainspring.edges.cli.wording import many

if TYPE_CHECKING:
    from mainspring.services.dead_letters import Changed, Group, Look
    from mainspring.services.drain import Drain, QueueRoom

_COLUMNS: Final = (
    Column("signature"),
    Column("runs", right=True),
    Column("task", flexible=True),
    Column("place", drop=2, flexible=True),
    Column("last", drop=3),
    Column("first", drop=4),
    Column("error", drop=1, flexible=True),
)
_CSV: Final = (
    "id", "task", "queue", "priority", "schedule", "fire_at", "member", "created_at", "finished_at", "attempt", "tries",
    "max_tries", "failure_kind", "failure_signature", "error_type", "error_message", "traceback", "parameters",
    "labels", "attempts",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def group_json(group: Group) -> dict[str, Any]:
    """Return a group as JSON values; the keys are stable."""
    return {
        "signature": group.signature,
        "task": group.symptom.task,
        "error_type": group.symptom.error_type,
        "message": group.symptom.message,
        "place": group.symptom.place,
        "count": group.count,
        "first_at": group.first_at,
        "last_at": group.last_at,
        "example": group.example,
    }


def print_groups(groups: Sequence[Group], now: datetime) -> None:
    """Print groups as a table."""
    rows = [
        (
            group.signature, f"{group.count:,}", group.symptom.task, group.symptom.place, from_now(group.last_at, now),
            from_now(group.first_at, now), Cell(_error(group), "red"),
        )
        for group in groups
    ]  # fmt: skip
    print_table(_COLUMNS, rows)


def print_group(group: Group, now: datetime) -> None:
    """Print what the runs of a group have in common, and the traceback of the newest."""
    where, zone = local_zone()

    def at(moment: datetime) -> str:
        return f"{stamp(moment, where)} ({from_now(moment, now)})"

    print_facts(
        [
            ("signature", group.signature),
            ("task", group.symptom.task),
            ("error", Cell(_error(group), "red")),
            ("place", group.symptom.place),
            ("runs", f"{group.count:,}"),
            ("first", at(group.first_at)),
            ("last", at(group.last_at)),
            ("newest", group.example),
        ]
    )
    if group.traceback:
        say()
        say(group.traceback.rstrip())
    say(f"times: {zone}", "dim")


def _error(group: Group) -> str:
    symptom = group.symptom
    return f"{symptom.error_type}: {symptom.message}" if symptom.message else symptom.error_type


def look_json(look: Look) -> dict[str, Any]:
    """Return what a replay would do as JSON values; the keys are stable."""
    drain = look.drain
    return {
        "count": look.count,
        "replayable": look.replayable,
        "by_task": dict(look.by_task),
        "refused": dict(look.refused),
        "refused_count": look.refused_count,
        "changed": [
            {"name": one.name, "count": one.count, "before": one.before, "after": one.after} for one in look.changed
        ],
        "from_checkpoint": look.checkpoints,
        "queues": [
            {
                "name": room.name, "coming": room.coming, "ready": room.ready, "paused": room.paused,
                "workers": room.workers, "slots": room.slots,
            }
            for room in drain.queues
        ],
        "arrival_seconds": drain.arrival,
        "drain_seconds": drain.time,
    }  # fmt: skip


def print_look(look: Look) -> None:
    """Print what a replay would do."""
    tasks = ", ".join(f"{task} {count:,}" for task, count in sorted(look.by_task.items(), key=lambda one: -one[1]))
    print_facts(
        [
            ("dead letters", f"{look.count:,}" + (f": {tasks}" if tasks else "")),
            ("left as they are", Cell("\n".join(_refused(look)), "yellow")),
            ("parameters", "\n".join(_change(change) for change in look.changed)),
            ("checkpoints", f"{many(look.checkpoints, 'run')} would go on from one" if look.checkpoints else ""),
            ("queues", "\n".join(_room(room) for room in look.drain.queues)),
            ("time to drain", _drain(look.drain) if look.replayable else ""),
        ]
    )


def _refused(look: Look) -> Iterator[str]:
    for reason, count in look.refused.items():
        yield f"{count:,}: {reason}"
    rest = look.refused_count - sum(look.refused.values())
    if rest:
        yield f"{rest:,}: for other reasons"


def _change(change: Changed) -> str:
    from mainspring.encoding import encode

    return f"{change.name}: {many(change.count, 'change')}, such as {encode(change.before)} → {encode(change.after)}"


def _room(room: QueueRoom) -> str:
    said = f"{room.name}: {room.coming:,} to come, {room.ready:,} ready before them, "
    said += f"{many(room.workers, 'worker')} with {many(room.slots, 'slot')}" if room.workers else "no worker serves it"
    return said + (", paused" if room.paused else "")


def _drain(drain: Drain) -> str:
    arrival = f"the last comes due after {span(drain.arrival)}" if drain.arrival else "all come due at once"
    if drain.time is None:
        return f"{arrival}; how long the work takes is not known"
    return f"about {span(drain.time)}: {arrival}, the work takes {span(drain.work or drain.arrival * 0)} by past runs"


@contextmanager
def exporter(path: Path | None, *, as_csv: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open a file, or standard output, and give what writes one dead letter to it.

    Raises:
        InvalidInput: the file exists, or cannot be made.
    """
    from mainspring.errors import InvalidInput

    if path is None:
        yield _writer(sys.stdout, as_csv=as_csv)
        return
    try:
        file = path.open("x", encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidInput(f"--output {path} cannot be written: {error.strerror}") from None
    with file:
        yield _writer(file, as_csv=as_csv)


def _writer(file: TextIO, *, as_csv: bool) -> Callable[[dict[str, Any]], None]:
    if not as_csv:
        return lambda letter: print(json.dumps(letter, ensure_ascii=True, default=as_json_value), file=file)
    rows = csv.writer(file)
    rows.writerow(_CSV)
    return lambda letter: rows.writerow([_cell(value) for value in _csv_row(letter)])


def _csv_row(letter: dict[str, Any]) -> Iterator[Any]:
    last = letter["attempts"][-1] if letter["attempts"] else {}
    message = last.get("error_message") or letter["failure_message"]
    values = {**letter, "error_type": last.get("error_type"), "error_message": message}
    values["traceback"] = last.get("traceback")
    return (values[name] for name in _CSV)


def _cell(value: Any) -> str:
    """Return *value* as the text of a cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        text = json.dumps(value, ensure_ascii=False, default=as_json_value)
    else:
        text = value if isinstance(value, str) else str(as_json_value(value))
    return f"'{text}" if text.startswith(_FORMULA) else text
