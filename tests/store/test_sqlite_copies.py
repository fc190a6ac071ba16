"""A copied or restored file starts nothing by itself; whoever adopts it says what becomes of what was due."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy

from mainspring.clock import ManualClock
from mainspring.domain.occurrences import Pause
from mainspring.errors import Conflict
from mainspring.services import adoption
from mainspring.store import claiming, queueing
from mainspring.store.database import Database
from mainspring.store.migrate import installation_id
from mainspring.store.schedules import pause_schedule
from mainspring.store.schema import audit
from mainspring.store.sqlite import home
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.sqlite.home import FileCopied, Home, home_of, recorded, to_text
from mainspring.verify import verify
from tests.store.arrange import (
    MINUTE,
    NOON,
    add,
    claim,
    claim_one,
    count,
    every,
    fire_all,
    ledger,
    look,
    new_run,
    open_session,
    plan_due,
    put,
    put_some,
    rescue,
    schedule,
)

Open = Callable[[Path], SqliteDatabase]


@pytest.fixture
def open_file(clock: ManualClock) -> Iterator[Open]:
    """Open a file as a process would; all are closed afterwards."""
    opened: list[SqliteDatabase] = []

    def open_it(path: Path) -> SqliteDatabase:
        opened.append(SqliteDatabase(path, lease_clock=clock.now))
        return opened[-1]

    yield open_it
    for database in opened:
        database.close()


@pytest.fixture
def original(sqlite: SqliteDatabase) -> SqliteDatabase:
    """A database that knows where it lives."""
    adoption.settle(sqlite)
    return sqlite


def _copy(database: SqliteDatabase, to: Path) -> Path:
    database.tidy()
    return Path(shutil.copy(database.path, to))


# What is a copy


HERE = Home(machine="m1", inode=7, host="alpha", path="/data/m.db")


@pytest.mark.parametrize(
    ("now", "same"),
    [
        ({}, True),
        ({"path": "/elsewhere/m.db"}, True),
        ({"host": "renamed"}, True),
        ({"inode": 8}, False),
        ({"machine": "m2"}, False),
        ({"machine": ""}, True),
        ({"inode": 0}, True),
        ({"machine": "", "inode": 8}, False),
        ({"machine": "m2", "inode": 0}, False),
    ],
)
def test_a_file_is_known_by_its_machine_and_number_and_not_by_its_name(now: dict[str, object], same: bool) -> None:
    assert replace(HERE, **now).is_same(HERE) is same  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ({"machine": "m2", "host": "beta"}, "it belongs to /data/m.db on host alpha"),
        ({"inode": 8, "path": "/copies/m.db"}, "it belongs to /data/m.db"),
        ({"inode": 8}, "it took the place of the file that lived here, as a restored backup does"),
    ],
)
def test_a_copy_is_refused_with_where_it_came_from_and_the_way_out(now: dict[str, object], why: str) -> None:
    refusal = replace(HERE, **now).refusal("sqlite:///x.db", HERE)  # type: ignore[arg-type]
    assert str(refusal) == (
        f"sqlite:///x.db is a copy ({why}): nothing fires, starts or is accepted until it is adopted; "
        "run `mainspring db adopt`, after making sure that the original no longer runs"
    )


def test_a_home_is_read_as_it_was_written() -> None:
    assert recorded(to_text(HERE)) == HERE
    assert recorded(None) is None


@pytest.mark.parametrize(("kind", "numbered"), [("ext4", True), ("xfs", True), ("vfat", False), ("fuse.ntfs", False)])
def test_a_file_system_that_numbers_anew_tells_no_copies(tmp_path: Path, kind: str, numbered: bool) -> None:
    path = tmp_path / "m.db"
    path.touch()
    found = home_of(path, f"/dev/sda1 / {kind} rw 0 0\n")
    assert found.inode == (path.stat().st_ino if numbered else 0)


def test_the_id_of_a_container_image_says_nothing_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = tmp_path / "machine-id"
    given.write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setattr(home, "_MACHINE_IDS", (str(given),))
    monkeypatch.setattr("mainspring.store.sqlite.mounts._mounts", lambda: "overlay / overlay rw 0 0\n")
    assert home_of(tmp_path / "m.db").machine == ""
    monkeypatch.setattr("mainspring.store.sqlite.mounts._mounts", lambda: "/dev/sda1 / ext4 rw 0 0\n")
    machine = home_of(tmp_path / "m.db").machine
    assert len(machine) == 16
    assert "0123456789abcdef" not in machine


# What a copy does not do


def test_a_copy_takes_and_starts_nothing_while_the_original_goes_on(
    original: SqliteDatabase, open_file: Open, tmp_path: Path
) -> None:
    add(original, every(MINUTE))
    session = open_session(original)
    put_some(original, 2)
    put(original, new_run(due_at=NOON + MINUTE))
    copy = open_file(_copy(original, tmp_path / "copy.db"))
    later = NOON + 3 * MINUTE
    assert claim(copy, session) == []
    args = (copy, session, [], lambda names: names, ["default"], 5, NOON)
    assert claiming.cycle(*args)[1] == []
    attempts: tuple[Callable[[], object], ...] = (
        lambda: put_some(copy, 1),
        lambda: fire_all(copy, plan_due(copy, later), later),
        lambda: add(copy, every(MINUTE, "another")),
        lambda: copy.write(lambda tx: queueing.stage_due(tx, later)),
    )
    for attempt in attempts:
        with pytest.raises(FileCopied, match=r"copy\.db is a copy \(it belongs to .*mainspring\.db\)"):
            attempt()
    assert count(copy, "runs") == 3
    assert count(copy, "runs", "state = 'ready'") == 2
    assert claim_one(original, session)
    put_some(original, 1)


def test_a_file_that_is_moved_is_no_copy(original: SqliteDatabase, open_file: Open, tmp_path: Path) -> None:
    path = original.path
    original.close()
    elsewhere = tmp_path / "moved"
    path.rename(tmp_path / "renamed.db")
    elsewhere.mkdir()
    (tmp_path / "renamed.db").rename(elsewhere / "m.db")
    moved = open_file(elsewhere / "m.db")
    put_some(moved, 1)
    assert adoption.refusal(moved) is None
    assert adoption.copied_from(moved) is None


def test_a_restored_backup_is_a_copy_though_its_name_is_the_same(
    original: SqliteDatabase, open_file: Open, tmp_path: Path
) -> None:
    backup = _copy(original, tmp_path / "backup.db")
    path = original.path
    original.close()
    backup.replace(path)
    restored = open_file(path)
    assert "it took the place of the file that lived here" in str(adoption.refusal(restored))


def test_a_file_that_never_knew_its_home_learns_it_and_is_no_copy(
    sqlite: SqliteDatabase, open_file: Open, tmp_path: Path
) -> None:
    copy = open_file(_copy(sqlite, tmp_path / "copy.db"))
    put_some(copy, 1)
    adoption.settle(copy)
    put_some(copy, 1)
    adoption.settle(copy)
    again = open_file(_copy(copy, tmp_path / "again.db"))
    with pytest.raises(FileCopied):
        put_some(again, 1)


def test_postgres_is_never_a_copy(postgres: Database, clock: ManualClock) -> None:
    adoption.settle(postgres)
    assert adoption.refusal(postgres) is None
    assert adoption.copied_from(postgres) is None
    with pytest.raises(Conflict, match="is no copy"):
        adoption.adopt(postgres, clock, "ann", skip=True)


# Adopting


def _restored(original: SqliteDatabase, open_file: Open, tmp_path: Path) -> SqliteDatabase:
    """A copy with missed fire times, and one run in each unfinished state."""
    add(original, every(MINUTE))
    paused = add(original, every(MINUTE, "paused"))
    original.write(lambda tx: pause_schedule(tx, paused, Pause(NOON, None, "ann", "holidays"), "ann"))
    add(original, every(timedelta(days=1), "later"))
    session = open_session(original)
    put_some(original, 2)
    put(original, new_run(due_at=NOON + MINUTE), new_run(due_at=NOON + timedelta(days=1)))
    claim_one(original, session)
    return open_file(_copy(original, tmp_path / "copy.db"))


def test_to_continue_goes_on_where_the_copy_stood(
    original: SqliteDatabase, open_file: Open, tmp_path: Path, clock: ManualClock
) -> None:
    copy = _restored(original, open_file, tmp_path)
    clock.advance(10 * MINUTE)
    assert adoption.adopt(copy, clock, "ann", skip=False) == adoption.Adopted(0, 0)
    assert count(copy, "occurrences") == 0
    fire_all(copy, plan_due(copy, clock.now()), clock.now())
    assert count(copy, "occurrences", "outcome = 'fired'") == 1
    assert len(rescue(copy, clock.now()).returned) == 1
    assert len(claim(copy, open_session(copy, clock.now()), 10, now=clock.now())) == 3
    # The original knows nothing of that, and goes on too: whoever adopts was asked to make sure of it.
    put_some(original, 1)


def test_to_skip_records_what_was_due_and_starts_none_of_it(
    original: SqliteDatabase, open_file: Open, tmp_path: Path, clock: ManualClock
) -> None:
    copy = _restored(original, open_file, tmp_path)
    clock.advance(10 * MINUTE)
    assert adoption.adopt(copy, clock, "ann", skip=True) == adoption.Adopted(skipped=20, cancelled=3)
    assert [(n, outcome, cause) for _, _, n, outcome, cause in ledger(copy)] == [(10, "skipped", "paused")] * 2
    assert count(copy, "runs", "state = 'cancelled'") == 2
    assert len(rescue(copy, clock.now()).cancelled) == 1
    assert count(copy, "runs", "state = 'scheduled'") == 1
    assert plan_due(copy, clock.now()) == []
    assert schedule(copy).paused_now(clock.now()) is None
    still = schedule(copy, "paused").paused_now(clock.now())
    assert still is not None
    assert still.reason == "holidays"
    clock.advance(MINUTE)
    fire_all(copy, plan_due(copy, clock.now(), only="s1"), clock.now())
    assert count(copy, "occurrences", "outcome = 'fired'") == 1
    verdict = verify(copy, clock.now())
    assert verdict.ok, list(verdict.lines())


def test_a_year_of_minutes_is_skipped_in_one_stretch(
    original: SqliteDatabase, open_file: Open, tmp_path: Path, clock: ManualClock
) -> None:
    add(original, every(timedelta(hours=1)))
    copy = open_file(_copy(original, tmp_path / "copy.db"))
    clock.advance(timedelta(days=365))
    assert adoption.adopt(copy, clock, "ann", skip=True).skipped == 8_760
    assert [(n, outcome) for _, _, n, outcome, _ in ledger(copy)] == [(8_760, "skipped")]
    verdict = verify(copy, clock.now())
    assert verdict.ok, list(verdict.lines())


def test_an_adoption_is_audited_and_happens_once(
    original: SqliteDatabase, open_file: Open, tmp_path: Path, clock: ManualClock
) -> None:
    run_id = put_some(original, 1)[0]
    copy = open_file(_copy(original, tmp_path / "copy.db"))
    assert adoption.copied_from(copy) == f"{original.path} on host {home_of(copy.path).host}"
    assert installation_id(copy) == installation_id(original)
    adoption.adopt(copy, clock, "ann", skip=True)
    assert installation_id(copy) != installation_id(original)
    query = sqlalchemy.select(audit.c.actor, audit.c.subject, audit.c.body).where(audit.c.action == "database.adopt")
    ((actor, subject, body),) = copy.read(lambda tx: tx.core(query).all())
    assert (actor, subject) == ("ann", copy.location)
    assert json.loads(body) == {
        "from": f"{home_of(copy.path).host}:{original.path}", "how": "skip", "skipped": 0, "cancelled": 1,
    }  # fmt: skip
    assert look(copy, run_id).state_reason == "skipped by ann: the database was adopted from a copy"
    with pytest.raises(Conflict, match=r"copy\.db is no copy; there is nothing to adopt"):
        adoption.adopt(copy, clock, "ann", skip=True)


def test_a_process_that_runs_on_a_copy_goes_on_when_another_one_adopts_it(
    original: SqliteDatabase, open_file: Open, tmp_path: Path, clock: ManualClock
) -> None:
    path = _copy(original, tmp_path / "copy.db")
    running, other = open_file(path), open_file(path)
    with pytest.raises(FileCopied):
        put_some(running, 1)
    adoption.adopt(other, clock, "ann", skip=False)
    put_some(running, 1)


def test_a_running_process_says_every_minute_that_its_file_is_a_copy(
    original: SqliteDatabase, open_file: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = open_file(_copy(original, tmp_path / "copy.db"))
    copy.tidy()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"database_unsafe {copy.location} is a copy")
