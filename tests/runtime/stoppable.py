"""A worker process with a short lease, for tests that stop it: `python -m tests.runtime.stoppable DATABASE FOLDER`."""

from __future__ import annotations

import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

from mainspring.app import open_database
from mainspring.clock import SystemClock
from mainspring.domain.tasks import task
from mainspring.runtime import session
from mainspring.runtime.worker.worker import Worker, WorkerOptions
from mainspring.services.catalog import Catalog

LEASE_SECONDS = 3.0
_CLOCK = SystemClock()


@task(name="hold")
def hold(gate: str) -> str:
    """Return when the file *gate* is there."""
    while not Path(gate).exists():
        _CLOCK.wait(threading.Event(), 0.01)
    return "late"


@task(name="quick")
def quick() -> str:
    """Return at once."""
    return "done"


def main(address: str, folder: str) -> None:
    """Serve until SIGTERM."""
    session.LEASE = timedelta(seconds=LEASE_SECONDS)  # type: ignore[misc]
    session.RENEW_EVERY, session.TRUST_MARGIN = 0.5, 0.5  # type: ignore[misc]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    database = open_database(address)
    worker = Worker(
        database, _CLOCK, Catalog([hold, quick]),
        WorkerOptions("stoppable", slots=1, drain=timedelta(0), artifacts=Path(folder) / "artifacts"),
    )  # fmt: skip
    worker.start()
    stop.wait()
    worker.stop()
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
