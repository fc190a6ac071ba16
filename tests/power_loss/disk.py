"""A disk that loses its power: what was flushed stays, what was only written is there, not there, or half there."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tests.power_loss.tracing import ENDINGS, Event

SECTOR = 512

Fate = Literal["kept", "cut", "torn", "reordered", "garbled", "zeroed"]
FATES: tuple[Fate, ...] = ("kept", "cut", "torn", "reordered", "garbled", "zeroed")
"""What becomes of that which was written and not flushed: all of it stays; none; only the first part, in the middle
of a write; some sectors and not others; all, but some sectors hold noise; the file has its length, but zeros in it."""


@dataclass
class FileOnDisk:
    """A file: what is safe, and what was done to it since."""

    safe: bytearray = field(default_factory=bytearray)
    exists: bool = False
    pending: list[Event] = field(default_factory=list)

    def flush(self) -> None:
        """Make safe what was done."""
        for event in self.pending:
            _apply(self.safe, event)
        self.pending.clear()

    def after(self, fate: Fate, chance: random.Random) -> bytes:
        """Return what is found when the power is back."""
        found = bytearray(self.safe)
        if fate == "cut":
            return bytes(found)
        events = self.pending
        if fate == "torn" and events:
            events = events[: chance.randrange(len(events)) + 1]
            events = [*events[:-1], *_torn(events[-1], chance)]
        for event in events:
            if fate == "reordered":
                for piece in _pieces(event):
                    if chance.random() < 0.5:
                        _apply(found, piece)
            elif fate == "garbled":
                for piece in _pieces(event):
                    _apply(found, _noise(piece, chance) if chance.random() < 0.2 else piece)
            elif fate == "zeroed" and event.kind == "write":
                _apply(found, Event("write", event.file, event.offset, bytes(len(event.data))))
            else:
                _apply(found, event)
        return bytes(found)


class Disk:
    """The files of one database."""

    def __init__(self) -> None:
        self.files = {ending: FileOnDisk() for ending in ENDINGS}
        self.acks: list[dict[str, object]] = []

    def play(self, events: Iterable[Event]) -> None:
        """Do what was recorded."""
        for event in events:
            self.step(event)

    def step(self, event: Event) -> None:
        """Do one thing that was recorded."""
        if event.kind == "ack":
            assert event.ack is not None
            self.acks.append(event.ack)
            return
        file = self.files[event.file]
        if event.kind == "sync":
            file.flush()
        elif event.kind == "unlink":
            self.files[event.file] = FileOnDisk()
        else:
            file.exists = True
            file.pending.append(event)

    def settle(self) -> None:
        """Flush everything: from here on the power may be lost."""
        for file in self.files.values():
            file.flush()
        self.acks.clear()

    @property
    def unflushed(self) -> int:
        """Return how many writes would be at risk now."""
        return sum(len(file.pending) for file in self.files.values())

    def image(self, chance: random.Random) -> tuple[dict[str, bytes], str]:
        """Return the files as they are found when the power is back, and what became of what was not flushed."""
        fates = {ending: chance.choice(FATES) for ending in ENDINGS}
        found = {ending: file.after(fates[ending], chance) for ending, file in self.files.items() if file.exists}
        said = ", ".join(f"{ending or 'file'} {fates[ending]}" for ending in found if self.files[ending].pending)
        return found, said or "all flushed"


def _apply(content: bytearray, event: Event) -> None:
    if event.kind == "truncate":
        content[:] = content[: event.size].ljust(event.size, b"\0")
        return
    end = event.offset + len(event.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[event.offset : end] = event.data


def _pieces(event: Event) -> list[Event]:
    """Return a write as writes of one sector each: no disk writes less."""
    if event.kind != "write":
        return [event]
    found, at, data = [], event.offset, event.data
    while data:
        room = SECTOR - at % SECTOR
        found.append(Event("write", event.file, at, data[:room]))
        at, data = at + room, data[room:]
    return found


def _torn(event: Event, chance: random.Random) -> list[Event]:
    pieces = _pieces(event)
    return pieces[: chance.randrange(len(pieces) + 1)]


def _noise(event: Event, chance: random.Random) -> Event:
    if event.kind != "write":
        return event
    return Event("write", event.file, event.offset, chance.randbytes(len(event.data)))
