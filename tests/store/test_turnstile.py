"""Processes write in turn: fairly, with a deadline, and a dead one keeps nobody out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainspring.errors import StoreUnavailable
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.store.sqlite.turnstile import Turnstile
from tests.store.arrange import count, put_some

_HOLD = """
import sys
from pathlib import Path
from mainspring.store.sqlite.turnstile import Turnstile
turnstile = Turnstile(Path(sys.argv[1]))
turnstile.enter()
print("in", flush=True)
sys.stdin.readline()
turnstile.leave()
print("out", flush=True)
sys.stdin.readline()
"""


@contextmanager
def another_process_inside(database: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the right to write; a line makes it leave."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert _line(process) == "in\n"
        yield process
    finally:
        process.kill()
        with process:
            pass


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_whoever_gets_no_turn_within_the_deadline_is_told_so(sqlite_file: Path) -> None:
    database = SqliteDatabase(sqlite_file, turn_within=0.05)
    with another_process_inside(sqlite_file):
        with pytest.raises(StoreUnavailable) as caught:
            put_some(database, 1)
        assert str(caught.value) == (
            "no turn to write to mainspring.db within 0.05 s; "
            "another process holds it (stopped, or on a very slow disk)"
        )
        # Reading needs no turn.
        assert count(database, "runs") == 0
    put_some(database, 1)
    assert count(database, "runs") == 1
    database.close()


def test_every_waiting_caller_is_told_and_none_hangs(sqlite_file: Path) -> None:
    database = SqliteDatabase(sqlite_file, turn_within=0.05)
    from tests.store.arrange import together

    def caller() -> str:
        try:
            put_some(database, 1)
        except StoreUnavailable:
            return "told"
        return "wrote"

    with another_process_inside(sqlite_file):
        assert together(*[caller] * 6) == ["told"] * 6
    assert together(*[caller] * 6) == ["wrote"] * 6
    database.close()


def test_a_turn_comes_when_the_other_process_leaves(sqlite_file: Path) -> None:
    database = SqliteDatabase(sqlite_file, turn_within=20)
    with another_process_inside(sqlite_file) as other:
        writer = threading.Thread(target=put_some, args=(database, 1))
        writer.start()
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        writer.join(10)
        assert not writer.is_alive()
    assert count(database, "runs") == 1
    database.close()


def test_a_killed_holder_frees_the_turn(sqlite_file: Path) -> None:
    database = SqliteDatabase(sqlite_file, turn_within=20)
    with another_process_inside(sqlite_file) as other:
        writer = threading.Thread(target=put_some, args=(database, 1))
        writer.start()
        other.kill()
        other.wait(10)
        writer.join(10)
        assert not writer.is_alive()
    assert count(database, "runs") == 1
    database.close()


def test_the_last_owner_cannot_barge_in_before_one_who_waits(tmp_path: Path) -> None:
    first, second = Turnstile(tmp_path / "m.db", 5), Turnstile(tmp_path / "m.db", 5)
    order: list[str] = []
    first.enter()
    waiting = threading.Thread(target=lambda: (second.enter(), order.append("second"), second.leave()))
    waiting.start()
    # As soon as the second holds the turnstile, the first can only queue behind it.
    probe = Turnstile(tmp_path / "m.db", 0)
    for _ in range(100_000):
        if not _is_free(probe):
            break
    first.leave()
    first.enter()
    order.append("first")
    first.leave()
    waiting.join(5)
    for turnstile in (first, second, probe):
        turnstile.close()
    assert order == ["second", "first"]


def _is_free(probe: Turnstile) -> bool:
    import fcntl

    if not probe._descriptors:
        probe._open()
    try:
        fcntl.flock(probe._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(probe._turn, fcntl.LOCK_UN)
    return True


def test_a_turnstile_that_was_never_used_can_be_left_and_closed(tmp_path: Path) -> None:
    turnstile = Turnstile(tmp_path / "m.db")
    turnstile.leave()
    turnstile.close()
    assert list(tmp_path.iterdir()) == []


def test_lock_files_that_cannot_be_made_are_an_outage_with_a_reason(tmp_path: Path) -> None:
    turnstile = Turnstile(tmp_path / "missing" / "m.db")
    with pytest.raises(StoreUnavailable, match=r"cannot write to .*m\.db-turn: No such file or directory"):
        turnstile.enter()
