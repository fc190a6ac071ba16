"""The short form of the chaos run; the long form is a command (see the Makefile)."""

from __future__ import annotations

import os

import pytest

from tests.chaos.show import show


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_installation_keeps_its_promises_while_it_is_killed_frozen_and_full() -> None:
    judgement, _ = show("sqlite", seed=int(os.environ.get("CHAOS_SEED", "1")), minutes=0.25)
    assert not judgement.violations, "\n".join(map(str, judgement.violations))
    assert judgement.strikes == {"kill": 4, "stop": 1, "full": 1, "clock": 1}
