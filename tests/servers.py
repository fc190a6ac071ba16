"""Start throw-away servers for tests: fast ones, because what a test writes need not outlive a power cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from servers import postgres
from servers.postgres import GUARDED_PIDS, ServerMissing, StopMode, free_port, postgres_programs, unprivileged_user

__all__ = [
    "GUARDED_PIDS",
    "PgBouncer",
    "PostgresCluster",
    "ServerMissing",
    "StopMode",
    "pgbouncer_program",
    "postgres_cluster",
    "postgres_programs",
]

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "'64MB'",
    # Far from UTC and with summer time in its past: code that leans on the server's zone fails here first.
    "timezone": "'America/Sao_Paulo'",
}


class PostgresCluster(postgres.PostgresCluster):
    """A server that gives up durability for speed unless its *settings* say otherwise (``fsync="on"``)."""

    def __init__(self, **settings: str) -> None:
        super().__init__(**(_SETTINGS | settings))


@contextlib.contextmanager
def postgres_cluster(**settings: str) -> Iterator[PostgresCluster]:
    """Give a running cluster and remove it afterwards."""
    cluster = PostgresCluster(**settings)
    try:
        yield cluster
    finally:
        cluster.close()


def pgbouncer_program() -> str:
    """Return the path of PgBouncer."""
    found = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ServerMissing("PgBouncer is not installed; run scripts/install-servers.sh, or install it yourself")
    return found


class PgBouncer:
    """A PgBouncer in transaction mode in front of a cluster, with so few connections that clients must share them."""

    def __init__(self, cluster: PostgresCluster, **settings: str) -> None:
        """Start it on a free loopback port; *settings* go into its file as they stand."""
        self._cluster = cluster
        self._folder = Path(tempfile.mkdtemp(prefix="mainspring-pool-", dir="/tmp"))
        as_user = unprivileged_user()
        self.port = free_port()
        (self._folder / "users").write_text(f'"{cluster.user}" "{cluster.password}"\n', encoding="ascii")
        given = {
            "listen_addr": "127.0.0.1", "listen_port": str(self.port), "unix_socket_dir": "",
            "pool_mode": "transaction", "default_pool_size": "3", "server_round_robin": "1", "max_client_conn": "100",
            "auth_type": "scram-sha-256", "auth_file": str(self._folder / "users"), "server_login_retry": "1",
        } | settings  # fmt: skip
        lines = [f"* = host=127.0.0.1 port={cluster.port}", "[pgbouncer]", *(f"{k} = {v}" for k, v in given.items())]
        (self._folder / "pool.ini").write_text("[databases]\n" + "\n".join(lines) + "\n", encoding="ascii")
        if "user" in as_user:
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, as_user["user"], as_user["group"])
        log = (self._folder / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [pgbouncer_program(), str(self._folder / "pool.ini")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, **as_user,
            )  # fmt: skip
        GUARDED_PIDS.add(self._process.pid)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def url(self, database: str = "postgres", more: str = "") -> str:
        """Return the address of *database* through the pooler."""
        return self._cluster.url(database).replace(f":{self._cluster.port}/", f":{self.port}/") + more

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._process.kill()
        self._process.wait()
        GUARDED_PIDS.discard(self._process.pid)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        for _ in range(200):
            if self._process.poll() is not None:
                raise RuntimeError(f"PgBouncer ended: {self.log}")
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url(), prepare_threshold=None):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
        raise RuntimeError(f"PgBouncer does not answer: {self.log}")
