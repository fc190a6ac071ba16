"""Huey on SQLite with its defaults: no fsync, and a task is taken out of the queue before it runs."""

from __future__ import annotations

import os

from huey import SqliteHuey

from benchmarks.trace import hit

huey = SqliteHuey("benchmark", filename=os.environ["PEER_DATABASE"])


@huey.task()
def work(number: int) -> None:
    """Start and end."""
    hit(number)


class Driver:
    """Huey's client."""

    def reset(self) -> None:
        """Begin with nothing in the queue."""
        huey.storage.flush_all()

    def bulk(self, n: int) -> None:
        """Put runs in one by one: there is no other way."""
        for number in range(n):
            work(number)

    def single(self, number: int) -> None:
        """Put one run in."""
        work(number)

    def is_idle(self) -> bool:
        """Return whether nothing waits; it keeps no record of what runs."""
        return not len(huey)
