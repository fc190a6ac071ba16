"""Do what a peer's user does, told by lines of JSON: ``python -m benchmarks.peers.host DRIVER``."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any, Protocol

from benchmarks.trace import now


class Driver(Protocol):
    """What a driver module offers as ``Driver``; it reads its database's address from the environment."""

    def reset(self) -> None:
        """Begin with nothing in the queue."""

    def bulk(self, n: int) -> None:
        """Put runs numbered from 0 in, in the way made for many."""

    def single(self, number: int) -> None:
        """Put one run in."""

    def is_idle(self) -> bool:
        """Return whether nothing waits and nothing runs."""


def answer(driver: Driver, call: str, *given: Any) -> Any:
    """Do what is asked and return the reply."""
    began = now()
    if call == "singles":
        for number in range(*given):
            driver.single(number)
        return now() - began
    if call == "probe":
        driver.single(*given)
        return began
    reply = getattr(driver, call)(*given)
    return now() - began if reply is None else reply


def main(name: str) -> None:
    """Answer until there is nothing more to read."""
    replies = os.fdopen(os.dup(1), "w")
    # Whatever a library prints must not look like a reply.
    os.dup2(2, 1)
    driver = import_module(f"benchmarks.peers.{name}").Driver()
    for line in sys.stdin:
        replies.write(json.dumps(answer(driver, *json.loads(line))) + "\n")
        replies.flush()


if __name__ == "__main__":
    main(sys.argv[1])
