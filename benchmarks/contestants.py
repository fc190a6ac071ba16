"""Those who are measured, behind one interface: Mainspring, as its users use it, and peers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import yaml
from sqlalchemy import func, select, text

import mainspring
from benchmarks import tasks
from benchmarks.ground import Ground
from benchmarks.processes import Process
from benchmarks.processes import mainspring as command
from benchmarks.trace import Trace, now
from mainspring.app import Application, load_project, register
from mainspring.store.database import Database
from mainspring.store.schema import ready, runs, worker_sessions


class Contestant(Protocol):
    """A queue with its workers."""

    name: str

    def reset(self) -> None:
        """Begin with an empty database."""

    def bulk(self, n: int) -> float:
        """Put *n* runs in, numbered from 0, in the way made for many; return the seconds it took."""

    def singles(self, n: int, threads: int = 1) -> float:
        """Put *n* runs in, one call each; return the seconds it took."""

    def probe(self, number: int) -> float:
        """Put one run in; return the instant just before."""

    def start(self, slots: int | None) -> Process:
        """Start one worker process."""

    def is_idle(self) -> bool:
        """Return whether nothing waits and nothing runs."""

    def close(self) -> None:
        """Let go of everything."""


class Mainspring:
    """Mainspring on a database: work comes through the public client, workers are started by the command."""

    def __init__(self, ground: Ground, folder: Path, trace: Trace, task: Any = tasks.coroutine) -> None:
        """Use databases of *ground*, a folder of its own below *folder*, and *task*."""
        kind = "async def" if task.is_async else "def"
        self.name, self._ground, self._trace, self._task = f"Mainspring, {kind}", ground, trace, task
        self._folder = folder / f"project-{ground.kind}"
        self._folder.mkdir(exist_ok=True)
        self.address = ""
        self._client: mainspring.Client | None = None

    @property
    def config(self) -> Path:
        """Return the configuration; all that is not said in it has its default."""
        return self._folder / "mainspring.yaml"

    @property
    def client(self) -> mainspring.Client:
        """Return the client."""
        assert self._client is not None
        return self._client

    @property
    def application(self) -> Application:
        """Return the services on the database: for arranging and looking, never for what is measured."""
        return self.client._application

    def reset(self) -> None:
        """Begin with a new database."""
        self.close()
        self.address = self._ground.fresh()
        settings = {"database": self.address, "tasks": ["benchmarks.tasks"]}
        self.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.reconnect()
        register(self.application, load_project(self.config, {}))

    def bulk(self, n: int) -> float:
        """Put *n* runs in by `Client.enqueue_many`."""
        began = now()
        self.client.enqueue_many(self._task, [{"number": number} for number in range(n)])
        return now() - began

    def singles(self, n: int, threads: int = 1) -> float:
        """Put *n* runs in by `Client.enqueue`, from so many *threads*."""
        shares = [range(first, n, threads) for first in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            began = now()
            for _ in pool.map(self._each, shares):
                pass
            return now() - began

    def _each(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.client.enqueue(self._task, number=number)

    def probe(self, number: int) -> float:
        """Enqueue one run."""
        began = now()
        self.client.enqueue(self._task, number=number)
        return began

    def start(self, slots: int | None = None) -> Process:
        """Start a worker."""
        return self.process("worker", *(() if slots is None else ("--slots", str(slots))))

    def process(self, *words: str) -> Process:
        """Start any command of Mainspring on the project."""
        return Process(command("--config", str(self.config), *words), self._folder, self._trace.path)

    def is_idle(self) -> bool:
        """Return whether no run is ready or running."""
        queued = select(func.count()).select_from(select(ready.c.run_id).limit(1).subquery())
        return not self.application.database.read(
            lambda tx: tx.core(queued).scalar() or tx.core(select(_running())).scalar()
        )

    def live_sessions(self) -> set[str]:
        """Return kind and id of each process that is ready."""
        query = select(worker_sessions.c.kind, worker_sessions.c.id).where(worker_sessions.c.state == "live")
        return {f"{row.kind} {row.id}" for row in self.application.database.read(lambda tx: tx.core(query).all())}

    def disconnect(self) -> None:
        """Close the client; the database stays."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def reconnect(self) -> None:
        """Open the client again."""
        self._client = mainspring.connect(config=self.config)

    def close(self) -> None:
        """Close the client and drop the database."""
        self.disconnect()
        if self.address:
            self._ground.drop(self.address)
            self.address = ""


def require_succeeded(database: Database, n: int) -> None:
    """Make sure that *n* runs have succeeded.

    Raises:
        AssertionError: otherwise; what was measured is worth nothing then.
    """
    query = select(func.count()).select_from(runs).where(runs.c.state == "succeeded")
    found = database.read(lambda tx: tx.core(query).scalar())
    if found != n:
        raise AssertionError(f"{found} of {n} runs have succeeded")


def _running() -> Any:
    # The state in full, so that the partial index on running runs is used.
    return select(runs.c.id).where(runs.c.state == text("'running'")).exists()
