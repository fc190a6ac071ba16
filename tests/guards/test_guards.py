"""The list of guards does not rot, and its tests notice when a guard is gone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.guards.guards import GUARDS, Guard
from tests.guards.mutate import ROOT

SEED = "20260302"
_LEAST = 40
_PATIENCE = 300
pytestmark = pytest.mark.timeout(_PATIENCE)


def name_of(guard: Guard) -> str:
    """Return the guard's name, as an id of a test."""
    return guard.name


def test_there_are_as_many_guards_as_ever_and_each_has_a_name_of_its_own() -> None:
    assert len(GUARDS) >= _LEAST
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)


@pytest.mark.parametrize("guard", GUARDS, ids=name_of)
def test_a_guard_is_where_the_list_says_once_and_something_else_takes_its_place(guard: Guard) -> None:
    text = (ROOT / "src/mainspring" / guard.file).read_text(encoding="utf-8")

    assert [text.count(find) for find, _ in guard.changes] == [1] * len(guard.changes)
    assert all(find != put for find, put in guard.changes)


def test_every_test_that_is_to_notice_exists() -> None:
    names = sorted({guard.test for guard in GUARDS})

    done = python("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *names)

    assert done.returncode == 0, done.stdout + done.stderr
    found = done.stdout.splitlines()
    assert [name for name in names if not any(line.startswith(name) for line in found)] == []


def test_two_guards_chosen_by_the_seed_are_missed_when_they_are_gone() -> None:
    done = python("-m", "tests.guards", "--some", "2", "--seed", SEED, "--trust")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 guards, 0 survived" in done.stdout


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run something of this tree."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE, check=False)
