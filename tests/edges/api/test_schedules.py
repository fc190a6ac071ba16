"""Schedules over REST: checked like those of files, edited by version, owned, looked ahead, and made up for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from mainspring.app import Application
from mainspring.clock import ManualClock
from mainspring.domain.access import Role
from mainspring.services.accounts import Accounts
from mainspring.services.fire import Firer
from tests.edges.api.arrange import dead_run, describe
from tests.edges.api.conftest import Serve

Headers = Callable[..., dict[str, str]]
DAILY = {"task": "add", "cron": "0 9 * * 1-5", "zone": "America/Sao_Paulo", "parameters": {"a": 1}}
S = "/api/v1/schedules"


@pytest.fixture
def client(serve: Serve, application: Application, key: Headers) -> TestClient:
    """A client that is an operator unless it says otherwise."""
    describe(application)
    found = serve()
    found.headers.update(key(Role.OPERATOR))
    return found


def made(client: TestClient, name: str = "daily", **more: Any) -> dict[str, Any]:
    answer = client.post(S, json={"name": name, "definition": {**DAILY, **more}})
    assert answer.status_code == 201, answer.text
    assert (answer.headers["etag"], answer.headers["location"]) == ('"1"', f"schedules/{answer.json()['id']}")
    body: dict[str, Any] = answer.json()
    return body


def test_a_schedule_is_made_shown_and_listed(client: TestClient) -> None:
    schedule = made(client)
    assert (schedule["state"], schedule["next_at"], schedule["zone"]) == (
        "on", "2026-03-03T12:00:00.000000Z", "America/Sao_Paulo",
    )  # fmt: skip
    assert client.get(f"{S}/daily").json() == client.get(f"{S}/{schedule['id']}").json() == schedule
    assert client.post(S, json={"name": "daily", "definition": DAILY}).status_code == 409
    made(client, "another")
    first = client.get(f"{S}?limit=1").json()
    second = client.get(f"{S}?limit=1&cursor={first['next']}").json()
    assert [one["name"] for body in (first, second) for one in body["items"]] == ["another", "daily"]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("definition", "field", "said"),
    [
        ({"task": "ad", "cron": "0 9 * * *"}, "definition.task", "unknown task 'ad'; did you mean 'add'?"),
        ({"task": "add"}, "definition", "no trigger"),
        ({"task": "add", "cron": "0 25 * * *"}, "definition.cron", "25"),
        ({"task": "add", "cron": "0 9 * * *", "zone": "Mars/Base"}, "definition.zone", "Mars/Base"),
        ({"task": "add", "cron": "0 9 * * *", "retries": 3}, "definition.retries", "did you mean 'max_retries'?"),
        ({"task": "add", "cron": "0 9 * * *", "parameters": {}}, "parameters", "parameter 'a' is missing"),
        ({"cron": "0 9 * * *"}, "definition", "'task' is missing"),
    ],
)
def test_what_is_wrong_is_named_by_field(client: TestClient, definition: object, field: str, said: str) -> None:
    answer = client.post(S, json={"name": "x", "definition": definition})
    assert answer.status_code == 422, answer.text
    (problem,) = answer.json()["errors"]
    assert (problem["field"], said in problem["detail"]) == (field, True), problem
    assert client.get(S).json()["items"] == []


def test_an_edit_names_the_version_that_it_is_based_on(client: TestClient) -> None:
    made(client)
    change = {"definition": {**DAILY, "cron": "0 10 * * 1-5"}}
    assert client.put(f"{S}/daily", json=change).status_code == 428
    assert client.put(f"{S}/daily", json=change, headers={"If-Match": "x"}).status_code == 422
    answer = client.put(f"{S}/daily", json=change, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["etag"], answer.json()["next_at"][11:16]) == (200, '"2"', "13:00")
    answer = client.put(f"{S}/daily", json=change, headers={"If-Match": '"1"'})
    assert (answer.status_code, "is at version 2 now" in answer.json()["detail"]) == (412, True)


def test_what_a_file_says_is_changed_in_the_file(client: TestClient, application: Application) -> None:
    spec = application.defining.spec("filed", DAILY)
    application.scheduling.put(spec, "file", "test")
    for answer in (
        client.delete(f"{S}/filed"),
        client.put(f"{S}/filed", json={"definition": DAILY}, headers={"If-Match": '"1"'}),
    ):
        assert (answer.status_code, "comes from file and is changed there" in answer.json()["detail"]) == (409, True)
    assert client.post(f"{S}/filed/pause").json()["state"] == "paused"


def test_pause_until_resume_and_delete(client: TestClient) -> None:
    made(client)
    answer = client.post(f"{S}/daily/pause", json={"until": "2026-03-05T00:00:00Z", "reason": "holidays"})
    assert answer.json()["pause"] == {
        "since": "2026-03-02T12:00:00.000000Z", "until": "2026-03-05T00:00:00.000000Z", "by": "a-operator",
        "reason": "holidays",
    }  # fmt: skip
    assert client.post(f"{S}/daily/pause").status_code == 409
    times = client.get(f"{S}/daily/preview?count=1").json()["fire_times"]
    assert [(one["n"], one["local"], "paused" in (one["skipped"] or "")) for one in times] == [
        (2, "2026-03-03T09:00:00-03:00", True), (1, "2026-03-05T09:00:00-03:00", False),
    ]  # fmt: skip
    assert client.post(f"{S}/daily/resume").json()["state"] == "on"
    assert client.delete(f"{S}/daily").status_code == 204
    assert client.get(f"{S}/daily").status_code == 404


def test_each_account_has_names_of_its_own(client: TestClient, key: Headers, accounts: Accounts) -> None:
    mine, theirs = key(Role.USER, "ana"), key(Role.USER, "bo")
    body = {"name": "daily", "definition": DAILY}
    one, two = (client.post(S, json=body, headers=who).json() for who in (mine, theirs))
    assert (one["owner_id"], two["owner_id"]) == (accounts.require("ana").id, accounts.require("bo").id)
    assert client.get(f"{S}/daily", headers=mine).json()["id"] == one["id"]
    assert [found["id"] for found in client.get(S, headers=mine).json()["items"]] == [one["id"]]
    assert client.get(f"{S}/{two['id']}", headers=mine).status_code == 404
    answer = client.get(f"{S}/daily")
    assert (answer.status_code, one["id"] in answer.json()["detail"]) == (409, True)
    assert client.get(f"{S}/{two['id']}").status_code == 200


def test_the_runs_of_a_schedule_are_its_owners(
    client: TestClient, key: Headers, application: Application, accounts: Accounts, clock: ManualClock
) -> None:
    mine = key(Role.USER, "ana")
    client.post(S, json={"name": "daily", "definition": DAILY}, headers=mine)
    (by_hand,) = client.post(f"{S}/daily/trigger", headers=mine).json()["ids"]
    clock.advance(timedelta(days=1))
    Firer(application.database, clock).run_once()
    runs = client.get("/api/v1/runs", headers=mine).json()["items"]
    assert [(run["kind"], run["owner_id"]) for run in runs] == [
        (kind, accounts.require("ana").id) for kind in ("scheduled", "manual")
    ]
    assert runs[1]["id"] == by_hand
    ledger = client.get(f"{S}/daily/ledger", headers=mine).json()
    assert [(row["outcome"], row["fire_at"]) for row in ledger["items"]] == [("fired", "2026-03-03T12:00:00.000000Z")]


def test_a_schedule_is_looked_at_before_it_is_saved(client: TestClient, key: Headers) -> None:
    body = {
        "definition": {"cron": "30 18 * * *", "zone": "America/Sao_Paulo", "calendars": {"exclude": ["B3"]}},
        "count": 2,
    }
    answer = client.post(f"{S}/preview", json=body, headers=key(Role.VIEWER))
    assert (answer.status_code, len(answer.json()["fire_times"])) == (200, 2), answer.text
    assert client.post(f"{S}/preview", json={"definition": {"cron": "x"}}).status_code == 422
    assert client.post(f"{S}/preview", json={"text": "15m"}).json()["rule"] == "every 15 minutes"
    assert client.post(f"{S}/preview", json={"text": "x"}).status_code == 422
    assert client.post(f"{S}/preview", json={}).status_code == 422


def test_a_simulation_counts_what_whoever_asks_may_see(client: TestClient, key: Headers) -> None:
    made(client)
    body = client.get("/api/v1/simulation?days=7&zone=America/Sao_Paulo").json()
    assert (body["schedules"], body["fire_times"], body["unknown_tasks"]) == (1, 5, ["add"])
    assert client.get("/api/v1/simulation?days=7", headers=key(Role.USER)).json()["schedules"] == 0
    assert client.get("/api/v1/simulation?zone=Mars").status_code == 422


RANGE = {"since": "2026-02-23T00:00:00Z", "until": "2026-02-28T00:00:00Z"}


class TestBackfill:
    def test_a_look_says_what_would_be_made(self, client: TestClient) -> None:
        made(client)
        body = client.post(f"{S}/daily/backfill/look", json={**RANGE, "rate": "1/min"}).json()
        assert (body["fire_times_count"], body["runs"], body["seconds"]) == (5, 5, 240.0)
        assert body["fire_times"][0] == "2026-02-23T12:00:00.000000Z"
        assert client.get("/api/v1/runs").json()["items"] == []

    def test_each_fire_time_is_made_up_for_once_slowly_and_apart(
        self, client: TestClient, application: Application, clock: ManualClock
    ) -> None:
        made(client, overlap="skip")
        ids = client.post(f"{S}/daily/backfill", json={**RANGE, "rate": "1/min", "queue": "reports"}).json()["ids"]
        runs = client.get("/api/v1/runs?schedule=daily").json()["items"][::-1]
        assert [run["id"] for run in runs] == ids
        assert {(run["kind"], run["priority"], run["queue"]) for run in runs} == {("backfill", 2, "reports")}
        assert [run["due_at"][14:16] for run in runs] == ["00", "01", "02", "03", "04"]
        assert client.post(f"{S}/daily/backfill", json=RANGE).json() == {"ids": []}
        assert client.post(f"{S}/daily/backfill/look", json=RANGE).json()["done"] == 5
        assert client.get(f"{S}/daily/ledger").json()["items"] == []
        # Unfinished runs of a backfill do not make the schedule skip.
        clock.advance(timedelta(days=1))
        Firer(application.database, clock).run_once()
        assert [row["outcome"] for row in client.get(f"{S}/daily/ledger").json()["items"]] == ["fired"]

    def test_what_has_fired_can_be_left_out(
        self, client: TestClient, application: Application, clock: ManualClock
    ) -> None:
        made(client)
        clock.advance(timedelta(days=1))
        Firer(application.database, clock).run_once()
        body = {"since": "2026-03-02T00:00:00Z", "until": "2026-03-03T12:00:00.000001Z", "missing_only": True}
        look = client.post(f"{S}/daily/backfill/look", json=body)
        assert look.status_code == 422
        clock.advance(timedelta(seconds=1))
        look = client.post(f"{S}/daily/backfill/look", json=body).json()
        assert (look["fire_times_count"], look["fired"]) == (1, 1)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"until": "2026-03-03T00:00:00Z"}, "lies in the future"),
            ({"until": "2026-02-23T00:00:00Z"}, "is not before until"),
            ({"rate": "5/s burst 3"}, "knows no burst"),
            ({"since": "1970-01-01T00:00:00Z"}, "take a shorter one"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, client: TestClient, change: dict[str, str], said: str) -> None:
        made(client, cron="0 * * * *")
        answer = client.post(f"{S}/daily/backfill", json={**RANGE, **change})
        assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text


def test_dead_letters_are_decided_by_their_owner_alone(
    client: TestClient, key: Headers, application: Application, accounts: Accounts
) -> None:
    mine, theirs = key(Role.USER, "ana"), key(Role.USER, "bo")
    own, other = (dead_run(application, accounts.require(name).id, "00000000000000aa") for name in ("ana", "bo"))
    (group,) = client.get("/api/v1/dead-letters", headers=mine).json()
    assert (group["count"], group["example"]) == (1, own)
    ids = {"ids": [own, other]}
    assert client.post("/api/v1/dead-letters/replay/look", json=ids, headers=mine).json()["count"] == 1
    assert (
        client.post("/api/v1/dead-letters/replay", json={**ids, "set": {"a": "7"}}, headers=mine).json()["count"] == 1
    )
    shown = client.get(f"/api/v1/runs/{own}", headers=mine).json()
    (replay,) = shown["replays"]
    assert client.get(f"/api/v1/runs/{replay}", headers=mine).json()["parameters"] == {"a": 7}
    assert client.post("/api/v1/dead-letters/discard", json=ids, headers=mine).json() == {"count": 0}
    assert client.get("/api/v1/dead-letters/00000000000000aa", headers=theirs).json()["items"][0]["id"] == other
    assert client.post("/api/v1/dead-letters/discard", json={}).status_code == 422
    assert client.post("/api/v1/dead-letters/discard", json={"all": True, "reason": "old"}).json() == {"count": 1}
    assert client.post("/api/v1/dead-letters/restore", json={"ids": [other]}).json() == {"count": 1}
    assert client.post("/api/v1/dead-letters/retry", json={"ids": [other]}).json() == {"count": 1}
