"""The short form of `python -m tests.simulation.years`: weeks around changes of clocks, and what it would notice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest

from mainspring.domain import occurrences
from tests.simulation.wall_clocks import Closed, Decision, LateRule, decisions
from tests.simulation.years import Part, first_difference


def _days(zones: Sequence[str], first: str, last: str, newer: str | None, seed: int) -> Part:
    start, end, swap_at = (day and datetime.fromisoformat(f"2026-{day}T00:00Z") for day in (first, last, newer))
    return Part(zones, start, end, swap_at, seed)


SPRING = _days(
    ("Europe/Berlin", "Africa/Cairo", "Asia/Amman", "Asia/Gaza", "Australia/Lord_Howe"), "03-26", "04-10", "04-06", 1
)
AUTUMN = _days(("America/New_York", "America/Havana", "Atlantic/Azores"), "10-23", "11-07", "11-03", 1)
FEW = _days(("Europe/Berlin", "Asia/Amman"), "03-27", "04-08", "04-06", 3)


@pytest.mark.parametrize("part", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_schedules_fire_as_brute_force_says_while_clocks_change_and_zone_data_too(part: Part) -> None:
    counts = part.run()
    assert counts.differences == []
    assert counts.expected > 300
    assert counts.outcomes["fired"] == counts.runs
    assert counts.outcomes["skipped"] + counts.outcomes["coalesced"] > 10
    assert bool(counts.recomputed) == (part.swap_at is not None)


def test_a_fire_time_that_is_decided_wrongly_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occurrences, "_barred", lambda spec, position, fire_at: None)
    assert any("expected was" in difference for difference in FEW.run().differences)


def test_a_fire_time_that_is_left_out_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    pending = occurrences._pending

    def forgetful(spec, mark, now, most):
        found, following = pending(spec, mark, now, most)
        return [moment for moment in found if moment.hour > 5], following

    monkeypatch.setattr(occurrences, "_pending", forgetful)
    assert any("expected was" in difference for difference in FEW.run().differences)


HOUR = 3600
ON_TIME, LATE = [0, HOUR, 2 * HOUR, 3 * HOUR], [0, 10 * HOUR]
TIMES = [HOUR, 2 * HOUR, 3 * HOUR]


@pytest.mark.parametrize(
    ("rule", "looks", "outcomes"),
    [
        (LateRule("latest", 30, 100, None), ON_TIME, ["fired", "fired", "fired"]),
        (LateRule("latest", 30, 100, None), LATE, ["coalesced", "coalesced", "fired"]),
        (LateRule("skip", 30, 100, None), LATE, ["skipped", "skipped", "skipped"]),
        (LateRule("skip", 7 * HOUR, 100, None), LATE, ["skipped", "skipped", "fired"]),
        (LateRule("all", 30, 2, None), LATE, ["skipped", "fired", "fired"]),
        (LateRule("all", 30, 100, 8 * HOUR), LATE, ["skipped", "fired", "fired"]),
        (LateRule("all", 30, 100, None), [0, 2 * HOUR], ["fired", "fired"]),
    ],
    ids=str,
)
def test_what_becomes_of_late_fire_times(rule: LateRule, looks: list[int], outcomes: list[str]) -> None:
    found = decisions(TIMES, looks, rule, Closed("UTC", weekends=False, days=frozenset()))
    assert [decision.outcome for decision in found] == outcomes


def test_a_day_that_is_left_out_does_not_make_what_follows_late() -> None:
    saturday = 2 * 86_400
    rule, closed = LateRule("latest", 30, 100, None), Closed("UTC", weekends=True, days=frozenset())
    found = list(decisions([saturday, saturday + 2 * 86_400], [0, saturday + 2 * 86_400], rule, closed))
    assert found == [Decision(saturday, "skipped", "calendar"), Decision(saturday + 2 * 86_400, "fired", None)]


def test_a_stretch_in_the_ledger_stands_for_each_of_its_fire_times() -> None:
    expected = [Decision(60, "skipped", "missed"), Decision(120, "skipped", "missed"), Decision(180, "fired", None)]
    rows = [(60_000_000, 120_000_000, 2, "skipped", "missed"), (180_000_000, 180_000_000, 1, "fired", None)]
    assert first_difference(expected, rows) == ""
    assert "missing" in first_difference(expected, rows[:1])
    assert "not expected" in first_difference(expected[:2], rows)
    assert "expected was" in first_difference(expected, [(60_000_000, 180_000_000, 3, "skipped", "missed")])
