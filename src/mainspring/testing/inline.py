"""Run one task at once, in this process and without a database, with a context that records what it is told."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from mainspring.domain.control import RunCancelled
from mainspring.domain.progress import length_of
from mainspring.domain.tasks import Task
from mainspring.encoding import decode, encode
from mainspring.store.files.names import usable_name
from mainspring.store.files.pieces import pieces_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SavedArtifact:
    """An artifact that a task saved."""

    name: str
    content: bytes
    media_type: str | None


@dataclass
class RecordingContext:
    """A `mainspring.Context` that keeps what a task reports.

    Pass your own to `run_task` for another attempt number, or for a run that was asked to cancel.
    """

    run_id: str = "00000000-0000-7000-8000-000000000000"
    attempt: int = 1
    task: str = ""
    queue: str = "default"
    schedule_id: str | None = None
    cancelled: bool = False
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("task"))
    reports: list[tuple[float, float | None, str]] = field(default_factory=list)
    saved: list[SavedArtifact] = field(default_factory=list)
    checkpoint: Any = None
    """Where an earlier attempt stood, and then what the task saved last."""
    checkpoints: list[Any] = field(default_factory=list)
    """What the task saved, in order."""

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Keep the report.

        Raises:
            RunCancelled: `cancelled` is set.
        """
        self.reports.append((float(done), None if total is None else float(total), note))
        self.beat()

    def beat(self) -> None:
        """Look whether the run is to stop.

        Raises:
            RunCancelled: `cancelled` is set.
        """
        if self.cancelled:
            raise RunCancelled(f"run {self.run_id} was asked to stop")

    def track(self, items: Iterable[T], total: float | None = None, note: str = "", start: float = 0) -> Iterator[T]:
        """Give *items* and keep a report of each."""
        known = length_of(items)
        total = start + known if total is None and known is not None else total
        self.progress(start, total, note)
        for place, item in enumerate(items, 1):
            yield item
            self.progress(start + place, total, note)

    def save_checkpoint(self, value: Any, every: timedelta | None = None) -> bool:
        """Keep *value*; JSON must be able to hold it."""
        self.checkpoint = decode(encode(value))
        self.checkpoints.append(self.checkpoint)
        return True

    def on_stop(self, callback: Callable[[str], object]) -> None:
        """Call *callback* at once if `cancelled` is set."""
        if self.cancelled:
            callback("cancelled")

    def artifact(self, name: str, data: Any, media_type: str | None = None) -> str:
        """Keep the artifact; return an id.

        Raises:
            ArtifactRefused: its name or type is not usable.
        """
        name = usable_name(name)
        self.saved.append(SavedArtifact(name, b"".join(pieces_of(name, data)), media_type))
        return f"artifact-{len(self.saved)}"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task returned, and what it told its context."""

    result: Any
    """What the function returned, as it is."""
    logs: tuple[str, ...]
    """What was logged while it ran, one ``LEVEL logger: message`` each; what it printed is pytest's ``capsys``."""
    progress: tuple[tuple[float, float | None, str], ...]
    """Each report: done, total, note."""
    artifacts: tuple[SavedArtifact, ...]
    checkpoints: tuple[Any, ...] = ()


def run_task(task: Task[..., Any], /, **parameters: Any) -> TaskResult:
    """Run *task* once, ``def`` or ``async def``, with parameters that are checked and stored as a run's are.

    A value for the parameter that receives the context replaces the recording one; values for parameters that a pack
    gives are handed on as they are.

    Raises:
        ParametersInvalid: the parameters do not fit.
        NotSerialisable: the result cannot be stored as JSON: a run would fail.
        BaseException: whatever the task raises, as it is.
    """
    context = RecordingContext(
        task=task.name, queue=task.queue or "default", log=logging.getLogger(f"task.{task.name}")
    )
    arguments = _arguments(task, parameters, context)
    own = arguments.get(task.context_parameter or "")
    recorded = own if isinstance(own, RecordingContext) else context
    with _recorded(recorded.log) as lines:
        result = _call(task, arguments)
    encode(result)
    return TaskResult(result, tuple(lines), tuple(recorded.reports), tuple(recorded.saved), tuple(recorded.checkpoints))


def _arguments(task: Task[..., Any], parameters: Mapping[str, Any], context: RecordingContext) -> dict[str, Any]:
    given = dict(parameters)
    handed = {name: given.pop(name) for name in (*task.given_parameters, task.context_parameter) if name in given}
    arguments = task.bind(decode(encode(task.validate(given))))
    if task.context_parameter is not None:
        arguments[task.context_parameter] = context
    return arguments | handed


def _call(task: Task[..., Any], arguments: Mapping[str, Any]) -> Any:
    if not task.is_async:
        return task.function(**arguments)
    return await_here(task.function(**arguments))


def await_here(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end on an event loop of its own, also where one is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="mainspring-testing")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def _recorded(logger: logging.Logger) -> Iterator[list[str]]:
    handler, root = _Lines(), logging.getLogger()
    with at_least_info(logger):
        root.addHandler(handler)
        try:
            yield handler.lines
        finally:
            root.removeHandler(handler)


@contextmanager
def at_least_info(logger: logging.Logger) -> Iterator[None]:
    """Let *logger* say INFO, as in a worker, unless it has a level of its own."""
    before = logger.level
    if before == logging.NOTSET and logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
