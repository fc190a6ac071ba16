"""A worker as a process of its own, to be killed or frozen: python -m tests.isolation.worker_process FOLDER."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from pathlib import Path

from mainspring.runtime import session
from tests.isolation import tasks
from tests.isolation.arrange import House, until


def main(folder: Path) -> None:
    """Run a task that waits with a child; say when it has begun."""
    session.LEASE, session.RENEW_EVERY = timedelta(seconds=4), 0.5  # type: ignore[misc]
    house = House(folder, tasks.ALL, "tests.isolation.tasks:load")
    house.worker.start()
    runs = [house.enqueue(tasks.waits, mark=str(folder / "mark")) for _ in range(2)]
    until(lambda: all(house.view(run_id).progress for run_id in runs))
    print("begun", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
