"""Read a file of scraper schedules and translate it into Mainspring's own schedule definitions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import yaml

from mainspring.errors import ConfigurationInvalid, unknown_name
from mainspring.packs.market.cron_fields import FIELDS, check_field
from mainspring.packs.market.settings import ZONE

SHIPPED_FILE: Final = Path(__file__).with_name("scraper_schedules.yaml")
"""The file with the fifteen ready-made schedules."""

PROJECT_FILE: Final = Path("config/scraper_schedules.yaml")
"""Where a project's own file lies, below the project's folder; it replaces the shipped one."""

TASK: Final = "market.scrape"
SIZE_LIMIT: Final = 1024 * 1024
TYPES: Final = ("cron", "interval", "date")
PRIORITIES: Final = ("high", "normal", "low")

_COMMON = ("enabled", "type", "scraper", "priority", "tickers", "description")
_INTERVAL = ("hours", "minutes", "seconds")
_KEYS_OF: Mapping[str, tuple[str, ...]] = {"cron": tuple(FIELDS), "interval": _INTERVAL, "date": ("run_date",)}
_KNOWN = (*_COMMON, *FIELDS, *_INTERVAL, "run_date")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """One schedule of the file: exactly one of `fields`, `every` and `run_date` is there."""

    name: str
    scraper: str
    tickers: tuple[str, ...]
    priority: str = "normal"
    enabled: bool = True
    description: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    every: timedelta | None = None
    run_date: datetime | None = None

    def definition(self, max_retries: int | None = None) -> dict[str, Any]:
        """Return this schedule as Mainspring's schedule mapping, one run for each ticker."""
        body: dict[str, Any] = {"task": TASK, "description": self.description, "enabled": self.enabled}
        if self.every is not None:
            body["every"] = _duration_text(self.every)
        elif self.run_date is not None:
            body["at"] = self.run_date.isoformat()
        else:
            body["fields"] = dict(self.fields)
        body |= {
            "zone": ZONE,
            "parameters": {"scraper": self.scraper},
            "fan_out": {"parameter": "ticker", "over": list(self.tickers)},
            "priority": self.priority,
            "labels": {"pack": "market", "scraper": self.scraper},
        }
        return body if max_retries is None else body | {"max_retries": max_retries}


@dataclass(frozen=True, slots=True)
class ScheduleFile:
    """The schedules of one file, in the order in which they stand there."""

    source: str
    entries: tuple[ScheduleEntry, ...]

    def definitions(self, max_retries: int | None = None) -> dict[str, dict[str, Any]]:
        """Return each schedule's Mainspring mapping by name; *max_retries* is written into each when given."""
        return {entry.name: entry.definition(max_retries) for entry in self.entries}


def schedule_file_path(project: Path) -> Path:
    """Return the file that counts for the *project* folder: its own one when it is there, else the shipped one."""
    own = project / PROJECT_FILE
    return own if own.is_file() else SHIPPED_FILE


def load_schedule_file(path: Path, scrapers: Iterable[str]) -> ScheduleFile:
    """Return the schedules in *path*; *scrapers* are the names that may be used.

    Raises:
        ConfigurationInvalid: with every problem found, each with file and line.
    """
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ConfigurationInvalid([f"{path}: larger than {SIZE_LIMIT // 1024} KiB; that is no schedule file"])
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationInvalid([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid([f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error
    return parse_schedules(text, scrapers, str(path))


def parse_schedules(text: str, scrapers: Iterable[str], source: str = "scraper_schedules.yaml") -> ScheduleFile:
    """Return the schedules that *text* holds; *source* names it in messages.

    Raises:
        ConfigurationInvalid: with every problem found, each with its line.
    """
    reader = _Reader(source, frozenset(scrapers))
    entries = reader.read(text)
    if reader.problems:
        raise ConfigurationInvalid(reader.problems)
    return ScheduleFile(source, tuple(entries))


class _Unfit(Exception):
    """A value does not fit; its text completes "<key> ..."."""


class _Reader:
    """Walk the YAML nodes themselves: they know their lines, and a ticker such as ON or NO stays text."""

    def __init__(self, source: str, scrapers: frozenset[str]) -> None:
        self._source, self._scrapers = source, scrapers
        self.problems: list[str] = []

    def read(self, text: str) -> list[ScheduleEntry]:
        root = self._root(text)
        if root is None:
            return []
        top = self._mapping(root, "the file")
        for key, (name_node, _) in top.items():
            if key != "schedules":
                self._problem(name_node, unknown_name("key", key, ["schedules"]))
        if "schedules" not in top:
            if not self.problems:
                self._problem(root, "there is no mapping 'schedules:' of name to definition")
            return []
        found = self._mapping(top["schedules"][1], "schedules")
        entries = (self._entry(name, where, body) for name, (where, body) in found.items())
        return [entry for entry in entries if entry is not None]

    def _root(self, text: str) -> yaml.Node | None:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "nested too deeply"
            self.problems.append(f"{self._source}:{mark.line + 1 if mark else 1}: not YAML: {reason}")
            return None
        if root is None:
            self.problems.append(f"{self._source}:1: the file is empty; it needs a mapping 'schedules:'")
        return root

    def _problem(self, node: yaml.Node, message: str) -> None:
        self.problems.append(f"{self._source}:{node.start_mark.line + 1}: {message}")

    def _mapping(self, node: yaml.Node, what: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, f"{what} must be a mapping of name to value")
            return {}
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in self._merged(node):
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, f"a key of {what} must be plain text")
            elif key.value in found:
                first = found[key.value][0].start_mark.line + 1
                self._problem(key, f"{key.value!r} is there twice; it is also in line {first}")
            else:
                found[key.value] = (key, value)
        return found

    def _merged(self, node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
        """Return the pairs of *node*, those merged in by `<<` last and only where it has no such key itself."""
        own = [(key, value) for key, value in node.value if key.value != "<<"]
        names = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
        for key, value in node.value:
            if key.value == "<<":
                for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(source, yaml.MappingNode):
                        self._problem(key, "<< merges mappings only")
                        continue
                    fresh = [(k, v) for k, v in source.value if k.value not in names and k.value != "<<"]
                    names |= {k.value for k, _ in fresh}
                    own += fresh
        return own

    def _entry(self, name: str, where: yaml.Node, body: yaml.Node) -> ScheduleEntry | None:
        before = len(self.problems)
        if not _NAME.fullmatch(name):
            self._problem(where, f"schedule name {name!r} must be 1 to 100 letters, digits, '_', '-' or '.'")
        values = _Values(self, name, self._mapping(body, f"schedule {name!r}"))
        kind = values.choice("type", TYPES, where)
        values.refuse_unknown(kind)
        scraper = values.choice("scraper", sorted(self._scrapers), where)
        tickers = values.tickers(where)
        priority = values.choice("priority", PRIORITIES, where, default="normal")
        enabled = values.read("enabled", _boolean, True)
        description = values.read("description", str, "")
        fields: dict[str, str] = {}
        every = run_date = None
        if kind == "cron":
            fields = values.cron_fields(where)
        elif kind == "interval":
            every = values.interval(where)
        elif kind == "date":
            run_date = values.read("run_date", _moment, None, required_at=where)
        if len(self.problems) > before:
            return None
        rule = MappingProxyType(fields)
        return ScheduleEntry(name, scraper, tickers, priority, enabled, description, rule, every, run_date)


class _Values:
    """The keys of one schedule, read one by one with their lines."""

    def __init__(self, reader: _Reader, name: str, pairs: Mapping[str, tuple[yaml.Node, yaml.Node]]) -> None:
        self._reader, self._name, self._pairs = reader, name, pairs

    def problem(self, node: yaml.Node, message: str) -> None:
        self._reader._problem(node, f"schedule {self._name!r}: {message}")

    def read(self, key: str, convert: Callable[[str], T], default: T, required_at: yaml.Node | None = None) -> T:
        node = self._pairs[key][1] if key in self._pairs else None
        if node is None or _is_null(node):
            if required_at is not None:
                self.problem(required_at, f"{key} is missing")
            return default
        if not isinstance(node, yaml.ScalarNode):
            self.problem(node, f"{key} must be one value, not a list or mapping")
            return default
        try:
            return convert(node.value.strip())
        except _Unfit as error:
            self.problem(node, f"{key} {error}")
            return default

    def choice(self, key: str, known: Iterable[str], where: yaml.Node, default: str | None = None) -> str:
        def convert(text: str) -> str:
            by_folded = {name.casefold(): name for name in known}
            if text.casefold() not in by_folded:
                raise _Unfit(f"has an {unknown_name(key, text, by_folded.values())}")
            return by_folded[text.casefold()]

        return self.read(key, convert, default or "", required_at=where if default is None else None)

    def refuse_unknown(self, kind: str) -> None:
        for key, (node, _) in self._pairs.items():
            if key not in _KNOWN:
                self.problem(node, unknown_name("key", key, (*_COMMON, *_KEYS_OF.get(kind, _KNOWN))))
            elif kind and key not in _COMMON and key not in _KEYS_OF[kind]:
                allowed = ", ".join(_KEYS_OF[kind])
                self.problem(node, f"{key!r} does not belong to type {kind}; type {kind} takes {allowed}")

    def tickers(self, where: yaml.Node) -> tuple[str, ...]:
        if "tickers" not in self._pairs:
            self.problem(where, "tickers is missing; give a list such as [PETR4, VALE3]")
            return ()
        node = self._pairs["tickers"][1]
        if not isinstance(node, yaml.SequenceNode):
            self.problem(node, "tickers must be a list such as [PETR4, VALE3]")
            return ()
        if not node.value:
            self.problem(node, "tickers is empty; give at least one, or leave the schedule away")
        found: dict[str, None] = {}
        for item in node.value:
            text = item.value.strip() if isinstance(item, yaml.ScalarNode) else ""
            if not text or len(text) > 64 or not text.isprintable():
                self.problem(item, "a ticker must be 1 to 64 printable characters")
            elif text in found:
                self.problem(item, f"ticker {text!r} is there twice")
            found[text] = None
        return tuple(found)

    def cron_fields(self, where: yaml.Node) -> dict[str, str]:
        given = {key: self.read(key, _cron_field(key), "") for key in FIELDS if key in self._pairs}
        if not given:
            self.problem(where, f"type cron needs at least one of {', '.join(FIELDS)}")
        return {key: text for key, text in given.items() if text}

    def interval(self, where: yaml.Node) -> timedelta | None:
        parts = {key: self.read(key, _whole_number, 0) for key in _INTERVAL}
        every = timedelta(**parts)
        if not any(key in self._pairs for key in _INTERVAL):
            self.problem(where, "type interval needs hours, minutes or seconds")
        return every or None


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null")


def _duration_text(every: timedelta) -> str:
    minutes, seconds = divmod(int(every.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if count)


def _boolean(text: str) -> bool:
    if text.casefold() in (*_TRUE, *_FALSE):
        return text.casefold() in _TRUE
    raise _Unfit(f"must be true or false, not {text!r}")


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", text) or int(text) == 0:
        raise _Unfit(f"must be a whole number from 1 on, not {text!r}")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _Unfit(f"must be an ISO date and time such as 2026-12-01T09:00, not {text!r}") from None
    try:
        date.fromisoformat(text)
    except ValueError:
        return moment
    raise _Unfit(f"needs a time of day too, such as {text}T09:00")


def _cron_field(key: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        problem = check_field(key, text)
        if problem is not None:
            raise _Unfit(problem)
        return text.casefold()

    return convert
