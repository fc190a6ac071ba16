"""Find out who asks, and refuse whoever may not: once, for every route, by default.

Each endpoint names the right that it needs (`needs`). The list of those that need none is exact, and of functions, not
of paths: no name that somebody gives to a thing can make it public. A route with neither is refused when it is asked
and, before that, when the application is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.datastructures import URL

from mainspring.app import Application
from mainspring.domain.access import (
    Forbidden,
    NotSignedIn,
    Principal,
    Right,
    may_touch,
    owner_filter,
    require,
)
from mainspring.errors import MainspringError, NotFound
from mainspring.services.accounts import Accounts

F = TypeVar("F", bound=Callable[..., Any])
_RIGHT: Final = "__mainspring_right__"
_PUBLIC: Final = "__mainspring_public__"
COOKIE: Final = "mainspring_login"
SECURE_COOKIE: Final = "__Host-mainspring_login"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
FROM_PAGE: Final = "x-mainspring"
"""The header that our own pages send: another site's form cannot."""


class OriginRefused(Forbidden):
    """The request comes from another site's page, or names another host than this one."""

    def __init__(self, why: str) -> None:
        super().__init__(Right.SELF_READ, why)


def needs(right: Right) -> Callable[[F], F]:
    """Say which right an endpoint needs."""

    def mark(endpoint: F) -> F:
        setattr(endpoint, _RIGHT, right)
        return endpoint

    return mark


def public(endpoint: F) -> F:
    """Say that anybody may ask this endpoint; a test holds the exact list of them."""
    setattr(endpoint, _PUBLIC, True)
    return endpoint


@dataclass(frozen=True, slots=True)
class Gate:
    """How this server knows who asks."""

    accounts: Accounts
    local: Principal | None = None
    """Who everybody is where accounts are switched off (``--no-auth``, on loopback only)."""
    hosts: Collection[str] = ()
    """Names under which this server may be asked; empty means any."""
    secure: bool = False
    """Whether people reach it by https, so that cookies are marked for that alone."""

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds a login."""
        return SECURE_COOKIE if self.secure else COOKIE

    def check_host(self, request: Request) -> None:
        """Refuse requests that name another host: a name that somebody lets point here (DNS rebinding)."""
        if self.hosts and (request.url.hostname or "").lower() not in self.hosts:
            raise OriginRefused(
                f"this server is not called {request.url.hostname!r}; it is {', '.join(sorted(self.hosts))}"
            )

    def check_origin(self, request: Request) -> None:
        """Refuse what another site's page sends in the name of whoever is signed in here."""
        origin = request.headers.get("origin")
        if origin is not None and not _same_origin(origin, request.url):
            raise OriginRefused(f"this request comes from {origin[:200]!r}, another site")
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and request.method not in _SAFE:
            raise OriginRefused("this request comes from another site")

    def identify(self, request: Request) -> Principal | None:
        """Return who asks: by key, else by login; cookies are not looked at where a key is sent."""
        header = request.headers.get("authorization")
        if header is not None:
            kind, _, key = header.partition(" ")
            found = self.accounts.by_key(key.strip()) if kind.lower() == "bearer" else None
            if found is None:
                raise NotSignedIn(
                    "this API key is not valid: it is unknown, expired or revoked, or its account is disabled"
                )
            return found
        if self.local is not None:
            self.check_origin(request)
            return self.local
        secret = request.cookies.get(self.cookie)
        if not secret:
            return None
        if request.method not in _SAFE:
            self.check_origin(request)
            if FROM_PAGE not in request.headers:
                raise OriginRefused(f"a signed-in browser sends the header {FROM_PAGE!r} with every change")
        return self.accounts.by_login(secret)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks a route, with the right that the route needs."""

    principal: Principal
    right: Right
    address: str

    @property
    def name(self) -> str:
        """The name for the audit."""
        return self.principal.name

    @property
    def owner(self) -> str | None:
        """Whose things a list shows: None means everybody's."""
        return owner_filter(self.principal, self.right)

    def sees(self, owner_id: str, kind: str, key: str, right: Right | None = None) -> None:
        """Let pass who may touch a thing of this owner; to others it does not exist.

        Raises:
            NotFound: it is somebody else's.
        """
        if not may_touch(self.principal, right or self.right, owner_id):
            raise NotFound(kind, key)

    def may(self, right: Right) -> bool:
        """Return whether another right reaches anywhere in these hands."""
        try:
            require(self.principal, right)
        except MainspringError:
            return False
        return True


async def guard(request: Request) -> None:
    """Refuse whoever may not ask this route; the dependency of every route."""
    gate: Gate = request.app.state.gate
    gate.check_host(request)
    endpoint = request.scope["endpoint"]
    if getattr(endpoint, _PUBLIC, False):
        return
    right: Right | None = getattr(endpoint, _RIGHT, None)
    principal: Principal | None = None
    try:
        principal = await run_sync(gate.identify, request)
        if right is None:
            raise Forbidden(Right.SYSTEM_WRITE, "this route says of nobody that they may ask it")
        require(principal, right)
    except (NotSignedIn, Forbidden) as error:
        await run_sync(_record, gate, request, principal, right, error)
        raise
    assert principal is not None
    request.state.caller = Caller(principal, right, address_of(request))


def _record(
    gate: Gate, request: Request, principal: Principal | None, right: Right | None, error: MainspringError
) -> None:
    if principal is None and "authorization" not in request.headers and request.method in _SAFE:
        # Whoever is not signed in and looks is sent to sign in; that fills no audit.
        return
    who = "(nobody)" if principal is None else principal.name
    operation = f"{request.method} {request.url.path}"[:200]
    gate.accounts.refused(who, operation, right.value if right else "none", str(error)[:500], address_of(request))


def _caller(request: Request) -> Caller:
    found: Caller = request.state.caller
    return found


Asking = Annotated[Caller, Depends(_caller)]
"""The parameter by which an endpoint learns who asks."""


def _application(request: Request) -> Application:
    found: Application = request.app.state.application
    return found


Known = Annotated[Application, Depends(_application)]
"""The parameter by which an endpoint gets the services."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route as it is served: prefixes of routers included."""

    methods: tuple[str, ...]
    path: str
    name: str
    endpoint: Callable[..., Any]
    kind: APIRoute

    @property
    def right(self) -> Right | None:
        """The right that it needs, None where it is public."""
        found: Right | None = getattr(self.endpoint, _RIGHT, None)
        return found


def routes_of(app: FastAPI) -> list[Route]:
    """Return all routes of *app*.

    Raises:
        RuntimeError: a route says of nobody that they may ask it, or is of a kind that cannot be guarded.
    """
    found = []
    for context in iter_route_contexts(app.routes):
        endpoint = context.endpoint
        if not isinstance(context.original_route, APIRoute) or endpoint is None:
            raise RuntimeError(f"route {context.path!r} is not guarded: declare it as an API route")
        if not (hasattr(endpoint, _RIGHT) or hasattr(endpoint, _PUBLIC)):
            raise RuntimeError(f"route {context.path!r} names no right: mark its endpoint with @needs(Right.…)")
        methods, kind = tuple(sorted(context.methods or ())), context.original_route
        found.append(Route(methods, context.path or "", context.name or "", endpoint, kind))
    return found


def address_of(request: Request) -> str:
    """Return the address of whoever asks."""
    return request.client.host if request.client is not None else "local"


def _same_origin(origin: str, url: URL) -> bool:
    try:
        parts = urlsplit(origin)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return False
    ours = url.port or (443 if url.scheme == "https" else 80)
    return (parts.hostname or "") == (url.hostname or "") and port == ours
