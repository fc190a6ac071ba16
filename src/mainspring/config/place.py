"""Name places in a configuration, such as schedules.quotes.cron."""

from __future__ import annotations

import re
from typing import Final

Place = tuple[str | int, ...]

_BARE: Final = re.compile(r"[\w$-]+")
_LONGEST: Final = 60


def in_words(place: Place) -> str:
    """Return *place* as text: names joined with dots, quoted where they are unusual, list positions in brackets."""
    said = ""
    for part in place:
        if isinstance(part, int):
            said += f"[{part}]"
        else:
            shown = part if _BARE.fullmatch(part) and len(part) <= _LONGEST else _quoted(part)
            said += f".{shown}" if said else shown
    return said


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _LONGEST else name[:_LONGEST] + "…")
