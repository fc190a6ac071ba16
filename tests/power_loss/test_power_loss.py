"""What was acknowledged survives a loss of power, whatever becomes of what was written and not flushed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.power_loss.disk import FATES, Disk, FileOnDisk
from tests.power_loss.judging import crash_everywhere
from tests.power_loss.tracing import Event, StraceMissing, record
from tests.store.disk_full import fast_folder

Record = Callable[[str, str], list[Event]]
COMMITS = 90


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Record the program once for each way to open the file."""
    known: dict[tuple[str, str], list[Event]] = {}

    def get(synchronous: str, journal: str) -> list[Event]:
        if (synchronous, journal) not in known:
            try:
                known[synchronous, journal] = record(tmp_path_factory.mktemp("work"), COMMITS, synchronous, journal)
            except StraceMissing as missing:
                if os.environ.get("CI"):
                    raise
                pytest.skip(str(missing))
        return known[synchronous, journal]

    return get


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in which images are opened."""
    with fast_folder() as place:
        yield place


@pytest.fixture
def seed() -> int:
    """What decides where the power is lost and what becomes of each write; printed if a test fails."""
    # CI must not turn red on an image that nobody changed anything for.
    seed = 1 if os.environ.get("CI") else random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}: python -m tests.power_loss --seed {seed}")
    return seed


@pytest.mark.parametrize(("journal", "images"), [("wal", 45), ("truncate", 15)])
def test_everything_acknowledged_is_there_and_nothing_is_damaged(
    recorded: Record, folder: Path, seed: int, journal: str, images: int
) -> None:
    found = crash_everywhere(recorded("FULL", journal), images, seed, folder)
    assert found.losses == []
    assert found.damaged == []
    assert found.images == images
    assert found.acknowledged > images * 10


def test_without_a_flush_at_each_commit_acknowledged_work_is_lost_so_the_images_bite(
    recorded: Record, folder: Path
) -> None:
    found = crash_everywhere(recorded("NORMAL", "wal"), 25, 1, folder)
    assert found.lost >= 3
    assert any("is gone" in text for text in found.losses)
    assert found.damaged == []


def test_a_file_whose_flushed_pages_are_broken_is_called_damaged(recorded: Record, folder: Path) -> None:
    events = recorded("FULL", "wal")
    broken = [
        Event("write", event.file, event.offset, bytes(len(event.data)))
        if event.file == "" and event.kind == "write" and event.offset > 4_096
        else event
        for event in events
    ]
    found = crash_everywhere(broken, 3, 1, folder)
    assert len(found.damaged) >= 3


# The disk that loses its power


def _disk(*events: Event) -> FileOnDisk:
    disk = Disk()
    disk.play([Event("write", "", 0, b"a" * 2_048), Event("sync", "")])
    disk.play(events)
    return disk.files[""]


WRITE = Event("write", "", 512, b"b" * 3_000)


def test_what_was_flushed_stays_whatever_happens() -> None:
    for fate in FATES:
        assert _disk(WRITE, Event("sync", "")).after(fate, random.Random(1)) == b"a" * 512 + b"b" * 3_000


def test_what_was_not_flushed_is_gone_there_or_half_there() -> None:
    file = _disk(WRITE)
    seen = {fate: {file.after(fate, random.Random(n)) for n in range(40)} for fate in FATES}
    whole = b"a" * 512 + b"b" * 3_000
    assert seen["kept"] == {whole}
    assert seen["cut"] == {b"a" * 2_048}
    assert seen["zeroed"] == {b"a" * 512 + bytes(3_000)}
    assert all(found[:512] == b"a" * 512 for found in seen["reordered"] | seen["torn"] | seen["garbled"])
    assert len(seen["torn"]) > 3
    assert len(seen["reordered"]) > 20
    assert len(seen["garbled"]) > 20
    assert all(whole.startswith(found.rstrip(b"a")) for found in seen["torn"])


def test_a_cut_of_a_file_that_was_not_flushed_may_not_have_happened() -> None:
    file = _disk(Event("truncate", "", size=100))
    assert {len(file.after("reordered", random.Random(n))) for n in range(20)} == {100, 2_048}
    assert len(file.after("kept", random.Random(1))) == 100


def test_a_recording_can_be_lost_at_any_moment_by_its_seed() -> None:
    def image(seed: int) -> dict[str, bytes]:
        disk = Disk()
        disk.play([Event("write", "", 0, b"a" * 4_096), Event("write", "-wal", 0, b"w" * 9_000)])
        return disk.image(random.Random(seed))[0]

    assert image(5) == image(5)
    assert len({str(image(n)) for n in range(20)}) > 5
