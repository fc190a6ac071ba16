"""Say what went wrong with a request, without repeating the secrets of its URL."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mainspring.errors import MainspringError

_SECRET_WORDS = ("token", "key", "secret", "passw", "pwd", "sig", "auth", "credential", "session")
# These may well end otherwise when they are tried again: a clock, a lock, a limit or a login may change.
_PASSING = (401, 403, 408, 409, 421, 423, 425, 429)


def safe_url(url: str) -> str:
    """Return *url* without user name and password, and with the values of secret-looking parameters masked."""
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
        place = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return "(unreadable URL)"
    query = "&".join(_masked(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit((parts.scheme, place, parts.path, query, ""))


def _masked(name: str, value: str) -> str:
    secret = any(word in name.lower() for word in _SECRET_WORDS)
    return urlencode({name: ""}) + "***" if secret else urlencode({name: value})


class HttpError(MainspringError):
    """A request did not bring an answer that can be used; `url` is free of secrets.

    `permanent` says whether the same request will fail again for sure, `resource_at_fault` whether the service failed:
    then the breakers of the resources that the run uses count it.
    """

    permanent = False

    @property
    def resource_at_fault(self) -> bool:
        """Whether the service failed, and not the request."""
        return not self.permanent

    def __init__(self, url: str, problem: str) -> None:
        self.url = safe_url(url)
        super().__init__(f"{self.url}: {problem}")

    @property
    def host(self) -> str:
        """The host that was asked."""
        return urlsplit(self.url).hostname or ""


class HttpStatusError(HttpError):
    """The host answered with a status other than 2xx; `body` is the start of its answer."""

    def __init__(self, url: str, status: int, retry_after: timedelta | None = None, body: bytes = b"") -> None:
        wait = f" (retry after {retry_after.total_seconds():g} s)" if retry_after is not None else ""
        super().__init__(url, f"answered with status {status}{wait}")
        self.status, self.retry_after, self.body = status, retry_after, body
        self.permanent = 400 <= status < 500 and status not in _PASSING

    @property
    def resource_at_fault(self) -> bool:
        """Whether the service failed: 5xx, or it waited too long for the request; any other answer is one."""
        return self.status >= 500 or self.status == 408


class HttpTimeout(HttpError):
    """The host did not answer in time."""


class HttpConnectionFailed(HttpError):
    """The host could not be reached, or the connection broke before the answer was complete."""


class HttpAnswerInvalid(HttpError):
    """The answer is not what its form says: damaged compression, or text that is not JSON."""


class HttpRedirectRefused(HttpError):
    """The host sent us elsewhere: to another host, away from TLS, or around in circles."""

    permanent = True


class ResponseTooLarge(HttpError):
    """The answer is larger than `limit` bytes, counted after decompression."""

    permanent = True

    def __init__(self, url: str, limit: int) -> None:
        super().__init__(url, f"the answer is larger than {limit} bytes; raise max_bytes if that is right")
        self.limit = limit


class UrlInvalid(HttpError):
    """A URL cannot be asked: only absolute http and https ones can."""

    permanent = True
