"""Find the route of a task by its name."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.config.settings import Route


def match_route(routes: Iterable[Route], task: str) -> Route | None:
    """Return the first of *routes* whose pattern fits the name *task*, or None.

    In patterns ``*`` stands for any characters, dots included, ``?`` for one, ``[ab]`` for one of some; case counts.
    """
    return next((route for route in routes if fnmatchcase(task, route.task)), None)
