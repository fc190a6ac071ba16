"""The judge of the order of claims notices a claim that leaves a better run behind, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mainspring.app import Application, open_database
from mainspring.domain.runs import NewRun
from mainspring.ids import RunId, new_run_id
from mainspring.store import migrate, queueing
from tests import servers
from tests.shows.fleet import pause
from tests.shows.order_log import begin_log, left_behind

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database whose queues are logged."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    request.getfixturevalue("shared_postgres")  # skips or fails where there is none
    with servers.postgres_cluster(track_commit_timestamp="on") as cluster:
        yield cluster.url(cluster.create_database())


@pytest.fixture
def application(url: str) -> Iterator[Application]:
    """An installation on it."""
    made = Application(open_database(url))
    migrate.upgrade(made.database)
    begin_log(url)
    yield made
    made.close()


def put(application: Application, priority: int) -> RunId:
    run = NewRun(new_run_id(), "tick", "q", priority, 1, "{}", NOW)
    application.database.write(lambda tx: queueing.insert_runs(tx, [run], NOW))
    return run.id


def take(application: Application, *ids: RunId) -> None:
    # PostgreSQL stamps a commit before it can be seen; the judge allows 50 ms for that.
    pause(0.1)
    application.database.write(lambda tx: tx.rows("clear_ready", {"ids": tx.ids(ids)}))


def test_a_claim_that_leaves_a_better_run_behind_is_found(url: str, application: Application) -> None:
    high, low = put(application, 8), put(application, 2)
    take(application, low)
    take(application, high)
    assert len(left_behind(url)) == 1


def test_claims_in_order_and_better_runs_that_come_later_are_no_fault(url: str, application: Application) -> None:
    high, low = put(application, 8), put(application, 2)
    take(application, high)
    take(application, low)
    later = put(application, 9)
    take(application, later, put(application, 1))
    assert left_behind(url) == []
