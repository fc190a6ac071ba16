"""Very many schedules that come due in the same second: how long until the last of them has fired."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import func, select

from benchmarks.contestants import Mainspring
from benchmarks.figures import Figure, most, wanting
from benchmarks.multiply import copy_with
from benchmarks.processes import running
from benchmarks.setting import Setting
from benchmarks.trace import wait_for
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.triggers import parse_cron
from mainspring.ids import ScheduleId, uuid7
from mainspring.store.schema import occurrences, ready, runs, schedules

TITLE = "Schedules due in the same second: seconds until all have fired"
_REPEATED = 36
_LEAD = 15.0
_STORED_A_SECOND = 4_000
_PATIENCE = 600.0
_HOURS = 20


def measure_due(setting: Setting) -> list[Figure]:
    """Fire them with texts that all differ and with texts that repeat, in turns."""
    n = setting.sizes.due
    contestants = {
        "all texts differ": partial(_fire, setting, n),
        f"{_REPEATED} texts": partial(_fire, setting, _REPEATED),
    }
    different, repeated = setting.rates(TITLE, contestants, f"{n:,} schedules, each fired once", "s").values()
    return [wanting(different, most(11.0)), wanting(repeated, most(5.0))]


def _fire(setting: Setting, texts: int) -> float:
    """Return the seconds from the moment at which all come due until the last is recorded and its run ready."""
    with setting.installed() as ours:
        clock, n = ours.application.clock, setting.sizes.due
        lead = timedelta(seconds=_LEAD + n / _STORED_A_SECOND)
        due = (clock.now() + lead).replace(microsecond=0)
        _store(ours, due, n, texts)
        with running(ours.process("scheduler")) as (scheduler,):
            wait_for(lambda: bool(ours.live_sessions()), 60.0, "the scheduler is ready", 0.05)
            if clock.now() >= due:
                raise AssertionError(f"storing {n} schedules took too long: they were due at {due}")

            def all_advanced() -> bool:
                scheduler.require_alive()
                return clock.now() >= due and _next_fire(ours) > due

            wait_for(all_advanced, lead.total_seconds() + _PATIENCE, f"{n} schedules fire", 0.02)
            took = (clock.now() - due).total_seconds()
            _require_each_once(ours, due, n)
        return took


def _store(ours: Mainspring, due: datetime, n: int, texts: int) -> None:
    first = _spec(0, due, texts)
    ours.application.scheduling.apply([first], "file", "benchmark")
    database = ours.application.database
    copy_with(database, "schedules", f"name = '{first.name}'", _rows(due, n, texts))


def _rows(due: datetime, n: int, texts: int) -> Iterator[dict[str, str]]:
    for number in range(1, n):
        spec = _spec(number, due, texts)
        yield {"id": ScheduleId(uuid7()), "name": spec.name, "spec": spec.to_text()}


def _spec(number: int, due: datetime, texts: int) -> ScheduleSpec:
    """Return a schedule of one of so many *texts*; each fires at *due*, then not for two hours at least."""
    chosen = number % texts
    hours = {due.hour} | {(due.hour + 2 + bit) % 24 for bit in range(_HOURS) if chosen >> bit & 1}
    text = f"{due.second} {due.minute} {','.join(map(str, sorted(hours)))} * * *"
    return ScheduleSpec(f"s{number}", "benchmarks.tasks.coroutine", parse_cron(text), parameters={"number": number})


def _next_fire(ours: Mainspring) -> datetime:
    query = select(func.min(schedules.c.next_at)).where(schedules.c.next_at.is_not(None))
    found: datetime = ours.application.database.read(lambda tx: tx.core(query).scalar_one())
    return found


def _require_each_once(ours: Mainspring, due: datetime, n: int) -> None:
    """Count what was recorded; one missed or doubled makes the figure worthless."""
    fired = (occurrences.c.fire_at == due) & (occurrences.c.outcome == "fired")
    queries = {
        "ledger rows": select(func.count()).select_from(occurrences).where(fired),
        "schedules in the ledger": select(func.count(occurrences.c.schedule_id.distinct())).where(fired),
        "runs": select(func.count()).select_from(runs).where(runs.c.fire_at == due),
        "schedules with a run": select(func.count(runs.c.schedule_id.distinct())).where(runs.c.fire_at == due),
        "ready runs": select(func.count()).select_from(ready),
    }
    for what, query in queries.items():
        found = ours.application.database.read(lambda tx, query=query: tx.core(query).scalar())  # type: ignore[misc]
        if found != n:
            raise AssertionError(f"{found} {what}, not {n}")
