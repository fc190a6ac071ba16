"""Name things: identifiers are UUIDv7 texts, so that they sort by the time they were made."""

from __future__ import annotations

import os
import threading
import time
import uuid
from typing import NewType

RunId = NewType("RunId", str)
ScheduleId = NewType("ScheduleId", str)
SessionId = NewType("SessionId", str)
ClaimId = NewType("ClaimId", str)

_lock = threading.Lock()
_last = 0
_random = os.urandom


def uuid7() -> str:
    """Return a new UUIDv7 (RFC 9562, 5.7) as text; strictly increasing within this process.

    Bits: 48 of Unix milliseconds, 12 of a counter that also absorbs a clock that stands or steps back, 62 random.
    """
    global _last
    with _lock:
        stamp = max(time.time_ns() // 1_000_000 << 12, _last + 1)
        _last = stamp
    tail = int.from_bytes(_random(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    millis, counter = stamp >> 12, stamp & 0xFFF
    value = f"{(millis << 80) | (0x7000 | counter) << 64 | 0x8000_0000_0000_0000 | tail:032x}"
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"


def new_run_id() -> RunId:
    """Return an id for a new run."""
    return RunId(uuid7())


def is_id(text: str) -> bool:
    """Return whether *text* is written like one of our ids."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
