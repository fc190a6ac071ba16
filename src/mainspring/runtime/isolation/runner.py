"""Run tasks in this process, one at a time, and say how each ended."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import logging
import math
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from mainspring.clock import EPOCH, SystemClock
from mainspring.domain.control import CpuLimitExceeded, LimitReached, MemoryLimitExceeded, RunCancelled
from mainspring.domain.tasks import Task
from mainspring.encoding import encode
from mainspring.errors import MainspringError
from mainspring.ids import uuid7
from mainspring.runtime.isolation import frames, system
from mainspring.runtime.isolation.channel import Channel
from mainspring.runtime.isolation.code import ChildCode, IsolatedCode
from mainspring.runtime.isolation.leftovers import Surface
from mainspring.runtime.isolation.wire import raised_to_json, run_from_json
from mainspring.runtime.worker.attempt import Attempt, AttemptContext, StopCause, stop_error
from mainspring.runtime.worker.executors import new_loop
from mainspring.runtime.worker.logs import AttemptFormatter
from mainspring.runtime.worker.outcomes import describe
from mainspring.store.files.pieces import pieces_of

_FIRST: Final = getattr(signal, "SIGRTMIN", 34) + 6
SIGNALS: Final = {
    "soft_time_limit": _FIRST,
    "cancelled": _FIRST + 1,
    "interrupted": _FIRST + 2,
    "cpu_limit": _FIRST + 3,
    "silence_limit": _FIRST + 4,
}
"""How a keeper tells its runner to stop; it may be in the middle of anything."""
_PROGRESS_EVERY: Final = 0.1
_CLEAN_UP: Final = 1.0
_CLOCK: Final = SystemClock()


def serve(line: socket.socket, output: int, code: ChildCode | IsolatedCode) -> NoReturn:
    """Run what comes over *line* until it ends; standard output and error go to *output*."""
    os.setsid()
    parent = os.getppid()
    system.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    # Orphans of a run come to its runner, which can then say in one call whether any is left.
    system.adopt_orphans()
    system.name_process("mainspring-run")
    for which in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _prefer_to_be_killed()
    _redirect(output)
    _reseed()
    if isinstance(code, IsolatedCode):
        code = code.load()
    _Runner(Channel(line), code).run()
    _end_in_good_order()


def _prefer_to_be_killed() -> None:
    """Have a system without memory kill this process, not the worker."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")


def _redirect(output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for descriptor in (nothing, output):
        if descriptor > 2:
            os.close(descriptor)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_OutputHandler())


class _OutputHandler(logging.Handler):
    """Writes records where the run's output goes, whatever the task has made of `sys.stderr`."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(AttemptFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            while data:
                data = data[os.write(2, data) :]
        except (LimitReached, RunCancelled):  # the task is told to stop just now: not for a handler to swallow
            raise
        except Exception:  # a record that cannot be formatted is the task's mistake, not ours
            self.handleError(record)


def _reseed() -> None:
    # Children of one parent would otherwise draw the same numbers; Python's own generator sees to itself.
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _end_in_good_order() -> NoReturn:
    """End as a process does by itself; `os._exit` alone would skip what the task registered for that."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


class _Runner:
    """Runs one task after the other."""

    def __init__(self, channel: Channel, code: ChildCode) -> None:
        self._channel, self._code = channel, code
        self._loop: asyncio.AbstractEventLoop | None = None
        self._current: _Call | None = None
        for name, which in SIGNALS.items():
            signal.signal(which, partial(self._on_signal, name))
        signal.signal(signal.SIGXCPU, partial(self._on_signal, "cpu_limit"))
        self._streams = sys.stdout, sys.stderr
        channel.after_message = self._after_message
        self._surface = Surface(frozenset({*SIGNALS.values(), signal.SIGXCPU}))

    def run(self) -> None:
        """Serve until the keeper hangs up."""
        self._channel.say(frames.HELLO, {"pid": os.getpid()})
        while (found := self._channel.next()) is not None:
            kind, body = found
            if kind == frames.RUN:
                self._serve(json.loads(body))

    def _serve(self, order: dict[str, Any]) -> None:
        call = self._current = _Call(order, self._channel, self._code, self._event_loop)
        sys.stdout, sys.stderr = self._streams
        ended = call.make()
        self._current = None
        left = self._surface.left_behind()
        for stream in self._streams:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        ended["progress"] = call.attempt.progress
        try:
            self._channel.say(frames.CLEAN if left is None and call.clean else frames.SOILED, ended)
        except (OSError, UnicodeError, MemoryError):
            os._exit(1)

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = new_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    def _on_signal(self, name: str, number: int, place: FrameType | None) -> None:
        if self._current is not None:
            self._current.told(name)

    def _after_message(self) -> None:
        if self._current is not None:
            self._current.raise_what_waits()


class _Call:
    """One run's function call."""

    def __init__(
        self,
        order: dict[str, Any],
        channel: Channel,
        code: ChildCode,
        loop: Callable[[], asyncio.AbstractEventLoop],
    ) -> None:
        self._order, self._channel, self._code, self._loop = order, channel, code, loop
        self.attempt = Attempt(run_from_json(order["run"]), EPOCH)
        self.clean = True
        self._armed = False
        self._waiting: BaseException | None = None
        self._cpu_used: CpuLimitExceeded | None = None

    def make(self) -> dict[str, Any]:
        """Call the function; return how it ended, as it is sent."""
        try:
            try:
                task, arguments = self._prepare()
                # The limits end before an error is written down: that takes memory, too.
                with _limited(self._order["limits"]):
                    result = self._await(task, arguments) if task.is_async else self._call(task, arguments)
            finally:
                self._armed = False
        except asyncio.CancelledError as error:
            if self._cpu_used is not None:
                return self._raised_by(self._cpu_used)
            return self._raised_by(error if self.attempt.stop is None else stop_error(self.attempt))
        except BaseException as error:  # whatever a task raises, SystemExit included, is its outcome
            self._armed = False
            # An event loop that these passed through is not used again.
            self.clean = self.clean and not isinstance(error, (SystemExit, KeyboardInterrupt))
            return self._raised_by(error)
        return self._returned(result)

    def told(self, name: str) -> None:
        """Be told to stop, in the main thread, between any two of its steps."""
        if name == "cpu_limit":
            seconds = self._order["limits"]["cpu"] or 0
            self._waiting = self._cpu_used = CpuLimitExceeded(f"it has used its processor time of {seconds:g} s")
            if self.attempt.cancel_task is not None:
                self.attempt.cancel_task()
        else:
            cause = StopCause(name)
            self.attempt.ask_to_stop(cause)
            if self.attempt.stop is cause:
                self._waiting = stop_error(self.attempt)
        self.raise_what_waits()

    def raise_what_waits(self) -> None:
        """Raise in the task what it was told, once for each cause; not while a message is being sent."""
        if self._armed and not self._channel.busy and (error := self._waiting) is not None:
            self._waiting = None
            raise error

    def _prepare(self) -> tuple[Task[..., Any], dict[str, Any]]:
        name = self.attempt.run.task
        task = self._code.tasks.get(name)
        if task is None:
            raise MainspringError(f"the child process has no task {name!r}: its code is not the worker's; restart it")
        self.attempt.task = task
        arguments = task.bind(json.loads(self._order["parameters"]))
        context = ChildContext(self.attempt, self._channel, Path(self._order["spool"]))
        if task.context_parameter is not None:
            arguments[task.context_parameter] = context
        if self._code.enter is not None:
            arguments.update(self._code.enter(task, context))
        return task, arguments

    def _call(self, task: Task[..., Any], arguments: dict[str, Any]) -> Any:
        self._armed = True
        self.raise_what_waits()
        # A context of its own: what a task sets in context variables ends with it.
        return copy_context().run(task.function, **arguments)

    def _await(self, task: Task[..., Any], arguments: dict[str, Any]) -> Any:
        loop = self._loop()
        threads = ThreadPoolExecutor(thread_name_prefix="mainspring-to-thread")
        loop.set_default_executor(threads)
        work = loop.create_task(task.function(**arguments))

        def cancel() -> None:
            loop.call_soon_threadsafe(work.cancel)

        self.attempt.cancel_task = cancel
        if self.attempt.stop is not None:
            work.cancel()
        try:
            return loop.run_until_complete(work)
        finally:
            self.attempt.cancel_task = None
            self._clean_up(loop, threads)

    def _clean_up(self, loop: asyncio.AbstractEventLoop, threads: ThreadPoolExecutor) -> None:
        """End the coroutines that the run left on the loop, and its threads; what does not end soils the process."""
        left = asyncio.all_tasks(loop)
        for other in left:
            other.cancel()
        if left:
            _, stubborn = loop.run_until_complete(asyncio.wait(left, timeout=_CLEAN_UP))
            self.clean = not stubborn
        threads.shutdown(wait=False, cancel_futures=True)

    def _returned(self, result: Any) -> dict[str, Any]:
        try:
            text = encode(result)
            if len(text) > frames.LARGEST // 2:
                raise MainspringError(f"the result has {len(text)} characters of JSON; save it as an artifact")
        except Exception as error:  # whatever a value raises when it is read, it cannot be stored
            said = describe(error, self.attempt.run.task, SystemClock().now())
            return {"how": "not_serialisable", "type": type(error).__name__, "message": said.error_message}
        return {"how": "returned", "result": text}

    def _raised_by(self, error: BaseException) -> dict[str, Any]:
        memory = self._order["limits"]["memory"]
        if memory is not None and isinstance(error, MemoryError):
            limit = MemoryLimitExceeded(f"it asked for more memory than its limit of {memory} bytes")
            error = limit.with_traceback(error.__traceback__)
        try:
            said = describe(error, self.attempt.run.task, SystemClock().now())
        except Exception as broken:  # an error whose own attributes raise must not leave the run without an end
            said = describe(broken, self.attempt.run.task, SystemClock().now())
        return {"how": "raised", "error": raised_to_json(said)}


class ChildContext(AttemptContext):
    """The context that a task receives in a child process."""

    def __init__(self, attempt: Attempt, channel: Channel, spool: Path) -> None:
        super().__init__(attempt, _Line(channel, spool))
        self._channel = channel
        self._said_at = self._beat_said_at = -math.inf
        limits = attempt.task.limits if attempt.task is not None else None
        self._must_beat = limits is not None and limits.silence_limit is not None

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report how far the work is; what follows within a tenth of a second is said at the end."""
        try:
            super().progress(done, total, note)
        finally:
            now = self._attempt.beat_at
            if now - self._said_at >= _PROGRESS_EVERY:
                self._said_at = now
                self._channel.say(frames.PROGRESS, self._attempt.progress)

    def _hear(self) -> float:
        """Note that the attempt was heard of, and say so, ten times a second at most."""
        now = super()._hear()
        if self._must_beat and now - self._beat_said_at >= _PROGRESS_EVERY:
            self._beat_said_at = now
            self._channel.say(frames.BEAT, None)
        return now


class _Line:
    """Asks the worker for what an attempt asks of its context; artifacts go through files."""

    def __init__(self, channel: Channel, folder: Path) -> None:
        self._channel, self._folder = channel, folder

    def save_artifact(self, attempt: Attempt, name: str, data: Any, media_type: str | None) -> str:
        """Have *data* saved by the worker; return the artifact's id."""
        path = self._folder / uuid7()
        try:
            with path.open("xb") as file:
                for piece in pieces_of(name, data):
                    file.write(piece)
            said: str = self._channel.ask("artifact", name=name, file=path.name, media_type=media_type)
        finally:
            path.unlink(missing_ok=True)
        return said

    def read_checkpoint(self, attempt: Attempt) -> str | None:
        """Ask what was saved last."""
        said: str | None = self._channel.ask("checkpoint")
        return said

    def save_checkpoint(self, attempt: Attempt, text: str) -> None:
        """Have *text* saved."""
        self._channel.ask("save_checkpoint", text=text)

    def monotonic(self) -> float:
        """Return the time of this machine."""
        return _CLOCK.monotonic()


@contextlib.contextmanager
def _limited(limits: Mapping[str, Any]) -> Any:
    """Set this process's own limits for one run; the keeper enforces them from outside, for all of its processes."""
    before = []
    if limits["memory"] is not None:
        before.append((resource.RLIMIT_DATA, resource.getrlimit(resource.RLIMIT_DATA)))
        _lower(resource.RLIMIT_DATA, system.data_bytes() + limits["memory"])
    if limits["cpu"] is not None:
        before.append((resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU)))
        used = resource.getrusage(resource.RUSAGE_SELF)
        _lower(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + limits["cpu"]))
    ours = [(kind, resource.getrlimit(kind)) for kind, _ in before]
    try:
        yield
    finally:
        for (kind, old), (_, mine) in zip(before, ours, strict=True):
            # One that the task changed stays as it is: it gives the task away.
            if resource.getrlimit(kind) == mine:
                resource.setrlimit(kind, old)


def _lower(kind: int, to: int) -> None:
    soft, hard = resource.getrlimit(kind)
    bounds = [value for value in (to, soft, hard) if value != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(bounds), hard))
