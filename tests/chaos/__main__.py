"""Kill, freeze, fill, cut and step a whole installation again and again, and judge what it promised.

``python -m tests.chaos [--minutes 10] [--seed N] [--database sqlite|postgres|both] [--json FILE] [--keep]``
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path
from typing import Any

from tests.chaos.judging import Judgement
from tests.chaos.plan import Kind
from tests.chaos.show import missing_faults, show, write
from tests.promises.checker import Recovery


def main() -> int:
    """Run it; return 1 when a promise was broken."""
    options = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0, help="how long faults strike on each database")
    options.add_argument("--seed", type=int, default=None, help="drawn and printed unless given")
    options.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    options.add_argument("--json", type=Path, default=None, help="write the figures to this file as well")
    options.add_argument("--keep", action="store_true", help="keep logs and data even when nothing is wrong")
    given = options.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    kinds: tuple[Kind, ...] = ("sqlite", "postgres") if given.database == "both" else (given.database,)
    for fault, why in missing_faults().items():
        write(f"LEFT OUT: faults of kind {fault!r}: {why}")
    results: dict[str, Any] = {"seed": seed, "minutes": given.minutes, "left_out": missing_faults()}
    broken = 0
    for kind in kinds:
        write(f"{kind}: seed {seed}, {given.minutes:g} minutes")
        try:
            judgement, folder = show(kind, seed, given.minutes, keep=given.keep)
        except KeyboardInterrupt:
            write("stopped")
            return 130
        broken += len(judgement.violations)
        for line in table(judgement):
            write(line)
        results[kind] = figures(judgement) | {"folder": str(folder) if folder else None}
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write(f"seed {seed}: {broken} violations")
    return 1 if broken else 0


def table(judgement: Judgement) -> list[str]:
    """Return the figures for people."""
    rows = [
        ("runs", f"{judgement.runs:,} ({_listed(judgement.states)})"),
        ("attempts, effects", f"{judgement.attempts:,}, {judgement.effects:,}"),
        ("faults", _listed(judgement.strikes)),
        ("interrupted attempts", _listed(judgement.interrupted)),
        ("recovery", _waits(judgement.recovery)),
        ("recovery of children", _waits(judgement.child_recovery)),
        *((name.replace("_", " "), f"{value:,}") for name, value in judgement.extra.items()),
        ("violations", str(len(judgement.violations))),
    ]
    shown = [f"  ! {violation}" for violation in judgement.violations[:40]]
    if judgement.violations:
        shown += [f"  slow: {words}" for words in judgement.slowest]
    return [*(f"  {name:22}{value}" for name, value in rows), *shown]


def figures(judgement: Judgement) -> dict[str, Any]:
    """Return the figures for machines."""
    return {
        "runs": judgement.runs,
        "states": judgement.states,
        "attempts": judgement.attempts,
        "effects": judgement.effects,
        "faults": judgement.strikes,
        "interrupted": judgement.interrupted,
        "recovery": _seconds(judgement.recovery),
        "child_recovery": _seconds(judgement.child_recovery),
        **judgement.extra,
        "violations": [str(violation) for violation in judgement.violations],
    }


def _listed(counts: Any) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"


def _median(recovery: Recovery) -> float:
    waits = sorted(recovery.waits)
    return waits[len(waits) // 2] if waits else 0.0


def _waits(found: Recovery) -> str:
    middle = f"p50 {_median(found):.1f} s, p99 {found.p99:.1f} s, max {found.longest:.1f} s"
    return f"{middle} of {len(found.waits)}" if found.waits else "none"


def _seconds(found: Recovery) -> dict[str, float]:
    return {
        "count": len(found.waits),
        "p50": round(_median(found), 2),
        "p99": round(found.p99, 2),
        "max": round(found.longest, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
