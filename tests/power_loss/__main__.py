"""The long form: ``python -m tests.power_loss [--images 1500] [--commits 500] [--seed N]``."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.power_loss.judging import crash_everywhere
from tests.power_loss.tracing import record
from tests.store.disk_full import fast_folder

_SHARES = (("wal", "FULL", 0.7), ("truncate", "FULL", 0.2), ("wal", "NORMAL", 0.1))


def main() -> int:
    """Record, lose the power many times, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_500)
    parser.add_argument("--commits", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    good = True
    for journal, synchronous, share in _SHARES:
        with tempfile.TemporaryDirectory() as place, fast_folder() as folder:
            events = record(Path(place), given.commits, synchronous, journal)
            found = crash_everywhere(events, round(given.images * share), given.seed, folder)
        flushes = sum(event.kind == "sync" for event in events)
        print(f"{journal} {synchronous}: {len(events):,} events, {flushes:,} flushes; {found.in_words()}", flush=True)
        for text in [*found.damaged, *(found.losses if synchronous == "FULL" else [])][:20]:
            print(f"  {text}")
        # With NORMAL acknowledged work must get lost, or the images are too gentle.
        good &= not found.damaged and bool(found.lost) == (synchronous == "NORMAL")
    print("as promised" if good else "NOT as promised")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
