"""The peers as contestants."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.ground import Ground, PostgresGround
from benchmarks.processes import ROOT, Process
from benchmarks.trace import Trace

PYTHON = ROOT / "benchmarks" / ".peers" / "bin" / "python"


class _Client:
    """A process of a peer's own Python that does what it is told."""

    def __init__(self, driver: str, folder: Path, environ: dict[str, str]) -> None:
        self._driver = driver
        self._popen = subprocess.Popen(
            [str(PYTHON), "-m", "benchmarks.peers.host", driver],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=environ,
        )  # fmt: skip

    def ask(self, *call: Any) -> Any:
        """Return the reply to *call*."""
        to, back = self._popen.stdin, self._popen.stdout
        assert to is not None
        assert back is not None
        to.write(json.dumps(call) + "\n")
        to.flush()
        line = back.readline()
        if not line:
            raise RuntimeError(f"the client {self._driver} has ended; it said why above")
        return json.loads(line)

    def close(self) -> None:
        """Let it end."""
        self._popen.communicate(timeout=30)


class Peer:
    """A peer in its own environment; a process of its own is its client."""

    def __init__(self, name: str, driver: str, folder: Path, trace: Trace) -> None:
        self.name, self._driver, self._trace = name, driver, trace.path
        self._folder = folder / driver
        self._folder.mkdir(exist_ok=True)
        self._client: _Client | None = None
        self._round = 0

    def database(self) -> str:
        """Return where a new queue is to live."""
        raise NotImplementedError

    def worker(self, slots: int | None) -> list[str]:
        """Return the command of a worker with so many *slots*."""
        raise NotImplementedError

    def reset(self) -> None:
        """Begin with an empty queue and a new client."""
        self.close()
        self._round += 1
        self._environ = {"PEER_DATABASE": self.database(), "PYTHONPATH": str(ROOT)}
        self._client = _Client(self._driver, self._folder, self._environ)
        self._ask("reset")

    def bulk(self, n: int) -> float:
        """Put *n* runs in; return the seconds it took."""
        return float(self._ask("bulk", n))

    def singles(self, n: int, threads: int = 1) -> float:
        """Put *n* runs in, one call each, from one thread."""
        return float(self._ask("singles", n))

    def probe(self, number: int) -> float:
        """Put one run in; return the instant just before."""
        return float(self._ask("probe", number))

    def start(self, slots: int | None = None) -> Process:
        """Start a worker."""
        return Process(self.worker(slots), self._folder, self._trace, self._environ)

    def is_idle(self) -> bool:
        """Return whether nothing waits and nothing runs."""
        return bool(self._ask("is_idle"))

    def close(self) -> None:
        """End the client."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, *call: Any) -> Any:
        assert self._client is not None
        return self._client.ask(*call)


class Huey(Peer):
    """Huey on SQLite, two threads unless told otherwise."""

    def __init__(self, folder: Path, trace: Trace) -> None:
        super().__init__("Huey on SQLite", "huey_driver", folder, trace)

    def database(self) -> str:
        """Return a new file."""
        return str(self._folder / f"queue-{self._round}.db")

    def worker(self, slots: int | None) -> list[str]:
        """Return the consumer with its default kind of workers, and as few as its documentation shows."""
        return [
            str(PYTHON.with_name("huey_consumer")),
            "benchmarks.peers.huey_driver.huey",
            "--workers",
            "2",
            "--quiet",
        ]


class PgQueuer(Peer):
    """PgQueuer, which takes as many jobs at once as we have slots."""

    def __init__(self, ground: PostgresGround, folder: Path, trace: Trace) -> None:
        super().__init__("PgQueuer on PostgreSQL", "pgqueuer_driver", folder, trace)
        self._ground = ground

    def database(self) -> str:
        """Return a new database."""
        return self._ground.empty()

    def worker(self, slots: int | None) -> list[str]:
        """Return the runner."""
        batch = () if slots is None else ("--batch-size", str(slots))
        return [str(PYTHON.with_name("pgq")), "run", "benchmarks.peers.pgqueuer_driver:main", *batch]


def peers_on(ground: Ground, folder: Path, trace: Trace) -> list[Peer]:
    """Return the peers that work on this kind of database."""
    return [PgQueuer(ground, folder, trace)] if isinstance(ground, PostgresGround) else [Huey(folder, trace)]


def versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    done = subprocess.run([str(PYTHON), "-m", "pip", "freeze"], capture_output=True, text=True, check=True)
    found = dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)
    return {"peers": ", ".join(f"{name} {found[name]}" for name in ("pgqueuer", "asyncpg", "uvloop", "huey"))}
