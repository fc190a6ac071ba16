"""Enqueue at a steady rate through the public client: ``python -m benchmarks.feeder CONFIG RATE SECONDS``."""

from __future__ import annotations

import sys

import mainspring
from benchmarks.tasks import coroutine
from benchmarks.trace import now, pause

_EVERY = 0.02
_NUMBER = -1
"""Nobody looks at these runs."""


def feed(config: str, rate: float, seconds: float) -> None:
    """Enqueue *rate* runs a second, a batch each 20 ms, for *seconds*."""
    with mainspring.connect(config=config) as client:
        began, sent = now(), 0
        while (passed := now() - began) < seconds:
            wanted = int(rate * passed) - sent
            client.enqueue_many(coroutine, [{"number": _NUMBER}] * wanted)
            sent += wanted
            pause(_EVERY)


if __name__ == "__main__":
    feed(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
