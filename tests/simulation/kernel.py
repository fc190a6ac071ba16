"""Run threads as coroutines on a virtual clock: one at a time, in an order that a seed decides.

A fiber is an operating system thread that runs only while it holds the baton. Whoever gives the baton up picks the
next one itself, so that everything that happens is one sequence, and the same seed gives the same sequence.
"""

from __future__ import annotations

import _thread
import heapq
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

SECOND: Final = 1_000_000
_MOST_STEPS: Final = 3_000_000
_UNWINDING: Final = 60.0
"""Real seconds that a fiber may take to unwind when the simulation ends."""


class Crashed(BaseException):
    """Raised in the fibers of a process that is no more; nothing they still do has any effect."""


class Stuck(Exception):
    """The simulation cannot go on: everybody waits for ever, or spins."""


class Kernel:
    """Virtual time in microseconds and the fibers that live in it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0
        self.steps = 0
        self.current: Fiber | None = None
        self.fibers: set[Fiber] = set()
        self.on_death: Callable[[Fiber, BaseException], None] = lambda fiber, error: None
        self._heap: list[tuple[int, float, int, Fiber | None, Any]] = []
        self._sequence = 0
        self._main = _thread.allocate_lock()
        self._main.acquire()
        self._over = False
        self._failure: BaseException | None = None

    def spawn(self, owner: Any, name: str, target: Callable[[], object]) -> Fiber:
        """Start a fiber of *owner*, which has a flag `dead` and `frozen_until`, an instant of this clock."""
        fiber = Fiber(self, owner, name, target)
        self.fibers.add(fiber)
        self.wake(fiber)
        return fiber

    def call_at(self, at: int, work: Callable[[], object]) -> None:
        """Call *work*, which must not wait, at a time."""
        self._push(max(at, self.now), None, work)

    def wake(self, fiber: Fiber, after: int | None = None) -> None:
        """Let *fiber* go on, by default within a moment; its other pending wake-ups are forgotten."""
        fiber.token += 1
        self._push(self.now + (self.latency() if after is None else after), fiber, fiber.token)

    def latency(self) -> int:
        """Return how long it takes until somebody who may run does, in microseconds."""
        luck = self.random.random()
        return 1 + int(luck * 300) if luck < 0.98 else int(self.random.random() * 20_000)

    def sleep(self, micros: int) -> None:
        """Suspend the current fiber for so long, or until it is woken."""
        fiber = self._me()
        # Nobody wakes up exactly on time.
        self.wake(fiber, micros + self.latency())
        self._yield(fiber)

    def suspend(self) -> None:
        """Suspend the current fiber until it is woken."""
        fiber = self._me()
        fiber.token += 1
        self._yield(fiber)

    def run(self, main: Callable[[], object], owner: Any) -> None:
        """Run *main* as the first fiber until it returns; what it raises is raised here."""

        def first() -> None:
            try:
                main()
            except BaseException as error:
                # What made it end before is why it was told to unwind.
                self._failure = self._failure or error
            self._over = True

        self.spawn(owner, "main", first)
        self._dispatch(None)
        self._unwind()
        if self._failure is not None:
            raise self._failure

    def doom(self, owner: Any) -> None:
        """Let all fibers of *owner*, which is dead, come to their end."""
        for fiber in sorted((f for f in self.fibers if f.owner is owner), key=lambda f: f.number):
            fiber.doomed = True
            if fiber is not self.current:
                self.wake(fiber, 0)

    def _me(self) -> Fiber:
        fiber = self.current
        assert fiber is not None, "only fibers can wait"
        if fiber.doomed:
            raise Crashed
        return fiber

    def _yield(self, fiber: Fiber) -> None:
        self._dispatch(fiber)
        if fiber.doomed:
            raise Crashed

    def _push(self, at: int, fiber: Fiber | None, what: Any) -> None:
        self._sequence += 1
        # Among those of the same instant chance decides.
        heapq.heappush(self._heap, (at, self.random.random(), self._sequence, fiber, what))

    def _dispatch(self, me: Fiber | None) -> None:
        """Give the baton to whoever is next, and return when *me* (None: the main thread) has it again."""
        if self._over:
            following: Fiber | None = None
        else:
            try:
                following = self._next()
            except BaseException as error:
                self._failure, self._over, following = error, True, None
        if following is me:
            return
        self.current = following
        mine = self._main if me is None else me.go
        if following is None:
            self._main.release()
        else:
            following.begin_or_go_on()
        if me is None or me.alive:
            mine.acquire()

    def _next(self) -> Fiber:
        while self._heap:
            at, _, _, fiber, what = heapq.heappop(self._heap)
            if fiber is None:
                self.now = max(self.now, at)
                what()
                continue
            if fiber.token != what or not fiber.alive:
                continue
            if fiber.owner.frozen_until > at and not fiber.doomed:
                self._push(fiber.owner.frozen_until + self.latency(), fiber, what)
                continue
            self.now = max(self.now, at)
            self.steps += 1
            if self.steps > _MOST_STEPS:
                raise Stuck(f"no end after {self.steps} steps; the last one was of {fiber}")
            return fiber
        raise Stuck(f"nobody will ever run again; waiting: {sorted(str(fiber) for fiber in self.fibers)}")

    def _unwind(self) -> None:
        """End all fibers that are left, one after the other."""
        for fiber in sorted(self.fibers, key=lambda f: f.number):
            while fiber.alive:
                fiber.doomed = True
                self.current = fiber
                fiber.begin_or_go_on()
                if not self._main.acquire(timeout=_UNWINDING):
                    raise Stuck(f"{fiber} does not end")

    def finished(self, fiber: Fiber) -> None:
        """Be told by *fiber* that it has ended, with the baton in its hand."""
        self.fibers.discard(fiber)
        for waiting in fiber.joiners:
            self.wake(waiting)
        self._dispatch(fiber)


class Fiber:
    """A thread that runs when it is its turn."""

    def __init__(self, kernel: Kernel, owner: Any, name: str, target: Callable[[], object]) -> None:
        kernel._sequence += 1
        self.number, self.token = kernel._sequence, 0
        self.owner, self.name = owner, name
        self.alive, self.doomed = True, False
        self.joiners: list[Fiber] = []
        self.go = _thread.allocate_lock()
        self.go.acquire()
        self._kernel, self._target, self._begun = kernel, target, False

    def begin_or_go_on(self) -> None:
        """Hand over the baton."""
        if self._begun:
            self.go.release()
            return
        self._begun = True
        threading.Thread(target=self._serve, name=str(self), daemon=True).start()

    def _serve(self) -> None:
        try:
            if not self.doomed:
                self._target()
        except Crashed:
            pass
        except BaseException as error:
            if not self.doomed:
                self._kernel.on_death(self, error)
        self.alive = False
        self._kernel.finished(self)

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


class Event:
    """`threading.Event` in virtual time."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._set = kernel, False
        self._waiting: list[Fiber] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, []
        for fiber in waiting:
            self._kernel.wake(fiber)

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if self._set or (timeout is not None and timeout <= 0):
            # Even not to wait takes a moment, or a loop could go round without time passing.
            self._kernel.sleep(20)
            return self._set
        fiber = self._kernel._me()
        self._waiting.append(fiber)
        try:
            if timeout is None:
                self._kernel.suspend()
            else:
                self._kernel.sleep(round(timeout * SECOND))
        finally:
            if fiber in self._waiting:
                self._waiting.remove(fiber)
        return self._set


class Lock:
    """`threading.Lock` in virtual time."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._holder: Fiber | None = None
        self._waiting: deque[Fiber] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        fiber = self._kernel._me()
        deadline = None if timeout < 0 else self._kernel.now + round(timeout * SECOND)
        while self._holder is not None:
            if not blocking or (deadline is not None and self._kernel.now >= deadline):
                return False
            self._waiting.append(fiber)
            try:
                if deadline is None:
                    self._kernel.suspend()
                else:
                    self._kernel.sleep(deadline - self._kernel.now)
            finally:
                if fiber in self._waiting:
                    self._waiting.remove(fiber)
        self._holder = fiber
        return True

    def release(self) -> None:
        self._holder = None
        # A process that stands still cannot take what it waits for.
        able = [fiber for fiber in self._waiting if fiber.owner.frozen_until <= self._kernel.now]
        for fiber in able[:1] or list(self._waiting):
            self._kernel.wake(fiber)

    def locked(self) -> bool:
        return self._holder is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class RLock:
    """`threading.RLock` in virtual time."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._lock = kernel, Lock(kernel)
        self._owner: Fiber | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = self._kernel._me()
        if self._owner is not me:
            if not self._lock.acquire(blocking, timeout):
                return False
            self._owner = me
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition:
    """`threading.Condition` in virtual time."""

    def __init__(self, kernel: Kernel, lock: Lock | RLock | None = None) -> None:
        self._kernel, self._lock = kernel, lock or RLock(kernel)
        self._waiting: deque[Event] = deque()

    def wait(self, timeout: float | None = None) -> bool:
        told = Event(self._kernel)
        self._waiting.append(told)
        depth = self._lock._depth if isinstance(self._lock, RLock) else 1
        for _ in range(depth):
            self._lock.release()
        try:
            return told.wait(timeout)
        finally:
            if told in self._waiting:
                self._waiting.remove(told)
            for _ in range(depth):
                self._lock.acquire()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        deadline = None if timeout is None else self._kernel.now + round(timeout * SECOND)
        while not (result := predicate()):
            left = None if deadline is None else (deadline - self._kernel.now) / SECOND
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        for _ in range(min(n, len(self._waiting))):
            self._waiting.popleft().set()

    def notify_all(self) -> None:
        self.notify(len(self._waiting))

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Queue:
    """`queue.SimpleQueue` in virtual time."""

    def __init__(self, kernel: Kernel) -> None:
        self._items: deque[Any] = deque()
        self._kernel = kernel
        self._waiting: deque[Fiber] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiting:
            self._kernel.wake(self._waiting.popleft())

    def get(self) -> Any:
        fiber = self._kernel._me()
        while not self._items:
            self._waiting.append(fiber)
            try:
                self._kernel.suspend()
            finally:
                if fiber in self._waiting:
                    self._waiting.remove(fiber)
        return self._items.popleft()


class Thread:
    """`threading.Thread` in virtual time."""

    def __init__(
        self,
        kernel: Kernel,
        target: Callable[..., object],
        name: str = "thread",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        daemon: bool = False,
    ) -> None:
        self._kernel, self._target = kernel, target
        self._args, self._kwargs = args, kwargs or {}
        self.name, self.daemon = name, daemon
        self.fiber: Fiber | None = None

    def start(self) -> None:
        owner = self._kernel._me().owner
        self.fiber = self._kernel.spawn(owner, self.name, lambda: self._target(*self._args, **self._kwargs))
        self.fiber.thread = self  # type: ignore[attr-defined]

    def is_alive(self) -> bool:
        return self.fiber is not None and self.fiber.alive

    def join(self, timeout: float | None = None) -> None:
        if not self.is_alive():
            return
        assert self.fiber is not None
        me = self._kernel._me()
        self.fiber.joiners.append(me)
        try:
            if timeout is None:
                self._kernel.suspend()
            else:
                self._kernel.sleep(round(timeout * SECOND))
        finally:
            if me in self.fiber.joiners:
                self.fiber.joiners.remove(me)


class Threading:
    """What the product uses of the module `threading`, in virtual time; anything else is refused."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def Event(self) -> Event:
        return Event(self._kernel)

    def Lock(self) -> Lock:
        return Lock(self._kernel)

    def RLock(self) -> RLock:
        return RLock(self._kernel)

    def Condition(self, lock: Lock | RLock | None = None) -> Condition:
        return Condition(self._kernel, lock)

    def Thread(self, *args: Any, **more: Any) -> Thread:
        return Thread(self._kernel, *args, **more)

    def current_thread(self) -> Any:
        return getattr(self._kernel._me(), "thread", None)
