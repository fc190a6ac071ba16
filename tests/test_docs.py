"""What the pages show works: links lead somewhere, examples load and run."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainspring import DuplicateRun, connect
from mainspring.app import load_project
from mainspring.domain.exchanges.hours import HOURS
from mainspring.domain.triggers import trigger_from_definition
from mainspring.testing import RecordingContext, open_test_app, run_task

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of *page* in *language*."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


@pytest.fixture
def own_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder from which modules are imported, and which the next test does not know."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [target for target, _ in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_example_of_the_readme_is_valid_and_its_task_runs(own_modules: Path) -> None:
    (tasks,) = blocks(ROOT / "README.md", "python")
    (settings,) = blocks(ROOT / "README.md", "yaml")
    (own_modules / "tasks.py").write_text(tasks, encoding="utf-8")
    (own_modules / "mainspring.yaml").write_text(settings, encoding="utf-8")
    project = load_project(own_modules / "mainspring.yaml", {})
    project.check()
    (spec,) = project.specs
    assert spec.trigger.in_words() == "every hour, from 10:00 to 17:00, Monday to Friday (America/Sao_Paulo)"
    assert len(tasks.splitlines()) + len(settings.splitlines()) <= 20
    done = run_task(project.catalog.require("prices"), ticker="PETR4")
    assert done.result == {"ticker": "PETR4", "close": 38.2}


def test_every_trigger_of_the_guide_is_accepted() -> None:
    lines = [line for line in blocks(ROOT / "docs/guides/schedules.md", "yaml")[0].splitlines() if line.strip()]
    assert len(lines) == 9
    for line in lines:
        definition: dict[str, Any] = yaml.safe_load(line)
        assert trigger_from_definition(definition, zone="Europe/Berlin", seed="guide").in_words()


def test_every_session_rule_of_the_guide_is_accepted() -> None:
    (rules,) = [block for block in blocks(ROOT / "docs/guides/schedules.md", "yaml") if "while open" in block]
    own = {"my-closures": {date(2026, 11, 30): "Audit"}}
    lines = [line for line in rules.splitlines() if line.strip()]
    assert len(lines) == 7
    for line in lines:
        definition: dict[str, Any] = yaml.safe_load(line)
        assert trigger_from_definition(definition, own_calendars=own).in_words()


def test_the_guide_names_every_exchange_of_the_table() -> None:
    page = (ROOT / "docs/guides/schedules.md").read_text(encoding="utf-8")
    assert [code for code in HOURS if f"`{code}`" not in page] == []


def test_the_tasks_of_the_guide_can_be_made(own_modules: Path) -> None:
    page = ROOT / "docs/guides/tasks.md"
    made: dict[str, Any] = {"__name__": "guide"}
    exec(compile(blocks(page, "python")[0], str(page), "exec"), made)
    done = run_task(made["report"], day="2026-11-20")
    assert done.result == {"day": "2026-11-20", "formats": 1}


def test_the_long_work_of_the_guide_goes_on_from_its_checkpoint() -> None:
    page = ROOT / "docs/guides/long-work.md"
    made: dict[str, Any] = {"__name__": "guide"}
    exec(compile(blocks(page, "python")[0], str(page), "exec"), made)
    context = RecordingContext(checkpoint={"done": 1, "rows": 250})
    done = run_task(made["history"], ticker="PETR4", ctx=context)
    assert done.result == done.checkpoints[-1] == {"done": 3, "rows": 750}
    assert done.progress == ((1.0, 3.0, "PETR4"), (2.0, 3.0, "PETR4"), (3.0, 3.0, "PETR4"))
    assert [(saved.name, saved.content) for saved in done.artifacts] == [("summary.txt", b"750 rows of PETR4")]


def test_the_settings_of_the_long_work_guide_are_valid(own_modules: Path) -> None:
    (settings,) = blocks(ROOT / "docs/guides/long-work.md", "yaml")
    (own_modules / "mainspring.yaml").write_text(settings, encoding="utf-8")
    rules = load_project(own_modules / "mainspring.yaml", {}).artifact_rules
    assert (rules.location, rules.largest, rules.total) == ("s3://bucket/folder", 256_000_000, 20_000_000_000)


def test_the_graphs_of_the_guide_can_be_enqueued_and_run(own_modules: Path) -> None:
    page = ROOT / "docs/guides/flow.md"
    made: dict[str, Any] = {"__name__": "guide"}
    for block in blocks(page, "python")[:2]:
        exec(compile(block, str(page), "exec"), made)
    with open_test_app(own_modules, [made[name] for name in ("fetch", "parse", "report", "undo")]) as app:
        enqueued = app.client.enqueue_graph(made["g"])
        shorter = [app.client.enqueue_graph(made[name]) for name in ("line", "fan")]
        app.drain()
        assert enqueued[made["final"]].result(1) == "Sales: 12"
        assert [list(graph)[-1].result(1) for graph in shorter] == [6, "Sales: 3"]


def test_the_pack_of_the_guide_loads(own_modules: Path) -> None:
    (code,) = blocks(ROOT / "docs/guides/packs.md", "python")
    (own_modules / "weather.py").write_text(code, encoding="utf-8")
    settings = {"packs": ["weather:pack"], "pack_settings": {"weather": {"url": "http://127.0.0.1/"}}}
    (own_modules / "mainspring.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    project = load_project(own_modules / "mainspring.yaml", {})
    project.check()
    assert [spec.name for spec in project.specs] == ["weather-hourly"]
    assert project.catalog.names == ["weather.fetch"]


def test_the_examples_of_the_guide_to_flow_run(own_modules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs/guides/flow.md"
    made: dict[str, Any] = {"__name__": "guide"}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), made)
    file = own_modules / "mainspring.db"
    with connect(f"sqlite:///{file}") as client:
        assert made["order"](client, file, "PETR4").state == "ready"
        with pytest.raises(DuplicateRun):
            client.enqueue(made["load"], ticker="PETR4", reason="again")
        assert client.enqueue(made["digest"]).id == client.enqueue(made["digest"]).id
        first, second = (client.enqueue(made["reindex"], site="x", revision=n) for n in range(2))
        assert (first.id, second.existing, first.state) == (second.id, True, "scheduled")
        assert made["fill"](client, [f"T{n}" for n in range(10)]) == 10
        made["rebuild"](client)
    assert capsys.readouterr().out.splitlines()[-1] == "part 2 under fence 1"


def test_the_tasks_of_the_guide_to_flow_say_what_they_need(own_modules: Path) -> None:
    (tasks,) = [text for text in blocks(ROOT / "docs/guides/flow.md", "python") if "fair=" in text]
    (own_modules / "shared.py").write_text(tasks, encoding="utf-8")
    (settings,) = [text for text in blocks(ROOT / "docs/guides/flow.md", "yaml") if "per_key" in text]
    (own_modules / "mainspring.yaml").write_text("tasks: [shared]\n" + settings, encoding="utf-8")
    project = load_project(own_modules / "mainspring.yaml", {})
    project.check()
    assert str(project.queue_limits["scraping"]) == "20 running, 2 of a key"
    crawl = project.catalog.require("crawl")
    needs = crawl.flow.needs("crawl", crawl.validate({"host": "b3.com.br", "customer": "acme"}))
    assert (needs.uses, needs.key) == (
        '[{"name":"host:b3.com.br"},{"name":"key/task:crawl:acme","limit":2}]',
        "acme",
    )
    assert {task.name for task in project.catalog.describe()} == {"quote", "crawl", "report"}


def test_the_resources_of_the_guide_to_flow_are_accepted(own_modules: Path) -> None:
    page = ROOT / "docs/guides/flow.md"
    (tasks,) = [text for text in blocks(page, "python") if "ResourceFailed" in text]
    (settings,) = [text for text in blocks(page, "yaml") if "resources:" in text]
    (own_modules / "bank.py").write_text(tasks, encoding="utf-8")
    (own_modules / "mainspring.yaml").write_text("tasks: [bank]\n" + settings, encoding="utf-8")
    project = load_project(own_modules / "mainspring.yaml", {})
    project.check()
    assert {name: str(limits) for name, limits in project.resources.items()} == {
        "brapi": "4 at a time; 5/s; breaker opens after 5 failures in a row, for 30s",
        "bcb": "100/min",
        "warehouse": "2 at a time; breaker opens when 50 % of at least 20 fail within 5m, for 30s",
    }
    assert project.undeclared_resources == {"bank": "balance"}
    assert run_task(project.catalog.require("balance"), answer={"balance": 3.5}).result == 3.5
