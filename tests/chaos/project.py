"""Write the project that is run: tasks in all three executors, schedules, and what must come of them.

The fire times that must come are found by looking at every second of the time, with none of the product's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import yaml

_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True)
class Scheduled:
    """A schedule as it is configured, and, written a second time by hand, the seconds at which it fires."""

    name: str
    task: str
    settings: Mapping[str, Any]
    fires: Callable[[datetime, datetime], bool]
    """Given the start of the time and a second of it, in UTC."""
    members: tuple[str, ...] = ("",)

    def configured(self, start: datetime, end: datetime) -> dict[str, Any]:
        """Return its settings for the configuration file."""
        body = {"task": self.task, **self.settings, "start": start.isoformat(), "end": end.isoformat()}
        if "every" in body:
            body["anchor"] = start.isoformat()
        if self.members != ("",):
            body["fan_out"] = {"parameter": "member", "over": list(self.members)}
        return body

    def occurrences(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield every second from *start* to *end*, both included, at which it has to fire."""
        moment = start
        while moment <= end:
            if self.fires(start, moment):
                yield moment
            moment += _SECOND


def _names(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{n}" for n in range(count))


def _local(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone))


def _elapsed(start: datetime, moment: datetime) -> int:
    return round((moment - start).total_seconds())


SCHEDULES: Final = (
    Scheduled("second", "quick_once", {"cron": "* * * * * *"}, lambda start, moment: True),
    Scheduled("two-seconds", "quick", {"every": "2s"}, lambda start, moment: _elapsed(start, moment) % 2 == 0),
    Scheduled(
        "all", "block", {"every": "3s", "misfire": "all"}, lambda start, moment: _elapsed(start, moment) % 3 == 0,
        _names("a", 6),
    ),
    Scheduled(
        "five", "alone_once", {"cron": "*/5 * * * * *", "misfire": "skip", "jitter": "2s"},
        lambda start, moment: moment.second % 5 == 0, _names("b", 8),
    ),
    Scheduled(
        "sao-paulo", "block_once", {"cron": "*/10 * * * * *", "zone": "America/Sao_Paulo"},
        lambda start, moment: _local(moment, "America/Sao_Paulo").second % 10 == 0, _names("c", 20),
    ),
    Scheduled(
        "lord-howe", "alone", {"cron": "7,22,41 * * * * *", "zone": "Australia/Lord_Howe", "misfire": "all"},
        lambda start, moment: _local(moment, "Australia/Lord_Howe").second in (7, 22, 41), _names("d", 20),
    ),
    Scheduled(
        "minute", "quick_once", {"cron": "* * * * *", "zone": "Europe/London", "priority": "high"},
        lambda start, moment: _local(moment, "Europe/London").second == 0, _names("e", 30),
    ),
)  # fmt: skip


def expected(
    start: datetime, end: datetime, ids: Mapping[str, str], schedules: tuple[Scheduled, ...] = SCHEDULES
) -> dict[tuple[str, int], tuple[str, ...]]:
    """Return the members of every occurrence by schedule id and fire time in microseconds; *ids* are by name."""
    return {
        (ids[schedule.name], round(moment.timestamp()) * 1_000_000): schedule.members
        for schedule in schedules
        for moment in schedule.occurrences(start, end)
    }


def write_project(folder: Path, data: Path, start: datetime, end: datetime) -> None:
    """Write configuration and tasks; where the database is comes from the environment, as a secret does."""
    # In a short form some would never fire, which is refused.
    firing = [one for one in SCHEDULES if next(one.occurrences(start, end), None) is not None]
    schedules = {one.name: one.configured(start, end) for one in firing}
    settings = {"database": "secret:CHAOS_DATABASE", "data_dir": str(data), "tasks": ["tasks"], "schedules": schedules}
    (folder / "mainspring.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")


TASKS: Final = '''
import asyncio, os, random, time
from datetime import timedelta
from mainspring import Backoff, Context, task

LEDGER, TOKEN = os.environ["CHAOS_LEDGER"], os.environ["CHAOS_TOKEN"]
AGAIN = {"max_retries": 2, "backoff": Backoff(timedelta(seconds=0.5))}


def effect(ctx, what, durable=True):
    at = time.clock_gettime(time.CLOCK_BOOTTIME)
    line = f"{ctx.run_id} {ctx.attempt} {what} {os.getpid()} {at:.6f}\\n".encode()
    ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(ledger, line)
        if durable:
            os.fsync(ledger)
    finally:
        os.close(ledger)


def length(ctx, seconds):
    """Mostly short, some of five seconds; for scheduled runs drawn from the run's id."""
    if seconds is not None:
        return seconds
    dice = random.Random(ctx.run_id)
    return dice.uniform(*dice.choices([(0.05, 0.4), (0.4, 1.5), (2.0, 5.0)], [85, 13, 2])[0])


def fail(ctx):
    effect(ctx, "fail", durable=False)
    ctx.log.warning("the service at https://ann:%s@service.example/?key=%s refuses", TOKEN, TOKEN)
    raise ValueError(f"GET https://ann:{TOKEN}@service.example/?key={TOKEN} was refused: {TOKEN!r} is not known")


async def wait(ctx, seconds, bad):
    effect(ctx, "start")
    await asyncio.sleep(length(ctx, seconds) / 2)
    effect(ctx, "effect", durable=False)
    if bad:
        fail(ctx)
    await asyncio.sleep(length(ctx, seconds) / 2)
    effect(ctx, "end")


def hold(ctx, seconds, bad):
    effect(ctx, "start")
    left = length(ctx, seconds)
    while left > 0 and not ctx.cancelled:
        time.sleep(min(left, 0.1))
        left -= 0.1
    effect(ctx, "effect", durable=False)
    if bad:
        fail(ctx)
    effect(ctx, "end")


@task(name="quick", **AGAIN)
async def quick(ctx: Context, ticket: str = "", member: str = "", seconds: float | None = None, bad: bool = False):
    await wait(ctx, seconds, bad)


@task(name="quick_once", at_most_once=True)
async def quick_once(ctx: Context, ticket: str = "", member: str = "", seconds: float | None = None, bad: bool = False):
    await wait(ctx, seconds, bad)


@task(name="block", **AGAIN)
def block(ctx: Context, ticket: str = "", member: str = "", seconds: float | None = None, bad: bool = False):
    hold(ctx, seconds, bad)


@task(name="block_once", at_most_once=True)
def block_once(ctx: Context, ticket: str = "", member: str = "", seconds: float | None = None, bad: bool = False):
    hold(ctx, seconds, bad)


@task(name="alone", **ISOLATED, **AGAIN)
def alone(ctx: Context, ticket: str = "", member: str = "", seconds: float | None = None, bad: bool = False):
    hold(ctx, seconds, bad)


@task(name="alone_once", at_most_once=True, **ISOLATED)
def alone_once(ctx: Context, ticket: str = "", member: str = "", seconds: float | None = None, bad: bool = False):
    hold(ctx, seconds, bad)


ALL = (quick, quick_once, block, block_once, alone, alone_once)
'''.replace("**ISOLATED", "isolated=True")
