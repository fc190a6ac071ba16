"""Read `mainspring.yaml`, the environment and `.env` into settings that are checked completely."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.config.loading import Loaded, find_file, load, read_schedules
    from mainspring.config.published import json_schema, reference
    from mainspring.config.reloading import changed, difference, reload
    from mainspring.config.schedule import MisfireConfig, ScheduleConfig
    from mainspring.config.secrets import SecretBook, SecretMissing
    from mainspring.config.settings import QueueConfig, Route, Settings, WorkerSettings

_HOMES = {
    "Loaded": "loading",
    "MisfireConfig": "schedule",
    "QueueConfig": "settings",
    "Route": "settings",
    "ScheduleConfig": "schedule",
    "SecretBook": "secrets",
    "SecretMissing": "secrets",
    "Settings": "settings",
    "WorkerSettings": "settings",
    "changed": "reloading",
    "difference": "reloading",
    "find_file": "loading",
    "json_schema": "published",
    "load": "loading",
    "read_schedules": "loading",
    "reference": "published",
    "reload": "reloading",
}


def __getattr__(name: str) -> Any:
    # pydantic and PyYAML take 0.2 s to import; who only asks for help or a version should not wait for them.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


__all__ = [
    "Loaded",
    "MisfireConfig",
    "QueueConfig",
    "Route",
    "ScheduleConfig",
    "SecretBook",
    "SecretMissing",
    "Settings",
    "WorkerSettings",
    "changed",
    "difference",
    "find_file",
    "json_schema",
    "load",
    "read_schedules",
    "reference",
    "reload",
]
