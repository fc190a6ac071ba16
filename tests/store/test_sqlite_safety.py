"""SQLite is used only where and how it does not lose data, and says so otherwise."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as driver

from mainspring.clock import SystemClock
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.store.migrate import status
from mainspring.store.sqlite import database as module
from mainspring.store.sqlite import libraries
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.sqlite.safety import (
    check_file_system,
    check_library,
    file_system_warning,
    library_warning,
    wal_is_safe,
)
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
    assert (library_warning(version) is None) is safe


def test_an_unsafe_version_works_without_the_log_and_says_so_aloud(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(driver, "sqlite_version_info", (3, 46, 1))
    database = SqliteDatabase(sqlite_file)
    put_some(database, 3)
    assert count(database, "runs") == 3
    assert database.read(lambda tx: tx.raw().execute("PRAGMA journal_mode").fetchone()) == ("truncate",)
    assert not Path(f"{sqlite_file}-wal").exists()
    database.tidy()
    database.close()
    assert caplog.messages[0] == (
        "sqlite_unsafe SQLite 3.46.1 can corrupt a database in WAL mode (fixed in 3.51.3, 3.50.7 and 3.44.6), so "
        "Mainspring uses the slower journal_mode=TRUNCATE; install pysqlite3 0.6.1 or newer"
    )
    monkeypatch.undo()
    again = SqliteDatabase(sqlite_file)
    assert count(again, "runs") == 3
    assert again.read(lambda tx: tx.raw().execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    again.close()


def test_an_unsafe_version_does_not_join_others_that_use_the_log(
    sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_some(sqlite, 1)
    monkeypatch.setattr(driver, "sqlite_version_info", (3, 46, 1))
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0.05)
    database = SqliteDatabase(sqlite.path)
    with pytest.raises(StoreUnavailable) as caught:
        put_some(database, 1)
    assert str(caught.value) == (
        f"cannot open {sqlite.location}: its journal mode stays wal while another process has it open, and SQLite "
        "3.46.1 here needs truncate; stop the other process, or use the same version for both"
    )
    database.close()


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
        "put the file on a local disk or use PostgreSQL (if its locks do hold and no other host opens it: "
        f"sqlite:///{path}?file_system=trusted)"
    )


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("ext4", ""),
        ("xfs", ""),
        ("btrfs", ""),
        ("zfs", ""),
        ("overlay", ""),
        ("fuse.mergerfs", ""),
        ("9p", "a host shares"),
        ("virtiofs", "a host shares"),
        ("vboxsf", "a host shares"),
        ("nfs", "is refused"),
        ("nfs4", "is refused"),
        ("cifs", "is refused"),
        ("smb3", "is refused"),
        ("smbfs", "is refused"),
        ("ceph", "is refused"),
        ("fuse.ceph-fuse", "is refused"),
        ("glusterfs", "is refused"),
        ("lustre", "is refused"),
        ("afs", "is refused"),
        ("gfs2", "is refused"),
        ("gpfs", "is refused"),
        ("ocfs2", "is refused"),
        ("beegfs_nodev", "is refused"),
        ("fuse.s3fs", "is refused"),
        ("fuse.rclone", "is refused"),
        ("fuse.sshfs", "is refused"),
    ],
)
def test_every_kind_of_file_system_is_used_warned_of_or_refused(kind: str, says: str) -> None:
    mounts = f"somewhere /mnt {kind} rw 0 0\n"
    path = Path("/mnt/m.db")
    if says == "is refused":
        with pytest.raises(StoreUnavailable, match=f"network file system \\({kind} at /mnt\\)"):
            check_file_system(path, mounts)
        return
    check_file_system(path, mounts)
    assert (file_system_warning(path, mounts) or "") == (
        f"sqlite:////mnt/m.db lies in a folder that a host shares ({kind} at /mnt); open it from this side only, "
        "or put it on a disk of this machine"
        if says
        else ""
    )


def test_whoever_knows_better_says_so_in_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.store.sqlite.mounts._mounts", lambda: f"server:/ {tmp_path} nfs rw 0 0\n")
    with pytest.raises(StoreUnavailable, match=r"network file system .*\?file_system=trusted"):
        SqliteDatabase.at_address(f"sqlite:///{tmp_path}/m.db")
    with pytest.raises(InvalidInput, match=r"the only option of a SQLite address is \?file_system=trusted"):
        SqliteDatabase.at_address(f"sqlite:///{tmp_path}/m.db?mode=ro")
    database = SqliteDatabase.at_address(f"sqlite:///{tmp_path}/m.db?file_system=trusted")
    assert database.path == tmp_path / "m.db"
    assert status(database).current is None
    database.close()


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


def test_many_threads_may_open_a_new_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With a second library in the process, whoever has the file open could be a stranger.
    monkeypatch.setattr(libraries, "loaded_beside_ours", lambda: ["another library"])
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
    # He comes after us: one who was there before is refused where this process has loaded a second library.
    assert count(sqlite, "runs") == 0
    stranger = driver.connect(str(sqlite.path), timeout=0, isolation_level=None)

    def work(tx: object) -> None:
        assert tx.raw().execute("SELECT count(*) FROM runs").fetchone() == (0,)  # type: ignore[attr-defined]
        with pytest.raises(driver.OperationalError, match="database is locked"):
            stranger.execute("BEGIN IMMEDIATE")

    sqlite.write(work)
    stranger.close()


# The log does not grow without bound


def test_a_log_that_a_reader_pins_is_cut_when_it_ends_and_warned_of_meanwhile(
    sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LONGEST_LOG", 100_000)
    assert count(sqlite, "runs") == 0
    with _reading(sqlite.path):
        for _ in range(20):
            put_some(sqlite, 10)
        sqlite.tidy()
        assert sqlite.log_size > 100_000
        assert [text for text in caplog.messages if text.startswith("wal_large")] == [
            f"wal_large database={sqlite.location} the write-ahead log has {sqlite.log_size / 1024:.0f} kB: somebody "
            "has been reading for a long time; end long reads of the file (an open shell, a backup, a report), and it "
            "is cut within a minute"
        ]
    caplog.clear()
    sqlite.tidy()
    assert sqlite.log_size == 0
    assert caplog.messages == []
    assert count(sqlite, "runs") == 200


def test_a_reader_that_pins_the_log_keeps_no_writer_waiting(sqlite: SqliteDatabase) -> None:
    # A checkpoint that waits for readers keeps all writers out, and leases run out after 12 s.
    put_some(sqlite, 50)
    clock = SystemClock()
    with _reading(sqlite.path):
        put_some(sqlite, 50)
        began = clock.monotonic()
        together(sqlite.tidy, lambda: put_some(sqlite, 1), lambda: put_some(sqlite, 1))
        assert clock.monotonic() - began < 5
    assert count(sqlite, "runs") == 102


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Look at the file for as long as it takes."""
    reader = driver.connect(str(path), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM runs").fetchone()
    try:
        yield
    finally:
        reader.close()


# What a process must not do with the file


_TWO_LIBRARIES = """
import json, logging, sqlite3, sys
from pathlib import Path
from mainspring.errors import StoreUnavailable
from mainspring.store.sqlite.database import SqliteDatabase
from tests.store.arrange import count, put_some

path, when = Path(sys.argv[1]), sys.argv[2]
said = []
logging.basicConfig(format="%(message)s", stream=sys.stdout)
stranger = None
if when == "elsewhere":
    stranger = sqlite3.connect(":memory:")
if when == "before":
    stranger = sqlite3.connect(path)
    stranger.execute("SELECT count(*) FROM runs").fetchone()
database = SqliteDatabase(path)
try:
    put_some(database, 1)
except StoreUnavailable as error:
    print("refused:", error)
else:
    if when == "after":
        stranger = sqlite3.connect(path)
        stranger.execute("SELECT count(*) FROM runs").fetchone()
    database.tidy()
    print("runs:", count(database, "runs"))
database.close()
"""


def _with_two_libraries(path: Path, when: str) -> list[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _TWO_LIBRARIES, str(path), when], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are seen in /proc")
def test_a_second_sqlite_library_on_the_same_file_is_noticed(sqlite_file: Path) -> None:
    advice = (
        "two SQLite libraries in one process drop each other's locks, and committed rows vanish; "
        "read the file from another process, or through Mainspring's own connection"
    )
    assert _with_two_libraries(sqlite_file, "elsewhere") == ["runs: 1"]
    assert _with_two_libraries(sqlite_file, "before") == [
        f"refused: this process has {sqlite_file} open through the standard library's sqlite3 already; {advice}"
    ]
    said = _with_two_libraries(sqlite_file, "after")
    assert said == [
        f"database_unsafe this process has {sqlite_file} open through two SQLite libraries "
        f"(the standard library's sqlite3 beside ours); {advice}",
        "runs: 2",
    ]


def test_a_file_that_is_replaced_while_it_is_open_takes_nothing_more(sqlite: SqliteDatabase, tmp_path: Path) -> None:
    put_some(sqlite, 1)
    backup = Path(shutil.copy(sqlite.path, tmp_path / "backup.db"))
    backup.replace(sqlite.path)
    with pytest.raises(StoreUnavailable, match="was moved, replaced or deleted while this process had it open"):
        put_some(sqlite, 1)
    sqlite.path.unlink()
    assert together(*[lambda: _refusal_of(sqlite)] * 3) == ["moved"] * 3


def _refusal_of(database: SqliteDatabase) -> str:
    with pytest.raises(StoreUnavailable, match="was moved, replaced or deleted"):
        put_some(database, 1)
    return "moved"


# What the system keeps from us


@pytest.fixture
def nobodys(migrated_file: Path) -> Iterator[Path]:
    """A migrated file that belongs to a user without rights, in a folder of his."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        path = Path(shutil.copy(migrated_file, Path(name) / "m.db"))
        nobody = pwd.getpwnam("nobody")
        for place in (Path(name), path):
            os.chown(place, nobody.pw_uid, nobody.pw_gid)
        yield path


def _as_nobody(path: Path, what: str = "write") -> str:
    database = SqliteDatabase(path)
    nobody = pwd.getpwnam("nobody")
    try:
        os.setegid(nobody.pw_gid)
        os.seteuid(nobody.pw_uid)
        if what == "write":
            put_some(database, 1)
        else:
            status(database)
    except StoreUnavailable as error:
        return str(error)
    finally:
        os.seteuid(0)
        os.setegid(0)
        database.close()
    return ""


def test_a_file_of_somebody_else_is_refused_with_its_owner_and_the_way_out(nobodys: Path) -> None:
    assert _as_nobody(nobodys) == ""
    os.chown(nobodys, 0, 0)
    nobodys.chmod(0o644)
    owner = f"{nobodys} belongs to root with mode 0644; let nobody read and write it, or run as its owner"
    assert _as_nobody(nobodys) == f"sqlite:///{nobodys}: attempt to write a readonly database; {owner}"
    assert _as_nobody(nobodys, "read") == ""
    nobodys.chmod(0o600)
    assert _as_nobody(nobodys, "read") == (
        f"cannot open sqlite:///{nobodys}: unable to open database file; {owner.replace('0644', '0600')}"
    )


def test_a_folder_that_may_not_be_written_is_named_with_its_owner(nobodys: Path) -> None:
    os.chown(nobodys.parent, 0, 0)
    nobodys.parent.chmod(0o755)
    assert _as_nobody(nobodys) == (
        f"cannot write to {nobodys}-turn: Permission denied; {nobodys.parent} belongs to root with mode 0755; "
        "SQLite makes files beside the database: let nobody write there"
    )


def test_a_lock_file_left_by_root_is_named(nobodys: Path) -> None:
    lock = Path(f"{nobodys}-lock")
    lock.touch(0o600)
    assert _as_nobody(nobodys) == (
        f"cannot write to {lock}: Permission denied; {lock} belongs to root with mode 0600; "
        "let nobody read and write it, or run as its owner"
    )


def test_a_disk_that_is_mounted_read_only_is_said_to_be(nobodys: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mounted)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr}")
    try:
        path = Path(shutil.copy(nobodys, mounted / "m.db"))
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        database = SqliteDatabase(path)
        for attempt in (lambda: put_some(database, 1), lambda: status(database)):
            with pytest.raises(StoreUnavailable, match=f"the file system of {mounted} is mounted read-only"):
                attempt()
        database.close()
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)
