"""Compare triggers with brute force over all zone transitions from 2000 to 2037: `python -m tests.oracle`."""

from __future__ import annotations

import sys
from datetime import timedelta
from itertools import pairwise

from mainspring.domain.zones import tzdata_version
from tests.oracle.transitions import EXPRESSIONS, POLICIES, differences, distinct_histories, zones


def main() -> int:
    """Print progress, every difference, and a last line with the counts; return 1 if there was a difference."""
    names = zones()
    histories = distinct_histories(names)
    total = sum(len(history) for history in histories)
    print(f"tzdata {tzdata_version()}: {len(names)} zones, {len(histories)} distinct histories, {total} transitions")
    closest = min(later.at - change.at for history in histories for change, later in pairwise(history))
    print(f"closest transitions of one zone: {closest} apart; triggers rest on at least 2 days", flush=True)
    done = different = 0
    for history in histories:
        for change in history:
            for difference in differences(change):
                different += 1
                print(f"DIFFERENCE {difference}")
            done += 1
            if done % 500 == 0:
                print(f"{done} of {total} transitions, {different} differences", flush=True)
    windows = done * len(EXPRESSIONS)
    print(f"{windows} windows, {windows * len(POLICIES)} checks, {different} differences")
    return 1 if different or closest < timedelta(days=2) else 0


if __name__ == "__main__":
    sys.exit(main())
