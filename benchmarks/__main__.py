"""Measure Mainspring, the limit of its database and its peers side by side."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from benchmarks import machine, page
from benchmarks.figures import Figure, Report
from benchmarks.ground import Ground, grounds
from benchmarks.measures import MEASURES
from benchmarks.setting import QUICK, Setting, Sizes
from benchmarks.trace import Trace, now

_KINDS = ("sqlite", "postgres")


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is asked for; return 0 unless a measure broke."""
    options = _options()
    given = options.parse_args(words)
    if given.quick and given.write_docs:
        options.error("the figures of --quick mean nothing; they are not for the page")
    if given.write_docs:
        page.require_marks()
    with tempfile.TemporaryDirectory(prefix="mainspring-benchmark-", dir=given.folder) as name:
        folder = Path(name).absolute()
        # A server of ours may run as somebody else.
        folder.chmod(0o755)
        with grounds(folder, set(given.database or _KINDS)) as places:
            report = _measure(folder, places, given)
    if given.write_docs:
        page.write(report)
    sys.stdout.write(report.to_markdown())
    return 1 if report.left_out else 0


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--quick", action="store_true", help="see that everything works; the figures mean nothing")
    options.add_argument("--only", action="append", choices=list(MEASURES), help="this measure alone; may be repeated")
    options.add_argument("--database", action="append", choices=_KINDS, help="on this database alone")
    options.add_argument(
        "--peers", action="store_true", help="measure the peers as well; `make bench PEERS=1` installs"
    )
    options.add_argument("--folder", type=Path, help="where SQLite files go: a disk that is worth measuring")
    options.add_argument("--json", type=Path, help="write everything to this file as well")
    options.add_argument("--write-docs", action="store_true", help="put the tables into the page on performance")
    for size in fields(Sizes):
        kind = float if size.name == "seconds" else int
        names = ["--rounds", "--repeat"] if size.name == "rounds" else [f"--{size.name}"]
        options.add_argument(*names, type=kind, help=f"default {size.default:,}")
    return options


def _sizes(given: argparse.Namespace) -> Sizes:
    said = {size.name: getattr(given, size.name) for size in fields(Sizes)}
    return replace(
        QUICK if given.quick else Sizes(), **{name: value for name, value in said.items() if value is not None}
    )


def _measure(folder: Path, places: list[Ground], given: argparse.Namespace) -> Report:
    sizes = _sizes(given)
    report = Report(machine.facts(folder, places) | _peers(given.peers))
    report.facts["sizes"] = ", ".join(f"{size.name} {getattr(sizes, size.name):,}" for size in fields(sizes))
    trace = Trace(folder / "trace")
    for name in given.only or MEASURES:
        for ground in places:
            others = tuple(other for other in places if other is not ground)
            _take(report, name, Setting(ground, folder, trace, sizes, given.peers, others))
            if given.json is not None:
                # What has been measured is kept, whatever comes.
                given.json.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    return report


def _peers(with_peers: bool) -> dict[str, str]:
    if not with_peers:
        return {}
    from benchmarks.peers.contestants import versions

    return versions()


def _take(report: Report, name: str, setting: Setting) -> None:
    began = now()
    try:
        found: list[Figure] = MEASURES[name](setting)
    except Exception:  # one measure that breaks must not cost the hours of the others
        sys.stderr.write(traceback.format_exc())
        report.left_out.append(f"{name} on {setting.ground.kind} broke")
        return
    report.figures += found
    sys.stderr.write(f"{name} on {setting.ground.kind}: {now() - began:.0f} s\n")


if __name__ == "__main__":
    sys.exit(main())
