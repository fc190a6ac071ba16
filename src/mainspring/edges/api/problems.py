"""Answer errors as problem details (RFC 9457), in the words of the error itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mainspring.domain.access import Forbidden, NotSignedIn
from mainspring.errors import (
    Conflict,
    InvalidInput,
    MainspringError,
    NotFound,
    ParametersInvalid,
    StoreFull,
    StoreUnavailable,
    UnknownName,
    VersionMismatch,
)
from mainspring.services.accounts import SignInRefused, TooManyTries
from mainspring.services.defining import DefinitionInvalid


class PreconditionNeeded(InvalidInput):
    """A change must say which version of a thing it is based on."""


_log = logging.getLogger("mainspring.api")
MEDIA_TYPE: Final = "application/problem+json"
_THINGS: Final = frozenset(
    {"schedule", "task", "queue", "run", "artifact", "scraper", "pack", "user", "key", "resource"}
)
_STATUS: Final[tuple[tuple[type[MainspringError], HTTPStatus], ...]] = (
    (NotSignedIn, HTTPStatus.UNAUTHORIZED),
    (SignInRefused, HTTPStatus.UNAUTHORIZED),
    (TooManyTries, HTTPStatus.TOO_MANY_REQUESTS),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (NotFound, HTTPStatus.NOT_FOUND),
    (PreconditionNeeded, HTTPStatus.PRECONDITION_REQUIRED),
    (VersionMismatch, HTTPStatus.PRECONDITION_FAILED),
    (Conflict, HTTPStatus.CONFLICT),
    (InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (StoreFull, HTTPStatus.INSUFFICIENT_STORAGE),
    (StoreUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, with which value, and the way out."},
        "errors": {
            "type": "array",
            "description": "One entry for each field that is wrong.",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, kind: str = "", **more: Any
) -> JSONResponse:
    """Return the answer that says *detail*; *kind* is the name of the error's class."""
    body = {"type": f"about:blank#{kind}" if kind else "about:blank", "title": HTTPStatus(status).phrase,
            "status": int(status), "detail": detail, **more}  # fmt: skip
    return JSONResponse(body, int(status), headers=dict(headers or {}), media_type=MEDIA_TYPE)


def status_of(error: MainspringError) -> HTTPStatus:
    """Return the status that says what kind of error it is."""
    if isinstance(error, UnknownName) and error.kind in _THINGS:
        return HTTPStatus.NOT_FOUND
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def answer(error: MainspringError) -> JSONResponse:
    """Return the problem details of *error*."""
    status, headers, more = status_of(error), {}, {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyTries):
        headers["Retry-After"] = str(int(error.retry_after.total_seconds()))
    if isinstance(error, ParametersInvalid):
        more["errors"] = [{"field": "parameters", "detail": text} for text in error.problems]
    if isinstance(error, DefinitionInvalid):
        more["errors"] = [
            {"field": f"definition.{where}".rstrip("."), "detail": said} for where, said in error.problems
        ]
    return problem(status, str(error), headers=headers, kind=type(error).__name__, **more)


def install(app: FastAPI) -> None:
    """Let *app* answer every error with problem details; what was not foreseen says no more than that."""

    @app.exception_handler(MainspringError)
    async def _ours(request: Request, error: MainspringError) -> JSONResponse:
        found = answer(error)
        if found.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request_failed path=%s", request.url.path, exc_info=error)
        return found

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [{"field": _field(item["loc"]), "detail": _said(item)} for item in error.errors()]
        detail = "; ".join(f"{item['field']}: {item['detail']}" for item in errors[:10])
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, kind="InvalidInput", errors=errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        said = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND and said == HTTPStatus.NOT_FOUND.phrase:
            said = f"there is nothing at {request.url.path}"
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            said = f"{request.url.path} does not know {request.method}"
        return problem(error.status_code, said, headers=error.headers)

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        _log.error("request_failed path=%s", request.url.path, exc_info=error)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error; the log of the server says more")


def _field(place: tuple[Any, ...]) -> str:
    parts = [str(part) for part in place if part not in ("body", "query", "path", "header")]
    return ".".join(parts) or "body"


def _said(item: Mapping[str, Any]) -> str:
    given = item.get("input")
    shown = repr(given) if isinstance(given, (str, int, float, bool, type(None))) else type(given).__name__
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    message = str(item["msg"])
    message = message[0].lower() + message[1:]
    return message if item["type"] == "missing" else f"{message} (given: {shown})"
