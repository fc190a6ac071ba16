"""Runs over REST: ordered by name, judged by the schema, listed page by page, and each seen by those who may."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from mainspring.app import Application
from mainspring.clock import ManualClock
from mainspring.domain.access import Role
from mainspring.services.accounts import Accounts
from mainspring.store.schema import idempotency_keys
from tests.edges.api.arrange import describe, make_things
from tests.edges.api.conftest import Serve

Headers = Callable[..., dict[str, str]]
ADD = {"task": "add", "parameters": {"a": 40, "b": 2}}


@pytest.fixture
def client(serve: Serve, application: Application, key: Headers) -> TestClient:
    """A client that is an operator unless it says otherwise."""
    describe(application)
    found = serve()
    found.headers.update(key(Role.OPERATOR))
    return found


def made(client: TestClient, **more: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/runs", json={**ADD, **more})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_run_is_made_of_a_task_by_name(client: TestClient) -> None:
    run = made(client, priority="high", queue="reports", labels={"team": "data"}, delay_seconds=90, max_retries=0)
    assert (run["state"], run["priority"], run["queue"], run["max_tries"]) == ("scheduled", 8, "reports", 1)
    assert run["due_at"] == "2026-03-02T12:01:30.000000Z"
    shown = client.get(f"/api/v1/runs/{run['id']}").json()
    assert (shown["parameters"], shown["snapshot"]["decided_by"]["queue"]) == ({"a": 40, "b": 2}, "the caller")
    assert [one["id"] for one in client.get("/api/v1/runs?label=team=data&state=scheduled").json()["items"]] == [
        run["id"]
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"task": "ad"}, "unknown task 'ad'; did you mean 'add'?"),
        ({"task": "add", "parameters": {"a": "x"}}, "parameters of task 'add' do not fit: parameter 'a'"),
        ({"task": "add", "parameters": {}}, "parameter 'a' is missing"),
        ({**ADD, "queue": "a b"}, "queue 'a b' is not usable"),
        ({**ADD, "priority": 12}, "priority 12 is not known"),
        ({**ADD, "due_at": "2026-12-01T09:00:00"}, "must be an instant with its offset"),
        ({**ADD, "due_at": "9999-12-31T23:59:59-05:00"}, "lies outside the years"),
        ({**ADD, "due_at": "2026-12-01T09:00:00Z", "delay_seconds": 3}, "exclude each other"),
        ({**ADD, "labels": {"a": 1}}, "labels.a: input should be a valid string"),
        ({**ADD, "owner_id": "me"}, "owner_id: extra inputs are not permitted"),
        ({**ADD, "due_at": "0001-01-01T00:00:00Z"}, "lies outside the years"),
        ({**ADD, "labels": {"a": "\u0000"}}, "text with a NUL character"),
        ({**ADD, "labels": {"a": "\ud800"}}, "half a surrogate pair"),
    ],
)
def test_what_cannot_be_run_is_refused_and_nothing_is_written(client: TestClient, body: object, said: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/runs", content=json.dumps(body), headers=headers)
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text
    assert client.get("/api/v1/runs").json() == {"items": [], "next": None}


def test_characters_that_no_database_holds_are_refused_wherever_they_stand(client: TestClient) -> None:
    for path in ("/api/v1/runs?task=%00", "/api/v1/tasks/a%00b"):
        assert client.get(path).status_code == 422
    # A backslash before u0000 is text like any other.
    assert made(client, labels={"a": "\\u0000", "b": "\U0001f600"})["labels"] == {"a": "\\u0000", "b": "\U0001f600"}


def test_many_runs_are_made_all_or_none(client: TestClient) -> None:
    answer = client.post("/api/v1/runs/bulk", json={"runs": [ADD, {"task": "add", "parameters": {"a": "x"}}]})
    assert (answer.status_code, client.get("/api/v1/runs").json()["items"]) == (422, [])
    ids = client.post("/api/v1/runs/bulk", json={"runs": [ADD] * 1000}).json()["ids"]
    assert len(set(ids)) == 1000
    assert client.post("/api/v1/runs/bulk", json={"runs": [ADD] * 1001}).status_code == 422


def test_pages_give_each_run_once(client: TestClient) -> None:
    ids = client.post("/api/v1/runs/bulk", json={"runs": [ADD] * 5}).json()["ids"]
    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        body = client.get("/api/v1/runs", params=query).json()
        seen += [one["id"] for one in body["items"]]
        cursor = body["next"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert client.get("/api/v1/runs?cursor=x").status_code == 422
    assert client.get("/api/v1/runs?limit=201").status_code == 422


def test_a_user_sees_their_own_runs_alone(
    client: TestClient, key: Headers, application: Application, accounts: Accounts
) -> None:
    mine, theirs = key(Role.USER, "ana"), key(Role.USER, "bo")
    run = client.post("/api/v1/runs", json=ADD, headers=mine).json()
    assert run["owner_id"] == accounts.require("ana").id
    other = client.post("/api/v1/runs", json=ADD, headers=theirs).json()
    listed = client.get("/api/v1/runs", headers=mine).json()["items"]
    assert [one["id"] for one in listed] == [run["id"]]
    assert client.get(f"/api/v1/runs/{other['id']}", headers=mine).json()["detail"] == f"there is no run {other['id']}"
    assert len(client.get("/api/v1/runs").json()["items"]) == 2


def test_logs_are_a_right_of_their_own(client: TestClient, key: Headers) -> None:
    run = made(client)
    headers = key(Role.OPERATOR, scopes=("runs:*",))
    assert client.get(f"/api/v1/runs/{run['id']}", headers=headers).status_code == 200
    assert client.get(f"/api/v1/runs/{run['id']}/logs", headers=headers).status_code == 403
    answer = client.get(f"/api/v1/runs/{run['id']}/logs")
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, "text/plain; charset=utf-8", "")


def test_cancel_and_retry_say_what_is_in_the_way(client: TestClient) -> None:
    run = made(client)
    assert client.post(f"/api/v1/runs/{run['id']}/retry").status_code == 409
    answer = client.post(f"/api/v1/runs/{run['id']}/cancel", json={"reason": "not needed"})
    assert (answer.status_code, answer.json()["outcome"], answer.json()["run"]["state"]) == (
        202,
        "cancelled",
        "cancelled",
    )
    assert answer.json()["run"]["state_reason"] == "cancelled by a-operator: not needed"
    assert client.post(f"/api/v1/runs/{run['id']}/cancel").status_code == 409
    answer = client.get(f"/api/v1/runs/{run['id']}/result")
    assert (answer.status_code, answer.json()["detail"]) == (409, f"run {run['id']} is cancelled and has no result")


def test_an_artifact_is_sent_as_a_file(client: TestClient, application: Application, accounts: Accounts) -> None:
    things = make_things(application, accounts, accounts.require("a-operator").id)
    (told,) = client.get(f"/api/v1/runs/{things.run}/artifacts").json()
    assert "location" not in told
    answer = client.get(f"/api/v1/artifacts/{told['id']}")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a.txt"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.text == "what it found"
    application.artifacts.delete(application.artifacts.find(told["id"]), "test")
    assert client.get(f"/api/v1/artifacts/{told['id']}").status_code == 404


def test_a_run_that_has_not_started_is_edited(client: TestClient) -> None:
    run = made(client)
    answer = client.patch(f"/api/v1/runs/{run['id']}", json={"queue": "reports", "priority": 9, "parameters": {"b": 7}})
    assert (answer.status_code, answer.json()["queue"], answer.json()["priority"]) == (200, "reports", 9)
    assert client.get(f"/api/v1/runs/{run['id']}").json()["parameters"] == {"a": 40, "b": 7}
    assert client.patch(f"/api/v1/runs/{run['id']}", json={"parameters": {"b": "x"}}).status_code == 422
    assert client.patch(f"/api/v1/runs/{run['id']}", json={}).status_code == 422
    client.post(f"/api/v1/runs/{run['id']}/cancel")
    assert client.patch(f"/api/v1/runs/{run['id']}", json={"priority": 1}).status_code == 409


def test_a_run_that_must_be_alone_is_alone_among_those_of_its_owner(client: TestClient, key: Headers) -> None:
    mine, theirs = key(Role.USER, "ana"), key(Role.USER, "bo")
    wish = {"task": "once", "parameters": {"a": 1}}
    one, same, other = (
        client.post("/api/v1/runs", json=wish, headers=who).json()["id"] for who in (mine, mine, theirs)
    )
    assert (one == same, one == other) == (True, False)
    assert client.post("/api/v1/runs", json={"task": "alone"}, headers=mine).status_code == 201
    answer = client.post("/api/v1/runs", json={"task": "alone"}, headers=mine)
    assert (answer.status_code, answer.json()["type"]) == (409, "about:blank#DuplicateRun")
    assert client.post("/api/v1/runs", json={"task": "alone"}, headers=theirs).status_code == 201


class TestSentAgain:
    def test_the_same_key_and_body_get_the_same_answer_and_one_run(self, client: TestClient) -> None:
        first, second = (client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1"}) for _ in range(2))
        assert (first.status_code, first.json(), first.headers["location"]) == (
            second.status_code, second.json(), second.headers["location"],
        )  # fmt: skip
        assert ("idempotent-replayed" in first.headers, second.headers["idempotent-replayed"]) == (False, "true")
        assert len(client.get("/api/v1/runs").json()["items"]) == 1

    def test_another_body_is_refused(self, client: TestClient) -> None:
        client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1"})
        answer = client.post("/api/v1/runs", json={**ADD, "queue": "reports"}, headers={"Idempotency-Key": "k1"})
        assert (answer.status_code, "came with another request" in answer.json()["detail"]) == (422, True)

    def test_a_key_belongs_to_one_account_for_a_day(self, client: TestClient, key: Headers, clock: ManualClock) -> None:
        first = client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1"}).json()
        other = client.post("/api/v1/runs", json=ADD, headers={**key(Role.USER), "Idempotency-Key": "k1"}).json()
        clock.advance(timedelta(hours=24))
        later = client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1"}).json()
        assert len({first["id"], other["id"], later["id"]}) == 3

    def test_what_was_refused_may_be_mended_and_sent_again(self, client: TestClient) -> None:
        assert client.post("/api/v1/runs", json={"task": "x"}, headers={"Idempotency-Key": "k1"}).status_code == 422
        assert client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1"}).status_code == 201

    def test_nobody_learns_what_others_asked(self, client: TestClient, application: Application) -> None:
        client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1"})
        answer = client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1", "Authorization": "Bearer x"})
        assert answer.status_code == 401

    def test_a_request_that_nobody_answered_is_not_done_twice(
        self, client: TestClient, application: Application, clock: ManualClock
    ) -> None:
        client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1"})
        unanswered = idempotency_keys.update().values(status=None, body=None)
        application.database.write(lambda tx: tx.core(unanswered))
        answer = client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1"})
        assert (answer.status_code, "is under way" in answer.json()["detail"]) == (409, True)
        clock.advance(timedelta(minutes=1))
        answer = client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": "k1"})
        assert (answer.status_code, "look whether it was done" in answer.json()["detail"]) == (409, True)
        assert len(client.get("/api/v1/runs").json()["items"]) == 1

    @pytest.mark.parametrize("key_text", ["", "x" * 201])
    def test_a_key_has_bounds(self, client: TestClient, key_text: str) -> None:
        assert client.post("/api/v1/runs", json=ADD, headers={"Idempotency-Key": key_text}).status_code == 422

    def test_no_secret_is_kept(self, client: TestClient, application: Application) -> None:
        body = {"name": "x", "scopes": ["runs:read"]}
        assert client.post("/api/v1/keys", json=body, headers={"Idempotency-Key": "k1"}).status_code == 201
        assert not application.database.read(lambda tx: tx.core(select(idempotency_keys)).all())


def test_the_installation_is_looked_at(client: TestClient, key: Headers, clock: ManualClock) -> None:
    made(client)
    task = client.get("/api/v1/tasks/add").json()
    assert task["parameters_schema"]["properties"]["a"]["type"] == "integer"
    assert client.get("/api/v1/tasks/ad").status_code == 404
    assert client.post("/api/v1/queues/default/pause", json={"reason": "repairs"}).json()["pause_reason"] == "repairs"
    assert client.post("/api/v1/queues/default/pause").status_code == 409
    assert client.get("/api/v1/queues/default").json()["ready"] == 1
    assert client.post("/api/v1/queues/default/resume").json()["paused_at"] is None
    assert client.get("/api/v1/workers").json() == []
    entries = client.get("/api/v1/audit?action=queue&limit=1").json()
    assert [entry["action"] for entry in entries["items"]] == ["queue.resume"]
    entries = client.get(f"/api/v1/audit?action=queue&cursor={entries['next']}").json()
    assert [(entry["action"], entry["details"]) for entry in entries["items"]] == [
        ("queue.pause", {"reason": "repairs"})
    ]


def test_resources_and_queues_are_limited_and_steered(client: TestClient) -> None:
    one = client.get("/api/v1/resources/brapi")
    assert (one.json()["limits"], one.json()["state"]) == ({"concurrency": 3}, "free")
    change = {"limits": {"concurrency": 2, "rate": "100/min"}}
    answer = client.put("/api/v1/resources/brapi/limits", json=change, headers={"If-Match": one.headers["etag"]})
    assert (answer.status_code, answer.json()["limits"]["rate"]) == (200, "100/min")
    answer = client.put("/api/v1/resources/brapi/limits", json=change, headers={"If-Match": one.headers["etag"]})
    assert answer.status_code == 412
    assert client.put("/api/v1/resources/brapi/limits", json={"limits": {"rate": "x"}}).status_code == 422
    assert client.post("/api/v1/resources/brapi/trip", json={"reason": "repairs"}).json()["state"] == "open"
    assert client.post("/api/v1/resources/brapi/reset").json()["state"] == "free"
    assert client.get("/api/v1/resources/brap").status_code == 404
    assert client.put("/api/v1/queues/default/limits", json={"running": 2}).json()["limits"]["running"] == 2
    assert client.put("/api/v1/queues/default/limits", json={"running": 0}).status_code == 422
