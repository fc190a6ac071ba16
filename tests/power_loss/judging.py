"""Open what a loss of power left with the real code, and compare it with what had been acknowledged."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from mainspring.errors import MainspringError
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.verify import verify
from mainspring.verify.look import instant
from tests.power_loss.disk import Disk
from tests.power_loss.tracing import ENDINGS, Event
from tests.power_loss.work import START
from tests.store.arrange import NOON

DAYS_LATER = NOON + timedelta(days=30)


@dataclass
class Found:
    """What was found in all images."""

    images: int = 0
    acknowledged: int = 0
    lost: int = 0
    """Images in which something is missing that had been acknowledged."""
    damaged: list[str] = field(default_factory=list)
    """What SQLite or the verifier says against an image."""
    losses: list[str] = field(default_factory=list)

    def in_words(self) -> str:
        """Return all that in a line."""
        return (
            f"{self.images:,} images, {self.acknowledged:,} acknowledgements looked for, "
            f"{self.lost:,} images with losses, {len(self.damaged):,} damaged"
        )


def crash_everywhere(events: Sequence[Event], images: int, seed: int, folder: Path) -> Found:
    """Lose the power at *images* moments of the recording, more often while something is unflushed; judge each."""
    chance = random.Random(seed)
    start = next(place for place, event in enumerate(events) if event.ack == {"what": START}) + 1
    disk = Disk()
    disk.play(events[:start])
    disk.settle()
    found = Found()
    for place, times in sorted(_moments(events, start, images, chance).items()):
        disk.play(events[start:place])
        start = place
        for _ in range(times):
            image, fate = disk.image(chance)
            _judge(image, disk.acks, f"seed {seed}, event {place}, {fate}", folder, found)
    return found


def _moments(events: Sequence[Event], start: int, images: int, chance: random.Random) -> Mapping[int, int]:
    """Return places before which the power is lost, each with how often: mostly just before a flush."""
    flushes = [place for place in range(start, len(events)) if events[place].kind == "sync"]
    chosen: dict[int, int] = {}
    while sum(chosen.values()) < images:
        place = chance.choice(flushes) if chance.random() < 0.7 else chance.randrange(start, len(events))
        chosen[place] = chosen.get(place, 0) + 1
    return chosen


def _judge(image: Mapping[str, bytes], acks: Sequence[dict[str, Any]], name: str, folder: Path, found: Found) -> None:
    path = folder / "image.db"
    for ending in (*ENDINGS, "-shm", "-turn", "-lock"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    for ending, content in image.items():
        Path(f"{path}{ending}").write_bytes(content)
    found.images += 1
    found.acknowledged += len(acks)
    try:
        problems = list(_recover(path, acks))
    except MainspringError as error:
        found.damaged.append(f"{name}: {error}")
        return
    found.damaged += [f"{name}: {text}" for kind, text in problems if kind == "damaged"]
    losses = [f"{name}: {text}" for kind, text in problems if kind == "lost"]
    found.lost += bool(losses)
    found.losses += losses


def _recover(path: Path, acks: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    database = SqliteDatabase(path, lease_clock=lambda: NOON)
    try:
        said = database.read(lambda tx: tx.raw().execute("PRAGMA integrity_check").fetchall())
        if said != [("ok",)]:
            yield "damaged", f"integrity_check: {said}"
            return
        for text in _missing(database, acks):
            yield "lost", text
        verdict = verify(database, DAYS_LATER)
        for finding in verdict.findings:
            if not finding.warning:
                yield "damaged", finding.sentence
    finally:
        database.close()


def _missing(database: SqliteDatabase, acks: Sequence[dict[str, Any]]) -> Iterator[str]:
    runs = {row[0]: row[1:] for row in _rows(database, "SELECT id, state, attempt FROM runs")}
    fired = {at for (at,) in _rows(database, "SELECT fire_at FROM occurrences WHERE outcome = 'fired'")}
    for ack in acks:
        if ack["what"] == "fired":
            if ack["at"] not in fired:
                yield f"the fire time {instant(ack['at'])} is not recorded"
            continue
        state, attempt = runs.get(ack["id"], (None, 0))
        if state is None:
            yield f"run {ack['id']} is gone"
        elif ack["what"] == "claimed" and attempt < ack["attempt"]:
            yield f"the claim of run {ack['id']} is gone"
        elif ack["what"] == "finished" and state != "succeeded":
            yield f"run {ack['id']} is {state} again"


def _rows(database: SqliteDatabase, query: str) -> list[Any]:
    return list(database.read(lambda tx: tx.raw().execute(query).fetchall()))
