"""Notice that the configuration changed, load it anew, and say what is different."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from mainspring.config.loading import Loaded, digest_of, load, read_bytes
from mainspring.config.section import Section
from mainspring.config.shape import fields_of
from mainspring.domain.duration import format_duration

_AT_ONCE: Final = frozenset({"zone", "queues", "routes", "scheduler", "calendars", "schedules"})
"""Settings that running processes take over; all others need a restart."""
_NEVER_SHOWN: Final = frozenset({"database"})
_WITHOUT: Final = {"worker.drain": "forever", "worker.queues": "every queue"}
"""What these settings mean when they hold nothing."""
_NEEDS_RESTART: Final = " (needs a restart)"


def changed(loaded: Loaded) -> bool:
    """Return whether one of the files that *loaded* was read from has another content now, was made or removed."""
    return digest_of({path: read_bytes(path)[0] for path in loaded.watch_paths}) != loaded.digest


def reload(loaded: Loaded) -> Loaded:
    """Return what the files of *loaded* say now; *loaded* itself stays as it is.

    Raises:
        ConfigurationInvalid: the new configuration is refused whole.
    """
    return load(loaded.path, loaded.environ, loaded.overrides)


def difference(old: Loaded, new: Loaded) -> list[str]:
    """Return a sentence for each setting that is different in *new*; it says so where a restart is needed."""
    said = []
    for key, before, after in _pairs(old.settings, new.settings):
        if before != after:
            restart = "" if key in _AT_ONCE else _NEEDS_RESTART
            said += [new.secrets.redact(line) + restart for line in _lines(key, before, after)]
    return said


def _lines(key: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, Section) and isinstance(after, Section):
        for name, was, is_ in _pairs(before, after):
            if was != is_:
                yield from _lines(f"{key}.{name}", was, is_)
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _members(key, before, after)
    elif key in _NEVER_SHOWN or _holds_sections(before, after):
        yield f"{key}: changed"
    else:
        yield f"{key}: {_shown(key, before)} → {_shown(key, after)}"


def _members(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            yield f"{key}.{name}: removed"
        elif name not in before:
            yield f"{key}.{name}: added"
        elif before[name] != after[name]:
            yield f"{key}.{name}: changed{_which(before[name], after[name])}"


def _holds_sections(*values: Any) -> bool:
    lists = [value if isinstance(value, tuple) else (value,) for value in values]
    return any(isinstance(item, Section) for items in lists for item in items)


def _which(before: Any, after: Any) -> str:
    if not isinstance(before, Section):
        return ""
    return " (" + ", ".join(key for key, was, is_ in _pairs(before, after) if was != is_) + ")"


def _pairs(before: Section, after: Section) -> Iterator[tuple[str, Any, Any]]:
    for (key, _), name in zip(fields_of(type(before)), type(before).model_fields, strict=True):
        yield key, getattr(before, name), getattr(after, name)


def _shown(key: str, value: Any) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, tuple):
        return ", ".join(value) or "nothing"
    return _WITHOUT.get(key, "nothing") if value is None else str(value)
