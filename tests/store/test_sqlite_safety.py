"""SQLite is used only where and how it does not lose data, and says so otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as driver

from mainspring.errors import StoreUnavailable
from mainspring.store.migrate import status
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.sqlite.safety import check_file_system, check_library, wal_is_safe
from tests.store.arrange import count, put_some, together


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 44, 99), True),
        ((3, 45, 3), False),
        ((3, 46, 1), False),
        ((3, 49, 2), False),
        ((3, 50, 4), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((3, 53, 4), True),
        ((4, 0, 0), True),
    ],
)
def test_the_write_ahead_log_is_used_only_by_versions_without_its_fault(version: tuple[int, ...], safe: bool) -> None:
    assert wal_is_safe(version) is safe
    assert check_library(version) == ("wal" if safe else "truncate")


MOUNTS = """\
/dev/vda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/export /mnt/nfs nfs4 rw,vers=4.2 0 0
//box/share /mnt/smb cifs rw 0 0
//box/share /mnt/smb3 smb3 rw 0 0
tmpfs /mnt/nfs/local tmpfs rw 0 0
user@host:/ /data/ann/remote fuse.sshfs rw 0 0
server:/x /mnt/with\\040space nfs rw 0 0
gluster:/v /mnt/gluster fuse.glusterfs rw 0 0
ceph /mnt/ceph ceph rw 0 0
server:/y /srv/over nfs rw 0 0
/dev/vdb1 /srv/over ext4 rw 0 0

broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/m.db", None),
        ("/mnt/m.db", None),
        ("/mnt/nfs/m.db", "nfs4 at /mnt/nfs"),
        ("/mnt/nfs/deep/er/m.db", "nfs4 at /mnt/nfs"),
        ("/mnt/nfsx/m.db", None),
        ("/mnt/nfs/local/m.db", None),
        ("/mnt/smb/m.db", "cifs at /mnt/smb"),
        ("/mnt/smb3/m.db", "smb3 at /mnt/smb3"),
        ("/data/ann/remote/m.db", "fuse.sshfs at /data/ann/remote"),
        ("/data/ann/m.db", None),
        ("/mnt/with space/m.db", "nfs at /mnt/with space"),
        ("/mnt/gluster/m.db", "fuse.glusterfs at /mnt/gluster"),
        ("/mnt/ceph/m.db", "ceph at /mnt/ceph"),
        ("/srv/over/m.db", None),
    ],
)
def test_a_network_file_system_is_refused_by_name(path: str, kind: str | None) -> None:
    if kind is None:
        check_file_system(Path(path), MOUNTS)
        return
    with pytest.raises(StoreUnavailable) as caught:
        check_file_system(Path(path), MOUNTS)
    assert str(caught.value) == (
        f"sqlite:///{path} lies on a network file system ({kind}), where SQLite's locks do not hold; "
        "put the file on a local disk or use PostgreSQL"
    )


def test_a_link_to_a_network_file_system_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "local.db").symlink_to("/mnt/nfs/m.db")
    with pytest.raises(StoreUnavailable, match="nfs4 at /mnt/nfs"):
        check_file_system(tmp_path / "local.db", MOUNTS)


def test_without_a_list_of_mounts_nothing_is_refused() -> None:
    check_file_system(Path("/mnt/nfs/m.db"), "")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, not a database\n" * 100)
    database = SqliteDatabase(path)
    for attempt in (lambda: put_some(database, 1), lambda: status(database)):
        with pytest.raises(StoreUnavailable, match=r"cannot open sqlite:///.*notes\.txt: file is not a database"):
            attempt()
    database.close()
    assert path.read_text().startswith("these are my notes")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"is a folder; name a file in it"):
        SqliteDatabase(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"cannot make the folder of sqlite:///.*Not a directory"):
        SqliteDatabase(tmp_path / "file" / "sub" / "m.db")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "a" / "b" / "m.db")
    assert status(database).current is None
    database.close()


@pytest.mark.skipif(not Path("/proc/mounts").exists(), reason="needs a folder in which not even root can make files")
def test_a_folder_that_cannot_be_written_is_an_outage_with_a_reason() -> None:
    database = SqliteDatabase(Path("/proc/m.db"))
    with pytest.raises(StoreUnavailable, match=r"cannot write to /proc/m\.db-turn: No such file or directory"):
        put_some(database, 1)
    with pytest.raises(StoreUnavailable, match=r"cannot open sqlite:////proc/m\.db: unable to open database file"):
        status(database)
    assert together(*[lambda: _refusal(database)] * 4) == ["cannot write"] * 4
    database.close()


def _refusal(database: SqliteDatabase) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        put_some(database, 1)
    return str(caught.value)[:12]


def test_the_file_is_opened_the_safe_way(sqlite: SqliteDatabase) -> None:
    def settings(tx: object) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "mmap_size", "foreign_keys", "fullfsync", "journal_size_limit")
        raw = tx.raw()  # type: ignore[attr-defined]
        return {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    expected = {
        "journal_mode": "wal", "synchronous": 2, "mmap_size": 0, "foreign_keys": 1, "fullfsync": 1,
        "journal_size_limit": 64 * 1024 * 1024,
    }  # fmt: skip
    assert sqlite.write(settings) == sqlite.read(settings) == expected


def test_a_checkpoint_cuts_the_log(sqlite: SqliteDatabase) -> None:
    put_some(sqlite, 200)
    log = Path(f"{sqlite.path}-wal")
    assert log.stat().st_size > 0
    sqlite.tidy()
    assert log.stat().st_size == 0
    assert count(sqlite, "runs") == 200


def test_many_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from mainspring.store.migrate import upgrade
from mainspring.store.sqlite.database import SqliteDatabase
from tests.store.arrange import put_some
sys.stdin.readline()
database = SqliteDatabase(Path(sys.argv[1]))
upgrade(database)
put_some(database, 3)
database.close()
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    path = tmp_path / "new.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        for _ in range(4)
    ]
    said = together(*(lambda p=p: p.communicate("\n", timeout=50)[1] for p in processes))  # type: ignore[misc]
    assert said == [""] * 4
    database = SqliteDatabase(path)
    assert count(database, "runs") == 12
    database.close()


def test_many_threads_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    for n in range(5):
        databases = [SqliteDatabase(tmp_path / f"{n}.db") for _ in range(4)]
        together(*(lambda own=own: own.table_names() for own in databases))  # type: ignore[misc]
        for database in databases:
            database.close()


def test_a_reader_sees_one_state_though_others_write(sqlite: SqliteDatabase) -> None:
    put_some(sqlite, 1)

    def look(tx: object) -> list[int]:
        def seen() -> int:
            return int(tx.raw().execute("SELECT count(*) FROM runs").fetchone()[0])  # type: ignore[attr-defined]

        before = seen()
        put_some(sqlite, 1)
        return [before, seen()]

    assert sqlite.read(look) == [1, 1]
    assert count(sqlite, "runs") == 2


def test_a_writer_holds_the_file_from_its_first_moment_against_strangers_too(sqlite: SqliteDatabase) -> None:
    # A stranger knows nothing of the turnstile. If he could write between our look and our write, ours would fail.
    stranger = driver.connect(str(sqlite.path), timeout=0, isolation_level=None)

    def work(tx: object) -> None:
        assert tx.raw().execute("SELECT count(*) FROM runs").fetchone() == (0,)  # type: ignore[attr-defined]
        with pytest.raises(driver.OperationalError, match="database is locked"):
            stranger.execute("BEGIN IMMEDIATE")

    sqlite.write(work)
    stranger.close()
