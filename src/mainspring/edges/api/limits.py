"""Keep requests within bounds before anything looks at them: size of body and headers, depth of JSON."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainspring.edges.api.problems import problem

LARGEST_BODY: Final = 1024 * 1024
LARGEST_HEADERS: Final = 16 * 1024
DEEPEST: Final = 32
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
)


class Bounds:
    """Refuses what is too large or too deep, and gives every answer its safe headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in _HEADERS if h[0] not in given)]
            await send(message)

        refusal = await self._refusal(scope, receive)
        if isinstance(refusal, bytes):
            await self._app(scope, _replay(refusal, receive), safely)
        else:
            await refusal(scope, receive, safely)

    async def _refusal(self, scope: Scope, receive: Receive) -> Any:
        """Return the answer that refuses the request, or its body where it passes."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEADERS:
            return problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers have at most {LARGEST_HEADERS} bytes")
        body = await _read(Request(scope, receive))
        if body is None:
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {LARGEST_BODY} bytes")
        if _is_json(scope) and too_deep(body):
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"JSON is nested at most {DEEPEST} levels deep")
        if "\0" in scope["path"] or b"%00" in scope["query_string"] or (b"\\u" in body and _holds_no_text(body)):
            said = "text with a NUL character or half a surrogate pair cannot be stored; leave it out"
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, said)
        return body


async def _read(request: Request) -> bytes | None:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > LARGEST_BODY:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _is_json(scope: Scope) -> bool:
    return any(name == b"content-type" and b"json" in value.lower() for name, value in scope["headers"])


def too_deep(body: bytes) -> bool:
    """Return whether JSON is nested deeper than anybody needs; what is no JSON is judged later."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    try:
        return _depth(json.loads(body)) > DEEPEST
    except RecursionError:
        return True
    except ValueError:
        return False


def _holds_no_text(body: bytes) -> bool:
    """Return whether JSON says characters that no database holds as text."""
    try:
        # Written out again, what was escaped stands there as itself.
        text = json.dumps(json.loads(body), ensure_ascii=False)
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return "\\u0000" in text.replace("\\\\", "")


def _depth(value: Any) -> int:
    level, values = 0, [value]
    while values:
        values = [
            inner
            for outer in values
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        level += 1
    return level
