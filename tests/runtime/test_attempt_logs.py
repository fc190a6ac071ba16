"""What an attempt logs and prints is kept with it, within a cap, and what it saves as artifacts too."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mainspring.domain.states import RunState
from mainspring.domain.tasks import Context, task
from mainspring.runtime.worker.logs import HEAD, TAIL, AttemptLog
from tests.runtime.arrange import Fleet, captured, happens, until


def test_logging_and_print_land_in_the_log_of_the_attempt(fleet: Fleet) -> None:
    @task(name="chatty", max_retries=0)
    def chatty(ctx: Context) -> None:
        ctx.log.info("from the context %d", 1)
        logging.getLogger("some.library").warning("from a library")
        print("printed")
        print("to stderr", file=sys.stderr)
        logging.getLogger("some.library").debug("too fine")

    fleet.worker(chatty)
    with captured():
        run_id = fleet.enqueue(chatty)
        fleet.ends(run_id)
    lines = fleet.log(run_id).splitlines()
    assert [line.split("Z ", 1)[-1] for line in lines] == [
        "INFO task.chatty: from the context 1", "WARNING some.library: from a library", "printed", "to stderr",
    ]  # fmt: skip


def test_attempts_at_the_same_time_keep_their_logs_apart(small_fleet: Fleet) -> None:
    together = threading.Barrier(3)

    @task(name="apart")
    def apart(name: str) -> None:
        for n in range(3):
            together.wait(20)
            print(f"{name}{n}")

    @task(name="aapart")
    async def aapart(name: str) -> None:
        for n in range(3):
            await asyncio.sleep(0)
            print(f"{name}{n}")

    small_fleet.worker(apart, aapart)
    names = ["a", "b", "c"]
    with captured():
        ids = small_fleet.enqueue_many(apart, [{"name": name} for name in names])
        ids += small_fleet.enqueue_many(aapart, [{"name": name} for name in names])
        assert {small_fleet.ends(run_id).state for run_id in ids} == {RunState.SUCCEEDED}
    for run_id, name in zip(ids, names * 2, strict=True):
        assert small_fleet.log(run_id) == f"{name}0\n{name}1\n{name}2\n"


def test_the_log_of_a_running_attempt_is_saved_every_few_seconds_without_secrets(small_fleet: Fleet) -> None:
    gate, said = small_fleet.gate(), threading.Event()

    @task(name="leaky")
    def leaky() -> None:
        print("the key is hunter2")
        said.set()
        gate.wait()

    small_fleet.worker(leaky, redact=lambda text: text.replace("hunter2", "***"))
    with captured():
        run_id = small_fleet.enqueue(leaky)
        happens(said)
    small_fleet.passes(4)
    until(lambda: small_fleet.log(run_id) == "the key is ***\n")
    gate.set()
    small_fleet.ends(run_id)
    assert small_fleet.log(run_id) == "the key is ***\n"


def test_secrets_are_taken_out_of_errors(small_fleet: Fleet) -> None:
    @task(name="leaky", max_retries=0)
    def leaky() -> None:
        raise ValueError("refused: hunter2")

    small_fleet.worker(leaky, redact=lambda text: text.replace("hunter2", "***"))
    run_id = small_fleet.enqueue(leaky)
    assert small_fleet.ends(run_id).failure_message == "refused: ***"
    assert "hunter2" not in (small_fleet.attempt(run_id).traceback or "refused")


def test_a_log_keeps_its_head_and_its_tail_and_says_what_it_left_out() -> None:
    log = AttemptLog()
    line = "x" * 999 + "\n"
    for _ in range(12_000):
        log.write(line)
    content = log.content()
    assert len(content) <= HEAD + TAIL + 100
    assert content.startswith(line.encode() * 1_000)
    assert content.endswith(line.encode() * 9_000)
    assert b"\n\xe2\x80\xa6 2000000 bytes left out \xe2\x80\xa6\n" in content


def test_a_log_holds_no_nul_and_no_broken_text() -> None:
    log = AttemptLog()
    log.write("a\x00b\ud800c")
    assert log.content() == b"a\\x00b\\ud800c"


@pytest.mark.parametrize("library", ["structlog", "loguru"])
def test_libraries_that_write_to_a_stream_of_their_own_are_caught(library: str) -> None:
    # They remember the streams that they find at import: a process of its own, in which we come first.
    program = f"""
from mainspring.runtime.worker.logs import AttemptLog, capture_logs, current_log
capture_logs()
import {library}
log = AttemptLog()
current_log.set(log)
logger = structlog.get_logger() if {library == "structlog"} else loguru.logger
logger.info("said by the library")
current_log.set(None)
logger.info("not ours")
text = log.content().decode()
assert text.count("said by the library") == 1, text
assert "not ours" not in text
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_capture_is_undone_completely() -> None:
    from mainspring.runtime.worker.logs import capture_logs, release_logs

    before = (sys.stdout, sys.stderr, list(logging.getLogger().handlers))
    capture_logs()
    capture_logs()
    assert sys.stdout is not before[0]
    release_logs()
    assert (sys.stdout, sys.stderr, list(logging.getLogger().handlers)) == before


def _saving(fleet: Fleet, name: str, data: Any, media_type: str | None = None) -> Any:
    @task(name="saver", max_retries=0)
    def saver(ctx: Context) -> str:
        return ctx.artifact(name, data, media_type)

    fleet.worker(saver)
    run_id = fleet.enqueue(saver)
    fleet.ends(run_id)
    return fleet.view(run_id)


@pytest.mark.parametrize(
    "data", [b"ticker;price\n", "ticker;price\n", bytearray(b"ticker;price\n"), Path("quotes.csv")]
)
def test_an_artifact_is_kept_with_its_hash(fleet: Fleet, tmp_path: Path, data: Any) -> None:
    if isinstance(data, Path):
        data = tmp_path / data
        data.write_bytes(b"ticker;price\n")
    view = _saving(fleet, "quotes of März.csv", data)
    (artifact,) = view.artifacts
    assert (view.result, view.run.attempt) == (artifact["id"], artifact["attempt"])
    assert (artifact["name"], artifact["media_type"], artifact["size"]) == ("quotes of März.csv", "text/csv", 13)
    assert artifact["sha256"] == hashlib.sha256(b"ticker;price\n").hexdigest()
    place = Path(artifact["location"])
    assert place.read_bytes() == b"ticker;price\n"
    assert place.stat().st_mode & 0o077 == 0


def test_an_artifact_s_name_never_becomes_a_path(small_fleet: Fleet, tmp_path: Path) -> None:
    view = _saving(small_fleet, "passwd", b"x", "text/plain")
    (artifact,) = view.artifacts
    assert (artifact["name"], artifact["media_type"]) == ("passwd", "text/plain")
    assert Path(artifact["location"]).is_relative_to(tmp_path / "artifacts")
    assert Path(artifact["location"]).name == artifact["id"]


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00b", "a\x7f", "\ud800", "a\u202eb", "n" * 201, "../x", "a/b", ".."])
def test_an_odd_name_of_an_artifact_is_refused(small_fleet: Fleet, tmp_path: Path, name: str) -> None:
    view = _saving(small_fleet, name, b"x")
    assert view.run.state is RunState.FAILED
    assert "is not usable; write 1 to 200 printable characters" in view.run.failure_message
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("data", [5, {"a": 1}, None, [1, 2]])
def test_an_artifact_of_another_kind_is_refused(small_fleet: Fleet, data: Any) -> None:
    view = _saving(small_fleet, "numbers", data)
    assert view.run.state is RunState.FAILED
    assert "give bytes, text, the path of a file (a Path) or a file open for reading bytes" in view.run.failure_message
