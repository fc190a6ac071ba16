"""Know the tasks: what a worker has loaded, what any worker has described, and where routes send them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mainspring.domain.routes import Route, find_route
from mainspring.domain.tasks import DEFAULT_MAX_RETRIES, DEFAULT_PRIORITY, DEFAULT_QUEUE, Task
from mainspring.errors import InvalidInput, UnknownName
from mainspring.store.tables import StoredTask


@dataclass(frozen=True, slots=True)
class Decided:
    """What a run gets, and what decided it: kept in its snapshot."""

    queue: str
    priority: int
    max_tries: int
    at_most_once: bool
    expires: timedelta | None
    why: Mapping[str, str]


class Catalog:
    """The tasks that this process has loaded, by name."""

    def __init__(self, tasks: Iterable[Task[..., Any]] = ()) -> None:
        """Keep *tasks*.

        Raises:
            InvalidInput: two different functions have one name.
        """
        self._tasks: dict[str, Task[..., Any]] = {}
        for task in tasks:
            known = self._tasks.setdefault(task.name, task)
            if known is not task:
                raise InvalidInput(
                    f"two tasks are called {task.name!r}: {_where(known)} and {_where(task)}; give one another name "
                    "with @task(name=…)"
                )

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(self._tasks.values())

    @property
    def names(self) -> Sequence[str]:
        """Return the names of all tasks, sorted."""
        return sorted(self._tasks)

    def find(self, name: str) -> Task[..., Any] | None:
        """Return the task of this name, or None."""
        return self._tasks.get(name)

    def require(self, name: str) -> Task[..., Any]:
        """Return the task of this name, or raise `UnknownName` with the nearest one."""
        found = self._tasks.get(name)
        if found is None:
            raise UnknownName("task", name, self._tasks)
        return found

    def describe(self) -> list[StoredTask]:
        """Return what the database is told of the tasks, so that nobody else needs their code."""
        return [describe(task) for task in self._tasks.values()]


def defaults_of(task: Task[..., Any]) -> dict[str, Any]:
    """Return what *task* says of its runs unless somebody says otherwise."""
    return {"queue": task.queue, "priority": task.priority, "max_tries": task.max_tries, "expires": task.expires}


def policies_of(task: Task[..., Any]) -> dict[str, Any]:
    """Return what *task* says of its runs and nobody may change."""
    return {
        "at_most_once": task.at_most_once,
        "backoff": task.backoff.to_json(),
        "is_async": task.is_async,
        "limits": task.limits.to_json(),
        "cache": None if task.cache is None else task.cache.to_json(),
        "unique": None if task.unique is None else task.unique.to_json(),
        "flow": task.flow.to_json(),
    }


def describe(task: Task[..., Any]) -> StoredTask:
    """Return what the database is told of *task*."""
    schema = task.json_schema()
    return StoredTask(task.name, task.description, schema, defaults_of(task), policies_of(task), task.code_version)


def _where(task: Task[..., Any]) -> str:
    function = task.function
    return f"{function.__module__}.{function.__qualname__}"


def decide(
    task: str,
    defaults: Mapping[str, Any],
    policies: Mapping[str, Any],
    routes: Sequence[Route],
    *,
    queue: str | None = None,
    priority: int | None = None,
    max_tries: int | None = None,
    expires: timedelta | None = None,
    by: str = "the caller",
) -> Decided:
    """Decide queue, priority, tries and expiry of a run: *by* (schedule or caller) before route before task."""
    why: dict[str, str] = {}
    route = find_route(routes, task)
    from_route = {"queue": route.queue, "priority": route.priority} if route is not None else {}

    def first(name: str, given: Any, fallback: Any) -> Any:
        for value, source in (
            (given, by),
            (from_route.get(name), f"route {route.task!r}" if route is not None else ""),
            (defaults.get(name), "the task"),
        ):
            if value is not None:
                why[name] = source
                return value
        why[name] = "default"
        return fallback

    span = first("expires", expires, None)
    return Decided(
        queue=first("queue", queue, DEFAULT_QUEUE),
        priority=first("priority", priority, DEFAULT_PRIORITY),
        max_tries=first("max_tries", max_tries, DEFAULT_MAX_RETRIES + 1),
        at_most_once=bool(policies.get("at_most_once", False)),
        expires=timedelta(seconds=span) if isinstance(span, (int, float)) else span,
        why=why,
    )
