"""A PostgreSQL server of its own in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

StopMode = Literal["smart", "fast", "immediate"]

GUARDED_PIDS: set[int] = set()
"""Processes that outlive whoever started the server for a moment, to remove what it leaves."""

_SETTINGS = {"listen_addresses": "'127.0.0.1'", "log_destination": "'stderr'", "log_min_messages": "warning"}


class ServerMissing(Exception):
    """A server program is not installed on this machine."""


def postgres_programs() -> Path:
    """Return the folder with initdb, pg_ctl and postgres; of several versions the newest."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    if found is None:
        raise ServerMissing("PostgreSQL is not installed; run scripts/install-servers.sh, or install it yourself")
    return Path(found).resolve().parent


class PostgresCluster:
    """A PostgreSQL server of its own in a temporary folder, on a free loopback port and a unix socket.

    Host connections need a password: whoever else is on the machine must not become superuser of it.
    """

    user = "mainspring"

    def __init__(self, **settings: str) -> None:
        """Create and start the cluster; *settings* are added to postgresql.conf as they stand (``fsync="on"``)."""
        self._programs = postgres_programs()
        self._as_user = unprivileged_user()
        # Not the session's temporary folder: a socket's path is limited to about 100 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="mainspring-pg-", dir="/tmp"))
        self._data = self.folder / "data"
        self.password = secrets.token_hex(8)
        self._databases = 0
        if "user" in self._as_user:
            os.chown(self.folder, self._as_user["user"], self._as_user["group"])
        self._guardian = self._start_guardian()
        try:
            self._create(_SETTINGS | settings)
        except BaseException:
            self.close()
            raise

    def url(self, database: str = "postgres") -> str:
        """Return the address of *database* over loopback TCP."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres") -> str:
        """Return the address of *database* over the unix socket."""
        place = quote(str(self.folder), safe="")
        return f"postgresql://{self.user}:{self.password}@/{database}?host={place}&port={self.port}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Return an autocommitting connection of the superuser."""
        return psycopg.connect(self.url(database), autocommit=True)

    @property
    def log(self) -> str:
        """What the server has logged."""
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None while it does not run."""
        try:
            pid = int((self._data / "postmaster.pid").read_text(encoding="ascii").split()[0])
        except (FileNotFoundError, IndexError):
            return None
        return pid if psutil.pid_exists(pid) else None

    def start(self) -> None:
        """Start the server on the same port and wait until it answers."""
        self._run("pg_ctl", "start", "--wait", "--silent", "--log", str(self.folder / "server.log"))

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server: *smart* waits for clients, *fast* rolls them back, *immediate* crashes cleanly."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode", mode)

    def kill9(self) -> None:
        """Kill every process of the server at once, as the kernel does when memory runs out."""
        if (pid := self.pid) is None:
            return
        postmaster = psutil.Process(pid)
        # Frozen first, so that it starts no new children while the present ones are counted.
        postmaster.send_signal(signal.SIGSTOP)
        doomed = [*postmaster.children(recursive=True), postmaster]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(doomed, timeout=10)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of the server where it stands, as a host that swaps or a paused machine does."""
        assert self.pid is not None
        postmaster = psutil.Process(self.pid)
        postmaster.suspend()
        stopped = [postmaster, *postmaster.children(recursive=True)]
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in reversed(stopped):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def create_database(self, template: str = "template1") -> str:
        """Create a database as a copy of *template* (nobody may be connected to it); return its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return name

    def drop_database(self, name: str) -> None:
        """Drop the database and the connections to it."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self._guardian.communicate(b"\n", timeout=30)
        GUARDED_PIDS.discard(self._guardian.pid)

    def _start_guardian(self) -> subprocess.Popen[bytes]:
        # Reads until told or until this process has ended, however it ended; then cleans up. Its own session keeps
        # Ctrl-C from it.
        script = 'read -r _; "$1" stop --silent --mode immediate --pgdata "$2/data"; rm -rf "$2"'
        guardian = subprocess.Popen(
            ["/bin/sh", "-c", script, "guardian", str(self._programs / "pg_ctl"), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
            **self._as_user,
        )
        GUARDED_PIDS.add(guardian.pid)
        return guardian

    def _create(self, settings: dict[str, str]) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password, encoding="ascii")
        password_file.chmod(0o644)
        self._run(
            "initdb", "--no-sync", "--no-locale", "--encoding=UTF8", f"--username={self.user}",
            f"--pwfile={password_file}", "--auth-local=trust", "--auth-host=scram-sha-256",
        )  # fmt: skip
        settings |= {"unix_socket_directories": f"'{self.folder}'"}
        plain = (self._data / "postgresql.conf").read_text(encoding="utf-8")
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        for tries_left in (2, 1, 0):
            self.port = free_port()
            (self._data / "postgresql.conf").write_text(f"{plain}\n{lines}port = {self.port}\n", encoding="utf-8")
            try:
                return self.start()
            except RuntimeError:  # Between looking and starting, somebody else may have taken the port.
                if not tries_left:
                    raise

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), "--pgdata", str(self._data), *arguments],
            # Files, not pipes: a server that pg_ctl starts would hold a pipe open for ever.
            stdin=subprocess.DEVNULL,
            stdout=(output := tempfile.TemporaryFile()),
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            start_new_session=True,
            check=False,
            timeout=60,
            **self._as_user,
        )
        with output:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
        if done.returncode:
            log = self.folder / "server.log"
            raise RuntimeError(f"{program} failed: {said}\n{self.log if log.exists() else ''}")


def unprivileged_user() -> dict[str, Any]:
    """Return how `subprocess` starts a server as somebody who is not root; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise ServerMissing("there is neither a user 'postgres' nor 'nobody' to run PostgreSQL as")


def free_port() -> int:
    """Return a loopback port that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
