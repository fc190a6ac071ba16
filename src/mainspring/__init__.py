"""Mainspring: a scheduler, a durable queue and a worker fleet in one package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.client import Client, EnqueuedGraph, Run, RunFailed, connect
    from mainspring.domain.cache import Cache
    from mainspring.domain.control import (
        CpuLimitExceeded,
        Fail,
        ResourceFailed,
        ResourceRefused,
        RetryLater,
        RunCancelled,
        SilenceLimit,
        Snooze,
        SoftTimeLimit,
    )
    from mainspring.domain.graph import Graph, chain, group, previous
    from mainspring.domain.needs import Concurrency
    from mainspring.domain.retry import Backoff
    from mainspring.domain.tasks import Context, Task, task
    from mainspring.domain.unique import Unique
    from mainspring.errors import (
        ArtifactRefused,
        BulkInterrupted,
        DuplicateRun,
        LeaseLost,
        LockHeld,
        LockLost,
        MainspringError,
    )
    from mainspring.version import VERSION as __version__

_HOMES = {
    "ArtifactRefused": "mainspring.errors",
    "Backoff": "mainspring.domain.retry",
    "Cache": "mainspring.domain.cache",
    "BulkInterrupted": "mainspring.errors",
    "Client": "mainspring.client",
    "Concurrency": "mainspring.domain.needs",
    "Context": "mainspring.domain.tasks",
    "CpuLimitExceeded": "mainspring.domain.control",
    "DuplicateRun": "mainspring.errors",
    "EnqueuedGraph": "mainspring.client",
    "Fail": "mainspring.domain.control",
    "Graph": "mainspring.domain.graph",
    "LeaseLost": "mainspring.errors",
    "LockHeld": "mainspring.errors",
    "LockLost": "mainspring.errors",
    "MainspringError": "mainspring.errors",
    "ResourceFailed": "mainspring.domain.control",
    "ResourceRefused": "mainspring.domain.control",
    "RetryLater": "mainspring.domain.control",
    "Run": "mainspring.client",
    "RunCancelled": "mainspring.domain.control",
    "RunFailed": "mainspring.client",
    "SilenceLimit": "mainspring.domain.control",
    "Snooze": "mainspring.domain.control",
    "SoftTimeLimit": "mainspring.domain.control",
    "Task": "mainspring.domain.tasks",
    "Unique": "mainspring.domain.unique",
    "chain": "mainspring.domain.graph",
    "connect": "mainspring.client",
    "group": "mainspring.domain.graph",
    "previous": "mainspring.domain.graph",
    "task": "mainspring.domain.tasks",
}

__all__ = [
    "ArtifactRefused",
    "Backoff",
    "Cache",
    "BulkInterrupted",
    "Client",
    "Concurrency",
    "Context",
    "CpuLimitExceeded",
    "DuplicateRun",
    "EnqueuedGraph",
    "Fail",
    "Graph",
    "LeaseLost",
    "LockHeld",
    "LockLost",
    "MainspringError",
    "ResourceFailed",
    "ResourceRefused",
    "RetryLater",
    "Run",
    "RunCancelled",
    "RunFailed",
    "SilenceLimit",
    "Snooze",
    "SoftTimeLimit",
    "Task",
    "Unique",
    "__version__",
    "chain",
    "connect",
    "group",
    "previous",
    "task",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: importing mainspring takes no longer than what is used of it.
    if name == "__version__":
        return import_module("mainspring.version").VERSION
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
