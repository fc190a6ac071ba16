"""A forked child works on connections of its own, and the parent's stay whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mainspring.store.sqlite.database import SqliteDatabase
from tests.store.arrange import count, put_some

Run = Callable[[str], dict[str, object]]

_SCRIPT = """
import gc, json, os, sys, threading
from pathlib import Path
from tests.store.arrange import count, put_some
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite.database import SqliteDatabase

def open_it():
    kind, place = sys.argv[1:]
    return SqliteDatabase(Path(place)) if kind == "sqlite" else PostgresDatabase(place, retry_for=0)

def in_child(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            gc.collect()
            code = 0
        finally:
            # An orderly end, with everything that the interpreter frees then.
            sys.exit(code) if code == 0 else os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

database = open_it()
put_some(database, 1)
count(database, "runs")
"""


@pytest.fixture
def run_on_sqlite(sqlite_file: Path) -> Run:
    """Run Python text against this test's SQLite file in a process of its own; it prints what it found as JSON."""
    return _runner("sqlite", str(sqlite_file))


@pytest.fixture
def run_on_postgres(postgres_store_url: str) -> Run:
    """Run Python text against this test's PostgreSQL database in a process of its own."""
    return _runner("postgres", postgres_store_url)


@pytest.fixture(params=["sqlite", "postgres"])
def run_script(request: pytest.FixtureRequest) -> Run:
    """Run Python text against this test's database of either kind in a process of its own."""
    run: Run = request.getfixturevalue(f"run_on_{request.param}")
    return run


def _runner(kind: str, place: str) -> Run:
    def run(script: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", _SCRIPT + script, kind, place],
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found: dict[str, object] = json.loads(done.stdout)
        return found

    return run


def test_parent_and_child_both_write_to_postgres_after_a_fork(run_on_postgres: Run) -> None:
    found = run_on_postgres("""
code = in_child(lambda: (put_some(database, 2), database.close()))
put_some(database, 4)
print(json.dumps({"child": code, "runs": count(database, "runs")}))
database.close()
""")
    assert found == {"child": 0, "runs": 7}


def test_a_child_may_use_a_sqlite_file_that_was_closed_before_the_fork(run_on_sqlite: Run) -> None:
    found = run_on_sqlite("""
database.close()
def child():
    own = open_it(); put_some(own, 2); own.close()
code = in_child(child)
again = open_it()
print(json.dumps({"child": code, "runs": count(again, "runs")}))
again.close()
""")
    assert found == {"child": 0, "runs": 3}


def test_a_child_is_refused_a_sqlite_file_that_was_open_at_the_fork(run_on_sqlite: Run) -> None:
    # SQLite knows nothing of forks: what the child commits would vanish when the parent closes the file.
    found = run_on_sqlite("""
from mainspring.errors import StoreUnavailable
reader, writer = os.pipe()
def child():
    for attempt in (lambda: put_some(database, 1), lambda: count(database, "runs"), lambda: put_some(open_it(), 1)):
        try:
            attempt()
        except StoreUnavailable as error:
            os.write(writer, str(error).encode() + b"\\n")
    database.sender.send("ready")
code = in_child(child)
os.close(writer)
with os.fdopen(reader) as heard:
    said = heard.read().splitlines()
put_some(database, 4)
print(json.dumps({"child": code, "said": said, "runs": count(database, "runs")}))
database.close()
""")
    said = found.pop("said")
    assert found == {"child": 0, "runs": 5}
    assert isinstance(said, list)
    assert len(said) == 3
    assert all("was open in the process that this one was forked from" in text for text in said)
    assert all("Start child processes with 'spawn' or 'forkserver'" in text for text in said)


def test_a_child_that_only_ends_leaves_the_parents_connections_whole(run_script: Run) -> None:
    found = run_script("""
writer = threading.Event(); go_on = threading.Event(); done = []
def work(tx):
    writer.set(); go_on.wait(20)
    done.append(count_in(tx))
def count_in(tx):
    from mainspring.store.schema import runs
    from sqlalchemy import func, select
    return tx.core(select(func.count()).select_from(runs)).scalar()
# A connection that another thread is using at the moment of the fork.
thread = threading.Thread(target=lambda: database.write(work))
thread.start(); writer.wait(20)
codes = [in_child(lambda: None), in_child(gc.collect)]
go_on.set(); thread.join(20)
put_some(database, 1)
print(json.dumps({"codes": codes, "seen": done, "runs": count(database, "runs")}))
database.close()
""")
    assert found == {"codes": [0, 0], "seen": [1], "runs": 2}


def test_a_child_does_not_share_a_transaction_that_was_open_when_it_was_forked(run_on_postgres: Run) -> None:
    found = run_on_postgres("""
from mainspring.store import queueing
from tests.store.arrange import NOON, new_run
codes = []
def work(tx):
    queueing.insert_runs(tx, [new_run()], NOON)
    # The child sees what is committed, not what its parent is about to write.
    def child():
        seen = count(database, "runs")
        database.close()
        os._exit(0 if seen == 1 else 3)
    codes.append(in_child(child))
database.write(work)
print(json.dumps({"codes": codes, "runs": count(database, "runs")}))
database.close()
""")
    assert found == {"codes": [0], "runs": 2}


def test_a_child_that_outlives_a_killed_writer_does_not_keep_its_turn(sqlite_file: Path) -> None:
    script = (
        _SCRIPT
        + """
import signal
parent = os.getpid()
def work(tx):
    if os.fork() == 0:
        os.kill(parent, signal.SIGKILL)
        print("killed", flush=True)
        sys.stdin.read()
        os._exit(0)
    signal.pause()
database.write(work)
"""
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "sqlite", str(sqlite_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "killed\n"
        database = SqliteDatabase(sqlite_file, turn_within=5)
        put_some(database, 1)
        assert count(database, "runs") == 2
        database.close()
        process.communicate("", timeout=10)
