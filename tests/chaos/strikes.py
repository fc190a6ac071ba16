"""Strike: carry the planned faults out, and write down what was hit and when."""

from __future__ import annotations

import contextlib
import heapq
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from tests.chaos.members import Crew, Member, SteppedClock
from tests.chaos.places import CLOCK, Outage, Place, PostgresPlace, SqlitePlace, fill, free
from tests.chaos.plan import Fault, Plan
from tests.promises.evidence import Effect

ENDS: Final = ("end", "fail")
"""What the tasks write last."""
_LONGEST: Final = 6.0
_SETTLED: Final = 3.0
_TICK: Final = 0.25
_LEFT: Final = 2
"""Workers that must be at work when another is hit."""
_POSTPONE: Final = 1.0
_POSTPONED_UNTIL: Final = 10.0
_ORPHANS_GONE_AFTER: Final = 5.0


@dataclass
class Strike:
    """A fault that was carried out; times in seconds since boot."""

    fault: Fault
    victim: str
    at: float
    pids: tuple[int, ...] = ()
    """The processes that it killed, froze or cut off."""
    until: float | None = None


class EffectTail:
    """Reads the effect ledger while it grows: which attempts run at this moment, and in which process."""

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._rest = path, 0, b""
        self.open: dict[tuple[str, int], Effect] = {}
        self.started = 0
        self.pids: set[int] = set()
        """All processes in which an attempt has begun."""

    def look(self) -> None:
        """Read what is new."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = self._rest + file.read()
            self._read = file.tell()
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            run_id, attempt, what, pid, at = line.decode("ascii").split()
            key = run_id, int(attempt)
            if what == "start":
                self.started += 1
                self.pids.add(int(pid))
                self.open[key] = Effect(run_id, int(attempt), what, int(pid), float(at))
            elif what in ENDS:
                self.open.pop(key, None)
        # No task is that long: the process is dead, or it was stopped without a word.
        old = CLOCK.monotonic() - _LONGEST
        self.open = {key: effect for key, effect in self.open.items() if effect.boot_seconds > old}

    def forget(self, pids: set[int]) -> None:
        """Take note that these processes are dead."""
        self.open = {key: effect for key, effect in self.open.items() if effect.pid not in pids}


@dataclass(order=True)
class _Due:
    at: float
    number: int
    act: Callable[[], None] = field(compare=False)


class Striker:
    """Carries a plan out, one fault after the other; `run` returns when all have ended."""

    def __init__(self, plan: Plan, place: Place, crew: Crew, tail: EffectTail, clock: SteppedClock | None) -> None:
        self._plan, self._place, self._crew, self._tail, self._clock = plan, place, crew, tail, clock
        self.strikes: list[Strike] = []
        self.counts: Counter[str] = Counter()
        self.orphans: list[str] = []
        self.log: list[str] = []
        self._due: list[_Due] = []
        self._numbers = 0
        self._began = CLOCK.monotonic()

    def begin(self) -> None:
        """Start the time of the plan."""
        self._began = CLOCK.monotonic()
        for fault in self._plan.faults:
            self._later(self._began + fault.at, partial(self._strike, fault))

    @property
    def elapsed(self) -> float:
        """Return how many seconds of the plan have passed."""
        return CLOCK.monotonic() - self._began

    @property
    def busy(self) -> bool:
        """Return whether faults are outstanding or under way."""
        return bool(self._due)

    def work(self) -> None:
        """Do all that is due."""
        self._tail.look()
        while self._due and self._due[0].at <= CLOCK.monotonic():
            heapq.heappop(self._due).act()

    def heal(self) -> None:
        """Undo what is still under way."""
        self._due.clear()
        for member in self._crew.members.values():
            if member.frozen:
                self._thaw(member, [process.pid for process in member.tree()])
        free(self._place)
        if self._clock is not None:
            self._clock.step(0.0)
        if isinstance(self._place, PostgresPlace):
            self._place.wait()
            for name in self._place.proxy.links:
                self._place.proxy.arm(name, False)
                self._place.proxy.set_mode(name, "pass")

    def _later(self, at: float, act: Callable[[], None]) -> None:
        self._numbers += 1
        heapq.heappush(self._due, _Due(at, self._numbers, act))

    def _say(self, text: str) -> None:
        self.log.append(f"{self.elapsed:8.2f} {CLOCK.monotonic():.2f} {text}")

    def _strike(self, fault: Fault) -> None:
        act = {
            "kill": self._kill,
            "stop": self._stop,
            "full": self._fill,
            "clock": self._step,
            "proxy": self._disturb,
            "server": self._kill_server,
        }[fault.kind]
        strike = act(fault)
        if strike is None:
            # Who was to be hit is not there at this moment. What cannot be done in time is missed in the judgement.
            if self.elapsed < self._plan.seconds + _POSTPONED_UNTIL:
                self._later(CLOCK.monotonic() + _POSTPONE, lambda: self._strike(fault))
            return
        self.strikes.append(strike)
        self.counts[fault.kind] += 1
        self._say(
            f"{fault.kind} {fault.what} victim={strike.victim} pids={list(strike.pids)} length={fault.length:.1f}"
        )

    # Killing.

    def _kill(self, fault: Fault) -> Strike | None:
        if fault.what == "child":
            return self._kill_child(fault)
        found = self._victim(fault)
        if found is None:
            return None
        member, processes = found
        orphans = [p for process in processes for p in _below(process)] if fault.what != "up" else []
        pids = tuple(process.pid for process in processes)
        at = CLOCK.monotonic()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if member.pid in pids:
            member.killed()
        else:
            psutil.wait_procs(processes, timeout=2)
        self._tail.look()
        self._tail.forget({*pids, *(orphan.pid for orphan in orphans)})
        self._after_kill(fault, member.name, [orphan for orphan in orphans if orphan.pid not in pids])
        return Strike(fault, member.name, at, pids)

    def _kill_child(self, fault: Fault) -> Strike | None:
        known = {pid for member in self._crew.members.values() for pid in self._own_pids(member)}
        self._tail.look()
        # The youngest first: most tasks are short, and one that ends before it is hit proves nothing.
        youngest = sorted(self._tail.open.values(), key=lambda effect: -effect.boot_seconds)
        for pid in dict.fromkeys(effect.pid for effect in youngest if effect.pid not in known):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = _at_or_above(psutil.Process(pid), known, fault.dice)
                if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED):
                    continue
                below, at = _below(process), CLOCK.monotonic()
                process.kill()
                hit = tuple(one.pid for one in (process, *below))
                self._tail.look()
                interrupted = any(effect.pid in hit for effect in self._tail.open.values())
                self._tail.forget(set(hit))
                self._after_kill(fault, "child", below)
                if not interrupted:
                    self._say(f"kill of {process.pid} came after its task had ended; it is repeated")
                    return None
                return Strike(fault, "child", at, hit)
        return None

    def _after_kill(self, fault: Fault, name: str, orphans: list[psutil.Process]) -> None:
        if isinstance(self._place, SqlitePlace):
            self._place.check(f"kill of {fault.what} at {self.elapsed:.1f} s")
        self._later(CLOCK.monotonic() + _ORPHANS_GONE_AFTER, lambda: self._look_for(name, orphans))

    def _look_for(self, name: str, orphans: list[psutil.Process]) -> None:
        for orphan in orphans:
            if orphan.is_running() and orphan.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED):
                self.orphans.append(f"{_described(orphan)} outlived the kill of {name} by {_ORPHANS_GONE_AFTER:.0f} s")

    def _own_pids(self, member: Member) -> set[int]:
        if not member.alive:
            return set()
        pids = {member.pid}
        if member.name == "up":
            pids |= {process.pid for word in ("worker", "scheduler") if (process := member.child(word)) is not None}
        return pids

    def _victim(self, fault: Fault) -> tuple[Member, list[psutil.Process]] | None:
        """Return a member that can be hit now, and which of its processes the fault is for."""
        prefix, _, word = fault.what.partition(" ")
        members = [m for name, m in self._crew.members.items() if name.partition("-")[0] == prefix]
        members = [m for m in members if m.alive and not m.frozen and m.started_at + _SETTLED < CLOCK.monotonic()]
        # Those that run something first: a kill that interrupts nothing proves little.
        random.Random(fault.dice).shuffle(members)
        busy = {effect.pid for effect in self._tail.open.values()}
        members.sort(key=lambda member: not (self._own_pids(member) & busy))
        working = "worker" in (prefix, word)
        for member in members:
            if fault.kind == "stop" and working and not self._own_pids(member) & busy:
                # There are few of these: each has to interrupt something.
                continue
            processes = _chosen(member, word)
            if processes and self._can_spare(member, prefix, word):
                return member, processes
        return None

    def _can_spare(self, member: Member, prefix: str, word: str) -> bool:
        """Return whether enough others are left to work: a recovery is judged, and no want of workers."""
        if "scheduler" in (prefix, word) or member.name == "client":
            return True
        others = [other for other in self._crew.members.values() if other is not member and not other.frozen]
        return sum(1 for other in others if self._own_pids(other) & self._tail.pids) >= _LEFT

    # Freezing.

    def _stop(self, fault: Fault) -> Strike | None:
        found = self._victim(fault)
        if found is None:
            return None
        member, processes = found
        pids = [process.pid for process in processes]
        strike = Strike(fault, member.name, CLOCK.monotonic(), tuple(pids))
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        member.frozen = True
        outage = None
        if isinstance(self._place, SqlitePlace) and self._place.is_locked_by(pids):
            # Frozen in the middle of a commit: nobody else can write to the file before it goes on.
            outage = Outage("a frozen process holds the write lock", strike.at)
            self._place.outages.append(outage)
            self.counts["stop while writing"] += 1

        def thaw() -> None:
            self._thaw(member, pids)
            strike.until = CLOCK.monotonic()
            if outage is not None:
                outage.until = strike.until

        self._later(strike.at + fault.length, thaw)
        return strike

    def _thaw(self, member: Member, pids: list[int]) -> None:
        for pid in pids:
            _signal(pid, signal.SIGCONT)
        member.frozen = False
        # It must be given the time to notice what happened before the next fault.
        member.started_at = CLOCK.monotonic()

    # The world around.

    def _fill(self, fault: Fault) -> Strike | None:
        if not self._server_is_up():
            return None
        strike = Strike(fault, "disk", CLOCK.monotonic())
        fill(self._place)

        def release() -> None:
            if fault.what == "disk, greedily" and CLOCK.monotonic() < strike.at + fault.length:
                # Whatever is given back meanwhile is taken as well.
                self._place.disk.fill()
                self._later(CLOCK.monotonic() + _TICK, release)
                return
            free(self._place)
            strike.until = CLOCK.monotonic()

        self._later(strike.at + (fault.length if fault.what == "disk" else 0.0), release)
        return strike

    def _step(self, fault: Fault) -> Strike | None:
        assert self._clock is not None
        strike = Strike(fault, f"{fault.step:+.0f} s", CLOCK.monotonic())
        self._clock.step(fault.step)

        def take_back() -> None:
            assert self._clock is not None
            self._clock.step(0.0)
            strike.until = CLOCK.monotonic()

        self._later(strike.at + fault.length, take_back)
        return strike

    def _disturb(self, fault: Fault) -> Strike | None:
        assert isinstance(self._place, PostgresPlace)
        proxy = self._place.proxy
        names = sorted(n for n, m in self._crew.members.items() if m.alive and not m.frozen)
        if not names or not self._server_is_up():
            return None
        # Mostly those that run something: their connections carry the most.
        busy = {effect.pid for effect in self._tail.open.values()}
        dice = random.Random(fault.dice)
        working = [name for name in names if self._own_pids(self._crew.members[name]) & busy]
        name = dice.choice(working if working and dice.random() < 0.75 else names)
        member = self._crew.members[name]
        strike = Strike(fault, name, CLOCK.monotonic(), tuple(sorted(self._own_pids(member))))
        if fault.what == "cut":
            proxy.cut(name)
        elif fault.what == "cut after commit":
            proxy.arm(name)
        else:
            proxy.set_mode(name, "silent" if fault.what == "half-open" else "delay")
            member.frozen = fault.what == "half-open"
            self._later(strike.at + fault.length, lambda: self._reconnect(member, strike))
        return strike

    def _reconnect(self, member: Member, strike: Strike) -> None:
        assert isinstance(self._place, PostgresPlace)
        self._place.proxy.set_mode(member.name, "pass")
        member.frozen = False
        member.started_at = strike.until = CLOCK.monotonic()

    def _kill_server(self, fault: Fault) -> Strike | None:
        assert isinstance(self._place, PostgresPlace)
        # A server that is down does not notice that its disk is full: one after the other.
        if not self._server_is_up() or any(outage.until is None for outage in self._place.outages):
            return None
        strike = Strike(fault, "server", CLOCK.monotonic())
        self._place.strike(fault.what, fault.length)
        return strike

    def _server_is_up(self) -> bool:
        return not isinstance(self._place, PostgresPlace) or self._place.up


def _chosen(member: Member, word: str) -> list[psutil.Process]:
    if word == "tree":
        return member.tree()
    if word:
        child = member.child(word)
        # One that has just been started has nothing to lose yet.
        young = child is None or child.create_time() > CLOCK.now().timestamp() - _SETTLED
        return [] if child is None or young else [child]
    with contextlib.suppress(psutil.NoSuchProcess):
        return [psutil.Process(member.pid)]
    return []


def _at_or_above(runner: psutil.Process, known: set[int], dice: float) -> psutil.Process:
    """Return the process that runs a task, or (more rarely) its keeper or the fork server above them."""
    found = runner
    for threshold in (0.7, 0.85):
        above = found.parent()
        if dice < threshold or above is None or above.pid in known:
            break
        found = above
    return found


def _below(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return []


def _described(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        words = [word[:40] for word in process.cmdline() if not word.startswith("[")]
        return f"process {process.pid} (under {process.ppid()}, {process.status()}: {' '.join(words)[-160:]})"
    return f"process {process.pid}"


def _signal(pid: int, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, which)
