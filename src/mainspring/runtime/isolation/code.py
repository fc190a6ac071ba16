"""Name the code that children run, so that a fresh process can load it: where to ask, and with which arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from mainspring.domain.tasks import Task
from mainspring.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ChildCode:
    """What a child can do: its tasks by their names, and what their functions are given beside their parameters."""

    tasks: Mapping[str, Task[..., Any]]
    enter: Callable[[Task[..., Any], Any], dict[str, Any]] | None = None
    """Called with a task and its context in the child, after the fork: the first to open a database there."""


class CodeSource(Protocol):
    """Loads the code of a project. It must open nothing: what is open before a fork is shared by all children."""

    def __call__(self, **arguments: Any) -> ChildCode:
        """Return the code."""


@dataclass(frozen=True, slots=True)
class IsolatedCode:
    """Where a fresh process finds a project's code."""

    source: str
    """``module:function`` of a `CodeSource`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Its arguments; they must be possible in JSON."""

    def load(self) -> ChildCode:
        """Load the code into this process."""
        module, _, name = self.source.partition(":")
        function: CodeSource = getattr(import_module(module), name)
        code = function(**self.arguments)
        for task in code.tasks.values():
            with contextlib.suppress(InvalidInput):  # its runs say it, and no other's
                task.prepare()
        return code
