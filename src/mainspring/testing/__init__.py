"""Helpers for the tests of your own tasks: run one inline, or a whole installation on a clock that you move."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.testing.inline import RecordingContext, TaskResult, run_task
    from mainspring.testing.installation import TestApp, open_test_app
    from mainspring.testing.records import LedgerEntry, RunRecord

_HOMES = {
    "LedgerEntry": "mainspring.testing.records",
    "RecordingContext": "mainspring.testing.inline",
    "RunRecord": "mainspring.testing.records",
    "TaskResult": "mainspring.testing.inline",
    "TestApp": "mainspring.testing.installation",
    "open_test_app": "mainspring.testing.installation",
    "run_task": "mainspring.testing.inline",
}

__all__ = ["LedgerEntry", "RecordingContext", "RunRecord", "TaskResult", "TestApp", "open_test_app", "run_task"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: pytest imports this package for every project in which Mainspring is installed.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
