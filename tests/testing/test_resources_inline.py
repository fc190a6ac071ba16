"""Runs that share a service, on a clock that stands still: the rules as a whole installation applies them."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from datetime import timedelta
from email.message import Message
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mainspring import ResourceRefused, task
from mainspring.domain.states import RunState
from mainspring.testing import TestApp, open_test_app
from tests.domain.shared_service import Answer, Down, Sliding

STEP = timedelta(milliseconds=53)


class Asked:
    """A service behind a task: what it was asked and when, in seconds."""

    def __init__(self, ask: Callable[[float], Answer]) -> None:
        self._ask = ask
        self.answers: list[tuple[float, Answer]] = []
        self.now: Callable[[], float] = lambda: 0.0

    def __call__(self) -> None:
        answer = self._ask(self.now())
        self.answers.append((self.now(), answer))
        if answer is Answer.TOO_FAST:
            headers = Message()
            headers["Retry-After"] = "7"
            raise urllib.error.HTTPError("http://service/", 429, "slow down", headers, None)
        if answer is Answer.BROKEN:
            raise ConnectionError("no answer")

    def times(self, wanted: Answer) -> list[float]:
        """Return when it answered so."""
        return [at for at, answer in self.answers if answer is wanted]


def work_off(app: TestApp, step: timedelta, seconds: float) -> None:
    """Let time pass in steps, and run what may run, until nothing is left or *seconds* are over."""
    for _ in range(int(seconds / step.total_seconds())):
        app.drain()
        if set(app._application.reading.counts()) == {RunState.SUCCEEDED}:
            return
        app.advance(step)


def charged(app: TestApp) -> int:
    """Return how many tries were charged to runs beyond the one that succeeded."""
    return sum(app._application.reading.run(run.id).run.tries for run in app.runs()) - len(app.runs())


def opened(folder: Path, asked: Asked, runs: int, declared: dict[str, Any] | None = None) -> TestApp:
    @task(name="ask", uses=["service"])
    def ask(n: int) -> int:
        asked()
        return n

    app = open_test_app(folder, [ask], resources=None if declared is None else {"service": declared})
    start = app.clock.now()
    asked.now = lambda: (app.clock.now() - start).total_seconds()
    app.client.enqueue_many(ask, [{"n": n} for n in range(runs)])
    return app


def test_with_a_declared_rate_nothing_is_refused(tmp_path: Path) -> None:
    service = Asked(Sliding().ask)
    with opened(tmp_path, service, 25, {"rate": "5/s"}) as app:
        work_off(app, STEP, 20)
        answered = service.times(Answer.FINE)
        assert (len(answered), len(service.answers)) == (25, 25)
        assert 24 / answered[-1] >= 0.9 * 5 * 0.9, "time passes in steps here, of a quarter of a turn"
        assert charged(app) == 0


def test_of_an_undeclared_service_one_request_is_refused_per_pause_and_none_is_charged(tmp_path: Path) -> None:
    service = Asked(Sliding().ask)
    with opened(tmp_path, service, 20) as app:
        work_off(app, 5 * STEP, 60)
        refused = service.times(Answer.TOO_FAST)
        assert refused
        assert all(later - earlier >= 7 for earlier, later in pairwise(refused))
        assert len(service.times(Answer.FINE)) == 20
        assert charged(app) == 0


def test_while_a_service_is_down_its_runs_are_held_and_one_probes_it_each_time(tmp_path: Path) -> None:
    service = Asked(Down(0, 30).ask)
    breaker = {"failures": 3, "cool_down": "10s"}
    with opened(tmp_path, service, 10, {"concurrency": 4, "breaker": breaker}) as app:
        app.drain()
        assert {run.state for run in app.runs()} == {RunState.HELD, RunState.SCHEDULED}
        work_off(app, timedelta(seconds=1), 90)
        assert {run.state for run in app.runs()} == {RunState.SUCCEEDED}
        assert service.times(Answer.BROKEN) == [0, 0, 0, 10, 20]
        assert charged(app) == 3


@pytest.mark.parametrize("pause", [None, 30])
def test_a_task_says_itself_that_a_service_refused(tmp_path: Path, pause: int | None) -> None:
    refusals = [True]

    @task(name="ask", uses=["service"], max_retries=0)
    def ask() -> None:
        if refusals:
            refusals.pop()
            raise ResourceRefused("service", pause, "out of credits")

    with open_test_app(tmp_path, [ask]) as app:
        run = app.enqueue(ask)
        app.drain()
        assert app.run(run.id).state is RunState.HELD
        app.advance(timedelta(seconds=(pause or 1) - 0.001))
        app.drain()
        assert app.run(run.id).state is RunState.HELD
        app.advance(timedelta(milliseconds=1))
        app.drain()
        assert app.run(run.id).state is RunState.SUCCEEDED
