"""Build packs on this: the public doors to HTTP, the database and the settings."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.clock import Clock
    from mainspring.domain.routes import Route
    from mainspring.pack.http import HostGate, HttpClient, HttpResponse
    from mainspring.pack.http_errors import (
        HttpAnswerInvalid,
        HttpConnectionFailed,
        HttpError,
        HttpRedirectRefused,
        HttpStatusError,
        HttpTimeout,
        ResponseTooLarge,
        UrlInvalid,
        safe_url,
    )
    from mainspring.pack.interface import FiredRun, OccurrenceFired, Pack, PackContext, PackDatabase
    from mainspring.pack.politeness import HostPolicy, PoliteGate

_HOMES = {
    "Clock": "mainspring.clock",
    "FiredRun": "mainspring.pack.interface",
    "HostGate": "mainspring.pack.http",
    "HostPolicy": "mainspring.pack.politeness",
    "HttpAnswerInvalid": "mainspring.pack.http_errors",
    "HttpClient": "mainspring.pack.http",
    "HttpConnectionFailed": "mainspring.pack.http_errors",
    "HttpError": "mainspring.pack.http_errors",
    "HttpRedirectRefused": "mainspring.pack.http_errors",
    "HttpResponse": "mainspring.pack.http",
    "HttpStatusError": "mainspring.pack.http_errors",
    "HttpTimeout": "mainspring.pack.http_errors",
    "OccurrenceFired": "mainspring.pack.interface",
    "Pack": "mainspring.pack.interface",
    "PackContext": "mainspring.pack.interface",
    "PackDatabase": "mainspring.pack.interface",
    "PoliteGate": "mainspring.pack.politeness",
    "ResponseTooLarge": "mainspring.pack.http_errors",
    "Route": "mainspring.domain.routes",
    "UrlInvalid": "mainspring.pack.http_errors",
    "safe_url": "mainspring.pack.http_errors",
}

__all__ = [
    "Clock",
    "FiredRun",
    "HostGate",
    "HostPolicy",
    "HttpAnswerInvalid",
    "HttpClient",
    "HttpConnectionFailed",
    "HttpError",
    "HttpRedirectRefused",
    "HttpResponse",
    "HttpStatusError",
    "HttpTimeout",
    "OccurrenceFired",
    "Pack",
    "PackContext",
    "PackDatabase",
    "PoliteGate",
    "ResponseTooLarge",
    "Route",
    "UrlInvalid",
    "safe_url",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that importing this door stays cheap.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
