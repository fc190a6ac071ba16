"""The fork server: a fresh process with one thread that loads a project's tasks and forks keepers from itself.

A worker has many threads, and a copy of it made by a fork would hold whatever locks they held. This process is started
by exec, stays single, and opens nothing: what its children share is code.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any, Final, NoReturn

from mainspring.runtime.isolation import frames, system
from mainspring.runtime.isolation.code import ChildCode, IsolatedCode
from mainspring.runtime.isolation.deadline import SharedDeadline
from mainspring.runtime.isolation.frames import Frames
from mainspring.runtime.isolation.keeper import Keeper

_PIECE: Final = 1 << 16
_ORPHANS_EVERY: Final = 0.02
_COMMAND: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mainspring.runtime.isolation.server import main; main(*map(int, sys.argv[2:]))"
)


def command(line: int, deadline: int, order: int, *, bare: bool = False) -> list[str]:
    """Return the command that starts a fork server on these descriptors, with the module paths of this process."""
    # Unbuffered: what a run prints and what its programs print stay in order.
    words = [sys.executable, "-u", *_warning_options(), "-c", _COMMAND, json.dumps(sys.path)]
    return [*words, *map(str, (line, deadline, order, int(bare)))]


def _warning_options() -> list[str]:
    return [f"-W{option}" for option in sys.warnoptions]


def main(line: int, deadline: int, order: int, bare: int) -> NoReturn:
    """Serve the worker at the other end of *line*; *order* is a file that says what to load."""
    # Until it can hear that its worker has died, it dies with it: loading may take seconds.
    system.die_with_parent()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, signal.SIG_IGN)
    system.name_process("mainspring-fork")
    for stream in (sys.stdout, sys.stderr):
        # Children write to these very objects: libraries remember those that they find when they are imported.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    worker = socket.socket(fileno=line)
    text = os.pread(order, os.fstat(order).st_size, 0)
    asked = json.loads(text)
    _set_levels(asked["levels"])
    code: ChildCode | IsolatedCode = IsolatedCode(asked["source"], asked["arguments"])
    if not bare:
        try:
            code = code.load()  # type: ignore[union-attr]
        except BaseException as error:  # whatever a user's module raises; the worker says it
            traceback.print_exc()
            worker.sendall(frames.message(frames.BROKEN, {"why": f"{type(error).__name__}: {error}"}))
            os._exit(1)
        if system.tasks_of("self") > 1:
            # Code that starts threads when it is loaded must not be forked: each child loads it for itself.
            worker.sendall(frames.message(frames.BROKEN, {"why": "", "threads": system.tasks_of("self")}))
            for descriptor in (line, deadline, order):
                os.set_inheritable(descriptor, True)
            os.execv(sys.executable, command(line, deadline, order, bare=True))  # noqa: S606 - ourselves again
    os.close(order)
    gc.collect()
    # What is loaded stays: a collection in a child would copy the pages that it shares with the others.
    gc.freeze()
    _Server(worker, SharedDeadline(deadline), code).serve()


def _set_levels(levels: dict[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)


class _Server:
    def __init__(self, worker: socket.socket, deadline: SharedDeadline, code: ChildCode | IsolatedCode) -> None:
        self._worker, self._deadline, self._code = worker, deadline, code
        self._frames = Frames()
        self._descriptors: list[int] = []
        self._keepers: set[int] = set()
        self._dead: list[int] = []
        self._wake_read, self._wake_write = os.pipe()
        self._boss = system.handle_on(os.getppid())

    def serve(self) -> NoReturn:
        """Fork keepers, bury them, and end with the worker."""
        system.adopt_orphans()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda number, place: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # From here on the end of the worker is heard; keepers and runs below must be ended before this process is.
        system.outlive_parent()
        waiting = [self._worker.fileno(), self._wake_read, *([] if self._boss is None else [self._boss])]
        try:
            while True:
                ready = select.select(waiting, [], [], _ORPHANS_EVERY if self._dead else None)[0]
                if self._wake_read in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                if self._boss in ready or (waiting[0] in ready and not self._read()):
                    break
                self._reap()
                self._bury()
        finally:
            self._end()

    def _end(self) -> NoReturn:
        # Keepers see the end of their worker as well, and clean up below them; this is for those that cannot.
        self._keepers = {pid for pid in self._keepers if system.tasks_of(pid)}
        for _ in range(50):
            self._reap()
            if not system.has_children():
                os._exit(0)
            select.select([self._wake_read], [], [], _ORPHANS_EVERY)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        while system.has_children():
            system.kill_all(system.Tree(os.getpid()).members())
            self._reap()
            select.select([self._wake_read], [], [], _ORPHANS_EVERY)
        os._exit(0)

    def _read(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._worker, _PIECE, 16, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return False
        if not data:
            return False
        self._descriptors.extend(descriptors)
        self._frames.feed(data)
        for kind, body in self._frames:
            if kind == frames.SLOT:
                self._fork(self._descriptors.pop(0))
            elif kind == frames.END_KEEPER:
                pid = json.loads(body)["pid"]
                if pid in self._keepers:
                    system.send(pid, signal.SIGKILL)
        return True

    def _fork(self, descriptor: int) -> None:
        own = system.handle_on(os.getpid())
        pid = os.fork()
        if pid == 0:
            self._become_keeper(descriptor, own)
        for mine in (descriptor, own):
            if mine is not None:
                os.close(mine)
        self._keepers.add(pid)

    def _become_keeper(self, descriptor: int, server: int | None) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            for mine in (self._worker.detach(), self._wake_read, self._wake_write):
                os.close(mine)
            guards = [guard for guard in (self._boss, server) if guard is not None]
            Keeper(socket.socket(fileno=descriptor), guards, self._deadline, self._code).serve()
        except BaseException:  # nobody else could say it
            traceback.print_exc()
        finally:
            os._exit(1)

    def _reap(self) -> None:
        for pid in system.reap() or ():
            if pid in self._keepers:
                self._keepers.remove(pid)
                self._dead.append(pid)

    def _bury(self) -> None:
        """Kill what dead keepers left, then tell the worker of their end."""
        if not self._dead:
            return
        orphans = self._orphans()
        if orphans:
            system.kill_all(orphans)
            self._reap()
            return
        gone, self._dead = self._dead, []
        for pid in gone:
            with contextlib.suppress(OSError):
                self._worker.sendall(frames.message(frames.BURIED, {"pid": pid}))

    def _orphans(self) -> set[int]:
        """Return the processes below this one that no living keeper has."""
        kept: set[int] = set(self._keepers)
        for keeper in self._keepers:
            kept |= system.Tree(keeper).members()
        return system.Tree(os.getpid()).members() - kept


def order_for(code: IsolatedCode) -> dict[str, Any]:
    """Return what a fork server is told: the code to load, and how much is to be logged."""
    levels = {"": logging.getLogger().level, "task": logging.DEBUG}
    for name, logger in logging.getLogger().manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and logger.level:
            levels[name] = logger.level
    return {"source": code.source, "arguments": dict(code.arguments), "levels": levels}
