"""Resources are edited while they are used, by the file and by hand, and nobody's edit is lost in silence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from mainspring.domain.rate import Rate
from mainspring.domain.resource_limits import BreakerRule, LimitsInvalid, ResourceLimits
from mainspring.domain.resources import Report, ResourceState, admit, report
from mainspring.errors import Conflict, InvalidInput, UnknownName
from mainspring.ids import uuid7
from mainspring.services.resources import Resources, Standing
from mainspring.store import resources as stored
from mainspring.store.database import Database
from mainspring.store.schema import audit, holdings, holds
from tests.services.arrange import Faulty, Installation
from tests.store.arrange import MINUTE, NOON, SECOND

FOUR = ResourceLimits(concurrency=4)
FIVE_A_SECOND = ResourceLimits(rate=Rate(5, SECOND))


@pytest.fixture
def resources(installation: Installation) -> Resources:
    """The service on an empty database."""
    return Resources(installation.database, installation.clock)


def actions(database: Database) -> list[tuple[str, str, str]]:
    rows = database.read(lambda tx: tx.core(select(audit.c.actor, audit.c.action, audit.c.subject)).all())
    return sorted((row[0], row[1], row[2]) for row in rows)


def keep(database: Database, name: str, state: ResourceState) -> None:
    """Write a state as an attempt's end does."""
    database.write(lambda tx: stored.put_state(tx, name, state, NOON, "worker", "test", {}))


def test_the_file_declares_edits_and_takes_back(installation: Installation, resources: Resources) -> None:
    done = resources.apply({"brapi": FOUR, "bcb": FIVE_A_SECOND}, "ann")
    assert (done.added, done.in_words()) == (("bcb", "brapi"), "2 added")
    assert [(one.name, one.limits, one.source) for one in resources.all()] == [
        ("bcb", FIVE_A_SECOND, "file"), ("brapi", FOUR, "file"),
    ]  # fmt: skip
    assert not resources.apply({"brapi": FOUR, "bcb": FIVE_A_SECOND}, "ann").changed
    done = resources.apply({"brapi": FIVE_A_SECOND}, "ann")
    assert (done.edited, done.removed) == (("brapi",), ("bcb",))
    assert [(one.name, one.limits, one.source) for one in resources.all()] == [
        ("bcb", ResourceLimits(), ""), ("brapi", FIVE_A_SECOND, "file"),
    ]  # fmt: skip
    assert (
        actions(installation.database)
        == [("ann", "resource.edit", "bcb")] * 2 + [("ann", "resource.edit", "brapi")] * 2
    )


def test_an_edit_by_hand_outlives_the_file_and_is_told(resources: Resources) -> None:
    resources.apply({"brapi": FOUR}, "ann")
    _, version = resources.find_limits("brapi")
    assert resources.set_limits("brapi", FIVE_A_SECOND, version, "bob").edited_by == "bob"
    done = resources.apply({"brapi": FOUR}, "ann")
    assert done.kept == (
        f"resource 'brapi' was edited by bob on {NOON.date()} and differs from the file: it has '5/s', the file "
        "'4 at a time'; `mainspring apply --reset-resources` takes the file's",
    )
    assert resources.require("brapi").limits == FIVE_A_SECOND
    assert resources.apply({"brapi": FOUR}, "ann", reset=True).edited == ("brapi",)
    assert (resources.require("brapi").limits, resources.require("brapi").edited_by) == (FOUR, None)


def test_what_was_made_by_hand_outlives_a_file_that_does_not_know_it(resources: Resources) -> None:
    resources.set_limits("brapi", FOUR, 0, "bob")
    assert not resources.apply({}, "ann").changed
    assert resources.require("brapi").limits == FOUR
    assert resources.apply({}, "ann", reset=True).removed == ("brapi",)


def test_an_edit_by_hand_that_the_file_says_as_well_is_the_files(resources: Resources) -> None:
    resources.set_limits("brapi", FOUR, 0, "bob")
    assert not resources.apply({"brapi": FOUR}, "ann").changed
    assert resources.require("brapi").source == "file"


def test_of_two_edits_of_the_same_limits_the_second_is_refused(resources: Resources) -> None:
    resources.set_limits("brapi", FOUR, 0, "ann")
    with pytest.raises(Conflict, match="the limits of resource 'brapi' were edited meanwhile"):
        resources.set_limits("brapi", FIVE_A_SECOND, 0, "bob")
    assert resources.require("brapi").limits == FOUR


def test_an_edit_holds_at_once_although_the_old_rate_spoke_for_an_hour(
    installation: Installation, resources: Resources
) -> None:
    hourly = ResourceLimits(rate=Rate(1, timedelta(hours=1)))
    resources.set_limits("brapi", hourly, 0, "ann")
    keep(installation.database, "brapi", admit("brapi", hourly, ResourceState.fresh(), 0, NOON).state)
    assert resources.require("brapi").standing is Standing.PACED
    assert resources.set_limits("brapi", FIVE_A_SECOND, 1, "ann").standing is Standing.FREE


def test_edits_wake_workers_and_whoever_lets_runs_go(installation: Installation) -> None:
    faulty = Faulty(installation.database)
    Resources(faulty, installation.clock).set_limits("brapi", FOUR, 0, "ann")
    assert sorted(faulty.hints) == ["ready", "schedules"]


def test_a_breaker_opened_by_hand_stays_open_until_its_time_or_a_reset(
    installation: Installation, resources: Resources
) -> None:
    resources.set_limits("brapi", FOUR, 0, "ann")
    found = resources.trip("brapi", "bob", NOON + MINUTE, "their maintenance")
    assert (found.standing, found.until) == (Standing.OPEN, NOON + MINUTE)
    assert found.words == "open: its breaker was opened by hand: their maintenance (by bob)"
    installation.clock.advance(MINUTE)
    assert resources.require("brapi").standing is Standing.FREE
    assert resources.trip("brapi", "bob").until is None
    assert resources.reset("brapi", "bob").standing is Standing.FREE
    assert actions(installation.database)[1:] == [
        ("bob", "resource.reset", "brapi"), ("bob", "resource.trip", "brapi"), ("bob", "resource.trip", "brapi"),
    ]  # fmt: skip


def test_a_reset_forgets_pauses_and_what_was_learnt(installation: Installation, resources: Resources) -> None:
    resources.apply({"brapi": ResourceLimits(breaker=BreakerRule())}, "ann")
    refused = report(
        "brapi", ResourceLimits(), ResourceState.fresh(), Report.REFUSED, NOON, retry_after=timedelta(seconds=20)
    )
    keep(installation.database, "brapi", refused)
    found = resources.require("brapi")
    assert (found.standing, found.until, found.learnt_rate) == (Standing.BLOCKED, NOON + 20 * SECOND, 0.05)
    found = resources.reset("brapi", "ann")
    assert (found.standing, found.until, found.learnt_rate) == (Standing.FREE, None, None)


def test_runs_that_are_held_are_counted_up_to_a_thousand(installation: Installation, resources: Resources) -> None:
    resources.set_limits("brapi", FOUR, 0, "ann")
    rows: list[dict[str, Any]] = [
        {"run_id": uuid7(), "resource": "brapi", "queue": "default", "rank": 4, "turn": 0, "seq": n, "held_at": NOON}
        for n in range(1_001)
    ]
    installation.database.write(lambda tx: tx.core(insert(holds), rows[:1_000]))
    assert (resources.require("brapi").held, resources.require("brapi").held_more) == (1_000, False)
    installation.database.write(lambda tx: tx.core(insert(holds), rows[1_000:]))
    assert (resources.require("brapi").held, resources.require("brapi").held_more) == (1_000, True)


def test_what_an_attempt_took_that_does_not_run_any_more_is_not_in_use(
    installation: Installation, resources: Resources
) -> None:
    resources.set_limits("brapi", FOUR, 0, "ann")
    row = {"resource": "brapi", "run_id": uuid7(), "attempt": 1}
    installation.database.write(lambda tx: tx.core(insert(holdings), [row]))
    assert resources.require("brapi").in_use == 0


def test_names_that_do_not_exist_are_refused_with_the_nearest_one(resources: Resources) -> None:
    resources.set_limits("brapi", FOUR, 0, "ann")
    for act in (resources.require, lambda name: resources.trip(name, "ann"), lambda name: resources.reset(name, "ann")):
        with pytest.raises(UnknownName, match="unknown resource 'barpi'; did you mean 'brapi'"):
            act("barpi")


def test_what_cannot_be_is_refused(resources: Resources) -> None:
    with pytest.raises(LimitsInvalid, match="'-x' is no resource name"):
        resources.set_limits("-x", FOUR, 0, "ann")
    resources.set_limits("brapi", FOUR, 0, "ann")
    with pytest.raises(InvalidInput, match="has passed; name a time ahead"):
        resources.trip("brapi", "ann", NOON - MINUTE)
