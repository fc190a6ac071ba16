"""Give every test its own database, and leave nothing of it behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import hypothesis
import psutil
import pytest

from tests import servers
from tests.servers import PostgresCluster, ServerMissing

# A slow machine is no bug; and CI must not turn red on an example that nobody changed anything for.
hypothesis.settings.register_profile("laptop", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)


def pytest_configure() -> None:
    """Forget the settings of whoever runs the tests."""
    hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "laptop")
    for name in [name for name in os.environ if name.startswith("MAINSPRING_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[PostgresCluster]:
    """The cluster of this test process; tests take a database of it, never the server."""
    with _cluster_or_skip() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_url(shared_postgres: PostgresCluster) -> str:
    """The address of the shared cluster's maintenance database."""
    return shared_postgres.url()


@pytest.fixture
def postgres_database(shared_postgres: PostgresCluster) -> Iterator[str]:
    """The address of a new, empty PostgreSQL database; dropped afterwards."""
    name = shared_postgres.create_database()
    yield shared_postgres.url(name)
    shared_postgres.drop_database(name)


@pytest.fixture
def postgres_cluster() -> Iterator[PostgresCluster]:
    """A cluster that the test may stop, kill and start again."""
    with _cluster_or_skip() as cluster:
        yield cluster


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'mainspring.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a new, empty database; the test runs once on each kind."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_database"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """Fail a test that leaves threads or processes behind: they would disturb another test, or hang the exit."""
    threads, children = set(threading.enumerate()), _children()
    yield
    late_threads = [t for t in threading.enumerate() if t not in threads and not t.daemon]
    for thread in late_threads:
        thread.join(timeout=2)
    left = [f"thread {t.name!r}" for t in late_threads if t.is_alive()]
    late_children = _children() - children
    if late_children:
        _, alive = psutil.wait_procs(late_children, timeout=2)
        left += [_named(process) for process in alive]
        for process in alive:
            process.kill()
        # Buried as well: another test may count the dead.
        psutil.wait_procs(alive, timeout=2)
    if left:
        pytest.fail(f"left running: {', '.join(left)}")


def _children() -> set[psutil.Process]:
    children = psutil.Process().children()
    return {child for child in children if child.pid not in servers.GUARDED_PIDS and not _serves_multiprocessing(child)}


def _serves_multiprocessing(child: psutil.Process) -> bool:
    # Python keeps one resource tracker and one fork server for its whole life.
    try:
        return any("multiprocessing.resource_tracker" in word or "forkserver" in word for word in child.cmdline())
    except psutil.Error:
        return True


def _named(process: psutil.Process) -> str:
    try:
        return f"process {process.pid} ({' '.join(process.cmdline())[:120]})"
    except psutil.Error:
        return f"process {process.pid}"


def _cluster_or_skip() -> AbstractContextManager[PostgresCluster]:
    try:
        servers.postgres_programs()
    except ServerMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    return servers.postgres_cluster()
