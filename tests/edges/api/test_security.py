"""Nobody gets in who may not: keys, logins, hosts, origins, scopes; and no route is forgotten."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from sqlalchemy import select

from mainspring.app import Application
from mainspring.domain.access import Right, Role
from mainspring.edges.api.app import make_app
from mainspring.edges.api.security import Gate, needs, routes_of
from mainspring.edges.listening import is_loopback
from mainspring.services.accounts import Accounts
from mainspring.store.schema import audit
from tests.edges.api.conftest import HOST, Serve

Headers = Callable[..., dict[str, str]]
GOOD = "correct horse battery"
PUBLIC = {
    "/api/v1/health", "/api/v1/health/live", "/api/v1/health/ready", "/api/v1/sign-in", "/api/v1/sign-in/link",
    "/sign-in", "/sign-in.js", "/sign-in.css",
}  # fmt: skip


def sign_in(client: TestClient, accounts: Accounts, role: Role = Role.ADMIN) -> None:
    accounts.create("ana", role, "test", password=GOOD)
    assert client.post("/api/v1/sign-in", json={"name": "ana", "password": GOOD}).status_code == 204


def test_the_list_of_public_routes_is_exact(serve: Serve) -> None:
    routes = routes_of(serve().app)  # type: ignore[arg-type]
    assert {route.path for route in routes if route.right is None} == PUBLIC


def test_a_route_that_names_no_right_is_not_served(application: Application, accounts: Accounts) -> None:
    router = APIRouter()
    router.get("/api/forgotten")(lambda: None)
    with pytest.raises(RuntimeError, match="route '/api/forgotten' names no right"):
        make_app(application, Gate(accounts), [router])


def test_two_routes_with_one_path_are_not_served(application: Application, accounts: Accounts) -> None:
    router = APIRouter()

    @router.get("/api/v1/users/{somebody}")
    @needs(Right.TASKS_READ)
    def mine(somebody: str) -> None: ...

    with pytest.raises(RuntimeError, match=r"two routes answer GET /api/v1/users/\{somebody\}: .*show_user and .*mine"):
        make_app(application, Gate(accounts), [router])


def test_who_is_not_known_is_asked_to_sign_in(serve: Serve) -> None:
    answer = serve().get("/api/v1/self")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank#NotSignedIn",
        "title": "Unauthorized",
        "status": 401,
        "detail": "sign in, or send an API key as 'Authorization: Bearer ms_…'",
    }


@pytest.mark.parametrize("header", ["Bearer ms_00000000_" + "0" * 43, "Bearer x", "Basic YTpi", "Bearer", ""])
def test_a_wrong_key_is_refused_whatever_cookie_comes_with_it(serve: Serve, accounts: Accounts, header: str) -> None:
    client = serve()
    sign_in(client, accounts)
    assert client.get("/api/v1/self").status_code == 200
    answer = client.get("/api/v1/self", headers={"Authorization": header})
    assert (answer.status_code, "key is not valid" in answer.json()["detail"]) == (401, True)


def test_a_role_or_a_scope_in_the_way_is_named_and_recorded(
    serve: Serve, key: Headers, application: Application
) -> None:
    client = serve()
    answer = client.get("/api/v1/users", headers=key(Role.OPERATOR))
    assert (answer.status_code, answer.json()["detail"]) == (
        403, "accounts:read needs the role admin or more; a-operator is operator",
    )  # fmt: skip
    answer = client.get("/api/v1/users", headers=key(Role.ADMIN, scopes=("runs:read",)))
    assert answer.json()["detail"] == "this key has no scope for accounts:read; it has: runs:read"
    query = select(audit.c.actor, audit.c.subject).where(audit.c.action == "refused").order_by(audit.c.id)
    rows = application.database.read(lambda tx: tx.core(query).all())
    assert [tuple(row) for row in rows] == [("a-operator", "accounts:read"), ("a-admin", "accounts:read")]


def test_a_login_changes_things_only_from_our_own_pages(serve: Serve, accounts: Accounts) -> None:
    client = serve()
    sign_in(client, accounts)
    wanted = {"name": "bo", "role": "viewer"}
    assert client.post("/api/v1/users", json=wanted).status_code == 403
    ours = {"X-Mainspring": "1"}
    assert (
        client.post("/api/v1/users", json=wanted, headers={**ours, "Origin": "http://evil.example"}).status_code == 403
    )
    assert (
        client.post("/api/v1/users", json=wanted, headers={**ours, "Sec-Fetch-Site": "cross-site"}).status_code == 403
    )
    assert client.post("/api/v1/users", json=wanted, headers={**ours, "Origin": "null"}).status_code == 403
    assert client.post("/api/v1/users", json=wanted, headers={**ours, "Origin": HOST}).status_code == 201


def test_without_accounts_only_this_machine_under_its_own_name_is_served(serve: Serve) -> None:
    client = serve(auth=False)
    assert client.get("/api/v1/self").json()["role"] == "admin"
    assert client.get("/api/v1/self", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/api/v1/health", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/api/v1/self", headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/v1/self", headers={"Origin": HOST}).status_code == 200


def test_a_reset_kills_the_login(serve: Serve, accounts: Accounts) -> None:
    client = serve()
    sign_in(client, accounts)
    accounts.set_password("ana", GOOD + "!", "root")
    assert client.get("/api/v1/self").status_code == 401


def test_the_cookie_is_out_of_reach_of_scripts(serve: Serve, accounts: Accounts) -> None:
    client = serve()
    accounts.create("ana", Role.USER, "test", password=GOOD)
    answer = client.post("/api/v1/sign-in", json={"name": "ana", "password": GOOD})
    assert {part.strip().partition("=")[0] for part in answer.headers["set-cookie"].split(";")} == {
        "mainspring_login", "HttpOnly", "Max-Age", "Path", "SameSite",
    }  # fmt: skip


def test_a_key_gives_no_key_that_may_more(serve: Serve, key: Headers) -> None:
    client, headers = serve(), key(Role.USER, scopes=("self:*", "runs:read"))
    answer = client.post("/api/v1/keys", json={"name": "more", "scopes": ["runs:write"]}, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (
        403,
        "a key cannot give what it has not itself: runs:write",
    )
    made = client.post("/api/v1/keys", json={"name": "same", "scopes": ["runs:read"]}, headers=headers)
    assert (made.status_code, made.json()["secret"][:3]) == (201, "ms_")


def test_somebody_elses_key_does_not_exist(serve: Serve, key: Headers) -> None:
    client, mine, other = serve(), key(Role.USER, "ana"), key(Role.USER, "bo")
    theirs = client.get("/api/v1/keys", headers=other).json()[0]["id"]
    assert client.delete(f"/api/v1/keys/{theirs}", headers=mine).status_code == 404
    assert client.get("/api/v1/keys?everybody=true", headers=mine).status_code == 403
    assert client.delete(f"/api/v1/keys/{theirs}", headers=key(Role.ADMIN)).status_code == 204
    assert client.get("/api/v1/self", headers=other).status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 422),
        (b'{"a":' * 33 + b"1" + b"}" * 33, 422),
        (b" " * (1024 * 1024 + 1), 413),
        (b"{", 422),
        (b'{"name": "x", "role": "viewer", "more": 1}', 422),
        (b'{"name": 7, "role": "viewer"}', 422),
    ],
)
def test_what_is_too_much_or_no_json_is_refused(serve: Serve, key: Headers, body: bytes, status: int) -> None:
    headers = {**key(Role.ADMIN), "Content-Type": "application/json"}
    answer = serve().post("/api/v1/users", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_headers_have_a_limit(serve: Serve) -> None:
    assert serve().get("/api/v1/health", headers={"X-Long": "x" * 17_000}).status_code == 431


def test_every_answer_has_its_safe_headers(serve: Serve) -> None:
    for answer in (serve().get("/api/v1/health"), serve().get("/nothing"), serve().get("/api/v1/self")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_field_that_is_wrong_is_named(serve: Serve, key: Headers) -> None:
    answer = serve().post("/api/v1/users", json={"nam": "x"}, headers=key(Role.ADMIN))
    assert answer.json()["errors"] == [
        {"field": "name", "detail": "field required"},
        {"field": "role", "detail": "field required"},
        {"field": "nam", "detail": "extra inputs are not permitted (given: 'x')"},
    ]
    answer = serve().post("/api/v1/users", json={"name": "x", "role": "amdin"}, headers=key(Role.ADMIN))
    assert (answer.status_code, answer.json()["detail"]) == (422, "unknown role 'amdin'; did you mean 'admin'?")


def test_what_is_not_there_is_said(serve: Serve, key: Headers) -> None:
    client = serve()
    assert client.get("/api/v1/nothing").json()["detail"] == "there is nothing at /api/v1/nothing"
    assert client.post("/api/v1/health").json()["detail"] == "/api/v1/health does not know POST"
    answer = client.get("/api/v1/users/an", headers=key(Role.ADMIN, "ana"))
    assert (answer.status_code, answer.json()["detail"]) == (404, "unknown user 'an'; did you mean 'ana'?")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.1", False), ("example.com", False), ("localhost.evil", False)],
)  # fmt: skip
def test_what_cannot_be_reached_from_outside_is_known(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "keys", None), ("POST", "keys", {"name": "x"}), ("PUT", "self/password", {"old": GOOD, "new": GOOD})],
)
def test_where_accounts_are_switched_off_nobody_has_keys(serve: Serve, method: str, path: str, body: object) -> None:
    answer = serve(auth=False).request(method, f"/api/v1/{path}", json=body)
    assert (answer.status_code, "accounts are switched off here" in answer.json()["detail"]) == (409, True)
