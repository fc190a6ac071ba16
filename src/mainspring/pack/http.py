"""Ask HTTP services politely: limits per host, time limits, size limits, and errors that say what happened."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from mainspring.clock import Clock
from mainspring.domain.blame import retry_after
from mainspring.errors import MainspringError
from mainspring.pack.http_body import Body
from mainspring.pack.http_errors import (
    HttpAnswerInvalid,
    HttpConnectionFailed,
    HttpRedirectRefused,
    HttpStatusError,
    HttpTimeout,
    ResponseTooLarge,
    UrlInvalid,
    safe_url,
)
from mainspring.pack.politeness import HostPolicy, PoliteGate

if TYPE_CHECKING:
    import httpx2

MEGABYTE = 1024 * 1024
MAX_REDIRECTS = 5
ERROR_BODY_LIMIT = 2048
_LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")

Params = Mapping[str, str | int | float | None]


class HostGate(Protocol):
    """Decides when a host may be asked."""

    def turn(self, host: str) -> AbstractAsyncContextManager[None]:
        """Return a context that is entered when *host* may be asked, and held while it is being asked."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer with a 2xx status, read to its end; `url` is free of secrets, header names are lower case."""

    status: int
    url: str
    headers: Mapping[str, str]
    content: bytes
    elapsed: timedelta

    @property
    def host(self) -> str:
        """The host that answered."""
        return urlsplit(self.url).hostname or ""

    @property
    def text(self) -> str:
        """The content as text, by the character set it names; UTF-8 otherwise, odd bytes replaced."""
        _, _, charset = self.headers.get("content-type", "").lower().partition("charset=")
        try:
            return self.content.decode(charset.split(";")[0].strip(" \"'") or "utf-8", errors="replace")
        except LookupError:
            return self.content.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Return the content read as JSON.

        Raises:
            HttpAnswerInvalid: when it is none; NaN and infinities are none either.
        """
        try:
            return json.loads(self.content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            kind = self.headers.get("content-type", "of unknown type")
            raise HttpAnswerInvalid(self.url, f"the answer ({kind}) is not JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request as it goes out, with its limits."""

    method: str
    headers: Mapping[str, str]
    content: bytes | None
    limit: int


class HttpClient:
    """Ask hosts over HTTP, politely; used from one event loop.

    It does not retry: the run does. Redirects are followed on the same host only. Cookies are not kept. Proxies come
    from the environment, never for loopback. A *gate* takes the place of the politeness within this process.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        policies: Sequence[HostPolicy] = (HostPolicy(),),
        user_agent: str | None = None,
        connect_timeout: timedelta = timedelta(seconds=5),
        timeout: timedelta = timedelta(seconds=30),
        max_bytes: int = 10 * MEGABYTE,
        gate: HostGate | None = None,
    ) -> None:
        self._clock = clock
        self._gate: HostGate = gate or PoliteGate(clock, policies)
        self._user_agent = user_agent or default_user_agent()
        self._connect_timeout, self._timeout, self._max_bytes = connect_timeout, timeout, max_bytes
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(
        self,
        url: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: timedelta | None = None,
        max_bytes: int | None = None,
    ) -> HttpResponse:
        """Return the answer to a GET of *url*; *params* join its query, those that are None are left away.

        *timeout* covers the whole exchange, redirects and reading included, but not the wait for the host's turn.

        Raises:
            HttpStatusError, HttpTimeout, HttpConnectionFailed, HttpAnswerInvalid, ResponseTooLarge,
            HttpRedirectRefused, UrlInvalid: all of them are `HttpError`.
        """
        exchange = _Exchange("GET", dict(headers or {}), None, max_bytes or self._max_bytes)
        return await self._send(exchange, _target(url, params), timeout or self._timeout)

    async def get_json(
        self,
        url: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: timedelta | None = None,
        max_bytes: int | None = None,
    ) -> Any:
        """Return the JSON value that a GET of *url* answers; raises as `get` does."""
        asked = {"accept": "application/json", **(headers or {})}
        return (await self.get(url, params, asked, timeout=timeout, max_bytes=max_bytes)).json()

    async def post_json(
        self,
        url: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: timedelta | None = None,
        max_bytes: int | None = None,
    ) -> Any:
        """Return the JSON value that a POST of *body* as JSON answers; raises as `get` does, follows no redirect."""
        asked = {"accept": "application/json", "content-type": "application/json", **(headers or {})}
        content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        exchange = _Exchange("POST", asked, content, max_bytes or self._max_bytes)
        return (await self._send(exchange, _target(url, None), timeout or self._timeout)).json()

    async def aclose(self) -> None:
        """Close the connections; the client opens new ones when it is used again."""
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.aclose()

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(self, exchange: _Exchange, url: str, timeout: timedelta) -> HttpResponse:
        target, left = url, timeout.total_seconds()
        for _ in range(MAX_REDIRECTS + 1):
            async with self._gate.turn(urlsplit(target).hostname or ""):
                started = self._clock.monotonic()
                answer = await self._ask(exchange, target, left)
            if isinstance(answer, HttpResponse):
                return answer
            left = max(left - (self._clock.monotonic() - started), 0.001)
            target = _checked_redirect(exchange.method, target, answer)
        raise HttpRedirectRefused(url, f"redirected more than {MAX_REDIRECTS} times")

    async def _ask(self, exchange: _Exchange, url: str, seconds: float) -> HttpResponse | str:
        """Return the answer to one request, or the place to which it redirects."""
        import httpx2

        client = self._connected()
        started = self._clock.monotonic()
        # gzip alone, so that what is unpacked can be counted while it is unpacked.
        headers = {"user-agent": self._user_agent, "accept-encoding": "gzip", **exchange.headers}
        request = client.stream(exchange.method, url, headers=headers, content=exchange.content)
        try:
            async with asyncio.timeout(seconds), request as response:
                location = response.headers.get("location")
                if 300 <= response.status_code < 400 and location:
                    return str(location)
                content = await self._read(url, response, exchange.limit)
        except httpx2.ConnectTimeout:
            raise HttpTimeout(url, f"no connection within {self._connect_timeout.total_seconds():g} s") from None
        except (TimeoutError, httpx2.TimeoutException):
            raise HttpTimeout(url, f"no complete answer within {seconds:g} s") from None
        except httpx2.TransportError as error:
            reason = str(error) or type(error).__name__
            raise HttpConnectionFailed(url, f"the connection failed: {reason}") from None
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise UrlInvalid(url, f"is no URL that can be asked: {error}") from None
        elapsed = timedelta(seconds=self._clock.monotonic() - started)
        found = {name.lower(): value for name, value in response.headers.items()}
        return HttpResponse(response.status_code, safe_url(url), found, content, elapsed)

    async def _read(self, url: str, response: httpx2.Response, limit: int) -> bytes:
        encoding = response.headers.get("content-encoding", "")
        if response.is_success:
            body = Body(url, encoding, limit)
            async for chunk in response.aiter_raw():
                body.add(chunk)
            return body.finish()
        start = Body(url, encoding, ERROR_BODY_LIMIT)
        try:
            async for chunk in response.aiter_raw():
                start.add(chunk[:ERROR_BODY_LIMIT])
        except (ResponseTooLarge, HttpAnswerInvalid):
            # The status is the news; of the rest the beginning is enough.
            pass
        wait = retry_after(response.headers.get("retry-after"), self._clock.now())
        raise HttpStatusError(url, response.status_code, wait, start.so_far)

    def _connected(self) -> httpx2.AsyncClient:
        import httpx2

        loop = asyncio.get_running_loop()
        if self._client is not None and self._loop is loop:
            return self._client
        if self._loop is not None and not self._loop.is_closed():
            raise MainspringError("an HttpClient serves one event loop; make another one for the other loop")
        _mask_urls_in_log()
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=self._connect_timeout.total_seconds()),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=30),
            follow_redirects=False,
            mounts=dict.fromkeys(_LOOPBACK),
            # A cookie would tie the answers of unrelated runs together.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        self._loop = loop
        return self._client


def default_user_agent() -> str:
    """Return the user agent that is sent when the settings name none."""
    try:
        return f"mainspring/{version('mainspring')}"
    except PackageNotFoundError:
        return "mainspring"


def _target(url: str, params: Params | None) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise UrlInvalid(url, f"is no URL that can be asked: {error}") from None
    if not usable:
        raise UrlInvalid(url, "is no absolute http or https URL")
    given = urlencode({name: value for name, value in (params or {}).items() if value is not None})
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "&".join(filter(None, (parts.query, given))), ""))


def _checked_redirect(method: str, url: str, location: str) -> str:
    """Return the place that *location* names, when it is on the host that *url* was asked of."""
    target = _target(urljoin(url, location), None)
    before, after = urlsplit(url), urlsplit(target)
    upgraded = (before.scheme, after.scheme) == ("http", "https")
    if before.hostname != after.hostname or (before.port != after.port and not upgraded):
        raise HttpRedirectRefused(url, f"redirected to another host: {safe_url(target)}; ask that one if you trust it")
    if before.scheme != after.scheme and not upgraded:
        raise HttpRedirectRefused(url, f"redirected away from TLS: {safe_url(target)}")
    if method != "GET":
        raise HttpRedirectRefused(url, f"redirected a {method}: {safe_url(target)}; ask that URL itself")
    return target


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _MaskUrls(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(safe_url(str(arg)) if "://" in str(arg) else arg for arg in record.args)
        return True


_MASK_URLS = _MaskUrls("")


def _mask_urls_in_log() -> None:
    # The HTTP library logs whole URLs, and those may hold keys; adding the same filter twice does nothing.
    logging.getLogger("httpx2").addFilter(_MASK_URLS)
