"""Check settings that were read, and say everything that is wrong with them in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pydantic import ValidationError

from mainspring.config.kinds import shown
from mainspring.config.layer import Layer, leaves
from mainspring.config.place import Place, in_words
from mainspring.config.schedule import ScheduleConfig, schedule_problems
from mainspring.config.secrets import PREFIX, SecretBook, reference
from mainspring.config.section import Section
from mainspring.config.settings import CalendarDay, Settings
from mainspring.config.shape import Settling, shape_at, shape_of
from mainspring.config.variables import sounds_secret
from mainspring.domain.calendars import own_calendar
from mainspring.domain.queue_order import QueueOrder
from mainspring.domain.zones import zone_names
from mainspring.errors import InvalidInput, nearest, unknown_name

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

S = TypeVar("S", bound=Section)


class Finding(NamedTuple):
    """What is wrong at a place; `quotes` says that the message may show the value that stands there."""

    place: Place
    message: str
    quotes: bool = True


_HIDDEN_VALUE: Final = "this value cannot be used; it is not shown because it holds a secret"
_WRITTEN_AT: Final = re.compile(r"([^\n]*?):(\d+): ")
# What other tools call it; too far from our names for the nearest one to be found.
_ELSEWHERE: Final = {
    "timezone": "zone",
    "tz": "zone",
    "interval": "every",
    "args": "parameters",
    "kwargs": "parameters",
    "retries": "max_retries",
    "concurrency": "slots",
    "jobs": "schedules",
}


class Checker:
    """Checks what stands in one layer; `problems` collects a sentence for each thing that is wrong."""

    def __init__(self, layer: Layer, secrets: SecretBook, name: str) -> None:
        self._layer, self._secrets, self._name = layer, secrets, name
        self._found: set[Place] = set()
        self.problems: list[str] = []

    def settings(self) -> Settings | None:
        """Return the settings of the layer, or None when there are problems."""
        body = {key: value for key, value in self._layer.body.items() if not key.startswith("x-")}
        settled = self._settled(Settings, body)
        found = self._validated(Settings, settled)
        self._add(_bad_references(settled))
        self._add(_undeclared_queues(settled))
        self._check_schedules(settled)
        return None if self.problems else found

    def _settled(self, kind: type[Section], body: dict[str, Any]) -> dict[str, Any]:
        settling = Settling()
        settled: dict[str, Any] = settling.settle(body, shape_of(kind))
        self._add(Finding(*problem) for problem in settling.problems)
        return settled

    def _validated(self, kind: type[S], body: dict[str, Any]) -> S | None:
        try:
            return kind.model_validate(body)
        except ValidationError as error:
            self._add(_finding(kind, details) for details in error.errors(include_url=False))
            return None

    def _check_schedules(self, body: Mapping[str, Any]) -> None:
        calendars = dict(self._own_calendars(body))
        zone = body.get("zone")
        zone = zone if isinstance(zone, str) and zone in zone_names() else "UTC"
        for name, schedule in _entries(body, "schedules"):
            place = ("schedules", name)
            if not name.strip() or len(name) > 200 or not name.isprintable():
                self._add([Finding(place, "the name of a schedule has 1 to 200 printable characters")])
            elif self._is_sound(place):
                config = ScheduleConfig.model_validate(schedule)
                problems = schedule_problems(name, config, str(zone), calendars)
                self._add(Finding((*place, *below), message, bool(below)) for below, message in problems)

    def _own_calendars(self, body: Mapping[str, Any]) -> Iterator[tuple[str, dict[date, str]]]:
        for name, days in _entries(body, "calendars"):
            place = ("calendars", name)
            try:
                own_calendar(name, [])
            except InvalidInput as error:
                self._add([Finding(place, str(error))])
            if self._is_sound(place):
                read = [CalendarDay.model_validate(day) for day in days]
                yield name, {day.date: day.name for day in read}
            else:
                # A calendar with a mistake in it is known all the same; one sentence about it is enough.
                yield name, {}

    def _is_sound(self, place: Place) -> bool:
        bad = (*self._found, *self._layer.broken)
        return not any(one[: len(place)] == place or place[: len(one)] == one for one in bad)

    def _add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._found.add(finding.place)
            if not self._layer.is_broken(finding.place):
                self.problems.append(self._sentence(*finding))

    def _sentence(self, place: Place, message: str, quotes: bool) -> str:
        if quotes and self._is_secret(place):
            message = _HIDDEN_VALUE
        where = self._layer.origin(place) or self._name
        said = self._secrets.redact(f"{in_words(place)}: {message}" if place else message)
        return f"{where}: " + "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in said)

    def _is_secret(self, place: Place) -> bool:
        if any(isinstance(part, str) and sounds_secret(part) for part in place):
            return True
        # Messages quote what they could not use, sometimes in parts in which nobody would find the whole secret.
        below = leaves(self._layer.value(place))
        return any(isinstance(leaf, str) and self._secrets.holds_secret(leaf) for _, leaf in below)


def in_file_order(problems: Iterable[str]) -> list[str]:
    """Return *problems* without repetitions, those of a file by line."""

    def key(problem: str) -> tuple[str, int]:
        at = _WRITTEN_AT.match(problem)
        return (at[1], int(at[2])) if at else ("", 0)

    return sorted(dict.fromkeys(problems), key=key)


def _finding(kind: type[Section], details: ErrorDetails) -> Finding:
    place = tuple(part for part in details["loc"] if part != "[key]")
    type_, value = details["type"], details["input"]
    if type_ == "unusable":
        # Messages about the address of the database never show more of it than its kind.
        return Finding(place, str(details["ctx"]["message"]), quotes=place != ("database",))
    if type_ == "extra_forbidden":
        shape = shape_at(kind, place[:-1])
        return Finding(place, _unknown_key(str(place[-1]), shape.keys() if shape is not None else ()), quotes=False)
    if type_ == "missing":
        return Finding(place[:-1], f"{str(place[-1])!r} is missing", quotes=False)
    if type_ in ("model_type", "dict_type", "mapping_type"):
        return Finding(place, f"must be a mapping ('key: value' lines), not {shown(value)}")
    if type_ == "tuple_type":
        brackets = f"; write [{value}]" if isinstance(value, str) and len(value) <= 60 else ""
        return Finding(place, f"must be a list, not {shown(value)}{brackets}")
    return Finding(place, f"cannot be used: {details['msg']}")


def _unknown_key(key: str, known: Iterable[str]) -> str:
    names = list(known)
    meant = _ELSEWHERE.get(key.casefold())
    if meant in names:
        return f"unknown key {key!r}; did you mean {meant!r}?"
    return unknown_name("key", key if len(key) <= 60 else key[:60] + "…", names)


def _entries(body: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    section = body.get(key)
    if isinstance(section, dict):
        yield from section.items()


def _bad_references(body: Mapping[str, Any]) -> Iterator[Finding]:
    for place, leaf in leaves(body):
        if isinstance(leaf, str) and leaf.startswith(PREFIX) and reference(leaf) is None:
            shape = shape_at(Settings, place)
            if place == ("database",) or (shape is not None and shape.kind == "free"):
                message = f"'{PREFIX}' is followed by no usable name; write {PREFIX}NAME, as in {PREFIX}API_KEY"
                yield Finding(place, message, quotes=False)


def _undeclared_queues(body: Mapping[str, Any]) -> Iterator[Finding]:
    declared = body.get("queues")
    if not isinstance(declared, dict):
        return
    for place, name in _named_queues(body):
        if name not in declared and name != "default":
            guess = nearest(name, {*declared, "default"})
            meant = f"did you mean {guess!r}? If not, " if guess else ""
            yield Finding(place, f"unknown queue {name!r}; {meant}declare it under 'queues'")


def _named_queues(body: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    routes = body.get("routes")
    for index, route in enumerate(routes if isinstance(routes, list) else []):
        if isinstance(route, dict) and isinstance(route.get("queue"), str):
            yield ("routes", index, "queue"), route["queue"]
    for name, schedule in _entries(body, "schedules"):
        if isinstance(schedule, dict) and isinstance(schedule.get("queue"), str):
            yield ("schedules", name, "queue"), schedule["queue"]
    order = dict(_entries(body, "worker")).get("queues")
    if isinstance(order, list) and all(isinstance(name, str) for name in order):
        order = ",".join(order)
    if isinstance(order, str):
        try:
            names = QueueOrder.parse(order).names
        except InvalidInput:
            return
        yield from ((("worker", "queues"), name) for name in names)
