"""Fire at the times that cron text names, with the care that Debian's cron takes when clocks change."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final

from cronsim import CronSim, CronSimError

from mainspring.domain.triggers.cron_text import CronInvalid, read_cron
from mainspring.domain.triggers.dst import DstRule, local_time_key, next_instant
from mainspring.domain.triggers.pattern import WallPattern
from mainspring.domain.triggers.trigger import Trigger
from mainspring.domain.triggers.words import (
    DayWords,
    month_days_in_words,
    nth_weekday,
    say,
    weekdays_in_words,
)
from mainspring.domain.zones import zone as find_zone

_START: Final = datetime(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class CronTrigger(Trigger):
    """Cron text of five fields, or six with seconds first, in the local time of a zone.

    `seed` is what `H` is hashed from; it is empty where the text has no `H`. Make one with `parse_cron`.
    """

    text: str
    zone: str = "UTC"
    dst: DstRule = field(default_factory=DstRule)
    seed: str = ""

    def __post_init__(self) -> None:
        """Refuse text, zones and combinations that cannot work."""
        find_zone(self.zone)
        _spec(self.text, self.seed)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire time strictly after *moment*, in UTC, or None when there is none any more."""
        spec = _spec(self.text, self.seed)
        return next_instant(spec.pattern, self.zone, moment, fixed=spec.fixed, dst=self.dst)

    def in_words(self) -> str:
        """Return the rule in English, weekdays by name and the zone named when it is not UTC."""
        spec = _spec(self.text, self.seed)
        return say(spec.pattern.seconds, spec.pattern.minutes, spec.pattern.hours, spec.days, self.zone)

    def local_key(self, fire_at: datetime) -> str | None:
        """Return the local wall time that *fire_at* stands for, where that time may fire only once; else None."""
        spec = _spec(self.text, self.seed)
        return local_time_key(spec.pattern, self.zone, fire_at, fixed=spec.fixed, dst=self.dst)

    def to_json(self) -> dict[str, object]:
        """Return the rule as JSON values."""
        body: dict[str, object] = {"kind": "cron", "text": self.text, "zone": self.zone, "dst": self.dst.to_json()}
        return body | {"seed": self.seed} if self.seed else body


def parse_cron(text: str, zone: str = "UTC", dst: DstRule | None = None, seed: str = "") -> CronTrigger:
    """Return the trigger that *text* says in *zone*; `H` is hashed from *seed*, usually the schedule's name.

    Raises:
        CronInvalid: the text cannot be read, or names no time that exists.
        UnknownName: no zone is called *zone*.
    """
    hashed = read_cron(text, seed).hashed
    trigger = CronTrigger(" ".join(text.split()), zone, dst or DstRule(), seed if hashed else "")
    if trigger.next_after(_START.replace(tzinfo=find_zone(zone))) is None:
        raise CronInvalid(f'cron "{text}": never fires in {zone}, where clocks always skip that time')
    return trigger


@dataclass(frozen=True, slots=True)
class _Spec:
    """Cron text made ready: the local times, whether they are fixed, and the days in words."""

    pattern: WallPattern
    fixed: bool
    days: DayWords


@lru_cache(maxsize=4096)
def _spec(text: str, seed: str) -> _Spec:
    read = read_cron(text, seed)
    try:
        sim = CronSim(" ".join(read.parts), _START)
    except CronSimError:
        raise _no_such_day(text) from None
    pattern = WallPattern(
        tuple(sorted(sim.seconds)),
        tuple(sorted(sim.minutes)),
        tuple(sorted(sim.hours)),
        frozenset(sim.months),
        sim.match_day,
    )
    if not pattern.can_match():
        raise _no_such_day(text)
    return _Spec(pattern, read.fixed, _days(sim))


def _no_such_day(text: str) -> CronInvalid:
    return CronInvalid(f'cron "{text}": names a date that never comes; no year has such a day')


def _days(sim: CronSim) -> DayWords:
    days = sim.days
    plain = sorted({(item - 1) % 7 for item in sim.weekdays if isinstance(item, int)})
    placed = sorted((_last_as_0(nth), (day - 1) % 7) for day, nth in (i for i in sim.weekdays if isinstance(i, tuple)))
    any_day = len([day for day in days if day > 0]) == 31
    any_weekday = len(plain) == 7
    if not sim.day_and and (any_day or any_weekday):
        any_day = any_weekday = True
    other = [
        name for code, name in ((CronSim.LAST, "last day"), (CronSim.LAST_WEEKDAY, "last weekday")) if code in days
    ]
    return DayWords(
        of_month="" if any_day else month_days_in_words([day for day in days if day > 0], other),
        of_week="" if any_weekday or not plain else weekdays_in_words(plain),
        placed=() if any_weekday else tuple(nth_weekday(nth, day) for nth, day in sorted(placed, key=_last_after_all)),
        both=sim.day_and,
        months=() if len(sim.months) == 12 else tuple(sorted(sim.months)),
    )


def _last_as_0(nth: int) -> int:
    return 0 if nth == CronSim.LAST else nth


def _last_after_all(place: tuple[int, int]) -> tuple[int, int]:
    return place[0] or 6, place[1]
