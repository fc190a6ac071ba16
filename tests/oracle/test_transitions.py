"""The short form of `python -m tests.oracle`: the zones whose clocks change most strangely, and some of each year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from mainspring.domain.triggers import parse_cron, parse_fields, trigger_from_definition
from mainspring.testing.oracle import fire_times
from tests.oracle.transitions import Transition, differences, transitions, zones

STRANGE = {
    "Africa/Cairo": 8,
    "Africa/Casablanca": 16,
    "America/New_York": 12,
    "America/Sao_Paulo": 6,
    "America/St_Johns": 12,
    "Antarctica/Casey": 2,
    "Antarctica/Troll": 10,
    "Asia/Gaza": 16,
    "Asia/Tehran": 10,
    "Australia/Lord_Howe": 8,
    "Europe/Berlin": 12,
    "Pacific/Apia": 4,
    "Pacific/Fakaofo": 1,
    "Pacific/Norfolk": 10,
}
"""Zone to stride: every so many of its transitions are looked at."""


@pytest.mark.parametrize("zone", STRANGE)
def test_cron_triggers_agree_with_brute_force_around_changes_of_clocks(zone):
    found = [str(difference) for change in transitions(zone)[:: STRANGE[zone]] for difference in differences(change)]
    assert found == []


def test_the_oracle_sees_a_trigger_that_is_wrong(monkeypatch):
    change = Transition("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC), timedelta(hours=1))

    def deaf_to_policies(text, zone, _policy):
        return parse_cron(text, zone)

    monkeypatch.setattr("tests.oracle.transitions.parse_cron", deaf_to_policies)
    seen = {(difference.expression, difference.policy.gap) for difference in differences(change)}
    assert ("30 2 * * *", "skip") in seen


def test_no_zone_has_changed_its_offset_twice_within_two_days():
    # The search for the next fire time and the daily look for shifts rest on this.
    close = [
        (change.zone, change.at, later.at)
        for zone in zones()[::20]
        for changes in [transitions(zone, 1975, 2037)]
        for change, later in pairwise(changes)
        if later.at - change.at < timedelta(days=2)
    ]
    assert close == []


@pytest.mark.parametrize(
    "definition",
    [
        {"cron": "@weekly"},
        {"cron": "H H(1-4) * * *"},
        {"cron": "H/20 * * * FRI-SUN"},
        {"cron": "0 9 13 * 5"},
        {"cron": "30 0 9 LW * *"},
        {"fields": {"hour": "9-17/4", "day_of_week": "0-4"}},
        {"fields": {"day": "last, 2nd tue", "hour": 2, "minute": 30}},
        {"fields": {"week": "5-20/3", "day_of_week": "sun"}},
        {"fields": {"day_of_week": "sun", "minute": "*/30", "second": "10,50"}},
        {"every": "7h13m0.5s"},
        {"calendar": {"months": 1, "day": 31, "time": "02:30"}},
        {"calendar": {"months": 1, "day": 31, "time": "02:30", "short_month": "skip"}},
        {"calendar": {"weeks": 3, "weekday": "sunday", "time": "01:30:20"}},
        {"calendar": {"days": 5, "time": "02:00"}},
        {"calendar": {"years": 1, "month": 2, "day": 29}},
        {"at": "2026-04-05T02:15"},
    ],
    ids=str,
)
def test_every_kind_of_trigger_agrees_with_brute_force_over_months(definition):
    trigger = trigger_from_definition(
        definition, "Australia/Lord_Howe", seed="nightly", created_at=datetime(2026, 1, 5, tzinfo=UTC)
    )
    after, until = datetime(2026, 1, 20, 5, 7, 3, tzinfo=UTC), datetime(2026, 5, 10, tzinfo=UTC)
    found = []
    moment = trigger.next_after(after)
    while moment is not None and moment <= until:
        found.append(moment)
        moment = trigger.next_after(moment)
    assert found == fire_times(trigger.to_json(), after, until)
    assert found


def test_fields_agree_with_the_same_cron_text():
    fields = parse_fields({"hour": "9-17", "day_of_week": "0-4"}, "America/Sao_Paulo")
    cron = parse_cron("0 9-17 * * 1-5", "America/Sao_Paulo")
    window = datetime(2018, 10, 1, tzinfo=UTC), datetime(2018, 12, 1, tzinfo=UTC)
    assert fire_times(fields.to_json(), *window) == fire_times(cron.to_json(), *window)
