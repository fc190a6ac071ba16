"""No fault at any statement or commit breaks a promise; and the sweep that says so finds what is broken."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.servers import PostgresCluster

SEED = "20260302"
_PATIENCE = 300
pytestmark = pytest.mark.timeout(_PATIENCE)


def sweep(*arguments: str) -> tuple[int, str]:
    """Sweep in a process that has no threads and no databases open: it forks."""
    command = [sys.executable, "-m", "tests.crashpoints", "--seed", SEED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    return done.returncode, done.stdout + done.stderr


def test_no_fault_at_a_point_chosen_by_the_seed_breaks_a_promise(shared_postgres: PostgresCluster) -> None:
    code, said = sweep("--every", "30", "--server", shared_postgres.socket_url())

    assert code == 0, said
    assert re.search(r"\n\d{3,} faults struck, 0 violations, seed 20260302", said), said


@pytest.mark.parametrize(
    ("plant", "scenario", "every", "says"),
    [
        pytest.param("mark apart", "fire", "4", "fire_time_missing", id="the mark moves before the runs are there"),
        pytest.param("no fence", "finish", "1", "I5", id="whoever lost an attempt may still end it"),
        pytest.param("once more", "heartbeat and stop", "4", "I3", id="what happens at most once is given back"),
    ],
)
def test_a_planted_bug_is_found(plant: str, scenario: str, every: str, says: str) -> None:
    code, said = sweep("--database", "sqlite", "--scenario", scenario, "--plant", plant, "--every", every)

    assert code == 1, said
    assert re.search(f"\nVIOLATION .*{says}", said), said


def test_a_sweep_that_strikes_nothing_proves_nothing() -> None:
    code, said = sweep("--database", "sqlite", "--scenario", "stage", "--every", "0")

    assert code == 1, said
    assert "0 faults struck" in said
