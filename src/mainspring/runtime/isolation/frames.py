"""Frame the messages between a worker, its keepers and their runners: a length, a kind, and bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

_HEADER: Final = struct.Struct("!IB")
LARGEST: Final = 256 * 1024 * 1024
"""Bytes of one message; longer ones are refused where they are made."""

# From the worker to a keeper. RUN and ANSWER are for the runner, which they reach as they are.
LIMITS, RUN, STOP, KILL, ANSWER = b"L", b"R", b"S", b"K", b"A"
# From a runner through its keeper to the worker. An ending is CLEAN, or the runner left something and is replaced.
PROGRESS, QUESTION, CLEAN, SOILED = b"P", b"Q", b"E", b"F"
# From a runner to its keeper alone: the task goes on.
BEAT = b"T"
# From a keeper to the worker.
HELLO, OUTPUT, GONE = b"H", b"O", b"G"
# Between the worker and the fork server.
SLOT, END_KEEPER, BURIED, BROKEN = b"N", b"X", b"B", b"Z"


class FrameBroken(Exception):
    """What came is no frame: whoever sent it is not to be trusted any more."""


def frame(kind: bytes, body: bytes = b"") -> bytes:
    """Return a message of *kind* as it is sent."""
    return _HEADER.pack(len(body), kind[0]) + body


def message(kind: bytes, body: Any) -> bytes:
    """Return a message of *kind* with *body* in JSON."""
    return frame(kind, json.dumps(body, separators=(",", ":")).encode())


class Frames:
    """Puts the messages of a stream together from the pieces in which they arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> None:
        """Take what has arrived."""
        self._buffer += piece

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Give each whole message once: its kind and its body.

        Raises:
            FrameBroken: it is too long for a message.
        """
        while len(self._buffer) >= _HEADER.size:
            size, kind = _HEADER.unpack_from(self._buffer)
            if size > LARGEST:
                raise FrameBroken(f"a message of {size} bytes")
            end = _HEADER.size + size
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield bytes((kind,)), body
