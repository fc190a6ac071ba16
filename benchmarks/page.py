"""Put the tables into the page on performance, between two marks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.figures import Report
from benchmarks.processes import ROOT

PAGE: Final = ROOT / "docs" / "explanation" / "performance.md"
BEGIN: Final = "<!-- figures: written by `python -m benchmarks --write-docs` -->"
END: Final = "<!-- end of figures -->"


def write(report: Report, path: Path = PAGE) -> None:
    """Replace what stands between the marks of the page at *path*."""
    text = path.read_text(encoding="utf-8")
    path.write_text(replaced(text, report.to_markdown()), encoding="utf-8")


def require_marks(path: Path = PAGE) -> None:
    """Make sure that figures have a place on the page at *path*, before hours are spent on them.

    Raises:
        ValueError: the page is not there, or has no marks.
    """
    if not path.is_file():
        raise ValueError(f"there is no page {path}")
    replaced(path.read_text(encoding="utf-8"), "")


def replaced(text: str, figures: str) -> str:
    """Return *text* with *figures* between its marks.

    Raises:
        ValueError: there are no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{before}{begin}\n\n{figures}\n{end}{after}"
