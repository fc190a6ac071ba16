"""Show on one screen how things stand, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.queues import queue_json
from mainspring.edges.cli.schedule_view import next_in_words, schedule_json
from mainspring.edges.cli.screen import Column, print_facts, print_json, print_table, say
from mainspring.edges.cli.wording import many, zones_in_words
from mainspring.edges.cli.workers import session_json

if TYPE_CHECKING:
    from mainspring.app import Application
    from mainspring.services.reading import QueueDepth, SessionView, StoredSchedule

_SHOWN = 8
_NEXT = (Column("next"), Column("fire time"), Column(""), Column("rule", drop=1, flexible=True))


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand at one moment."""

    location: str
    schema: str
    now: datetime
    sessions: Sequence[SessionView]
    counts: Mapping[Any, int]
    queues: Sequence[QueueDepth]
    schedules: Sequence[StoredSchedule]
    refusal: str | None = None
    """Why the database takes no new work at present."""
    dead_letters: int = 0
    """Failed runs on which nobody has decided."""
    clock: Sequence[str] = ()
    """What is wrong with the clocks."""

    @property
    def workers(self) -> list[SessionView]:
        """Return the live workers."""
        return [session for session in self.sessions if session.kind == "worker"]

    @property
    def schedulers(self) -> list[SessionView]:
        """Return the live schedulers."""
        return [session for session in self.sessions if session.kind == "scheduler"]


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command("status")(status)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show on one screen how things stand: processes, runs, next fire times, and what is wrong."""
    standing = _look(open_existing(context))
    problems = list(problems_of(standing))
    if as_json:
        print_json(_json(standing, problems))
    else:
        _print(standing, problems)


def problems_of(standing: Standing) -> Iterator[str]:
    """Yield what keeps work from being done, in sentences with the way out."""
    from mainspring.domain.queue_order import serves

    if standing.refusal is not None:
        yield standing.refusal
    yield from standing.clock
    enabled = [schedule for schedule in standing.schedules if schedule.enabled]
    ready = sum(queue.ready for queue in standing.queues if queue.paused_at is None)
    if enabled and not standing.schedulers:
        yield f"no scheduler runs, so none of {many(len(enabled), 'schedule')} fires; start `mainspring up`"
    if ready and not standing.workers:
        yield f"{many(ready, 'run')} ready and no worker runs; start `mainspring up`"
    for queue in standing.queues:
        if queue.paused_at is not None and queue.ready:
            resume = f"`mainspring queues resume {queue.name}`"
            yield f"queue {queue.name!r} is paused with {many(queue.ready, 'run')} ready; {resume}"
        elif queue.ready and standing.workers and not any(serves(one.queues, queue.name) for one in standing.workers):
            waiting = f"{many(queue.ready, 'run')} ready in queue {queue.name!r}"
            yield f"{waiting}, which no worker serves; start one with --queues"
    if standing.dead_letters:
        yield f"{many(standing.dead_letters, 'failed run')} undecided; `mainspring dead list`"


def _look(application: Application) -> Standing:
    from mainspring.services import adoption, schema
    from mainspring.services.clock_state import clock_state

    return Standing(
        location=application.database.location,
        schema=schema.status(application.database).current or "none",
        now=application.clock.now(),
        sessions=application.reading.sessions(),
        counts=application.reading.counts(),
        queues=application.reading.queues(),
        schedules=application.scheduling.all(),
        refusal=adoption.refusal(application.database),
        dead_letters=application.dead_letters.count(),
        clock=tuple(clock_state(application.database, application.clock).problems()),
    )


def _upcoming(standing: Standing) -> list[StoredSchedule]:
    live = [one for one in standing.schedules if one.enabled and one.next_at and one.paused_now(standing.now) is None]
    return sorted(live, key=lambda one: (one.next_at, one.name))


def _json(standing: Standing, problems: list[str]) -> dict[str, Any]:
    return {
        "database": standing.location,
        "schema": standing.schema,
        "at": standing.now,
        "schedulers": [session_json(session) for session in standing.schedulers],
        "workers": [session_json(session) for session in standing.workers],
        "runs": {str(state): count for state, count in standing.counts.items()},
        "dead_letters": standing.dead_letters,
        "queues": [queue_json(queue) for queue in standing.queues],
        "schedules": len(standing.schedules),
        "next": [
            {"name": body["name"], "next_at": body["next_at"]}
            for body in (schedule_json(one, standing.now) for one in _upcoming(standing)[:_SHOWN])
        ],
        "problems": problems,
    }


def _print(standing: Standing, problems: list[str]) -> None:
    slots = sum(worker.slots for worker in standing.workers)
    by_state = sorted(standing.counts.items(), key=_by_life)
    counts = ", ".join(f"{count:,} {state}" for state, count in by_state) or "none yet"
    paused = [queue.name for queue in standing.queues if queue.paused_at is not None]
    print_facts(
        [
            ("database", f"{standing.location} (schema {standing.schema})"),
            ("schedulers", str(len(standing.schedulers)) if standing.schedulers else "none"),
            ("workers", f"{len(standing.workers)} with {many(slots, 'slot')}" if standing.workers else "none"),
            ("runs", counts),
            ("queues", ", ".join(f"{queue.name} {queue.ready:,} ready" for queue in standing.queues)),
            ("paused", ", ".join(paused)),
            ("schedules", f"{len(standing.schedules)}, {len(_upcoming(standing))} of them to fire"),
        ]
    )
    following = _upcoming(standing)[:_SHOWN]
    if following:
        say()
        rows = [(one.name, *next_in_words(one, standing.now), one.spec.trigger.in_words()) for one in following]
        print_table(_NEXT, rows)
        say(zones_in_words(one.spec for one in following), "dim")
    say()
    for problem in problems:
        say(f"! {problem}", "yellow")
    if not problems:
        say("nothing is wrong", "green")


def _by_life(item: tuple[Any, int]) -> int:
    from mainspring.domain.states import RunState

    return list(RunState).index(item[0])
