"""The description of the interface is whole: every reference leads somewhere, every operation names its right."""

from __future__ import annotations

import re
from typing import Any

from pydantic import TypeAdapter

from mainspring.edges.api.app import document
from mainspring.edges.api.security import routes_of
from tests.edges.api.conftest import Serve


def test_the_document_describes_every_operation(serve: Serve) -> None:
    app: Any = serve().app
    found = document(app)
    described = {(method.upper(), path) for path, item in found["paths"].items() for method in item}
    served = {(method, route.path) for route in routes_of(app) for method in route.methods}
    assert {path for _, path in served - described} == {"/sign-in", "/sign-in.js", "/sign-in.css"}
    for item in found["paths"].values():
        for operation in item.values():
            assert operation["summary"]
            assert ("x-right" in operation) != (operation["security"] == [])
            assert {"4XX", "5XX"} <= operation["responses"].keys()


def test_every_reference_leads_somewhere_and_a_post_may_be_sent_again(serve: Serve) -> None:
    app: Any = serve().app
    found = document(app)
    text = TypeAdapter(dict[str, Any]).dump_json(found).decode()
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names <= found["components"]["schemas"].keys()
    posts = {path: item["post"] for path, item in found["paths"].items() if "post" in item}
    again = {
        path for path, post in posts.items() if "Idempotency-Key" in [p["name"] for p in post.get("parameters", [])]
    }
    assert {"/api/v1/runs", "/api/v1/runs/bulk", "/api/v1/schedules"} <= again
    assert not {"/api/v1/keys", "/api/v1/users/{name}/link"} & again
