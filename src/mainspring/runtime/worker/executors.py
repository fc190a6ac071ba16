"""Run task functions: coroutines on one event loop, plain functions on threads."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Protocol

_log = logging.getLogger("mainspring.executor")


class Execution(Protocol):
    """One function call to be made; it records its own outcome and never raises."""

    @property
    def is_async(self) -> bool:
        """Whether it is awaited or called."""

    def call(self) -> None:
        """Run a plain function to its end."""

    def coroutine(self) -> Coroutine[Any, Any, None]:
        """Run a coroutine function to its end."""

    def started_as(self, cancel: Callable[[], None]) -> None:
        """Be told how the coroutine can be cancelled, from any thread."""


class LoopExecutor:
    """One event loop on a thread of its own, shared by all coroutines of the worker."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, executions: Sequence[Execution]) -> None:
        """Start *executions*, all in one turn of the loop."""
        self._running_loop().call_soon_threadsafe(self._start_all, executions)

    def stop(self) -> None:
        """Cancel what is left and end the loop."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._cancel_all)
            self._thread.join(5.0)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = new_loop()
            self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="mainspring-loop", daemon=True)
            self._thread.start()
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _start_all(self, executions: Sequence[Execution]) -> None:
        loop = self._running_loop()
        for execution in executions:
            task = loop.create_task(execution.coroutine())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            execution.started_as(partial(_cancel_from_any_thread, loop, task))

    def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._running_loop().call_soon(self._end_when_idle, 100)

    def _end_when_idle(self, patience: int) -> None:
        loop = self._running_loop()
        if self._tasks and patience:
            loop.call_later(0.02, self._end_when_idle, patience - 1)
        else:
            loop.stop()


def _cancel_from_any_thread(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    loop.call_soon_threadsafe(task.cancel)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop, a fast one where uvloop is installed."""
    try:
        uvloop: Any = import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class ThreadExecutor:
    """Threads that are made when needed, one for each call under way, and then kept."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Execution | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pending = 0
        self._lock = threading.Lock()

    def submit(self, executions: Sequence[Execution]) -> None:
        """Start *executions* at once, even while calls that their run was taken from still occupy threads."""
        with self._lock:
            self._pending += len(executions)
            for _ in range(self._pending - len(self._threads)):
                thread = threading.Thread(target=self._serve, name=f"mainspring-slot-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        for execution in executions:
            self._queue.put(execution)

    def stop(self) -> None:
        """Let idle threads end; one that still runs a function ends with the process."""
        for _ in self._threads:
            self._queue.put(None)

    def _serve(self) -> None:
        while (execution := self._queue.get()) is not None:
            try:
                # A context of its own: what a task sets in context variables ends with it.
                copy_context().run(execution.call)
            except BaseException:  # a slot must outlive whatever a task does, SystemExit included
                _log.exception("execution_broke")
            finally:
                with self._lock:
                    self._pending -= 1
