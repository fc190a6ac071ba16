"""Keep one runner: hand it runs, watch their limits, and leave nothing of a run alive when it has ended.

A keeper has one thread and runs nobody's code, so that it answers whatever the task does. It ends when its worker or
its fork server does, and takes everything below it along.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import select
import signal
import socket
import traceback
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from mainspring.clock import SystemClock
from mainspring.domain.tasks import DEFAULT_OUTPUT_LIMIT
from mainspring.runtime.isolation import frames, runner, system
from mainspring.runtime.isolation.code import ChildCode, IsolatedCode
from mainspring.runtime.isolation.deadline import SharedDeadline
from mainspring.runtime.isolation.frames import Frames
from mainspring.runtime.isolation.output import Funnel

LOOK_EVERY: Final = 0.1
_CLOSEST_LOOK: Final = 0.01
_FASTEST_GROWTH: Final = 1_000_000_000
"""Bytes a second of growth for which the looks at memory come closer together as it nears its limit."""
MOST_PROCESSES: Final = 1_000
_CPU_GRACE: Final = 1.0
_SILENCE_GRACE: Final = 5.0
_GOODBYE: Final = 1.0
_LONGEST_KILL: Final = 10.0
_LOOK_FOR_STRAYS: Final = 1.0
_BLOAT: Final = 64_000_000
_WEIGH_EVERY: Final = 32
_FRESH_LOOK: Final = 1.0
_PIECE: Final = 1 << 18
_CLOCK: Final = SystemClock()


@dataclass
class Limits:
    """What the present run may take; seconds and bytes."""

    soft: float = math.inf
    hard: float = math.inf
    silence: float = math.inf
    memory: float = math.inf
    cpu: float = math.inf
    recycle: int = 1
    output: int = DEFAULT_OUTPUT_LIMIT

    @classmethod
    def read(cls, body: bytes) -> Limits:
        """Return the limits of a message."""
        return cls(**{name: value for name, value in json.loads(body).items() if value is not None})


@dataclass
class Job:
    """The run that the runner works on."""

    limits: Limits
    began: float
    resident: int
    cpu: float
    orphans_cpu: float
    funnel: Funnel
    heard_at: float = 0.0
    """When the task said last that it goes on."""
    told: bool = False
    silent: bool = False
    """It was told to stop because nothing was heard of it."""
    cpu_told: bool = False
    look_at: float = 0.0
    kill_at: float = math.inf


@dataclass
class Runner:
    """The process that runs tasks."""

    pid: int
    channel: socket.socket
    output: int
    frames: Frames = field(default_factory=Frames)
    runs: int = 0
    fresh: int = 0
    died: int | None = None
    ready: bool = False
    """It has loaded what it runs: what it dies of from now on is the run."""
    deaf: bool = False
    silent: bool = False


class Keeper:
    """One slot of a worker."""

    def __init__(
        self, worker: socket.socket, guards: list[int], deadline: SharedDeadline, code: ChildCode | IsolatedCode
    ) -> None:
        """Serve *worker*; *guards* become readable when the worker's process or the fork server ends."""
        self._worker, self._guards, self._deadline, self._code = worker, guards, deadline, code
        self._incoming, self._outgoing = Frames(), bytearray()
        self._limits = Limits()
        self._job: Job | None = None
        self._runner: Runner | None = None
        self._tree = system.Tree(os.getpid())
        self._tree_at = self._strays_at = 0.0
        self._poll = select.poll()
        self._wake_read, self._wake_write = os.pipe()
        self._bell = -1

    def serve(self) -> NoReturn:
        """Work until the worker or the fork server ends."""
        system.adopt_orphans()
        system.name_process("mainspring-keep")
        for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(which, signal.SIG_IGN)
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        signal.signal(signal.SIGCHLD, lambda number, place: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._worker.setblocking(False)
        for descriptor in (self._worker.fileno(), self._wake_read, *self._guards):
            self._poll.register(descriptor, select.POLLIN)
        self._say(frames.message(frames.HELLO, {"pid": os.getpid()}))
        code = 1
        try:
            self._start_runner()
            while self._turn():
                pass
            code = 0
        except BaseException:  # it ends all the same, and the fork server cleans up
            traceback.print_exc()
        finally:
            self._kill_everything()
            os._exit(code)

    # -- the loop

    def _turn(self) -> bool:
        timeout = self._timeout()
        ready = dict(self._poll.poll(None if timeout == math.inf else max(timeout, 0.0) * 1000 + 0.5))
        if any(guard in ready for guard in self._guards):
            return False
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        current = self._runner
        if current is not None:
            # Before what kills it: an end that has arrived counts.
            if current.output in ready:
                self._read_output()
            if current.channel.fileno() in ready:
                self._read_runner()
        events = ready.get(self._worker.fileno(), 0)
        if events & select.POLLOUT:
            self._flush()
        if events & ~select.POLLOUT and not self._read_worker():
            return False
        self._reap()
        self._watch()
        return True

    def _timeout(self) -> float:
        job = self._job
        if job is None:
            return math.inf
        now, limits = _CLOCK.monotonic(), job.limits
        dates = [job.look_at, job.kill_at, job.began + limits.hard, self._deadline.get() or math.inf]
        if not job.told:
            dates.append(job.began + limits.soft)
        if not job.silent:
            dates.append(job.heard_at + limits.silence)
        return min(dates) - now

    def _say(self, data: bytes) -> None:
        self._outgoing += data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._outgoing:
                sent = self._worker.send(memoryview(self._outgoing)[:_PIECE])
                del self._outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._outgoing.clear()
        wanted = select.POLLIN | (select.POLLOUT if self._outgoing else 0)
        if wanted != self._bell:
            self._poll.modify(self._worker.fileno(), wanted)
            self._bell = wanted

    # -- from the worker

    def _read_worker(self) -> bool:
        try:
            data = self._worker.recv(_PIECE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self._incoming.feed(data)
        for kind, body in self._incoming:
            self._obey(kind, body)
        return True

    def _obey(self, kind: bytes, body: bytes) -> None:
        if kind == frames.LIMITS:
            self._limits = Limits.read(body)
        elif kind == frames.RUN:
            self._begin(body)
        elif self._job is None or self._runner is None:
            return
        elif kind == frames.ANSWER:
            self._tell_runner(frames.frame(kind, body))
        elif kind == frames.STOP:
            asked = json.loads(body)
            system.send(self._runner.pid, runner.SIGNALS[asked["cause"]])
            self._job.kill_at = min(self._job.kill_at, _CLOCK.monotonic() + asked["grace"])
        elif kind == frames.KILL:
            self._kill_run("stop")

    def _begin(self, body: bytes) -> None:
        self._reap()
        if self._runner is None or self._runner.died is not None:
            self._replace_runner()
        current = self._runner
        assert current is not None
        limits, now = self._limits, _CLOCK.monotonic()
        counted = limits.cpu < math.inf or limits.memory < math.inf
        self._job = Job(
            limits,
            now,
            system.resident(current.pid) if counted else 0,
            system.cpu_seconds(current.pid) if counted else 0.0,
            _children_cpu() if counted else 0.0,
            Funnel(limits.output),
            heard_at=now,
            look_at=now + (_CLOSEST_LOOK if counted else LOOK_EVERY),
        )
        current.runs += 1
        self._tell_runner(frames.frame(frames.RUN, body))

    def _tell_runner(self, data: bytes) -> None:
        if self._runner is not None:
            with contextlib.suppress(OSError):
                # It waits for this; one that died meanwhile is noticed by its end.
                self._runner.channel.sendall(data)

    # -- from the runner

    def _read_runner(self) -> None:
        current = self._runner
        assert current is not None
        try:
            data = current.channel.recv(_PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if not current.deaf:
                current.deaf = True
                self._poll.unregister(current.channel.fileno())
            return
        current.frames.feed(data)
        try:
            for kind, body in current.frames:
                self._pass_on(kind, body)
        except frames.FrameBroken:
            self._kill_run("garbage")

    def _pass_on(self, kind: bytes, body: bytes) -> None:
        if kind == frames.HELLO and self._runner is not None:
            self._runner.ready = True
        if self._job is None:
            return
        self._job.heard_at = _CLOCK.monotonic()
        if kind in (frames.PROGRESS, frames.QUESTION):
            self._say(frames.frame(kind, body))
        elif kind in (frames.CLEAN, frames.SOILED):
            self._end(frames.frame(frames.CLEAN, body), soiled=kind == frames.SOILED)

    def _read_output(self) -> bool:
        current = self._runner
        if current is None or current.silent:
            return False
        try:
            data = os.read(current.output, _PIECE)
        except BlockingIOError:
            return False
        if not data:
            current.silent = True
            self._poll.unregister(current.output)
            return False
        if self._job is not None:
            self._job.funnel.take(data)
            self._give_output()
        return True

    def _give_output(self) -> None:
        job = self._job
        if job is not None and (data := job.funnel.give(_CLOCK.monotonic() - job.began)):
            self._say(frames.frame(frames.OUTPUT, data))

    # -- the end of a run

    def _end(self, said: bytes, soiled: bool) -> None:
        """Tell the worker of an end when nothing of the run is left alive, then see to a runner for the next one."""
        current, job = self._runner, self._job
        assert current is not None
        assert job is not None
        soiled = soiled or self._has_strays(job)
        # A task that has ended well may leave things behind, and what it wrote last may still be in the pipe.
        self._drain()
        if soiled:
            self._kill_everything()
        self._job = None
        rest = job.funnel.rest()
        self._say((frames.frame(frames.OUTPUT, rest) if rest else b"") + said)
        worn = current.runs >= job.limits.recycle or (self._is_time_to_weigh(job) and self._is_bloated())
        if soiled or current.died is not None:
            self._replace_runner()
        elif worn:
            self._dismiss_runner()

    def _is_time_to_weigh(self, job: Job) -> bool:
        # Not after every short run: a look costs as much as the run.
        assert self._runner is not None
        return self._runner.runs % _WEIGH_EVERY == 0 or _CLOCK.monotonic() - job.began > _CLOSEST_LOOK

    def _is_bloated(self) -> bool:
        assert self._runner is not None
        return system.resident(self._runner.pid) > self._runner.fresh + _BLOAT

    def _has_strays(self, job: Job) -> bool:
        """Return whether processes are left that the runner did not own up to: looked for once a second at most."""
        now = _CLOCK.monotonic()
        if now < self._strays_at and now - job.began < LOOK_EVERY:
            return False
        self._strays_at = now + _LOOK_FOR_STRAYS
        current = self._runner
        assert current is not None
        self._reap()
        return bool(self._members(now) - {current.pid})

    def _drain(self) -> None:
        left = 64
        while left and self._read_output():
            left -= 1

    def _kill_run(self, why: str, **figures: Any) -> None:
        """Kill all of the present run and say *why*."""
        job = self._job
        if job is None:
            return
        self._kill_everything()
        self._drain()
        self._job = None
        rest = job.funnel.rest()
        body = {"why": why, "seconds": _CLOCK.monotonic() - job.began, **figures}
        self._say((frames.frame(frames.OUTPUT, rest) if rest else b"") + frames.message(frames.GONE, body))
        self._replace_runner()

    def _kill_everything(self) -> None:
        """Kill every process below this one, and return when the last is gone and reaped."""
        until = _CLOCK.monotonic() + _LONGEST_KILL
        if self._runner is not None and self._runner.died is None:
            system.kill_all([self._runner.pid])
        while True:
            self._reap()
            if not system.has_children():
                return
            # The runner's death made its children ours, and theirs: look, kill, and look again until none is left.
            if self._runner is None or self._runner.died is not None:
                self._tree.forget()
                system.kill_all(self._tree.members())
            if _CLOCK.monotonic() > until:
                # A process that not even SIGKILL ends hangs in the system; the fork server takes it over.
                os._exit(1)
            select.select([self._wake_read], [], [], 0.002)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def _reap(self) -> None:
        ended = system.reap()
        current = self._runner
        if current is None or not ended or current.pid not in ended:
            return
        current.died = ended[current.pid]

    # -- limits

    def _watch(self) -> None:
        job, current = self._job, self._runner
        if job is None or current is None:
            return
        if current.died is not None:
            self._read_runner_to_its_end()
            if self._job is not None:
                self._kill_run("died" if current.ready else "not_begun", code=current.died)
            return
        now, limits = _CLOCK.monotonic(), job.limits
        trusted = self._deadline.get()
        if trusted is not None and now >= trusted:
            self._kill_run("lease")
        elif now >= job.began + limits.hard:
            self._kill_run("time")
        elif now >= job.kill_at:
            self._kill_run("silent" if job.silent else "stop")
        else:
            if not job.told and now >= job.began + limits.soft:
                job.told = True
                system.send(current.pid, runner.SIGNALS["soft_time_limit"])
            if not job.silent and now >= job.heard_at + limits.silence:
                job.silent = True
                job.kill_at = min(job.kill_at, now + _SILENCE_GRACE)
                system.send(current.pid, runner.SIGNALS["silence_limit"])
            if now >= job.look_at:
                self._look(job, current, now)
            if job.funnel.waiting:
                self._give_output()

    def _read_runner_to_its_end(self) -> None:
        """Take what a runner said before it died: an end that it reported counts."""
        current = self._runner
        while current is not None and current is self._runner and not current.deaf:
            if not select.select([current.channel], [], [], 0)[0]:
                return
            self._read_runner()

    def _look(self, job: Job, current: Runner, now: float) -> None:
        members = self._members(now)
        limits, wait = job.limits, LOOK_EVERY
        if len(members) > MOST_PROCESSES:
            return self._kill_run("processes", processes=len(members))
        if limits.memory < math.inf:
            used = sum(map(system.resident, members)) - job.resident
            if used > limits.memory and len(members) > 1:
                used = sum(map(system.proportional, members)) - job.resident
            if used > limits.memory:
                return self._kill_run("memory", used=used)
            wait = min(wait, max((limits.memory - used) / _FASTEST_GROWTH, _CLOSEST_LOOK))
        if limits.cpu < math.inf:
            cpu = sum(map(system.cpu_seconds, members)) - job.cpu + _children_cpu() - job.orphans_cpu
            if cpu >= limits.cpu + _CPU_GRACE:
                return self._kill_run("cpu", used=cpu)
            if cpu >= limits.cpu and not job.cpu_told:
                job.cpu_told = True
                system.send(current.pid, runner.SIGNALS["cpu_limit"])
        job.look_at = now + wait
        return None

    def _members(self, now: float) -> set[int]:
        if now >= self._tree_at:
            self._tree.forget()
            self._tree_at = now + _FRESH_LOOK
        return self._tree.members()

    # -- runners

    def _start_runner(self) -> None:
        ours, theirs = socket.socketpair()
        output, their_output = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become_runner(theirs, their_output, ours, output)
        theirs.close()
        os.close(their_output)
        os.set_blocking(output, False)
        self._runner = Runner(pid, ours, output)
        self._runner.fresh = system.resident(pid)
        for descriptor in (ours.fileno(), output):
            self._poll.register(descriptor, select.POLLIN)

    def _become_runner(self, channel: socket.socket, output: int, ours: socket.socket, our_output: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            # Detached: an object that closed its number later would close somebody else's file.
            mine = (ours.detach(), self._worker.detach(), our_output, self._wake_read, self._wake_write, *self._guards)
            for descriptor in mine:
                os.close(descriptor)
            self._deadline.close()
            runner.serve(channel, output, self._code)
        except BaseException:  # what went wrong outside of any task is for the run's log, too
            traceback.print_exc()
        finally:
            os._exit(1)

    def _replace_runner(self) -> None:
        """Kill the runner and all below it, and start a fresh one."""
        self._kill_everything()
        self._bury_runner()
        self._start_runner()

    def _dismiss_runner(self) -> None:
        """Let the runner end in good order, but not for long, and start a fresh one."""
        current = self._runner
        if current is not None:
            current.channel.shutdown(socket.SHUT_WR)
            until = _CLOCK.monotonic() + _GOODBYE
            while current.died is None and (left := until - _CLOCK.monotonic()) > 0:
                waiting = [self._wake_read, *([] if current.silent else [current.output])]
                select.select(waiting, [], [], left)
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                self._drain()
                self._reap()
        self._replace_runner()

    def _bury_runner(self) -> None:
        current, self._runner = self._runner, None
        if current is None:
            return
        if not current.deaf:
            self._poll.unregister(current.channel.fileno())
        if not current.silent:
            self._poll.unregister(current.output)
        current.channel.close()
        os.close(current.output)


def _children_cpu() -> float:
    """Return the processor time of what this process has reaped: orphans of runs, and runners that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
