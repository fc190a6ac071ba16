"""What the text of a statement must say, although the planners of today would do the same without it."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STATEMENTS = sorted(
    entry.name for entry in files("mainspring.store").joinpath("postgres").iterdir() if entry.name.endswith(".sql")
)
_PART = re.compile(r"(\w+) AS( MATERIALIZED)? \((?=\s*SELECT)")


def parts(text: str) -> list[tuple[str, bool, str]]:
    """Return the selecting parts of a WITH: name, whether it is materialized, and what it says."""
    found = []
    for match in _PART.finditer(text):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        found.append((match[1], match[2] is not None, text[match.end() : end - 1]))
    return found


@pytest.mark.parametrize("name", STATEMENTS)
def test_what_locks_or_limits_is_fenced_off_from_the_planner(name: str) -> None:
    text = files("mainspring.store").joinpath("postgres", name).read_text(encoding="utf-8")

    loose = [part for part, fenced, said in parts(text) if not fenced and re.search(r"\bLIMIT\b|\bFOR \w+", said)]

    assert loose == []


def test_the_parts_of_a_claim_are_seen() -> None:
    text = files("mainspring.store").joinpath("postgres", "claim_runs.sql").read_text(encoding="utf-8")

    assert [(name, fenced) for name, fenced, _ in parts(text)] == [("s", True), ("c", True), ("l", True)]
