"""The throw-away servers do what the other tests rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.servers import PostgresCluster

ROOT = Path(__file__).parents[1]


def test_a_test_can_write_to_its_own_postgres_database(postgres_database: str) -> None:
    with psycopg.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE letters (letter text)")
        connection.execute("INSERT INTO letters VALUES ('ß'), ('雪')")
        rows = connection.execute("SELECT letter FROM letters ORDER BY letter").fetchall()
    assert rows == [("ß",), ("雪",)]


def test_each_test_gets_a_database_without_the_tables_of_the_last(postgres_database: str) -> None:
    with psycopg.connect(postgres_database) as connection:
        assert connection.execute("SELECT to_regclass('letters')").fetchone() == (None,)


def test_a_postgres_server_needs_a_password_over_tcp(shared_postgres: PostgresCluster) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(shared_postgres.url().replace(shared_postgres.password, "wrong"))


def test_a_postgres_server_answers_on_its_socket_too(shared_postgres: PostgresCluster) -> None:
    with psycopg.connect(shared_postgres.socket_url()) as connection:
        assert connection.execute("SELECT inet_server_addr()").fetchone() == (None,)


def test_a_database_url_names_a_database_that_is_empty(database_url: str) -> None:
    kind, _, rest = database_url.partition("://")
    if kind == "sqlite":
        assert not Path(rest.removeprefix("/")).exists()
    else:
        assert kind == "postgresql"


def test_a_private_cluster_comes_back_with_what_was_committed_before_it_was_killed(
    postgres_cluster: PostgresCluster,
) -> None:
    with postgres_cluster.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        postgres_cluster.kill9()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        postgres_cluster.connect()
    postgres_cluster.start()
    with postgres_cluster.connect() as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    postgres_cluster.stop("fast")
    assert postgres_cluster.pid is None
    postgres_cluster.start()
    with postgres_cluster.connect() as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


@pytest.mark.usefixtures("shared_postgres")
def test_a_cluster_goes_away_with_the_process_that_started_it_even_when_that_is_killed() -> None:
    program = (
        "from tests.servers import PostgresCluster; c = PostgresCluster(); print(c.pid, c.folder, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        server = psutil.Process(int(pid))
        (guardian,) = psutil.Process(owner.pid).children()
        owner.kill()
    gone, alive = psutil.wait_procs([server, guardian], timeout=20)
    assert alive == []
    assert len(gone) == 2
    assert not Path(folder).exists()


LEAVING = """
import subprocess, threading
forever = threading.Event()

def test_leaves_a_thread():
    threading.Thread(target=forever.wait, args=(20,), name="straggler").start()

def test_leaves_a_process():
    global left
    left = subprocess.Popen(["sleep", "20"])

def test_leaves_nothing():
    threading.Thread(target=forever.wait, args=(0,)).start()
    subprocess.run(["true"], check=True)

def test_ends_the_thread():
    forever.set()
"""


def test_a_test_that_leaves_a_thread_or_a_process_behind_fails(tmp_path: Path) -> None:
    (tmp_path / "test_leaving.py").write_text(LEAVING, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-rE", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "4 passed, 2 errors" in done.stdout
    assert "left running: thread 'straggler'" in done.stdout
    assert "(sleep 20)" in done.stdout
