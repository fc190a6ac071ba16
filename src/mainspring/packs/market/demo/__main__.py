"""Run the demonstration: ``python -m mainspring.packs.market.demo``, with ``--serve`` until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mainspring.errors import MainspringError
from mainspring.packs.market.demo import figures
from mainspring.packs.market.demo.folder import DemoFolder
from mainspring.packs.market.demo.program import CommandFailed, Program, Up, pause
from mainspring.packs.market.demo.report import Report
from mainspring.packs.market.local_services import DEMO_FAULTS, LocalServices

_LIMIT: Final = 90.0
"""Seconds after which something must be wrong; a quiet machine needs 25."""
_MOST: Final = "1000"
_PIPE_WIDTH: Final = 2000
_COMMANDS_AT_ONCE: Final = 2


class TooSlow(MainspringError):
    """The demonstration did not come to its end in time."""


class Demonstration:
    """One run through all schedules."""

    def __init__(self, folder: DemoFolder, console: Console) -> None:
        self._folder, self._console = folder, console
        self._program = Program(folder)
        self._over = threading.Event()

    def run(self) -> int:
        """Fire each schedule once, wait for the end, say what happened; return the exit code."""
        limit = threading.Timer(_LIMIT, self._over.set)
        limit.daemon = True
        limit.start()
        try:
            with local_services() as services:
                self._folder.write(services.environment(), fresh=True)
                self._console.print(f"A new project lies in {self._folder.path.absolute()}", soft_wrap=True)
                with self._folder.log.open("wb") as log, self._program.up(log) as up:
                    started = self._fire(self._schedules(up), up)
                counts = services.counts()
                refused = services.total(status=503)
            self._folder.requests.write_text(json.dumps(counts, indent=2), encoding="utf-8")
        finally:
            limit.cancel()
        return self._summary(started, refused)

    def _schedules(self, up: Up) -> list[Mapping[str, Any]]:
        """Wait until the schedules are there and return them; those in trouble first, as their retries take longest."""
        while True:
            self._check(up, "the schedules are not there")
            listed = self._listed() if self._folder.database.exists() else []
            if listed:
                return sorted(listed, key=lambda schedule: not _in_trouble(schedule))
            pause(0.3)

    def _listed(self) -> list[Mapping[str, Any]]:
        try:
            listed: list[Mapping[str, Any]] = self._program.json("schedules", "list")["schedules"]
        except CommandFailed:
            # The database is still being made.
            return []
        return listed

    def _fire(self, schedules: Sequence[Mapping[str, Any]], up: Up) -> list[str]:
        """Trigger every schedule once and follow the jobs to their end; return the ids of those that were started."""
        total = sum(len(_tickers(schedule)) for schedule in schedules)
        pool = ThreadPoolExecutor(_COMMANDS_AT_ONCE)
        firing = [pool.submit(self._program.json, "schedules", "trigger", one["name"]) for one in schedules]
        try:
            with self._progress() as show:
                while True:
                    fired = sum(one.done() for one in firing)
                    progress = figures.progress(self._runs(), total)
                    show(progress, f"{fired} of {len(firing)} schedules fired, {progress.in_words()}")
                    if fired == len(firing) and progress.done == progress.total:
                        return [run["id"] for one in firing for run in one.result()["runs"]]
                    self._check(up, progress.in_words())
                    # Whoever looks takes time from those who work.
                    pause(0.5) if fired == len(firing) else wait(firing, timeout=2.5)
        finally:
            pool.shutdown(cancel_futures=True)

    def _check(self, up: Up, so_far: str) -> None:
        if up.ended:
            raise CommandFailed(f"`{self._program.line('up')}` ended by itself; see {self._folder.log}")
        if self._over.is_set():
            raise TooSlow(f"not done within {_LIMIT:g} s: {so_far}; see {self._folder.log}")

    def _runs(self) -> list[Mapping[str, Any]]:
        runs: list[Mapping[str, Any]] = self._program.json("runs", "list", "--limit", _MOST)["runs"]
        return runs

    @contextmanager
    def _progress(self) -> Iterator[Any]:
        """Give a function that shows progress: one live line, or lines where nobody watches."""
        if not self._console.is_terminal:
            yield lambda progress, said: self._console.print(f"  {said}")
            return
        columns = (BarColumn(24), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as live:
            line = live.add_task("", total=None)
            yield lambda progress, said: live.update(
                line, total=progress.total or None, completed=progress.done, description=said
            )

    def _summary(self, started: Sequence[str], refused: int) -> int:
        found = figures.jobs(self._runs(), self._program.json("market", "results", "--limit", _MOST)["results"])
        report = Report(self._console)
        report.ran(found)
        report.troubled(found)
        report.next_times(self._program.json("schedules", "preview", "--all", "--count", "1")["schedules"])
        artifacts = self._program.json("artifacts", "list", "--limit", _MOST)["artifacts"]
        report.places(self._folder, self._program, _example(found), artifacts)
        wrong = figures.problems(found, started, refused)
        for problem in wrong:
            self._console.print(f"not as it must be: {problem}", style="red", soft_wrap=True)
        return 1 if wrong else 0


def serve(folder: DemoFolder, console: Console) -> int:
    """Serve the project until Ctrl-C; return the exit code."""
    with local_services() as services:
        folder.write(services.environment(), fresh=False)
        program = Program(folder)
        console.print(
            f"The project in {folder.path.absolute()} is served until Ctrl-C; in another terminal:", soft_wrap=True
        )
        for words in (("schedules", "list"), ("schedules", "trigger", "crypto_15min"), ("market", "results")):
            console.print(f"  {program.line(*words)}", soft_wrap=True, highlight=False)
        with program.up() as up:
            return up.wait()


@contextmanager
def local_services() -> Iterator[LocalServices]:
    """Serve the samples on this machine, with the demonstration's faults."""
    with LocalServices() as services:
        for pattern, times in DEMO_FAULTS:
            services.fail(pattern, times)
        yield services


def console_for_output() -> Console:
    """Return the console; into a pipe or a file, lines go whole."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def _tickers(schedule: Mapping[str, Any]) -> Sequence[str]:
    tickers: Sequence[str] = schedule["spec"]["fan_out"]["over"]
    return tickers


def _in_trouble(schedule: Mapping[str, Any]) -> bool:
    return figures.BROKEN[1] in _tickers(schedule) or figures.RECOVERING[1] in _tickers(schedule)


def _example(found: Sequence[figures.Job]) -> str:
    return next((job.id for job in found if job.target == figures.RECOVERING), found[-1].id)


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mainspring.packs.market.demo",
        description="Run scheduled market-data jobs in the folder ./demo, against services on this machine.",
    )
    parser.add_argument("--serve", action="store_true", help="serve the project until Ctrl-C instead")
    options = parser.parse_args(arguments)
    folder, console = DemoFolder(Path("demo")), console_for_output()
    # Whoever ends this ends what it started; a shell may have told its background jobs to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return serve(folder, console) if options.serve else Demonstration(folder, console).run()
    except MainspringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
