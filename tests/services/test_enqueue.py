"""Runs are put in whole or not at all, with what decided them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainspring.domain.routes import Route
from mainspring.domain.runs import RunKind
from mainspring.domain.states import RunState
from mainspring.domain.tasks import Task, task
from mainspring.encoding import INLINE_LIMIT, NotSerialisable
from mainspring.errors import InvalidInput, ParametersInvalid, UnknownName
from mainspring.ids import is_id
from mainspring.services.catalog import Catalog, decide
from mainspring.services.enqueue import Enqueuer, Request
from mainspring.store import tables
from tests.services.arrange import Faulty, Installation, short, when
from tests.store.arrange import HOUR, MINUTE, NOON, SECOND, contents, count


@task(name="market.quotes")
def quotes(ticker: str, depth: int = 1) -> None: ...


def _routes(installation: Installation, *routes: Route) -> None:
    installation.database.write(lambda tx: tables.put_routes(tx, routes))


def _enqueue(installation: Installation, asked: Task[..., Any] = quotes, **options: Any) -> Any:
    parameters = options.pop("parameters", {"ticker": "PETR4"})
    return installation.look(installation.enqueuer.enqueue(Request(asked, parameters, **options)))


def test_a_run_is_ready_at_once_with_the_defaults(installation: Installation) -> None:
    run = _enqueue(installation)
    assert (run.task, run.queue, run.priority, run.state, run.kind) == (
        "market.quotes", "default", 5, RunState.READY, RunKind.ENQUEUED,
    )  # fmt: skip
    assert (run.max_tries, run.tries, run.attempt, run.due_at, run.expires_at) == (4, 0, 0, NOON, None)
    assert is_id(run.id)
    view = installation.reading.run(run.id)
    assert view.parameters == {"ticker": "PETR4", "depth": 1}
    assert view.snapshot == {
        "task": "market.quotes", "code_version": quotes.code_version, "queue": "default", "priority": 5, "max_tries": 4,
        "at_most_once": False, "expires": None,
        "decided_by": {"queue": "default", "priority": "default", "max_tries": "the task", "expires": "default"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "parameter 'ticker' is missing"),
        ({"ticker": "A", "dept": 2}, "unknown parameter 'dept'; did you mean 'depth'?"),
        ({"ticker": "A", "depth": "deep"}, "parameter 'depth' = 'deep': input should be a valid integer"),
        ({"ticker": 5}, "parameter 'ticker' = 5: input should be a valid string"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_and_nothing_is_written(
    installation: Installation, parameters: dict[str, Any], said: str
) -> None:
    before = contents(installation.database)
    with pytest.raises(ParametersInvalid) as caught:
        installation.enqueuer.enqueue(Request(quotes, parameters))
    assert str(caught.value).startswith("parameters of task 'market.quotes' do not fit: ")
    assert said in str(caught.value)
    assert contents(installation.database) == before


def test_of_many_all_are_checked_before_any_is_written(installation: Installation) -> None:
    wishes = [Request(quotes, {"ticker": "A"}), Request(quotes, {"ticker": 5})]
    with pytest.raises(ParametersInvalid):
        installation.enqueuer.enqueue_many(wishes)
    assert count(installation.database, "runs") == 0


def test_text_that_cannot_be_stored_is_refused(installation: Installation) -> None:
    with pytest.raises(NotSerialisable, match="NUL character"):
        _enqueue(installation, parameters={"ticker": "a\x00"})
    assert count(installation.database, "runs") == 0


def test_many_runs_keep_their_order(installation: Installation) -> None:
    ids = installation.enqueuer.enqueue_many([Request(quotes, {"ticker": f"T{n}"}) for n in range(1_100)])
    assert len(set(ids)) == 1_100
    claimed = installation.claim(1_100)
    assert [run.id for run in claimed] == ids


def test_long_parameters_are_kept_apart_and_come_back_whole(installation: Installation) -> None:
    long = "ação" * INLINE_LIMIT
    run = _enqueue(installation, parameters={"ticker": long})
    assert count(installation.database, "blobs") == 1
    assert installation.reading.run(run.id).parameters["ticker"] == long


def test_a_later_run_waits_until_it_comes_due(installation: Installation) -> None:
    run = _enqueue(installation, due_at=NOON + MINUTE)
    assert (run.state, run.due_at) == (RunState.SCHEDULED, when("12:01"))
    installation.at("12:00:59")
    assert installation.stager.run_once().staged == 0
    installation.at("12:01")
    assert installation.stager.run_once().staged == 1
    assert installation.look(run.id).state is RunState.READY


def test_an_expiry_counts_from_when_the_run_comes_due(installation: Installation) -> None:
    run = _enqueue(installation, due_at=NOON + MINUTE, expires=HOUR)
    assert run.expires_at == when("13:01")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"queue": "no spaces"}, "queue 'no spaces' is not usable"),
        ({"queue": ""}, "queue '' is not usable"),
        ({"priority": 10}, "priority 10 is not known"),
        ({"max_tries": 0}, "-1 retries are out of range; write 0 to 1000"),
        ({"max_tries": 1_002}, "1001 retries are out of range"),
        ({"expires": timedelta(0)}, "expires 0:00:00 is not positive"),
        ({"due_at": datetime(2026, 3, 2)}, "due_at 2026-03-02 00:00:00 has no time zone"),
        ({"labels": {"n": 5}}, "label 'n': 5 is not text"),
    ],
)
def test_an_option_that_no_run_can_have_is_refused_and_nothing_is_written(
    installation: Installation, option: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        _enqueue(installation, **option)
    assert said in str(caught.value)
    assert count(installation.database, "runs") == 0


def test_hints_say_whether_anything_is_ready(installation: Installation) -> None:
    faulty = Faulty(installation.database)
    enqueuer = Enqueuer(faulty, installation.clock)
    enqueuer.enqueue(Request(quotes, {"ticker": "A"}))
    enqueuer.enqueue(Request(quotes, {"ticker": "A"}, due_at=NOON + SECOND))
    assert faulty.hints == ["ready", "schedules"]


# --- what decides


def test_the_first_route_that_matches_decides(installation: Installation) -> None:
    _routes(
        installation,
        Route("market.news", "news"),
        Route("market.*", "scraping", 8),
        Route("*", "rest", 1),
    )
    run = _enqueue(installation)
    assert (run.queue, run.priority) == ("scraping", 8)
    decided = installation.reading.run(run.id).snapshot["decided_by"]
    assert (decided["queue"], decided["priority"]) == ("route 'market.*'", "route 'market.*'")


def test_a_route_that_leaves_something_open_leaves_it_to_the_task(installation: Installation) -> None:
    @task(name="market.quotes", queue="of-task", priority="low")
    def asked(ticker: str) -> None: ...

    _routes(installation, Route("market.*", None, 9))
    run = _enqueue(installation, asked)
    assert (run.queue, run.priority) == ("of-task", 9)
    decided = installation.reading.run(run.id).snapshot["decided_by"]
    assert (decided["queue"], decided["priority"]) == ("the task", "route 'market.*'")


def test_the_caller_goes_before_route_before_task_before_default(installation: Installation) -> None:
    @task(name="market.quotes", queue="of-task", priority=3, max_retries=1, expires=HOUR)
    def asked(ticker: str) -> None: ...

    _routes(installation, Route("market.*", "of-route"))
    run = _enqueue(installation, asked, queue="of-caller", max_tries=9)
    assert (run.queue, run.priority, run.max_tries, run.expires_at) == ("of-caller", 3, 9, NOON + HOUR)
    assert installation.reading.run(run.id).snapshot["decided_by"] == {
        "queue": "the caller", "priority": "the task", "max_tries": "the caller", "expires": "the task",
    }  # fmt: skip


def test_a_change_of_routes_is_noticed_within_two_seconds(installation: Installation) -> None:
    assert _enqueue(installation).queue == "default"
    _routes(installation, Route("*", "new"))
    installation.clock.advance(2 * SECOND)
    assert _enqueue(installation).queue == "new"


def test_priority_zero_is_a_priority() -> None:
    decided = decide("t", {"priority": 5, "queue": None, "max_tries": 1, "expires": None}, {}, [], priority=0)
    assert (decided.priority, decided.why["priority"]) == (0, "the caller")


def test_equal_decisions_share_a_snapshot(installation: Installation) -> None:
    for ticker in ("A", "B", "C"):
        _enqueue(installation, parameters={"ticker": ticker})
    assert count(installation.database, "snapshots") == 1


# --- the catalog


def test_two_tasks_of_one_name_are_refused_with_their_places() -> None:
    @task(name="market.quotes")
    def other() -> None: ...

    with pytest.raises(
        InvalidInput, match=r"two tasks are called 'market.quotes': .*quotes and .*other; give one another"
    ):
        Catalog([quotes, other])
    assert Catalog([quotes, quotes]).names == ["market.quotes"]


def test_an_unknown_task_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match=r"unknown task 'market.quote'; did you mean 'market.quotes'\?"):
        Catalog([quotes]).require("market.quote")


def test_workers_describe_their_tasks_for_those_without_the_code(installation: Installation) -> None:
    installation.describe(quotes)
    (described,) = installation.reading.tasks().values()
    assert described.schema["required"] == ["ticker"]
    assert described.defaults == {"queue": None, "priority": None, "max_tries": 4, "expires": None}
    assert described.policies["backoff"] == {"base": 2.0, "factor": 2.0, "maximum": 86_400.0, "jitter": "equal"}
    assert described.code_version == quotes.code_version


def test_the_clock_of_the_tests_is_what_it_says() -> None:
    assert (short(NOON), when("12:00")) == ("12:00", datetime(2026, 3, 2, 12, tzinfo=UTC))
    assert when("4 00:30:05") - NOON == timedelta(days=1, hours=12, minutes=30, seconds=5)
