"""Check schedules that packs hand over, as strictly as those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from mainspring.config.loading import read_schedules
from mainspring.config.schedule import ScheduleConfig


def read_definitions(schedules: Mapping[str, Mapping[str, Any]], origin: str) -> dict[str, ScheduleConfig]:
    """Return *schedules*, written as in ``mainspring.yaml``, checked; *origin* names them in messages.

    Raises:
        ConfigurationInvalid: with everything that is wrong.
    """
    if not schedules:
        return {}
    plain = {"schedules": {name: dict(definition) for name, definition in schedules.items()}}
    return read_schedules(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode(), origin)
