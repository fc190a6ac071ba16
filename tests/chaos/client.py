"""Enqueue and cancel at a steady rate, and write down durably what was acknowledged: a user's own process.

Started as ``python client.py CONFIG ACCEPTED RATE BEGAN SEED`` (BEGAN in seconds since boot); ends on SIGTERM. One that
was killed goes on where the one before it was: what an outage kept it from asking for, it asks for afterwards.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections import deque
from importlib import import_module
from pathlib import Path
from typing import Any

import mainspring
from mainspring.clock import SystemClock

_PAUSE = 0.2
_LINE = 37
"""Bytes of an id with its line break."""


def main() -> None:
    """Run until told to stop."""
    config, accepted, rate, began, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
    sys.path.insert(0, str(Path(config).parent))
    tasks = import_module("tasks")

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    clock, dice = SystemClock(), random.Random(f"{seed} {os.getpid()}")
    ledger = os.open(accepted, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    recent: deque[Any] = deque(maxlen=40)
    asked, tickets = os.fstat(ledger).st_size // _LINE, 0
    with mainspring.connect(config=config) as client:
        while not clock.wait(stop, _PAUSE):
            owed = min(int((clock.monotonic() - began) * rate) - asked, 40)
            while owed > 0 and not stop.is_set():
                count, tickets = min(dice.choice((1, 1, 2, 8)), owed), tickets + 1
                try:
                    runs = _enqueue(client, dice.choice(tasks.ALL), count, f"{os.getpid()}-{tickets}", dice)
                    os.write(ledger, "".join(f"{run.id}\n" for run in runs).encode("ascii"))
                    os.fsync(ledger)
                    asked, owed = asked + count, owed - count
                    recent.extend(runs)
                    if dice.random() < 0.05:
                        dice.choice(recent).cancel("the client changed its mind")
                except mainspring.MainspringError as error:
                    sys.stderr.write(f"client: {type(error).__name__}: {error}\n")
                    break


def _enqueue(client: Any, task: Any, count: int, ticket: str, dice: random.Random) -> list[Any]:
    each = [{"ticket": f"{ticket}-{n}", "seconds": _seconds(dice), "bad": dice.random() < 0.02} for n in range(count)]
    if count == 1:
        return [client.enqueue(task, **each[0])]
    return list(client.enqueue_many(task, each))


def _seconds(dice: random.Random) -> float:
    least, most = dice.choices([(0.05, 0.4), (0.4, 1.5), (2.0, 5.0)], [85, 13, 2])[0]
    return round(dice.uniform(least, most), 3)


if __name__ == "__main__":
    main()
