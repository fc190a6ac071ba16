"""Read a schedule that somebody hands over, as strictly as one in a file, and judge it by what workers described."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import yaml

from mainspring.clock import Clock
from mainspring.config.loading import read_schedules
from mainspring.config.schedule import ScheduleDefaults, to_spec
from mainspring.config.settings import Settings
from mainspring.domain.parameters import misfits
from mainspring.domain.spec import ScheduleSpec
from mainspring.errors import ConfigurationInvalid, InvalidInput, ParametersInvalid, unknown_name
from mainspring.services.directory import Directory
from mainspring.store.database import Database

_ORIGIN: Final = "definition"
_UNSAVED: Final = "preview"


class DefinitionInvalid(InvalidInput):
    """A schedule cannot be as it is written; `problems` holds (field, sentence) pairs."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{where}: {said}" if where else said for where, said in problems))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What holds for schedules that say nothing else: from the configuration of the process that reads them."""

    zone: str = "UTC"
    defaults: ScheduleDefaults = field(default_factory=ScheduleDefaults)
    calendars: Mapping[str, Mapping[date, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Surroundings:
        """Return those of *settings*."""
        return cls(settings.zone, settings.scheduler, settings.own_calendars())


class Defining:
    """Reads definitions of schedules."""

    def __init__(self, database: Database, clock: Clock, around: Surroundings | None = None) -> None:
        self._directory = Directory(database, clock)
        self._around = around or Surroundings()

    def spec(self, name: str, definition: Mapping[str, Any]) -> ScheduleSpec:
        """Return the schedule of this name that *definition* says, with the keys of a configuration file.

        Raises:
            DefinitionInvalid: with everything that is wrong.
            ParametersInvalid: the parameters do not fit the task.
        """
        spec = self.rule(definition, name)
        task = self._directory.tasks.get(spec.task)
        if task is None:
            self._directory.forget()
            task = self._directory.tasks.get(spec.task)
        if task is None:
            raise DefinitionInvalid([("task", unknown_name("task", spec.task, self._directory.tasks))])
        for member in spec.members():
            fanned = {} if spec.fan_out is None else {spec.fan_out.parameter: member}
            if problems := misfits(task.schema, {**spec.parameters, **fanned}):
                raise ParametersInvalid(task.name, problems)
        return spec

    def rule(self, definition: Mapping[str, Any], name: str = _UNSAVED) -> ScheduleSpec:
        """Return a schedule whose task nobody asks for: to look ahead. Without a task it stands for any."""
        around = self._around
        if not 0 < len(name) <= 200 or not name.strip() or not name.isprintable():
            raise DefinitionInvalid([("name", "the name of a schedule has 1 to 200 printable characters")])
        body = {
            "zone": around.zone,
            "calendars": {
                calendar: [{"date": day.isoformat(), "name": said} for day, said in days.items()]
                for calendar, days in around.calendars.items()
            },
            # Under a name of our own: theirs would be read as part of every sentence.
            "schedules": {_UNSAVED: {"task": _UNSAVED, **definition} if name == _UNSAVED else dict(definition)},
        }
        try:
            read = read_schedules(yaml.safe_dump(body, sort_keys=False, allow_unicode=True).encode(), _ORIGIN)
        except ConfigurationInvalid as error:
            raise DefinitionInvalid([_place(problem) for problem in error.problems]) from None
        except yaml.YAMLError as error:
            raise DefinitionInvalid([("", f"it cannot be read: {error}")]) from None
        return to_spec(name, read[_UNSAVED], around.zone, around.defaults, around.calendars)


def _place(problem: str) -> tuple[str, str]:
    said = re.sub(rf"^{_ORIGIN}(:\d+)?: ", "", problem)
    found = re.match(rf"schedules\.{_UNSAVED}\.?([^:]*): (.*)", said, re.DOTALL)
    return (found[1], found[2]) if found else ("", said)
