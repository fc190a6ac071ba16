"""Tasks for children, as a project has them."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mainspring.domain.cache import Cache
from mainspring.domain.control import Fail, RetryLater, RunCancelled, SilenceLimit, Snooze, SoftTimeLimit
from mainspring.domain.retry import Backoff
from mainspring.domain.tasks import Context, task
from mainspring.runtime.isolation.code import ChildCode

SECOND = timedelta(seconds=1)
_NEVER = threading.Event()


class Tool:
    """Something that only the code of the project gives."""

    __mainspring_given__ = True

    def __init__(self, name: str) -> None:
        self.name = name


@task(name="double", isolated=True)
def double(x: int) -> dict[str, int]:
    """Return twice the number, and where it was made."""
    return {"doubled": 2 * x, "pid": os.getpid()}


@task(name="adouble", isolated=True)
async def adouble(x: int) -> dict[str, int]:
    """Do the same in a coroutine."""
    await asyncio.sleep(0)
    return {"doubled": await asyncio.to_thread(lambda: 2 * x), "pid": os.getpid()}


@task(name="other", isolated=True, recycle_after=3)
def other() -> int:
    """Return the process, which is replaced after three runs."""
    return os.getpid()


@task(name="echo", isolated=True)
def echo(text: str) -> str:
    """Return a text and one letter."""
    return text + "!"


@task(name="chatty", isolated=True, max_retries=0)
def chatty(ctx: Context) -> None:
    """Say things in all ways."""
    ctx.log.info("from the context %d", 1)
    logging.getLogger("some.library").warning("from a library")
    print("printed", end="")
    subprocess.run(["echo", " and from a program"], check=True)
    print("to stderr", file=sys.stderr)
    print("the key is hunter2")
    os.write(1, b"bytes \xff\x00\n")
    logging.getLogger("some.library").debug("too fine")


@task(name="curious", isolated=True, queue="q")
def curious(ctx: Context, tool: Tool, x: int = 1) -> list[Any]:
    """Return what the context knows."""
    return [ctx.run_id, ctx.attempt, ctx.task, ctx.queue, ctx.schedule_id, ctx.cancelled, tool.name, x]


@task(name="saver", isolated=True, max_retries=0)
def saver(ctx: Context, name: str = "quotes.csv") -> str:
    """Save an artifact."""
    return ctx.artifact(name, b"ticker;price\n")


@task(name="asaver", isolated=True, max_retries=0)
async def asaver(ctx: Context) -> str:
    """Save one from a thread, while the loop goes on."""
    return await asyncio.to_thread(ctx.artifact, "quotes.csv", "ticker;price\n")


@task(name="reporter", isolated=True)
def reporter(ctx: Context) -> None:
    """Report far more often than anybody can read."""
    for n in range(5_000):
        ctx.progress(n + 1, 5_000, "reading")


@task(name="raises", isolated=True)
def raises(what: str) -> Any:
    """End in another way than by returning."""
    if what == "fail":
        raise Fail("the ticker does not exist")
    if what == "later":
        raise RetryLater(timedelta(minutes=7), "busy")
    if what == "snooze":
        raise Snooze(timedelta.max, "closed")
    if what == "exit":
        sys.exit("bye")
    if what == "value":
        return object()
    if what == "evasive":
        raise Evasive
    raise LookupError("gone: hunter2")


class Evasive(Exception):
    """An error that cannot be read."""

    @property
    def retry_after(self) -> timedelta:
        """Raise."""
        raise RuntimeError("not now")


@task(name="patient", soft_time_limit=SECOND / 4, time_limit=10 * SECOND, max_retries=0)
def patient(how: str) -> str:
    """Wait until told to stop."""
    try:
        _NEVER.wait()
    except SoftTimeLimit:
        if how == "cleans":
            return "saved what there was"
        raise
    return ""


@task(name="apatient", soft_time_limit=SECOND / 4, time_limit=10 * SECOND, max_retries=0)
async def apatient(how: str) -> str:
    """Wait until told to stop."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if how == "cleans":
            return "saved what there was"
        raise
    return ""


@task(name="listener", isolated=True, max_retries=0)
def listener(ctx: Context) -> list[str]:
    """Wait for a callback alone."""
    heard: list[str] = []
    told = threading.Event()

    def on_stop(cause: str) -> None:
        heard.append(cause)
        told.set()

    ctx.on_stop(on_stop)
    ctx.progress(1)
    while not told.is_set():
        try:
            told.wait()
        except RunCancelled:
            heard.append("raised")
    return heard


@task(name="deaf", isolated=True, max_retries=0)
def deaf(ctx: Context) -> None:
    """Go on whatever is said."""
    ctx.progress(1)
    while True:
        try:
            _NEVER.wait()
        except BaseException:
            continue


@task(name="waits", isolated=True)
def waits(ctx: Context, mark: str = "") -> str:
    """Wait until killed, with a child."""
    subprocess.Popen(["sleep", "600"], cwd=mark or None, start_new_session=True)
    ctx.progress(1)
    _NEVER.wait()
    return ""


@task(name="awaits", isolated=True)
async def awaits(ctx: Context) -> str:
    """Wait until cancelled."""
    ctx.progress(1)
    await asyncio.Event().wait()
    return ""


@task(name="untidy", isolated=True)
def untidy(what: str) -> int:
    """Leave something behind in the process, and return it."""
    if what == "folder":
        os.chdir("/")
    elif what == "limit":
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    elif what == "timer":
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 1000)
    elif what == "thread":
        threading.Thread(target=_NEVER.wait, daemon=True).start()
    elif what == "process":
        subprocess.Popen(["sleep", "600"])
    elif what == "zombie":
        os.fork() or os._exit(0)
    elif what == "umask":
        os.umask(0o777)
    elif what == "output":
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    elif what == "stream":
        sys.stdout.close()
    elif what == "signals":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    return os.getpid()


@task(name="auntidy", isolated=True)
async def auntidy(stubborn: bool) -> int:
    """Leave a coroutine behind."""

    async def other() -> None:
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                if not stubborn:
                    raise

    kept = asyncio.create_task(other())
    await asyncio.sleep(0.01)
    assert not kept.done()
    return os.getpid()


@task(name="hog", memory_limit="200MB", max_retries=0)
def hog(megabytes: int, per_second: int) -> int:
    """Take memory at a steady rate, of a kind that the system's own limit does not count, then hold it."""
    import mmap

    held, began = [], time.clock_gettime(time.CLOCK_MONOTONIC)
    for n in range(0, megabytes, 5):
        piece = mmap.mmap(-1, 5_000_000)
        for place in range(0, len(piece), mmap.PAGESIZE):
            piece[place] = 1
        held.append(piece)
        while time.clock_gettime(time.CLOCK_MONOTONIC) - began < n / per_second:
            pass
    return len(held)


@task(name="dies", isolated=True)
def dies() -> None:
    """Take its process along."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(name="pause", isolated=True)
def pause(seconds: float) -> float:
    """Do nothing for a while."""
    _NEVER.wait(seconds)
    return seconds


@task(name="suspect")
def suspect() -> int:
    """Return the process; not isolated by itself."""
    return os.getpid()


@task(name="pages", isolated=True, backoff=Backoff(timedelta(milliseconds=1), jitter="none"))
def pages(ctx: Context) -> dict[str, Any]:
    """Go through pages, and die at the third of the first attempt."""
    began = ctx.checkpoint
    for page in ctx.track(range((began or {"page": 0})["page"], 5), total=5, start=(began or {"page": 0})["page"]):
        ctx.save_checkpoint({"page": page + 1})
        assert ctx.checkpoint == {"page": page + 1}
        if page == 2 and ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"began": began, "attempt": ctx.attempt}


@task(name="apages", isolated=True)
async def apages(ctx: Context) -> Any:
    """Save where a coroutine stands, from a thread."""
    await asyncio.to_thread(ctx.save_checkpoint, [1])
    return await asyncio.to_thread(lambda: ctx.checkpoint)


@task(name="large_checkpoint", isolated=True, max_retries=0)
def large_checkpoint(ctx: Context) -> None:
    """Save too much."""
    ctx.save_checkpoint("x" * 70_000)


@task(name="quiet", isolated=True, silence_limit=SECOND, max_retries=0)
def quiet(ctx: Context, how: str) -> str:
    """Beat for longer than the limit, or be silent and then obey or not."""
    speak = {
        "beats": ctx.beat,
        "reports": lambda: ctx.progress(1),
        "saves": lambda: ctx.save_checkpoint(1, every=timedelta(hours=1)),
    }.get(how)
    for _ in range(80 if speak is not None else 0):
        speak()
        _NEVER.wait(0.02)
    if how == "obeys":
        _NEVER.wait(30)
    while how == "deaf":
        try:
            _NEVER.wait(30)
        except SilenceLimit:
            continue
    return how


@task(name="aquiet", isolated=True, silence_limit=SECOND, max_retries=0)
async def aquiet() -> None:
    """Be silent on the loop."""
    await asyncio.Event().wait()


@task(name="sleeper", isolated=True)
def sleeper(until: str, ctx: Context) -> Any:
    """Be put off until an instant."""
    if ctx.attempt == 1:
        ctx.save_checkpoint("kept")
        raise Snooze(until=datetime.fromisoformat(until))
    return ctx.checkpoint


@task(name="cached", isolated=True, cache=Cache(ttl=timedelta(hours=1)))
def cached(x: int) -> int:
    """Return the process that computed it."""
    return os.getpid()


@task(name="large_file", isolated=True, max_retries=0)
def large_file(folder: str, ctx: Context) -> str:
    """Save a file that is open, without reading it at once."""
    path = Path(folder) / "large.bin"
    path.write_bytes(b"x" * 3_000_000)
    with path.open("rb") as file:
        return ctx.artifact("large.bin", file)


ALL = [
    double, adouble, other, echo, chatty, curious, saver, asaver, reporter, raises, patient, apatient, listener, deaf,
    waits, awaits, untidy, auntidy, hog, dies, suspect, pause, pages, apages, large_checkpoint, quiet, aquiet, sleeper,
    cached, large_file,
]  # fmt: skip


def load(**arguments: Any) -> ChildCode:
    """Return the tasks for a child."""
    return ChildCode(
        {made.name: made for made in ALL},
        lambda made, context: {name: Tool("hammer") for name in made.given_parameters},
    )


def load_with_threads() -> ChildCode:
    """Do the same, and start a thread, as some modules do when they are imported."""
    threading.Thread(target=_NEVER.wait, daemon=True).start()
    return load()


def load_broken() -> ChildCode:
    """Fail, as a module does that lacks something."""
    raise ModuleNotFoundError("No module named 'pandas'")


def marks(folder: Path) -> str:
    """Return a new folder by which processes are known."""
    folder.mkdir()
    return str(folder)


def never_loads() -> ChildCode:
    """Stand for modules whose import takes long: it never comes to its end."""
    while True:
        signal.pause()
