"""Users test their tasks with real claiming, retries and ledger, on a clock that they move."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import logging
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring import Backoff, Context, Fail, RunCancelled, Snooze, task
from mainspring.encoding import NotSerialisable
from mainspring.errors import ConfigurationInvalid, InvalidInput, ParametersInvalid, UnknownName
from mainspring.testing import RecordingContext, TestApp, open_test_app, run_task

ROOT = Path(__file__).parents[2]
EXACT = Backoff(timedelta(seconds=2), jitter="none")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Callable[..., TestApp]]:
    """Open installations; all are closed after the test."""
    opened: list[TestApp] = []

    def open_one(*arguments: Any, **options: Any) -> TestApp:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(open_test_app(folder, *arguments, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@task(name="greet")
def greet(name: str, times: int = 1) -> str:
    return f"hello {name} " * times


@task(name="agreet")
async def agreet(day: date, ctx: Context) -> str:
    await asyncio.sleep(0)
    ctx.log.info("it is %s", day)
    ctx.progress(1, 2, "half")
    ctx.artifact("a.txt", "text", "text/plain")
    return day.isoformat()


# --- run_task


def test_a_task_of_either_kind_is_run_inline() -> None:
    assert run_task(greet, name="ann", times="2").result == "hello ann hello ann "
    done = run_task(agreet, day="2026-03-02")
    assert (done.result, done.progress) == ("2026-03-02", ((1.0, 2.0, "half"),))
    assert done.logs == ("INFO task.agreet: it is 2026-03-02",)
    assert [(a.name, a.content, a.media_type) for a in done.artifacts] == [("a.txt", b"text", "text/plain")]


def test_a_task_is_run_inline_inside_an_event_loop_too() -> None:
    async def test() -> Any:
        return run_task(agreet, day="2026-03-02").result

    assert asyncio.run(test()) == "2026-03-02"


@pytest.mark.parametrize("error", [ValueError("as it is"), Fail("no"), Snooze(5), SystemExit(3)])
def test_what_a_task_raises_is_raised_as_it_is(error: BaseException) -> None:
    @task(name="raises")
    def raises() -> None:
        raise error

    @task(name="araises")
    async def araises() -> None:
        raise error

    for one in (raises, araises):
        with pytest.raises(type(error)) as caught:
            run_task(one)
        assert caught.value is error


def test_parameters_and_results_are_checked_as_a_run_s_are() -> None:
    with pytest.raises(ParametersInvalid, match=r"unknown parameter 'nam'; did you mean 'name'\?"):
        run_task(greet, nam="ann")

    @task(name="opaque")
    def opaque() -> object:
        return object()

    with pytest.raises(NotSerialisable):
        run_task(opaque)


def test_a_context_of_the_test_s_own_is_used(caplog: pytest.LogCaptureFixture) -> None:
    context = RecordingContext(attempt=3, cancelled=True)
    with pytest.raises(RunCancelled):
        run_task(agreet, day="2026-03-02", ctx=context)
    assert context.reports == [(1.0, 2.0, "half")]


def test_the_level_of_loggers_is_left_as_it_was() -> None:
    logger = logging.getLogger("task.agreet")
    before, handlers = logger.level, list(logging.getLogger().handlers)
    run_task(agreet, day="2026-03-02")
    assert (logger.level, logging.getLogger().handlers) == (before, handlers)


# --- the installation


def test_what_is_enqueued_is_drained_with_results_logs_and_artifacts(app: Callable[..., TestApp]) -> None:
    one = app([greet, agreet])
    first, second = one.enqueue(greet, name="ann"), one.enqueue(agreet, day=date(2026, 3, 2))
    assert one.drain() == 2
    assert (first.result(), second.result()) == ("hello ann ", "2026-03-02")
    record = one.run(second.id)
    assert (record.state, record.parameters, record.progress) == (
        "succeeded",
        {"day": "2026-03-02"},
        (1.0, 2.0, "half"),
    )
    assert record.log == "INFO task.agreet: it is 2026-03-02\n"
    assert [run.id for run in one.runs()] == [first.id, second.id]
    assert [run.id for run in one.runs(task=greet)] == [first.id]
    assert one.drain() == 0


def test_retries_come_when_the_clock_says_so(app: Callable[..., TestApp]) -> None:
    calls: list[int] = []

    @task(name="flaky", backoff=EXACT)
    def flaky() -> str:
        calls.append(1)
        if len(calls) < 4:
            raise ValueError("not yet")
        return "now"

    one = app([flaky])
    run = one.enqueue(flaky)
    done = []
    for seconds in (0, 2, 4, 7, 1):
        one.advance(timedelta(seconds=seconds))
        done.append(one.drain())
    assert (done, run.result()) == ([1, 1, 1, 0, 1], "now")
    assert one.run(run.id).attempts == 4


def test_a_failed_run_says_why_with_its_traceback(app: Callable[..., TestApp]) -> None:
    @task(name="broken", max_retries=0)
    def broken() -> None:
        raise LookupError("gone")

    one = app([broken])
    run = one.enqueue(broken)
    one.drain()
    record = one.run(run.id)
    assert (record.state, record.error) == ("failed", "gone")
    assert record.traceback is not None
    assert record.traceback.endswith("LookupError: gone\n")


def test_what_runs_enqueue_is_drained_as_well_and_in_order_of_priority(app: Callable[..., TestApp]) -> None:
    order: list[str] = []

    @task(name="child")
    def child(name: str) -> None:
        order.append(name)

    @task(name="parent")
    def parent() -> None:
        one.client.enqueue_with(child, {"name": "low"}, priority="low")
        one.client.enqueue_with(child, {"name": "high"}, priority="high")

    one = app([parent, child])
    one.enqueue(parent)
    assert one.drain() == 3
    assert order == ["high", "low"]


def test_a_task_that_enqueues_itself_for_ever_is_told(
    app: Callable[..., TestApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mainspring.testing import installation

    monkeypatch.setattr(installation, "_MOST_ATTEMPTS", 20)

    @task(name="rabbit")
    def rabbit() -> None:
        one.client.enqueue(rabbit)

    one = app([rabbit])
    one.enqueue(rabbit)
    with pytest.raises(InvalidInput, match="still not drained after 20 attempts"):
        one.drain()


def test_waiting_for_a_result_that_cannot_come_is_refused(app: Callable[..., TestApp]) -> None:
    one = app([greet])
    run = one.enqueue(greet, name="ann")
    with pytest.raises(InvalidInput, match=r"call drain\(\) first"):
        run.result()


def test_schedules_fire_as_in_production(app: Callable[..., TestApp]) -> None:
    written = {"task": "greet", "cron": "0 9 * * 1-5", "zone": "America/Sao_Paulo", "misfire": "latest",
               "parameters": {"name": "ann"}}  # fmt: skip
    one = app([greet], {"weekdays": written}, start=datetime(2026, 3, 2, tzinfo=UTC))
    one.advance("12h")  # 09:00 in São Paulo
    assert (one.fire_due(), one.drain()) == (1, 1)
    one.pause("weekdays", "holiday")
    one.advance("1d")
    assert one.fire_due() == 0
    one.resume("weekdays")
    one.advance("3d")
    assert one.fire_due() == 1
    assert [(e.fire_at.day, e.until_at.day, e.n, e.outcome) for e in one.ledger("weekdays")] == [
        (2, 2, 1, "fired"), (3, 3, 1, "paused"), (4, 5, 2, "coalesced"), (6, 6, 1, "fired"),
    ]  # fmt: skip
    assert [run.fire_at for run in one.runs(schedule="weekdays")] == [
        datetime(2026, 3, day, 12, tzinfo=UTC) for day in (2, 6)
    ]
    assert len(one.trigger("weekdays")) == 1


def test_a_schedule_that_cannot_be_used_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown task 'gret'; did you mean 'greet'\?"):
        open_test_app(tmp_path, [greet], {"s": {"task": "gret", "every": "1h"}})
    with pytest.raises(ConfigurationInvalid, match="evry"):
        open_test_app(tmp_path, [greet], {"s": {"task": "greet", "evry": "1h"}})
    with pytest.raises(ParametersInvalid, match="parameter 'name' is missing"):
        open_test_app(tmp_path, [greet], {"s": {"task": "greet", "every": "1h"}})
    assert list(tmp_path.iterdir()) == []


def test_tasks_are_given_what_the_test_names(app: Callable[..., TestApp]) -> None:
    class Tool: ...

    Tool.__mainspring_given__ = True  # type: ignore[attr-defined]

    def handy(tool: Any) -> str:
        return str(tool)

    handy.__annotations__["tool"] = Tool
    given = task(name="handy", max_retries=0)(handy)
    assert run_task(given, tool="hammer").result == "hammer"
    with_it, without = app([given], give={Tool: "hammer"}), app([given])
    run = with_it.enqueue(given)
    with_it.drain()
    assert run.result() == "hammer"
    run = without.enqueue(given)
    without.drain()
    assert without.run(run.id).error == "task 'handy' asks for a Tool; pass open_test_app(give={…})"


# --- the plugin


def test_the_plugin_is_an_entry_point_and_cheap_to_import() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"mainspring": "mainspring.testing.plugin"}
    heavy = "('sqlalchemy', 'pydantic', 'yaml')"
    program = f"import sys, mainspring.testing.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_every_public_name_exists_and_an_unknown_one_does_not() -> None:
    module = importlib.import_module("mainspring.testing")
    assert all(getattr(module, name).__name__ == name for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'run_tasks'"):
        _ = module.run_tasks


def test_the_examples_of_the_guide_pass(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "guides" / "testing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    (tmp_path / "test_guide.py").write_text("\n\n".join(blocks))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_guide.py"]
    if "mainspring" not in {point.name for point in importlib.metadata.entry_points(group="pytest11")}:
        command += ["-p", "mainspring.testing.plugin"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
