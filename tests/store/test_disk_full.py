"""A full disk refuses what is new, loses nothing that was acknowledged, and lets ends be recorded from a reserve."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pysqlite3 import dbapi2 as driver

from mainspring.errors import StoreFull, StoreUnavailable
from mainspring.store import claiming, queueing, sessions
from mainspring.store.schedules import find_schedule
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.sqlite.hints import SocketReceiver
from mainspring.store.sqlite.room import Room, in_words
from mainspring.store.sqlite.turnstile import Turnstile
from tests.store import disk_full
from tests.store.arrange import (
    MINUTE,
    NOON,
    SECOND,
    add,
    claim_one,
    count,
    every,
    finish,
    look,
    new_run,
    open_session,
    outcome,
    put,
    put_some,
    renew,
    together,
)

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file with a schedule and a session."""
    return disk_full.make_template(tmp_path_factory.mktemp("disk-full"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB of its own."""
    try:
        with disk_full.small_disk(tmp_path / "disk", 8 * MEGABYTE) as folder:
            yield folder
    except PermissionError as error:
        pytest.skip(f"this user may not mount a small disk: {error}")


@pytest.fixture
def on_disk(disk: Path, template: Path) -> Iterator[SqliteDatabase]:
    """A database on the small disk, with its reserve."""
    database = SqliteDatabase(Path(shutil.copy(template, disk / "m.db")), lease_clock=disk_full.clock)
    database.tidy()
    yield database
    database.close()


# At every step of growth


@pytest.mark.parametrize("more", range(0, 100, 10))
def test_a_file_that_may_grow_no_further_holds_exactly_what_was_acknowledged(template: Path, more: int) -> None:
    refused = 0
    with disk_full.fast_folder() as folder:
        for pages in range(more, more + 10):
            refused += len(disk_full.at_page_limit(template, folder, pages, 60 + more).refused)
    assert refused > 0


@pytest.mark.parametrize("chunks", range(-20, 60, 8))
def test_a_limit_of_file_size_loses_nothing_that_was_acknowledged(template: Path, chunks: int) -> None:
    with disk_full.fast_folder() as folder:
        work = disk_full.at_size_limit(template, folder, template.stat().st_size + chunks * disk_full.CHUNK)
    assert work.refused


@pytest.mark.parametrize("chunks", range(0, 60, 6))
def test_on_a_full_disk_all_ends_are_recorded_and_only_new_work_is_refused(
    template: Path, disk: Path, chunks: int
) -> None:
    work = disk_full.on_a_full_disk(template, disk, chunks * disk_full.CHUNK)
    assert Counter(work.refused).keys() <= {"enqueue", "fire"}
    assert Counter(work.refused)["enqueue"] > 2


# What goes on and what does not


def test_a_full_disk_refuses_new_work_by_name_with_the_way_out(on_disk: SqliteDatabase) -> None:
    disk_full.fill(on_disk.path.parent)
    with pytest.raises(StoreFull) as caught:
        put_some(on_disk, 300, parameters=disk_full._text(1, 6_000))
    said = str(caught.value)
    assert re.fullmatch(
        rf"sqlite:///{on_disk.path}: the disk of {on_disk.path.parent} has 5\d\d kB of 8\.0 MB free, 1\.0 MB are "
        "needed; nothing new is accepted and nothing is lost; runs that have begun can still end while the reserve "
        "lasts. Make room there: work goes on by itself",
        said,
    )
    assert count(on_disk, "runs") == 0


def _filled(database: SqliteDatabase) -> None:
    """Let *database* find out that its disk is full."""
    disk_full.fill(database.path.parent)
    with pytest.raises(StoreFull):
        put_some(database, 300, parameters=disk_full._text(1, 6_000))


def test_while_the_disk_is_full_what_has_begun_goes_on(on_disk: SqliteDatabase) -> None:
    session = open_session(on_disk)
    waiting, running, other = put_some(on_disk, 3)
    mine = [claim_one(on_disk, session) for _ in range(2)]
    _filled(on_disk)
    assert renew(on_disk, session)
    assert not finish(on_disk, session, outcome(mine[0], result='"' + "x" * 50_000 + '"')).fenced
    on_disk.write(lambda tx: queueing.cancel(tx, [other], "not needed", NOON))
    on_disk.write(lambda tx: sessions.end_session(tx, session, "stopped", "stopped", NOON))
    rescued = on_disk.write(lambda tx: sessions.rescue(tx, "boot-1", NOON, NOON + MINUTE))
    assert rescued.count == 1
    states = [str(look(on_disk, run_id).state) for run_id in (waiting, running, other)]
    assert states == ["succeeded", "ready", "cancelled"]


def test_while_the_disk_is_full_nothing_begins(on_disk: SqliteDatabase) -> None:
    session = open_session(on_disk)
    ready, due_soon = *put_some(on_disk, 1), *put(on_disk, new_run(due_at=NOON + SECOND))
    _filled(on_disk)
    lease = on_disk.lease_now()
    args = (on_disk, session, [], lambda names: names, ["default"], 5, NOON)
    assert claiming.cycle(*args) == (claiming.FinishResult(), [])
    assert lease == on_disk.lease_now()
    attempts: tuple[Callable[[], object], ...] = (
        lambda: put_some(on_disk, 1),
        lambda: add(on_disk, every(MINUTE, "another")),
        lambda: disk_full.fire_all(on_disk, disk_full.plan_due(on_disk, NOON + MINUTE), NOON + MINUTE),
        lambda: on_disk.write(lambda tx: queueing.stage_due(tx, NOON + MINUTE)),
    )
    for attempt in attempts:
        with pytest.raises(StoreFull, match="nothing new is accepted"):
            attempt()
    assert look(on_disk, ready).state == "ready"
    assert look(on_disk, due_soon).state == "scheduled"
    assert on_disk.read(lambda tx: find_schedule(tx, "another")) is None
    assert count(on_disk, "occurrences") == 0


def test_work_goes_on_by_itself_as_soon_as_there_is_room_for_two_reserves(
    on_disk: SqliteDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "mainspring.store")
    folder = on_disk.path.parent
    _filled(on_disk)
    filler = folder / "filler"
    needed = on_disk.room.needed - on_disk.room.free
    os.truncate(filler, filler.stat().st_size - needed + 3 * disk_full.CHUNK)
    with pytest.raises(StoreFull):
        put_some(on_disk, 1)
    assert on_disk.room.is_given_up()
    os.truncate(filler, filler.stat().st_size - 8 * disk_full.CHUNK)
    put_some(on_disk, 1)
    assert count(on_disk, "runs") == 1
    assert on_disk.room.reserved() == on_disk.room.wanted == MEGABYTE // 2
    words = [record.message.split()[0] for record in caplog.records]
    assert words == ["disk_full", "disk_has_room"]


def test_other_processes_refuse_new_work_too_and_spare_the_reserve(on_disk: SqliteDatabase) -> None:
    _filled(on_disk)
    script = """
import sys
from pathlib import Path
from mainspring.errors import StoreFull
from mainspring.store.sqlite.database import SqliteDatabase
from tests.store.arrange import open_session, put_some
database = SqliteDatabase(Path(sys.argv[1]))
try:
    put_some(database, 1)
except StoreFull as error:
    print(error)
print(bool(open_session(database)))
database.close()
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script, str(on_disk.path)], env=env, capture_output=True, text=True, check=True
    )
    said, opened = done.stdout.splitlines()
    assert "nothing new is accepted" in said
    assert opened == "True"


def test_callers_that_share_a_commit_on_a_full_disk_are_each_told_the_truth(on_disk: SqliteDatabase) -> None:
    session = open_session(on_disk)
    put_some(on_disk, 8)
    held = [claim_one(on_disk, session) for _ in range(8)]
    disk_full.fill(on_disk.path.parent, leave=40 * disk_full.CHUNK)

    def enqueue() -> str:
        try:
            put(on_disk, new_run(parameters=disk_full._text(1, 30_000)))
        except StoreFull:
            return "refused"
        return "stands"

    def end(place: int) -> str:
        assert not finish(on_disk, session, outcome(held[place])).fenced
        return "ended"

    said = together(
        *(lambda place=place: enqueue() if place % 2 else end(place // 2) for place in range(16))  # type: ignore[misc]
    )
    assert said.count("ended") == 8
    assert "refused" in said
    assert count(on_disk, "runs") == 8 + said.count("stands")
    assert count(on_disk, "runs", "state = 'succeeded'") == 8
    assert disk_full.integrity(on_disk.path) == "ok"


def test_a_file_can_be_opened_on_a_disk_that_is_full_already(disk: Path, template: Path) -> None:
    path = Path(shutil.copy(template, disk / "m.db"))
    first = SqliteDatabase(path)
    first.tidy()
    first.close()
    assert not Path(f"{path}-shm").exists()
    disk_full.fill(disk)
    database = SqliteDatabase(path, lease_clock=disk_full.clock)
    assert count(database, "runs") == 0
    assert open_session(database)
    with pytest.raises(StoreFull):
        put_some(database, 1)
    database.close()


def test_a_full_disk_without_a_reserve_still_tells_the_truth(disk: Path, template: Path) -> None:
    path = Path(shutil.copy(template, disk / "m.db"))
    database = SqliteDatabase(path, lease_clock=disk_full.clock)
    session = open_session(database)
    put_some(database, 1)
    run = claim_one(database, session)
    disk_full.fill(disk)
    assert database.room.reserved() is None
    result = '"' + "x" * 400_000 + '"'
    with pytest.raises(StoreFull, match=r"m\.db: .*the disk of .* has .* free"):
        finish(database, session, outcome(run, result=result))
    assert look(database, run.id).state == "running"
    (disk / "filler").unlink()
    assert not finish(database, session, outcome(run, result=result)).fenced
    assert look(database, run.id).state == "succeeded"
    database.close()


def test_lock_files_that_find_no_room_are_a_full_disk_too(tmp_path: Path) -> None:
    try:
        with disk_full.small_disk(tmp_path / "disk", MEGABYTE, files=2) as folder:
            (folder / "one").touch()
            turnstile = Turnstile(folder / "m.db")
            with pytest.raises(StoreUnavailable, match=r"cannot write to .*m\.db-turn: No space left") as caught:
                turnstile.enter()
            room = Room(folder / "m.db", "sqlite:///m.db")
            found = room.out_of_room(caught.value)
            assert isinstance(found, StoreFull)
            assert room.give_up()
            assert room.is_given_up()
            (folder / "one").unlink()
            turnstile = Turnstile(folder / "m.db")
            with pytest.raises(StoreUnavailable, match=r"m\.db-lock: No space left"):
                turnstile.enter()
            assert turnstile._descriptors == []
    except PermissionError as error:
        pytest.skip(f"this user may not mount a small disk: {error}")


def test_a_doorbell_that_finds_no_room_is_done_without(
    disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import threading

    (tmp_path / "file").touch()
    receiver = SocketReceiver(str(tmp_path / "file" / "wake" / "bell"))
    stop = threading.Event()
    stop.set()
    receiver.listen(threading.Event(), set(), stop)
    receiver.close()
    assert "no_doorbell" in caplog.text


class _Failing:
    """A driver's connection on which a statement fails once."""

    def __init__(self, inner: Any, statement: str) -> None:
        self._inner, self._statement = inner, statement

    def execute(self, text: str, *more: Any) -> Any:
        if text.startswith(self._statement):
            self._statement = "never again"
            raise driver.OperationalError("disk I/O error")
        return self._inner.execute(text, *more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_what_cannot_be_undone_alone_is_undone_with_all_that_shares_the_transaction(sqlite: SqliteDatabase) -> None:
    put_some(sqlite, 1)
    writer: Any = sqlite._writer

    def fails(tx: Any) -> None:
        queueing.insert_runs(tx, [new_run()], NOON)
        raise LookupError

    def work(tx: Any) -> None:
        queueing.insert_runs(tx, [new_run()], NOON)
        tx._raw = _Failing(tx._raw, "ROLLBACK TO")
        with pytest.raises(driver.OperationalError):
            tx.savepoint(lambda: fails(tx))
        assert not tx.is_open()
        raise LookupError

    with pytest.raises(LookupError):
        sqlite.write(work)
    writer._raw = writer._raw._inner
    assert count(sqlite, "runs") == 1
    put_some(sqlite, 1)
    assert count(sqlite, "runs") == 2


@pytest.mark.parametrize("first", ["COMMIT", "ROLLBACK"])
def test_a_connection_that_cannot_even_roll_back_is_replaced(sqlite: SqliteDatabase, first: str) -> None:
    put_some(sqlite, 1)
    writer: Any = sqlite._writer
    writer._raw = _Failing(_Failing(writer._raw, "ROLLBACK"), first if first == "COMMIT" else "none")

    def work(tx: Any) -> None:
        queueing.insert_runs(tx, [new_run()], NOON)
        if first == "ROLLBACK":
            raise LookupError

    with pytest.raises((LookupError, StoreUnavailable)):
        sqlite.write(work)
    assert sqlite._writer is None
    put_some(sqlite, 1)
    assert count(sqlite, "runs") == 2


# The reserve


def test_the_reserve_is_64_megabytes_and_less_on_a_small_disk(tmp_path: Path, disk: Path) -> None:
    large = Room(tmp_path / "m.db", "here")
    assert large.wanted == min(64 * MEGABYTE, shutil.disk_usage(tmp_path).total // 16 // 65_536 * 65_536)
    small = Room(disk / "m.db", "here")
    assert small.wanted == MEGABYTE // 2
    assert small.needed == MEGABYTE
    assert small.restore()
    assert small.reserved() == MEGABYTE // 2
    assert small.path.stat().st_blocks * 512 >= MEGABYTE // 2
    assert small.path.stat().st_mode & 0o777 == 0o600


def test_a_first_reserve_takes_a_quarter_of_what_is_left_and_grows_when_there_is_room(disk: Path) -> None:
    room = Room(disk / "m.db", "here")
    disk_full.fill(disk, leave=MEGABYTE)
    assert room.restore()
    assert room.reserved() == MEGABYTE // 4
    assert room.restore()
    assert room.reserved() == MEGABYTE // 4
    (disk / "filler").unlink()
    assert room.restore()
    assert room.reserved() == MEGABYTE // 2


def test_no_reserve_is_made_where_there_is_hardly_any_room_and_that_is_no_full_disk(disk: Path) -> None:
    room = Room(disk / "m.db", "here")
    disk_full.fill(disk, leave=30 * disk_full.CHUNK)
    assert not room.restore()
    assert room.reserved() is None
    assert room.refusal() is None


def test_what_is_no_lack_of_room_stays_what_it_is(tmp_path: Path) -> None:
    room = Room(tmp_path / "m.db", "here")
    assert room.out_of_room(PermissionError(13, "Permission denied")) is None
    assert room.out_of_room(StoreUnavailable("no turn")) is None
    with pytest.raises(driver.OperationalError) as caught:
        driver.connect(str(tmp_path / "missing" / "m.db"))
    assert room.out_of_room(caught.value) is None
    assert list(tmp_path.iterdir()) == []


def test_a_full_file_on_a_disk_with_room_keeps_the_reserve_and_says_so(sqlite: SqliteDatabase) -> None:
    sqlite.tidy()
    disk_full._limit(sqlite, disk_full._pages(sqlite))
    with pytest.raises(StoreFull) as caught:
        put_some(sqlite, 300, parameters=disk_full._text(1, 6_000))
    assert "database or disk is full" in str(caught.value)
    assert "yet takes no more; look at quotas and at limits of a file's size" in str(caught.value)
    assert sqlite.room.reserved() == sqlite.room.wanted
    sqlite.room.path.unlink()


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (9_999, "9,999 bytes"),
        (10_000, "9.8 kB"),
        (1_048_575, "1024 kB"),
        (1_048_576, "1.0 MB"),
        (67_108_864, "64 MB"),
        (5_000_000_000, "4.7 GB"),
        (7_000_000_000_000_000, "6366 TB"),
    ],
)
def test_sizes_are_in_words(size: int, words: str) -> None:
    assert in_words(size) == words
