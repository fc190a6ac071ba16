"""PgQueuer on PostgreSQL with asyncpg and an ``async def`` entry point."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.trace import hit

_ADDRESS = os.environ["PEER_DATABASE"]
_BATCH = 1_000


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    """Give the worker to ``pgq run``."""
    worker = PgQueuer(AsyncpgDriver(await asyncpg.connect(_ADDRESS)))

    @worker.entrypoint("work")
    async def work(job: Job) -> None:
        assert job.payload is not None
        hit(json.loads(job.payload)["number"])

    yield worker


class Driver:
    """PgQueuer's client."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._queries: Queries | None = None

    def reset(self) -> None:
        """Make the tables in the new database."""
        program = Path(sys.executable).with_name("pgq")
        subprocess.run([str(program), "--pg-dsn", _ADDRESS, "install"], check=True, stdout=subprocess.DEVNULL)

    def bulk(self, n: int) -> None:
        """Put runs in, a thousand a call."""
        for first in range(0, n, _BATCH):
            payloads = [_payload(number) for number in range(first, min(first + _BATCH, n))]
            self._run(self._client.enqueue(["work"] * len(payloads), payloads, [0] * len(payloads)))

    def single(self, number: int) -> None:
        """Put one run in."""
        self._run(self._client.enqueue("work", _payload(number)))

    def is_idle(self) -> bool:
        """Return whether nothing is queued or picked."""
        return not self._run(
            self._connection.fetchval("SELECT EXISTS (SELECT 1 FROM pgqueuer WHERE status <> 'failed')")
        )

    @property
    def _client(self) -> Queries:
        if self._queries is None:
            self._connection = self._run(asyncpg.connect(_ADDRESS))
            self._queries = Queries(AsyncpgDriver(self._connection))
        return self._queries

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)


def _payload(number: int) -> bytes:
    return json.dumps({"number": number}).encode()
