"""Give attempts to child processes, and hear from all of them on one thread."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mainspring.clock import SystemClock
from mainspring.ids import uuid7
from mainspring.runtime.isolation import frames, system
from mainspring.runtime.isolation.code import IsolatedCode
from mainspring.runtime.isolation.deadline import SharedDeadline
from mainspring.runtime.isolation.execution import IsolatedExecution, answer_frame
from mainspring.runtime.isolation.frames import Frames
from mainspring.runtime.isolation.server import command, order_for
from mainspring.runtime.worker.attempt import Attempt, StopCause

_log = logging.getLogger("mainspring.isolation")
_PIECE: Final = 1 << 18
_TICK: Final = 0.5
IDLE_SECONDS: Final = 60.0
"""How long children stay that have nothing to do."""
CANCEL_GRACE: Final = 5.0
"""Seconds from telling a child to stop to killing it."""
INTERRUPT_GRACE: Final = 2.0
_OVERDUE: Final = 1.5
_CLOCK: Final = SystemClock()


@dataclass(eq=False)
class Slot:
    """A keeper and what its runner works on."""

    line: socket.socket
    server: Server
    execution: IsolatedExecution | None = None
    pid: int | None = None
    """The keeper's; None until it has said so."""
    frames: Frames = field(default_factory=Frames)
    unsent: bytearray = field(default_factory=bytearray)
    overdue_at: float | None = None
    """When its keeper must have ended what it has; one that has not is killed itself."""
    free_at: float = 0.0
    closed: bool = False
    writing: bool = False


@dataclass(eq=False)
class Server:
    """A fork server."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    frames: Frames = field(default_factory=Frames)
    broken: str = ""
    dead: bool = False
    alone: bool = False
    """It died while a single run was under way."""


class IsolatedExecutor:
    """Child processes for as many runs at a time as it is given; made when needed, and kept warm."""

    def __init__(self, code: IsolatedCode, folder: Path, trusted_for: Callable[[], float]) -> None:
        """Run *code*; *folder* is for files on their way; *trusted_for* says for how many seconds the lease holds."""
        self._code, self._folder, self._trusted_for = code, folder, trusted_for
        self._spool = folder / f"spool-{os.getpid()}-{uuid7()[-6:]}"
        self._lock = threading.RLock()
        self._idle_now = threading.Condition(self._lock)
        self._slots: list[Slot] = []
        self._dying: dict[int, Slot] = {}
        self._server: Server | None = None
        self._deadline: SharedDeadline | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._thread: threading.Thread | None = None
        self._answers: ThreadPoolExecutor | None = None
        self._stopping = False
        self._ends = 0
        self._resting = False

    @property
    def pids(self) -> list[int]:
        """Return the ids of the fork server and the keepers."""
        with self._lock:
            found = [slot.pid for slot in self._slots if slot.pid is not None]
            return found if self._server is None else [self._server.process.pid, *found]

    def submit(self, executions: Sequence[IsolatedExecution]) -> None:
        """Start *executions*, each in a child of its own."""
        for execution in executions:
            self._make_spool()
            order = execution.order(self._spool)
            if order is None:
                continue
            try:
                self._start(execution, order)
            except Exception as error:  # no processes, memory or descriptors left: the run has not begun
                _log.warning("child_not_started error=%s", error, exc_info=not isinstance(error, OSError))
                execution.not_begun(f"no child process could be started: {error}")

    def warm(self) -> None:
        """Have a child ready: runs of a worker that seems to be dead will be suspects, and will need one at once."""
        with self._lock:
            if not (self._stopping or self._slots):
                try:
                    self._new_slot().free_at = _CLOCK.monotonic()
                except OSError as error:
                    _log.warning("child_not_started error=%s; it is tried again when a run needs one", error)

    def trust(self) -> None:
        """Pass on for how long the lease holds."""
        deadline = self._deadline
        if deadline is not None:
            with contextlib.suppress(ValueError):  # closed by a stop at this moment
                deadline.set(_CLOCK.monotonic() + self._trusted_for())

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait until no run is left in any child, for so many seconds at most; return whether that is so."""
        with self._lock:
            return self._idle_now.wait_for(lambda: not self._busy(), seconds)

    def kill(self, attempt: Attempt) -> None:
        """Kill the child that works on *attempt*."""
        with self._lock:
            for slot in self._slots:
                if slot.execution is not None and slot.execution.attempt is attempt:
                    self._send(slot, frames.frame(frames.KILL))
                    self._must_end_within(slot, 0.0)

    def stop(self) -> None:
        """End all children, those that run included."""
        with self._lock:
            self._stopping = True
            thread, server = self._thread, self._server
            if thread is not None:
                self._wake()
        if thread is not None:
            thread.join(10.0)
        if server is not None:
            self._end_server(server)
        if self._answers is not None:
            self._answers.shutdown(wait=True)
        with self._lock:
            self._selector.close()
            for descriptor in (self._wake_read, self._wake_write):
                os.close(descriptor)
            deadline, self._deadline = self._deadline, None
            if deadline is not None:
                deadline.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    # -- slots

    def _start(self, execution: IsolatedExecution, order: bytes) -> None:
        with self._lock:
            slot = next((slot for slot in reversed(self._slots) if slot.execution is None and not slot.closed), None)
            if slot is None:
                slot = self._new_slot()
            slot.execution = execution
            slot.overdue_at = None
            if slot.pid is not None and execution.hard_limit is not None:
                self._must_end_within(slot, execution.hard_limit)
            self.trust()
            self._send(slot, order)
            if self._resting:
                # It waits for long, and must look at the clock from now on.
                self._resting = False
                self._wake()
        execution.started_as(lambda: self._tell(slot, execution))

    def _new_slot(self) -> Slot:
        server = self._running_server()
        ours, theirs = socket.socketpair()
        try:
            # The server takes it as soon as it has loaded; until then the buffer holds hundreds.
            socket.send_fds(server.line, [frames.frame(frames.SLOT)], [theirs.fileno()])
        except BlockingIOError as error:
            ours.close()
            raise OSError("the fork server does not answer") from error
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        slot = Slot(ours, server)
        self._slots.append(slot)
        self._selector.register(ours, selectors.EVENT_READ, slot)
        self._wake()
        return slot

    def _tell(self, slot: Slot, execution: IsolatedExecution) -> None:
        """Pass on that the attempt is to stop: the child is told and has a grace, or is killed at once."""
        cause = execution.attempt.stop
        with self._lock:
            if slot.execution is not execution or cause is None:
                return
            if cause is StopCause.LOST:
                self._send(slot, frames.frame(frames.KILL))
                self._must_end_within(slot, 0.0)
            else:
                grace = CANCEL_GRACE if cause is StopCause.CANCELLED else INTERRUPT_GRACE
                self._send(slot, frames.message(frames.STOP, {"cause": cause.value, "grace": grace}))
                self._must_end_within(slot, grace)

    def _must_end_within(self, slot: Slot, seconds: float) -> None:
        at = _CLOCK.monotonic() + seconds + _OVERDUE
        slot.overdue_at = at if slot.overdue_at is None else min(slot.overdue_at, at)
        self._wake()

    def _send(self, slot: Slot, data: bytes) -> None:
        slot.unsent += data
        self._flush(slot)

    def _flush(self, slot: Slot) -> None:
        if slot.closed:
            return
        try:
            while slot.unsent:
                sent = slot.line.send(memoryview(slot.unsent)[:_PIECE])
                del slot.unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            slot.unsent.clear()
        if slot.writing != bool(slot.unsent):
            slot.writing = bool(slot.unsent)
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if slot.writing else 0)
            self._selector.modify(slot.line, wanted, slot)
            self._wake()

    def _busy(self) -> bool:
        return self._ends > 0 or bool(self._dying) or any(slot.execution is not None for slot in self._slots)

    # -- the fork server

    def _running_server(self) -> Server:
        if self._server is not None and not self._server.dead:
            return self._server
        if self._deadline is None:
            self._deadline = SharedDeadline.make()
        ours, theirs = socket.socketpair()
        order = os.memfd_create("mainspring-order")
        try:
            os.write(order, json.dumps(order_for(self._code)).encode())
            given = (theirs.fileno(), self._deadline.descriptor, order)
            # A session of its own: Ctrl-C in a terminal is for the worker alone.
            process = subprocess.Popen(
                command(*given), pass_fds=given, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(order)
        ours.setblocking(False)
        self._server = Server(process, ours)
        self._selector.register(ours, selectors.EVENT_READ, self._server)
        _log.info("fork_server_started pid=%d", process.pid)
        if self._thread is None:
            self._selector.register(self._wake_read, selectors.EVENT_READ, None)
            self._thread = threading.Thread(target=self._serve, name="mainspring-children", daemon=True)
            self._thread.start()
        return self._server

    def _end_server(self, server: Server) -> None:
        server.line.close()
        try:
            server.process.wait(10.0)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()

    def _make_spool(self) -> None:
        if self._spool.is_dir():
            return
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What workers left that were killed.
        for other in self._folder.glob("spool-*"):
            pid = other.name.split("-")[1]
            if pid.isdigit() and not system.tasks_of(pid):
                shutil.rmtree(other, ignore_errors=True)

    # -- the thread that hears from all

    def _serve(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception:  # the thread outlives any mistake: runs would otherwise never end
                _log.exception("children_thread_failed")
        with self._lock:
            for slot in list(self._slots):
                self._close(slot)

    def _turn(self) -> None:
        with self._lock:
            wait = self._patience()
            self._resting = wait != _TICK
        for key, events in self._selector.select(wait):
            if key.data is None:
                os.read(self._wake_read, 4096)
            elif isinstance(key.data, Server):
                self._hear_server(key.data)
            else:
                if events & selectors.EVENT_WRITE:
                    with self._lock:
                        self._flush(key.data)
                if events & selectors.EVENT_READ:
                    self._hear(key.data)
        self._tick()

    def _patience(self) -> float | None:
        if self._busy():
            return _TICK
        return IDLE_SECONDS / 4 if self._slots else None

    def _tick(self) -> None:
        now = _CLOCK.monotonic()
        with self._lock:
            if self._busy():
                self.trust()
            for slot in list(self._slots):
                if slot.overdue_at is not None and now >= slot.overdue_at:
                    self._kill_keeper(slot)
                elif slot.execution is None and slot.pid is not None and now >= slot.free_at + IDLE_SECONDS:
                    self._close(slot)
            server = self._server
            if server is not None and not self._slots and not self._dying and not server.dead:
                _log.info("fork_server_idle pid=%d; it ends until it is needed again", server.process.pid)
                self._lose_server(server)

    def _kill_keeper(self, slot: Slot) -> None:
        _log.warning("keeper_overdue pid=%s; it is killed", slot.pid)
        slot.overdue_at = None
        if slot.pid is not None and not slot.server.dead:
            with contextlib.suppress(OSError):
                slot.server.line.send(frames.message(frames.END_KEEPER, {"pid": slot.pid}))

    def _hear(self, slot: Slot) -> None:
        try:
            data = slot.line.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(slot)
            return
        slot.frames.feed(data)
        try:
            for kind, body in slot.frames:
                self._understand(slot, kind, body)
        except (frames.FrameBroken, ValueError, KeyError, TypeError) as error:
            _log.error("child_not_understood pid=%s error=%s; it is killed", slot.pid, error)
            self._kill_keeper(slot)
            self._lose(slot)

    def _understand(self, slot: Slot, kind: bytes, body: bytes) -> None:
        execution = slot.execution
        if kind == frames.HELLO:
            with self._lock:
                slot.pid = json.loads(body)["pid"]
                if execution is not None and execution.hard_limit is not None:
                    self._must_end_within(slot, execution.hard_limit)
        elif execution is None:
            return
        elif kind == frames.OUTPUT:
            execution.writes(body)
        elif kind == frames.PROGRESS:
            execution.reports(json.loads(body))
        elif kind == frames.QUESTION:
            self._answer(slot, execution, json.loads(body))
        elif kind in (frames.CLEAN, frames.GONE):
            said = json.loads(body)
            # Free before its end is known: whoever then has a place for another run finds this one.
            with self._ending(slot):
                if kind == frames.CLEAN:
                    execution.ended(said)
                else:
                    execution.gone(said)

    @contextlib.contextmanager
    def _ending(self, slot: Slot) -> Iterator[None]:
        with self._lock:
            slot.execution, slot.overdue_at = None, None
            slot.free_at = _CLOCK.monotonic()
            self._ends += 1
        try:
            yield
        finally:
            with self._lock:
                self._ends -= 1
                self._idle_now.notify_all()

    def _answer(self, slot: Slot, execution: IsolatedExecution, question: dict[str, Any]) -> None:
        def work() -> None:
            data = answer_frame(question["number"], lambda: execution.answer(question, self._spool))
            with self._lock:
                if slot.execution is execution:
                    self._send(slot, data)

        with self._lock:
            if self._answers is None:
                self._answers = ThreadPoolExecutor(4, thread_name_prefix="mainspring-answer")
            if not self._stopping:
                self._answers.submit(work)

    def _close(self, slot: Slot) -> None:
        if slot.closed:
            return
        slot.closed = True
        self._selector.unregister(slot.line)
        slot.line.close()
        self._slots.remove(slot)

    def _lose(self, slot: Slot) -> None:
        """Be left by a keeper: the end of its run counts when the fork server has buried all that belonged to it."""
        with self._lock:
            self._close(slot)
            if slot.execution is None:
                return
            if slot.pid is None and not slot.server.dead:
                # It may have said why it ends.
                self._hear_server(slot.server)
            if slot.pid is None:
                self._end_lost(slot, "", alone=False)
            elif slot.server.dead:
                self._end_lost(slot, "the fork server died", alone=slot.server.alone)
            else:
                self._dying[slot.pid] = slot

    def _end_lost(self, slot: Slot, how: str, *, alone: bool) -> None:
        execution, slot.execution = slot.execution, None
        if execution is not None:
            if slot.pid is None:
                execution.not_begun(slot.server.broken or "the fork server ended before the run began")
            else:
                execution.died(how, alone=alone)
        self._idle_now.notify_all()

    def _hear_server(self, server: Server) -> None:
        try:
            data = server.line.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose_server(server)
            return
        server.frames.feed(data)
        for kind, body in server.frames:
            said = json.loads(body)
            if kind == frames.BURIED:
                with self._lock:
                    slot = self._dying.pop(said["pid"], None)
                    if slot is not None:
                        self._end_lost(slot, "its keeper was killed", alone=True)
                    else:
                        self._bury_early(said["pid"])
            elif kind == frames.BROKEN:
                self._hear_of_break(server, said)

    def _bury_early(self, pid: int) -> None:
        """Hear of a keeper's end before its line has said so."""
        for slot in list(self._slots):
            if slot.pid == pid:
                # What it said before it died is still to be read.
                self._hear(slot)
                if not slot.closed:
                    self._close(slot)
                self._dying.pop(pid, None)
                if slot.execution is not None:
                    self._end_lost(slot, "its keeper was killed", alone=True)

    def _hear_of_break(self, server: Server, said: dict[str, Any]) -> None:
        if said["why"]:
            server.broken = f"isolated tasks cannot be loaded: {said['why']}"
            _log.error("fork_server_broken pid=%d why=%s", server.process.pid, said["why"])
        else:
            _log.warning(
                "fork_server_bare threads=%d; the tasks' modules start threads when they are imported, so that each "
                "child process imports them anew, which takes longer",
                said["threads"],
            )

    def _lose_server(self, server: Server) -> None:
        with self._lock:
            server.dead = True
            self._selector.unregister(server.line)
            self._end_server(server)
            if self._server is server:
                self._server = None
            running = [slot for slot in (*self._slots, *self._dying.values()) if slot.server is server]
            if running:
                _log.warning("fork_server_died pid=%d runs=%d", server.process.pid, len(running))
            server.alone = sum(slot.execution is not None for slot in running) == 1
            for slot in running:
                if slot.pid is not None and slot.pid in self._dying:
                    del self._dying[slot.pid]
                    self._end_lost(slot, "the fork server died", alone=server.alone)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"!")
