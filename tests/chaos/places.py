"""The two databases as things that can be hit: full disks, lost networks, dead servers."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from psycopg import sql

from mainspring.clock import SystemClock
from tests import servers
from tests.chaos.disk import SmallDisk
from tests.chaos.plan import Kind
from tests.chaos.proxy import Proxy

CLOCK: Final = SystemClock()
NEVER: Final = threading.Event()
LOCKS: Final = Path("/proc/locks")
_WRITE_BYTE: Final = "120"
_DISK_MEGABYTES: Final = 384
_CHECK: Final = """
import sys
from pysqlite3 import dbapi2
connection = dbapi2.connect(sys.argv[1], timeout=20)
for (line,) in connection.execute("PRAGMA integrity_check"):
    print(line)
"""


class Lock(NamedTuple):
    """A lock on a file that excludes all others from writing."""

    pid: int
    inode: int


def write_locks(table: str) -> list[Lock]:
    """Return the locks of *table* (the text of ``/proc/locks``) that keep SQLite's other writers out.

    Those are exclusive flocks, by which writers take turns, and the byte of the shared memory that says who writes.
    """
    found = []
    for line in table.splitlines():
        words = line.split()
        # A line with an arrow is somebody who waits.
        if len(words) >= 8 and words[1] != "->" and words[3] == "WRITE":
            if words[1] == "FLOCK" or words[6:8] == [_WRITE_BYTE, _WRITE_BYTE]:
                found.append(Lock(int(words[4]), int(words[5].split(":")[2])))
    return found


@dataclass
class Outage:
    """A time in which the database could not be used by anybody, in seconds since boot; open while *until* is None."""

    why: str
    since: float
    until: float | None = None


class SqlitePlace:
    """A SQLite file on a small disk."""

    kind: Kind = "sqlite"
    secrets: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        """Make the disk below *folder*."""
        self.disk = SmallDisk(folder / "disk", _DISK_MEGABYTES)
        self.path = self.disk.folder / "mainspring.db"
        self.outages: list[Outage] = []
        self._checks: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.checked = 0
        self.damage: list[str] = []

    @property
    def own_url(self) -> str:
        """The address for the harness."""
        return f"sqlite:///{self.path}"

    def url(self, name: str) -> str:
        """Return the address, the same for all."""
        return self.own_url

    def check(self, why: str) -> None:
        """Have another process check the file's integrity; `collect` reads what it says."""
        command = [sys.executable, "-I", "-S", "-c", _WITH_SITE + _CHECK, str(self.path)]
        output = subprocess.PIPE
        self._checks.append((why, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)))

    @property
    def checking(self) -> int:
        """How many checks are under way."""
        return len(self._checks)

    def collect(self, *, wait: bool = False) -> None:
        """Read what the checks that have ended said."""
        for entry in list(self._checks):
            why, process = entry
            if process.poll() is None and not wait:
                continue
            said = process.communicate()[0].decode(errors="replace").strip()
            self._checks.remove(entry)
            self.checked += 1
            if said != "ok" or process.returncode:
                self.damage.append(f"integrity_check after {why}: {said[:400]} (exit {process.returncode})")

    def is_locked_by(self, pids: Iterable[int]) -> bool:
        """Return whether one of these processes holds what must be held to write: then nobody else can."""
        ours = {path.stat().st_ino for path in self.disk.folder.iterdir() if path.name.startswith(self.path.name)}
        return any(lock.pid in pids and lock.inode in ours for lock in write_locks(LOCKS.read_text(encoding="ascii")))

    def wal_bytes(self) -> int:
        """Return how large the write-ahead log is."""
        with contextlib.suppress(FileNotFoundError):
            return Path(f"{self.path}-wal").stat().st_size
        return 0

    def close(self) -> None:
        """Remove all."""
        for _, process in self._checks:
            process.kill()
            process.communicate()
        self.disk.close()

    def keep(self, folder: Path) -> None:
        """Copy the database to *folder*."""
        for path in self.disk.folder.glob("mainspring.db*"):
            if path.is_file():
                shutil.copy(path, folder)


# Isolated, so that nothing else can stand in for the driver; without site, as that costs more than the check.
_WITH_SITE: Final = f"import sys; sys.path += {[entry for entry in sys.path if 'site-packages' in entry]!r}\n"


class PostgresPlace:
    """A PostgreSQL server with a proxy in front; the database's tables lie in a tablespace on a small disk."""

    kind: Kind = "postgres"

    def __init__(self, folder: Path) -> None:
        """Start the server."""
        user = _server_user()
        # The server's user has to get to the disk.
        folder.chmod(0o711)
        self.disk = SmallDisk(folder / "disk", _DISK_MEGABYTES, user)
        try:
            self.cluster = servers.PostgresCluster(fsync="on", full_page_writes="on", synchronous_commit="on")
        except BaseException:
            self.disk.close()
            raise
        self.proxy = Proxy(("127.0.0.1", self.cluster.port))
        with self.cluster.connect() as connection:
            place = sql.Literal(str(self.disk.folder))
            connection.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(place))
            connection.execute("CREATE DATABASE chaos TABLESPACE small")
        self.outages: list[Outage] = []
        self.secrets: tuple[str, ...] = (self.cluster.password,)
        self._restart: threading.Thread | None = None
        self.restart_failures: list[str] = []

    @property
    def own_url(self) -> str:
        """The address for the harness, past all proxies."""
        return self.cluster.url("chaos")

    def url(self, name: str) -> str:
        """Return the address of the link of this name."""
        link = self.proxy.links.get(name) or self.proxy.add(name)
        return self.own_url.replace(f":{self.cluster.port}/", f":{link.port}/")

    @property
    def up(self) -> bool:
        """Whether the server runs and is not being restarted."""
        return self._restart is None or not self._restart.is_alive()

    def strike(self, how: str, down_for: float) -> None:
        """Kill the server and start it again after *down_for* seconds, on another thread."""
        outage = Outage(f"server {how}", CLOCK.monotonic())
        self.outages.append(outage)
        self._restart = threading.Thread(target=self._kill_and_start, args=(how, down_for, outage), name="chaos-server")
        self._restart.start()

    def wait(self) -> None:
        """Return when the server runs again."""
        if self._restart is not None:
            self._restart.join()

    def _kill_and_start(self, how: str, down_for: float, outage: Outage) -> None:
        if how == "immediate":
            self.cluster.stop("immediate")
        else:
            self.cluster.kill9()
        CLOCK.wait(NEVER, down_for)
        until = CLOCK.monotonic() + 90.0
        while True:
            try:
                self.cluster.start()
                break
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                # With a full disk it cannot recover; it is tried again, as by whoever is on duty.
                self.restart_failures.append(str(error)[-300:])
                if CLOCK.monotonic() > until:
                    break
                CLOCK.wait(NEVER, 1.0)
        outage.until = CLOCK.monotonic()

    def close(self) -> None:
        """Remove all."""
        self.wait()
        self.proxy.close()
        self.cluster.close()
        self.disk.close()

    def dump(self) -> str:
        """Return every row of every table as text."""
        lines: list[str] = []
        tables = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('mainspring', 'public')"
        with _connected(self.cluster) as connection:
            for schema, table in connection.execute(tables).fetchall():
                name = sql.Identifier(schema, table)
                # Bytes as text where they are text, as hexadecimal digits anyway: secrets are looked for in both.
                query = sql.SQL("SELECT t::text FROM {} t").format(name)
                lines += [row[0] for row in connection.execute(query)]
        return "\n".join(lines)


def _connected(cluster: servers.PostgresCluster) -> Any:
    return cluster.connect("chaos")


def _server_user() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    return None


Place = SqlitePlace | PostgresPlace


def fill(place: Place) -> None:
    """Fill the disk under the database."""
    place.disk.fill()
    place.outages.append(Outage("disk full", CLOCK.monotonic()))


def free(place: Place) -> None:
    """Free the disk again."""
    place.disk.free()
    for outage in place.outages:
        if outage.why == "disk full" and outage.until is None:
            outage.until = CLOCK.monotonic()


def open_place(kind: Kind, folder: Path) -> Place:
    """Make the database of this kind below *folder*."""
    return SqlitePlace(folder) if kind == "sqlite" else PostgresPlace(folder)
