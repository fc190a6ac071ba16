"""Keep processes running: start them, start them again when they die, and stop them in good order.

The supervisor itself stays small: it imports neither a database nor anybody's tasks.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from mainspring.clock import Clock

_log = logging.getLogger("mainspring.supervisor")
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 30.0
_STABLE_AFTER: Final = 10.0
_TICK: Final = 0.5
BAD_CONFIGURATION: Final = 2
"""The exit code by which a child says that starting it again is of no use."""


@dataclass
class Child:
    """A process to keep running: its name, and its command given the pid of the one it replaces."""

    name: str
    command: Callable[[int | None], Sequence[str]]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = _FIRST_PAUSE
    start_again_at: float | None = None
    died: int | None = None
    """The pid under which it ran last."""
    edited: bool = False
    """It has been started again for a changed source file: the next change may mend what is wrong with it."""
    replaced: bool = False
    """It was asked to end, to be started again."""

    @property
    def alive(self) -> bool:
        """Return whether its process is running."""
        return self.process is not None and self.process.poll() is None


@dataclass
class SourceWatch:
    """Notices that Python files below a folder changed, for `--reload`."""

    root: Path
    _seen: dict[str, float] | None = None

    def changed(self) -> bool:
        """Return whether a file was changed, added or removed since the last call; the first call says no."""
        now = dict(self._scan())
        before, self._seen = self._seen, now
        return before is not None and before != now

    def _scan(self) -> Iterable[tuple[str, float]]:
        for folder, names, files in os.walk(self.root):
            names[:] = [name for name in names if not name.startswith((".", "__pycache__", "node_modules"))]
            for name in files:
                if name.endswith(".py"):
                    path = os.path.join(folder, name)
                    with contextlib.suppress(FileNotFoundError):
                        yield path, os.stat(path).st_mtime


class Supervisor:
    """Runs children until a signal asks to stop: one asks kindly, a second interrupts, a third kills."""

    def __init__(
        self, children: Sequence[Child], clock: Clock, watch: SourceWatch | None = None, restart_on_change: str = ""
    ) -> None:
        """With *watch*, the child named *restart_on_change* is started again when a source file changes."""
        self._children, self._clock, self._watch = children, clock, watch
        self._restart_on_change = restart_on_change
        self._signals = 0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._exit_code = 0

    def run(self) -> int:
        """Start the children and keep them until stopped; return the exit code."""
        with self._signal_handling():
            for child in self._children:
                self._start(child)
            while not self._signals:
                self._tend()
                self._sleep()
            self._stop_all()
        return self._exit_code

    def _start(self, child: Child) -> None:
        # A session of its own: Ctrl-C in a terminal must reach us alone, for us to pass on in order.
        try:
            child.process = subprocess.Popen(child.command(child.died), start_new_session=True)
        except OSError as error:
            # The system may be out of processes or memory; the other children must not be left alone for that.
            self._postpone(child, f"cannot be started ({error})")
            return
        child.started_at, child.start_again_at = self._clock.monotonic(), None
        _log.info("child_started name=%s pid=%d", child.name, child.process.pid)

    def _tend(self) -> None:
        for child in self._children:
            if child.start_again_at is not None:
                if self._clock.monotonic() >= child.start_again_at:
                    self._start(child)
            elif not child.alive:
                self._mourn(child)
        if self._watch is not None and self._watch.changed():
            self._restart(self._restart_on_change)

    def _mourn(self, child: Child) -> None:
        process = child.process
        if process is None:
            return
        child.died = process.pid
        if child.replaced:
            child.replaced = False
            return self._start(child)
        if process.returncode == BAD_CONFIGURATION:
            return self._give_up(child)
        if self._clock.monotonic() - child.started_at > _STABLE_AFTER:
            child.pause = _FIRST_PAUSE
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
        self._postpone(child, f"pid {process.pid} died by {how}")

    def _postpone(self, child: Child, why: str) -> None:
        child.start_again_at = self._clock.monotonic() + child.pause
        _log.warning("child_down name=%s: %s; it starts again in %.2g s", child.name, why, child.pause)
        child.pause = min(child.pause * 2, _LONGEST_PAUSE)

    def _give_up(self, child: Child) -> None:
        if child.edited:
            _log.error("child_down name=%s; it starts again when a source file changes", child.name)
            child.start_again_at = math.inf
        else:
            self._exit_code, self._signals = BAD_CONFIGURATION, 1

    def _restart(self, name: str) -> None:
        for child in self._children:
            if child.name != name:
                continue
            _log.info("source_changed; %s starts again", name)
            child.edited, child.pause = True, _FIRST_PAUSE
            if child.process is not None and child.alive:
                child.replaced = True
                # Twice: whoever develops does not want to wait for the drain.
                child.process.send_signal(signal.SIGTERM)
                child.process.send_signal(signal.SIGINT)
            elif child.start_again_at is not None:
                child.start_again_at = self._clock.monotonic()

    def _stop_all(self) -> None:
        passed_on = 0
        while any(child.alive for child in self._children):
            while passed_on < self._signals:
                passed_on += 1
                self._pass_on(signal.SIGTERM if passed_on < 3 else signal.SIGKILL)
            self._sleep()

    def _pass_on(self, which: signal.Signals) -> None:
        for child in self._children:
            if child.alive and child.process is not None:
                child.process.send_signal(which)

    def _sleep(self) -> None:
        ready, _, _ = select.select([self._wake_read], [], [], _TICK)
        if ready:
            os.read(self._wake_read, 4096)

    @contextlib.contextmanager
    def _signal_handling(self) -> Iterator[None]:
        assert threading.current_thread() is threading.main_thread()
        before = {
            which: signal.signal(which, self._on_signal) for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        wake_before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wake_before)
            for which, handler in before.items():
                signal.signal(which, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1


def die_with_parent() -> None:
    """Ask the system to stop this process kindly when its parent dies (Linux; elsewhere the lease does the rest)."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        set_pdeathsig = 1
        libc.prctl(set_pdeathsig, signal.SIGTERM)


class StopSignals:
    """Turns SIGTERM and Ctrl-C into an event; what comes after the first one calls *again*."""

    def __init__(self, again: Callable[[], None] = lambda: None) -> None:
        self.event = threading.Event()
        self.again = again
        for which in (signal.SIGTERM, signal.SIGINT):
            signal.signal(which, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.event.is_set():
            self.again()
        self.event.set()

    def wait(self, clock: Clock) -> None:
        """Return when the first signal has come."""
        # In slices: a signal is only handled between two steps of the main thread.
        while not clock.wait(self.event, 0.5):
            pass
