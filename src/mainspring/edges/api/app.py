"""Put the routes together into one guarded application."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from mainspring.app import Application
from mainspring.domain.access import Right
from mainspring.edges.api.limits import Bounds
from mainspring.edges.api.problems import MEDIA_TYPE, PROBLEM_SCHEMA, install
from mainspring.edges.api.repeatable import PARAMETER, Repeatable
from mainspring.edges.api.routes import accounts, dead_letters, health, installation, runs, schedules, sign_in
from mainspring.edges.api.security import Gate, Route, guard, needs, routes_of
from mainspring.version import VERSION

PREFIX = "/api/v1"
_PROBLEM = {
    "description": "What is wrong, and the way out.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def make_app(application: Application, gate: Gate, packs: Sequence[APIRouter] = ()) -> FastAPI:
    """Return the application that serves *application*; *packs* are routers that packs contribute, below ``/api``.

    Raises:
        RuntimeError: a route names no right, or two have the same method and path.
    """
    app = FastAPI(
        title="Mainspring", version=VERSION, openapi_url=None, docs_url=None, redoc_url=None,
        dependencies=[Depends(guard)], generate_unique_id_function=_operation_id,
        telemetry={"tracing": False, "metrics": False},
    )  # fmt: skip
    app.state.application, app.state.gate = application, gate
    install(app)
    for part in (runs, schedules, dead_letters, installation, accounts, health):
        app.include_router(part.router, prefix=PREFIX)
    app.include_router(_documents(), prefix=PREFIX)
    for router in (sign_in.router, *packs):
        app.include_router(router)
    _refuse_twins(app)
    app.add_middleware(Bounds)
    return app


def _documents() -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/openapi.json", summary="This description")
    @needs(Right.SELF_READ)
    def openapi(request: Request) -> dict[str, Any]:
        """Return the OpenAPI document."""
        return document(request.app)

    return router


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of *app*: every error is a problem, and every operation names its right."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, routes=app.routes, description=_DESCRIPTION)
        parts = found.setdefault("components", {})
        parts.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
        parts["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "An API key: ms_…"},
            "login": {"type": "apiKey", "in": "cookie", "name": app.state.gate.cookie},
        }
        for route in routes_of(app):
            for method in route.methods:
                if route.path in found["paths"]:
                    operation = found["paths"][route.path][method.lower()]
                    _describe(operation, route.right)
                    if method == "POST" and isinstance(route.kind, Repeatable):
                        operation.setdefault("parameters", []).append(PARAMETER)
        app.openapi_schema = found
    return app.openapi_schema


def _describe(operation: dict[str, Any], right: Right | None) -> None:
    expected = {status: told for status, told in operation["responses"].items() if status != "422"}
    operation["responses"] = expected | {"4XX": _PROBLEM, "5XX": _PROBLEM}
    if right is None:
        operation["security"] = []
        return
    operation["security"] = [{"key": []}, {"login": []}]
    operation["x-right"] = right.value


def _operation_id(route: APIRoute) -> str:
    return route.name


def _refuse_twins(app: FastAPI) -> None:
    seen: dict[tuple[str, str], Route] = {}
    for route in routes_of(app):
        for method in route.methods:
            other = seen.setdefault((method, re.sub(r"{[^}]*}", "{}", route.path)), route)
            if other is not route:
                raise RuntimeError(
                    f"two routes answer {method} {route.path}: {_place(other.endpoint)} and {_place(route.endpoint)}"
                )


def _place(endpoint: Callable[..., Any]) -> str:
    return f"{endpoint.__module__}.{endpoint.__qualname__}"


_DESCRIPTION = """\
Everything that people and other programs do with Mainspring. Errors are problem details (RFC 9457). Send an API key as
`Authorization: Bearer ms_…`. Instants are ISO 8601 in UTC; durations are seconds unless a field says otherwise.
"""
