"""Put together what a simulation needs: schedules with their queues, pauses and the usual durations of their tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from mainspring.clock import Clock
from mainspring.domain.routes import Route
from mainspring.domain.spec import ScheduleSpec
from mainspring.services.catalog import Catalog, decide, defaults_of, policies_of
from mainspring.services.directory import Directory
from mainspring.services.durations import Usual, usual_durations
from mainspring.services.simulate import DEFAULT_DURATION, Planned
from mainspring.store import schedules as stored
from mainspring.store import tables
from mainspring.store.database import Database


def planned_in_database(
    database: Database, clock: Clock, default: timedelta = DEFAULT_DURATION, owner_id: str | None = None
) -> list[Planned]:
    """Return the schedules of a database, with past durations of their tasks; *default* where none is known.

    Only those of an account if given.
    """
    directory, known, now = Directory(database, clock), usual_durations(database), clock.now()
    return [
        Planned(
            one.spec,
            directory.decide(one.spec.task, queue=one.spec.queue).queue,
            known.get(one.spec.task, Usual(default, default)),
            one.paused_now(now),
        )
        for one in database.read(lambda tx: stored.list_schedules(tx, None, owner_id))
    ]


def planned_in_files(
    specs: Iterable[ScheduleSpec],
    catalog: Catalog,
    routes: Sequence[Route],
    known: Mapping[str, Usual],
    default: timedelta = DEFAULT_DURATION,
) -> list[Planned]:
    """Return the schedules of a configuration, with the durations that are *known* of their tasks, else *default*."""
    found = []
    for spec in specs:
        task = catalog.find(spec.task)
        defaults, policies = ({}, {}) if task is None else (defaults_of(task), policies_of(task))
        queue = decide(spec.task, defaults, policies, routes, queue=spec.queue).queue
        found.append(Planned(spec, queue, known.get(spec.task, Usual(default, default))))
    return found


def live_slots(database: Database) -> int:
    """Return how many runs the living workers can work on at the same time."""
    sessions = database.read(lambda tx: tables.list_sessions(tx, live_only=True))
    return sum(session.slots for session in sessions if session.kind == "worker")
