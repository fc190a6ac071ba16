"""Send tasks to queues by patterns of their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Route:
    """A rule for tasks whose name matches the pattern *task*: their queue, their priority, or both."""

    task: str
    queue: str | None = None
    priority: int | None = None


def find_route(routes: Sequence[Route], task: str) -> Route | None:
    """Return the first of *routes* whose pattern fits the name *task*, or None.

    In patterns ``*`` stands for any characters, dots included, ``?`` for one, ``[ab]`` for one of some; case counts.
    """
    return next((route for route in routes if fnmatchcase(task, route.task)), None)
