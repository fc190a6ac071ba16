"""Wait for runs: show their progress, then their end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from mainspring.edges.cli.failures import Failed
from mainspring.edges.cli.run import view_json
from mainspring.edges.cli.runs import step_in_words
from mainspring.edges.cli.screen import is_terminal, print_json, say
from mainspring.edges.cli.wording import many, short_id, state_cell, took

if TYPE_CHECKING:
    from mainspring.app import Application
    from mainspring.services.reading import RunView

_FIRST_LOOK: Final = 0.05
_SLOWEST_LOOK: Final = 0.5


def read_timeout(text: str | None, wait: bool) -> timedelta | None:
    """Return how long to wait at most; None means for ever.

    Raises:
        InvalidInput: it is no duration, or stands without --wait.
    """
    from mainspring.domain.duration import parse_duration
    from mainspring.errors import InvalidInput

    if text is None:
        return None
    if not wait:
        raise InvalidInput("--timeout goes with --wait")
    try:
        return parse_duration(text)
    except InvalidInput as error:
        raise InvalidInput(f"--timeout: {error}") from None


def wait_for(application: Application, ids: Sequence[str], timeout: timedelta | None, as_json: bool) -> None:
    """Wait until all of these runs have ended, then print their ends.

    Raises:
        Failed: one did not succeed, or time ran out.
    """
    views = _wait(application, ids, timeout, show=is_terminal() and not as_json)
    if as_json:
        print_json(view_json(views[0]) if len(views) == 1 else {"runs": [view_json(view) for view in views]})
    else:
        for view in views:
            _print_end(view)
    _raise_unless_succeeded(views, timeout)


def _wait(application: Application, ids: Sequence[str], timeout: timedelta | None, show: bool) -> list[RunView]:
    from mainspring.domain.states import FINAL

    clock, pause = application.clock, _FIRST_LOOK
    until = None if timeout is None else clock.monotonic() + timeout.total_seconds()
    status: Any = _status() if show else nullcontext()
    with status, _interruptible() as stop:
        while True:
            if stop.is_set():
                raise KeyboardInterrupt
            views = [application.reading.run(application.steering.require(run_id).id) for run_id in ids]
            open_ = [view for view in views if view.run.state not in FINAL]
            if not open_ or (until is not None and clock.monotonic() >= until):
                return views
            if show:
                status.update(_under_way(views, open_))
            clock.wait(stop, pause)
            pause = min(pause * 1.5, _SLOWEST_LOOK)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C sets: raised just anywhere, it can be lost in a place where Python ignores errors."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _status() -> AbstractContextManager[Any]:
    from rich.console import Console

    return Console(highlight=False, markup=False).status("enqueued")


def _under_way(views: Sequence[RunView], open_: Sequence[RunView]) -> str:
    if len(views) > 1:
        return f"{len(views) - len(open_)} of {many(len(views), 'run')} ended"
    view = open_[0]
    progress = "" if view.step is None else step_in_words(view.step)
    tries = f", try {view.run.tries + 1} of {view.run.max_tries}" if view.run.tries else ""
    return f"{view.run.state}{tries}" + (f"  {progress}" if progress else "")


def _print_end(view: RunView) -> None:
    import json

    run, cell = view.run, state_cell(view.run.state)
    lasted = took(run.started_at, run.finished_at)
    say(f"{cell.text}  {run.task} {short_id(run.id)}" + (f" in {lasted}" if lasted else ""), cell.style)
    if view.has_result and view.result is not None:
        say(json.dumps(view.result, ensure_ascii=False, indent=2))


def _raise_unless_succeeded(views: Sequence[RunView], timeout: timedelta | None) -> None:
    from mainspring.domain.duration import duration_in_words
    from mainspring.domain.states import FINAL, RunState

    bad = [view.run for view in views if view.run.state is not RunState.SUCCEEDED]
    if not bad:
        return
    run = bad[0]
    others = f"; {many(len(bad) - 1, 'other run')} did not succeed either" if len(bad) > 1 else ""
    if run.state not in FINAL:
        assert timeout is not None
        raise Failed(f"run {run.id} is still {run.state} after {duration_in_words(timeout)}; it goes on{others}")
    why = run.failure_message or run.state_reason or ""
    said = f": {why}" if why else ""
    raise Failed(f"run {run.id} {run.state}{said}{others}; `mainspring runs show {short_id(run.id)}` says more")
