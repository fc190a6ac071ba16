"""Read a trigger from one line of text, whatever kind it is: what people type to try a rule before it is saved."""

from __future__ import annotations

import re
from typing import Any, Final

from mainspring.domain.triggers.definition import trigger_from_definition
from mainspring.domain.triggers.dst import DstRule
from mainspring.domain.triggers.trigger import Trigger

_FIELD: Final = re.compile(r"(\w+)=(\S+)")
_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\S+)?")
_DURATION: Final = re.compile(r"(\d+(\.\d+)?\s*[A-Za-z]+\s*)+")
_SESSION_WORDS: Final = re.compile(r"\b(open|close|session)\b", re.I)


def definition_of(text: str) -> dict[str, Any]:
    """Return the definition, as a schedule would have it, that *text* says in one line.

    `15m` and `every 15m` are an interval, `hour=9 day_of_week=0-4` cron fields, `2026-12-01T09:00` a date,
    `XNYS close - 15m` a session rule; anything else is cron text.
    """
    line = " ".join(text.split())
    if _SESSION_WORDS.search(line) is not None:
        return {"session": line}
    if _DURATION.fullmatch(line.removeprefix("every ").strip()):
        return {"every": line.removeprefix("every ").strip()}
    if all(_FIELD.fullmatch(part) for part in line.split()) and "=" in line:
        return {"fields": dict(part.split("=", 1) for part in line.split())}
    if _MOMENT.fullmatch(line):
        return {"at": line}
    return {"cron": line}


def trigger_from_text(text: str, zone: str = "UTC", dst: DstRule | None = None, seed: str = "") -> Trigger:
    """Return the trigger that one line of text says; see `definition_of`.

    Raises:
        InvalidInput: it cannot be made; the message says why.
    """
    return trigger_from_definition(definition_of(text), zone, dst, seed)
