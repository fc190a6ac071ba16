"""A worker process that stood still beyond its lease (SIGSTOP, a laptop's lid) does no harm when it goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainspring.app import open_database
from mainspring.clock import SystemClock, boot_id
from mainspring.domain.states import RunState
from mainspring.ids import RunId
from mainspring.services.enqueue import Enqueuer, Request
from mainspring.services.maintenance import Rescuer
from mainspring.store.database import Database
from mainspring.store.runs import list_attempts, result_of
from tests.runtime.arrange import until
from tests.runtime.stoppable import hold, quick
from tests.store.arrange import claim_one, finish, look, open_session, outcome

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest) -> str:
    """The address of a migrated, empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('sqlite_file')}"
    return str(request.getfixturevalue("postgres_store_url"))


@pytest.fixture
def real(address: str) -> Iterator[Database]:
    """The database, judged by real clocks."""
    database = open_database(address)
    yield database
    database.close()


@contextmanager
def worker_process(address: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Give a worker process; it is killed in the end."""
    with (folder / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", "tests.runtime.stoppable", address, str(folder)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def test_what_a_process_holds_is_neither_recorded_nor_begun_after_it_stood_still_beyond_its_lease(
    address: str, real: Database, tmp_path: Path
) -> None:
    clock, gate = SystemClock(), tmp_path / "gate"
    enqueuer, rescuer = Enqueuer(real, clock), Rescuer(real, clock, boot_id())

    def state(run_id: RunId) -> RunState:
        return look(real, run_id).state

    with worker_process(address, tmp_path) as process:
        held = enqueuer.enqueue(Request(hold, {"gate": str(gate)}))
        until(lambda: state(held) is RunState.RUNNING, "the worker has begun")
        old = look(real, held).session_id
        process.send_signal(signal.SIGSTOP)
        waiting = enqueuer.enqueue(Request(quick))
        until(lambda: rescuer.run_once().returned == (held,), "its lease runs out")
        mine = open_session(real, now=clock.now(), boot_id=boot_id())
        again = claim_one(real, mine, clock.now())
        assert (again.id, again.attempt, again.losses) == (held, 2, 1)
        # The call returns the moment the process goes on; its session has been dead for a while, and it does not know.
        gate.touch()
        process.send_signal(signal.SIGCONT)
        until(lambda: state(waiting) is RunState.SUCCEEDED, "the process goes on with a new session")
        run = look(real, held)
        assert (run.state, run.attempt, run.session_id) == (RunState.RUNNING, 2, mine)
        assert [(a.attempt, a.outcome) for a in real.read(lambda tx: list_attempts(tx, held))] == [(1, "lost")]
        assert real.read(lambda tx: result_of(tx, held)) is None
        assert look(real, waiting).session_id not in (old, mine)
        assert finish(real, mine, outcome(again, at=clock.now()), now=clock.now()).fenced == frozenset()
    assert "session_lost" in (tmp_path / "worker.log").read_text()


def test_a_process_that_stood_still_for_less_than_its_lease_goes_on(
    address: str, real: Database, tmp_path: Path
) -> None:
    clock, gate = SystemClock(), tmp_path / "gate"
    with worker_process(address, tmp_path) as process:
        held = Enqueuer(real, clock).enqueue(Request(hold, {"gate": str(gate)}))
        until(lambda: look(real, held).state is RunState.RUNNING)
        process.send_signal(signal.SIGSTOP)
        gate.touch()
        process.send_signal(signal.SIGCONT)
        until(lambda: look(real, held).state is RunState.SUCCEEDED)
        assert look(real, held).attempt == 1
