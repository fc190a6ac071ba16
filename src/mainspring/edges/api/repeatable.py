"""Let clients send a POST again without its being done twice: the header ``Idempotency-Key``.

Not for what answers with a secret (keys, links): no secret is kept in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final

from anyio.to_thread import run_sync
from fastapi import Request, Response
from fastapi.routing import APIRoute

from mainspring.edges.api.security import Caller, guard
from mainspring.services.idempotency import Idempotency

HEADER: Final = "Idempotency-Key"
REPEATED: Final = "Idempotent-Replayed"
_KEPT_HEADERS: Final = ("content-type", "etag", "location")
PARAMETER: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "The same key and body within 24 hours get the answer of the first time; nothing is done twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}


class Repeatable(APIRoute):
    """A route whose POST answers a key that it has seen with what it answered then."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of requests, which looks at the key first."""
        handle = super().get_route_handler()

        async def once(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or request.method != "POST":
                return await handle(request)
            # Whoever may not ask learns nothing of what others asked.
            await guard(request)
            return await _once(request, key, handle)

        return once


async def _once(request: Request, key: str, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    application, caller = request.app.state.application, request.state.caller
    keeper, account = Idempotency(application.database, application.clock), _account(caller)
    fingerprint = sha256(
        b"\n".join((request.url.path.encode(), request.url.query.encode(), await request.body()))
    ).hexdigest()
    kept = await run_sync(keeper.begin, account, key, fingerprint)
    if kept is not None and kept.status is not None:
        return Response(kept.body, kept.status, {**kept.headers, REPEATED: "true"})
    try:
        answer = await handle(request)
    except Exception:
        await run_sync(keeper.forget, account, key)
        raise
    if answer.status_code >= HTTPStatus.BAD_REQUEST:
        await run_sync(keeper.forget, account, key)
        return answer
    headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
    body = bytes(answer.body).decode("utf-8")
    await run_sync(keeper.end, account, key, answer.status_code, headers, body)
    return answer


def _account(caller: Caller) -> str:
    return caller.principal.user_id or f"local:{caller.name}"[:200]
