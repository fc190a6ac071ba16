"""The benchmarks measure what they say; how fast anything is does not matter here."""

from __future__ import annotations

import json
import re
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks import page, tasks, trace
from benchmarks.__main__ import main
from benchmarks.figures import Figure, Report, alternate, least, most, ratio
from benchmarks.ground import Ground, PostgresGround, SqliteGround, database_on
from benchmarks.multiply import key, multiply
from benchmarks.recording import calls_of, recorder, replay
from benchmarks.trace import Trace
from mainspring.app import Application, open_database
from mainspring.services.enqueue import Request
from mainspring.store.database import Database
from mainspring.store.schema import run_payloads, runs

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_quick_run_gives_a_table_and_a_file_with_the_same_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    words = ["--quick", "--only", "drain", "--only", "bulk", "--database", "sqlite", "--folder", str(tmp_path)]
    assert main([*words, "--json", str(out)]) == 0
    table = capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    names = [figure["name"] for figure in found["figures"]]
    assert "Mainspring, async def ÷ raw loop" in names
    assert "Mainspring, def, default slots" in names
    assert "driver into our tables" in names
    for figure in found["figures"]:
        assert 0 < figure["min"] <= figure["median"] <= figure["max"]
        assert re.search(rf"^\| {re.escape(figure['name'])} \| {figure['unit']} \| ", table, re.M)
    assert found["left_out"] == []
    assert {"machine", "Python", "SQLite", "fdatasync of 4 KiB", "sizes"} <= set(found["facts"])


def test_a_measure_that_breaks_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(setting: object) -> list[Figure]:
        raise AssertionError("299 of 300 runs have succeeded")

    sound = Figure("Start", "import", "s", (0.1,))
    monkeypatch.setattr("benchmarks.__main__.MEASURES", {"drain": breaks, "start": lambda setting: [sound]})
    monkeypatch.setattr("benchmarks.machine.facts", lambda folder, places: {"machine": "2 cores"})
    assert main(["--quick", "--database", "sqlite", "--folder", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "Left out: drain on SQLite broke." in said.out
    assert "| import | s | 0.1 | 0.1 – 0.1 |  |" in said.out
    assert "299 of 300 runs have succeeded" in said.err


def test_figures_of_a_quick_run_do_not_go_into_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--quick", "--write-docs"])
    assert "the figures of --quick mean nothing" in capsys.readouterr().err


def test_a_ratio_is_taken_within_each_round() -> None:
    fast, slow = (
        Figure("Drain", "us", "runs/s", (10.0, 40.0, 30.0)),
        Figure("Drain", "them", "runs/s", (5.0, 10.0, 30.0)),
    )
    found = ratio(fast, slow, least(1.5))
    assert (found.samples, found.median, found.is_missed) == ((2.0, 4.0, 1.0), 2.0, False)


def test_contestants_take_turns_and_another_one_begins_each_round() -> None:
    order: list[str] = []

    def turn(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = alternate({name: partial(turn, name) for name in "abc"}, 2)
    assert "".join(order) == "abcbca"
    assert found == {"a": (1.0, 6.0), "b": (2.0, 4.0), "c": (3.0, 5.0)}


def test_what_is_missed_is_said_once_more_at_the_end() -> None:
    figures = [
        Figure("Latency", "idle, p99", "ms", (9.0, 7.0, 8.0), most(6.0)),
        Figure("Latency", "half load, p99", "ms", (20.0,), most(50.0)),
    ]
    said = Report({"machine": "2 cores"}, figures).to_markdown()
    assert "| idle, p99 | ms | 8 | 7 – 9 | ≤ 6 — missed |" in said
    assert "| half load, p99 | ms | 20 | 20 – 20 | ≤ 50 |" in said
    assert said.endswith("### Where more is wanted\n\n- Latency: idle, p99 is 8 ms, wanted ≤ 6\n")


def test_a_run_that_started_twice_or_never_spoils_the_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Trace(tmp_path / "trace")
    ours.clear(3)
    monkeypatch.setenv(trace.VARIABLE, str(ours.path))
    monkeypatch.setattr(trace, "_memory", None)
    before = trace.now()
    for number in (0, 2, -1):
        trace.hit(number)
    assert (ours.count(), list(ours.starts())) == (2, [1, 0, 1])
    assert before <= ours.instants()[0] == ours.first() <= ours.instants()[2] <= trace.now()
    with pytest.raises(AssertionError, match="2 starts of 2 runs; 3 were to start once each"):
        ours.require_each_once()
    trace.hit(1)
    ours.require_each_once()
    trace.hit(1)
    with pytest.raises(AssertionError, match="4 starts of 3 runs; 3 were to start once each"):
        ours.require_each_once()


@pytest.fixture(params=["sqlite", "postgres"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Ground:
    """Where databases can be made, of each kind."""
    if request.param == "sqlite":
        return SqliteGround(tmp_path)
    return PostgresGround(request.getfixturevalue("shared_postgres"))


def test_what_was_recorded_does_the_same_again_on_a_copy(ground: Ground) -> None:
    found = []
    with database_on(ground) as address, database_on(ground, lambda: ground.copied(address)) as untouched:
        with recorder(address) as database:
            calls = calls_of(database, _enqueue_two)
        assert [call.is_boundary for call in (calls[0], calls[-1])] == [True, True]
        for _ in range(2):
            assert replay(ground, untouched, calls, lambda copy: found.append(_numbers(copy))) > 0
        with recorder(untouched) as database:
            assert _numbers(database) == []
    assert found == [['{"number":1}', '{"number":2}']] * 2


def _enqueue_two(database: Database) -> None:
    for number in (1, 2):
        Application(database).enqueuer.enqueue(Request(tasks.coroutine, {"number": number}))


def _numbers(database: Database) -> list[str]:
    query = select(run_payloads.c.parameters).order_by(run_payloads.c.run_id)
    return list(database.read(lambda tx: tx.core(query).scalars().all()))


def test_one_row_becomes_many_with_ids_that_ascend(ground: Ground) -> None:
    with database_on(ground) as address, closing(open_database(address)) as database:
        run = Application(database).enqueuer.enqueue(Request(tasks.coroutine, {"number": 0}))
        multiply(database, "runs", f"id = '{run}'", range(5, 8), {"id": key(database), "seq": "g.n * 10"})
        query = select(runs.c.id, runs.c.seq, runs.c.task).where(runs.c.id != run).order_by(runs.c.id)
        found = [tuple(row) for row in database.read(lambda tx: tx.core(query).all())]
    assert found == [
        (f"00000000-000{n}-7000-8000-00000000000{n}", n * 10, "benchmarks.tasks.coroutine") for n in (5, 6, 7)
    ]


def test_figures_replace_what_stood_between_the_marks(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", encoding="utf-8")
    page.write(Report({"machine": "2 cores"}), file)
    said = file.read_text(encoding="utf-8")
    assert said.startswith(f"before\n{page.BEGIN}\n\n| what | value |\n")
    assert said.endswith(f"Nowhere.\n\n{page.END}\nafter\n")
    assert "old" not in said


def test_a_page_without_marks_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    with pytest.raises(ValueError, match="there is no page"):
        page.require_marks(file)
    file.write_text("before\n", encoding="utf-8")
    with pytest.raises(ValueError, match="the page has no lines"):
        page.require_marks(file)


def test_every_peer_is_pinned() -> None:
    lines = (ROOT / "benchmarks/peers/requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9_.]*", line)] == []
    assert {"huey", "pgqueuer"} <= {line.partition("==")[0] for line in lines}
