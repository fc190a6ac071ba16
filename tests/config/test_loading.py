"""Where settings come from, and which of two places wins."""

from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from mainspring.config import load, read_schedules
from mainspring.domain.queue_order import QueueOrder
from mainspring.domain.spec import FanOut, Misfire, MisfirePolicy, OverlapPolicy, spec_from_text
from mainspring.errors import ConfigurationInvalid
from tests.config.conftest import Project

# From the weakest to the strongest; each gives the zone that is its own.
PLACES = {
    "default": "UTC",
    "file": "Europe/Berlin",
    "overlay": "Europe/Paris",
    "dotenv": "Asia/Tokyo",
    "environment": "America/Sao_Paulo",
    "command line": "America/New_York",
}
SOURCES = {
    "default": "default",
    "file": "mainspring.yaml:2",
    "overlay": "mainspring.prod.yaml:1",
    "dotenv": ".env:1",
    "environment": "environment MAINSPRING_ZONE",
    "command line": "command line",
}


@pytest.mark.parametrize(("weaker", "stronger"), list(itertools.combinations(PLACES, 2)))
def test_of_two_places_the_stronger_one_wins(project: Project, weaker: str, stronger: str) -> None:
    both = {weaker, stronger}
    environ = {"MAINSPRING_ENV": "prod"}
    project.write("# settings\n" + (f"zone: {PLACES['file']}\n" if "file" in both else ""))
    project.write(f"zone: {PLACES['overlay']}\n" if "overlay" in both else "", "mainspring.prod.yaml")
    project.write(f"MAINSPRING_ZONE={PLACES['dotenv']}\n" if "dotenv" in both else "", ".env")
    if "environment" in both:
        environ["MAINSPRING_ZONE"] = PLACES["environment"]
    overrides = {"zone": PLACES["command line"]} if "command line" in both else {}
    loaded = project.load(environ, overrides)
    assert (loaded.settings.zone, loaded.source_of("zone")) == (PLACES[stronger], SOURCES[stronger])


def test_an_empty_file_means_every_default(project: Project) -> None:
    settings = project.write("# nothing yet\n").load().settings
    assert settings.database == "sqlite:///mainspring.db"
    assert settings.database_schema == "mainspring"
    assert settings.zone == "UTC"
    assert settings.tasks == ()
    assert list(settings.queues) == ["default"]
    assert settings.worker.slots == 10
    assert settings.worker.queues is None
    assert settings.worker.drain == timedelta(seconds=25)
    assert settings.schedules == {}


def test_keys_without_values_say_nothing(project: Project) -> None:
    text = "zone:\nworker:\ntasks:\nschedules:\nqueues:\n  scraping:\nroutes:\n"
    settings = project.write(text).load().settings
    assert (settings.zone, settings.worker.slots, settings.tasks, settings.schedules) == ("UTC", 10, (), {})
    assert settings.queues["scraping"].description == ""


def test_every_setting_of_the_file_arrives_typed(project: Project) -> None:
    project.write("""\
database: postgresql://ana@db.example/jobs
schema: jobs
zone: America/Sao_Paulo
data_dir: var
tasks: [tasks, reports.daily]
packs: [market, my_pack:pack]
pack_settings: {market: {concurrent_jobs: 3}}
queues: {high: {description: first}, scraping: {}, analysis: {}}
routes:
  - {task: "market.*", queue: scraping, priority: high}
  - {task: "*", priority: 3}
worker: {queues: "scraping:3,analysis:1", slots: 20, drain: forever}
scheduler: {misfire: skip, overlap: queue_one}
calendars: {closures: [2026-12-24, {date: 2026-12-31, name: Closed for stocktaking}]}
""")
    settings = project.load().settings
    assert settings.database == "postgresql://ana@db.example/jobs"
    assert settings.database_schema == "jobs"
    assert settings.tasks == ("tasks", "reports.daily")
    assert settings.packs == ("market", "my_pack:pack")
    assert settings.pack_settings == {"market": {"concurrent_jobs": 3}}
    assert [(r.task, r.queue, r.priority) for r in settings.routes] == [("market.*", "scraping", 8), ("*", None, 3)]
    assert settings.worker.queues == QueueOrder(("scraping", "analysis"), (3, 1))
    assert settings.worker.slots == 20
    assert settings.worker.drain is None
    assert settings.own_calendars() == {
        "closures": {date(2026, 12, 24): "closed", date(2026, 12, 31): "Closed for stocktaking"}
    }


def test_a_schedule_becomes_a_spec_with_every_default_filled_in(project: Project) -> None:
    project.write("""\
zone: America/Sao_Paulo
scheduler: {misfire: {policy: all, cap: 5, max_age: 1d, grace: 10s}, overlap: skip}
calendars: {closures: [2026-12-23], unused: [2026-01-01]}
schedules:
  quotes:
    task: market.quotes
    description: Quotes of the day
    cron: "0 9-17 * * 1-5"
    start: 2026-01-01
    end: 2026-12-31
    jitter: 30s
    calendars: {include: [weekdays], exclude: [B3, closures]}
    parameters: {depth: 3}
    fan_out: {parameter: ticker, over: [PETR4, VALE3]}
    queue: scraping
    priority: high
    max_retries: 3
    expires: 1h
    labels: {team: data}
  once: {task: a, at: 2026-12-01T09:00, misfire: latest, overlap: allow, zone: UTC}
""")
    specs = project.load().settings.schedule_specs()
    quotes = specs["quotes"]
    assert quotes.zone == "America/Sao_Paulo"
    assert quotes.start_at == datetime(2026, 1, 1, 3, tzinfo=UTC)
    assert quotes.end_at == datetime(2027, 1, 1, 2, 59, 59, 999999, tzinfo=UTC)
    assert quotes.next_after(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert quotes.misfire == Misfire(MisfirePolicy.ALL, timedelta(seconds=10), 5, timedelta(days=1))
    assert quotes.overlap is OverlapPolicy.SKIP
    assert quotes.own_calendars == {"closures": {date(2026, 12, 23): "closed"}}
    assert quotes.refusal(datetime(2026, 12, 23, 12, tzinfo=UTC)) == "closed (closures)"
    assert quotes.fan_out == FanOut("ticker", ("PETR4", "VALE3"))
    assert (quotes.queue, quotes.priority, quotes.max_tries) == ("scraping", 8, 4)
    assert (quotes.jitter, quotes.expires) == (timedelta(seconds=30), timedelta(hours=1))
    assert (quotes.parameters, quotes.labels) == ({"depth": 3}, {"team": "data"})
    once = specs["once"]
    assert once.next_after(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 12, 1, 9, tzinfo=UTC)
    assert (once.misfire.policy, once.overlap, once.max_tries) == (MisfirePolicy.LATEST, OverlapPolicy.ALLOW, None)


def test_every_kind_of_trigger_can_be_written(project: Project) -> None:
    project.write("""\
schedules:
  fields: {task: a, fields: {hour: "9-17", day_of_week: "0-4"}}
  every: {task: a, every: 15m, anchor: 2026-01-01T00:05}
  calendar: {task: a, calendar: {months: 1, day: 31, time: 09:00, short_month: skip}}
  hashed: {task: a, cron: "H H * * *"}
""")
    specs = project.load().settings.schedule_specs()
    start = datetime(2026, 2, 1, tzinfo=UTC)
    assert specs["fields"].next_after(start) == datetime(2026, 2, 2, 9, tzinfo=UTC)
    assert specs["every"].next_after(start) == datetime(2026, 2, 1, 0, 5, tzinfo=UTC)
    assert specs["calendar"].next_after(start) == datetime(2026, 3, 31, 9, tzinfo=UTC)
    assert specs["hashed"].next_after(start) is not None


def test_an_overlay_merges_mappings_and_replaces_everything_else(project: Project) -> None:
    project.write("""\
tasks: [tasks, more]
worker: {slots: 4, drain: 5s}
schedules:
  quotes: {task: a, cron: "@daily", parameters: {depth: 1, wide: true}}
  news: {task: b, every: 5m}
""")
    project.write(
        """\
tasks: [only]
worker: {slots: 8}
schedules:
  quotes: {parameters: {depth: 9}}
  news: {enabled: false}
  extra: {task: c, every: 1h}
""",
        "mainspring.prod.yaml",
    )
    loaded = project.load({"MAINSPRING_ENV": "prod"})
    settings = loaded.settings
    assert settings.tasks == ("only",)
    assert (settings.worker.slots, settings.worker.drain) == (8, timedelta(seconds=5))
    assert settings.schedules["quotes"].parameters == {"depth": 9, "wide": True}
    assert not settings.schedules["news"].enabled
    assert list(settings.schedules) == ["quotes", "news", "extra"]
    assert loaded.source_of("worker.slots") == "mainspring.prod.yaml:2"
    assert loaded.source_of("worker.drain") == "mainspring.yaml:2"
    assert loaded.source_of("schedules.quotes.parameters.depth") == "mainspring.prod.yaml:4"
    assert loaded.source_of("schedules.quotes.task") == "mainspring.yaml:4"


def test_an_empty_key_in_an_overlay_leaves_the_file_alone(project: Project) -> None:
    project.write("worker: {slots: 4}\nschedules:\n  q: {task: a, every: 5m}\n")
    project.write("worker:\nschedules:\n", "mainspring.prod.yaml")
    settings = project.load({"MAINSPRING_ENV": "prod"}).settings
    assert settings.worker.slots == 4
    assert list(settings.schedules) == ["q"]


def test_a_mistake_in_an_overlay_is_told_with_the_overlay_and_its_line(project: Project) -> None:
    project.write("schedules:\n  quotes: {task: a, cron: '@daily'}\n")
    project.write("# production\nschedules:\n  quotes: {misfre: skip}\n", "mainspring.prod.yaml")
    with pytest.raises(ConfigurationInvalid) as refused:
        project.load({"MAINSPRING_ENV": "prod"})
    assert refused.value.problems == (
        "mainspring.prod.yaml:3: schedules.quotes.misfre: unknown key 'misfre'; did you mean 'misfire'?",
    )


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (
            "prd",
            "MAINSPRING_ENV: there is no mainspring.prd.yaml beside mainspring.yaml; did you mean 'prod'?",
        ),
        (
            "test",
            "MAINSPRING_ENV: there is no mainspring.test.yaml beside mainspring.yaml; "
            "write it, or leave MAINSPRING_ENV empty",
        ),
        ("../x", "MAINSPRING_ENV: '../x' is no name of an overlay; use letters, digits, '_' and '-'"),
    ],
)
def test_an_overlay_that_is_not_there_is_refused(project: Project, overlay: str, message: str) -> None:
    project.write("", "mainspring.prod.yaml")
    with pytest.raises(ConfigurationInvalid) as refused:
        project.load({"MAINSPRING_ENV": overlay})
    assert refused.value.problems == (message,)


def test_the_overlay_can_be_named_in_dotenv(project: Project) -> None:
    project.write("MAINSPRING_ENV=prod\n", ".env").write("zone: Asia/Tokyo\n", "mainspring.prod.yaml")
    assert project.load().settings.zone == "Asia/Tokyo"


def test_merge_keys_and_anchors_under_x_share_settings_between_schedules(project: Project) -> None:
    project.write("""\
x-daily: &daily {cron: "@daily", overlap: skip, priority: low}
schedules:
  a: {<<: *daily, task: one}
  b:
    task: two
    <<: [*daily]
    priority: high
""")
    schedules = project.load().settings.schedules
    assert [(s.task, s.cron, s.overlap, s.priority) for s in schedules.values()] == [
        ("one", "@daily", "skip", 2),
        ("two", "@daily", "skip", 8),
    ]


def test_scalars_are_read_as_in_yaml_1_2(project: Project) -> None:
    project.write("""\
schedules:
  q:
    task: a
    every: 5m
    parameters: {country: no, at: 12:30, code: 007, hex: 0x1F, big: 1_000, day: 2026-01-01, on: true, no: ~, pi: 3.5e2}
""")
    assert project.load().settings.schedules["q"].parameters == {
        "country": "no",
        "at": "12:30",
        "code": "007",
        "hex": 31,
        "big": "1_000",
        "day": "2026-01-01",
        "on": True,
        "no": None,
        "pi": 350.0,
    }


def test_relative_paths_start_at_the_folder_of_the_file(project: Project) -> None:
    loaded = project.write("database: sqlite:///var/jobs.db\ndata_dir: var\n").load()
    assert loaded.data_dir == project.root / "var"
    assert loaded.database_address() == f"sqlite:///{project.root}/var/jobs.db"
    assert project.write("database: sqlite:////srv/jobs.db\n").load().database_address() == "sqlite:////srv/jobs.db"
    assert project.load({}, {"database": "postgresql://h/d"}).database_address() == "postgresql://h/d"


def test_command_line_settings_are_typed_and_none_means_not_given(project: Project) -> None:
    overrides = {"worker.slots": "7", "worker.drain": None, "worker.queues": "a,b", "tasks": ("x", "y"), "zone": "UTC"}
    settings = project.write("worker: {drain: 5s}\n").load({}, overrides).settings
    assert settings.worker.slots == 7
    assert settings.worker.drain == timedelta(seconds=5)
    assert settings.worker.queues == QueueOrder(("a", "b"))
    assert settings.tasks == ("x", "y")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"worker.slot": 5}, "command line: unknown setting 'worker.slot'; did you mean 'worker.slots'?"),
        (
            {"worker.slots": 0},
            "command line: worker.slots: must be a whole number from 1 to 1000, not 0",
        ),
        (
            {"worker.drain": "soon"},
            "command line: worker.drain: duration 'soon' cannot be read; "
            'write a number and a unit, such as "30s", "15m", "1h30m" or "2 days"',
        ),
        ({"worker": 5}, "command line: worker: must be a mapping ('key: value' lines), not the number 5"),
    ],
)
def test_a_bad_command_line_setting_is_refused(project: Project, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        project.load({}, overrides)
    assert refused.value.problems == (message,)


def test_without_a_file_the_way_to_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationInvalid) as refused:
        load(None, {})
    assert refused.value.problems == (
        "there is no mainspring.yaml in this folder; run 'mainspring init' to write one, "
        "or name a file with MAINSPRING_CONFIG",
    )
    (tmp_path / "mainspring.yml").touch()
    with pytest.raises(ConfigurationInvalid, match=r"rename mainspring\.yml to it"):
        load(None, {})


def test_the_file_is_found_by_argument_then_by_variable_then_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, zone in (("mainspring.yaml", "Asia/Tokyo"), ("b.yaml", "Europe/Paris"), ("c.yaml", "Europe/Berlin")):
        (tmp_path / name).write_text(f"zone: {zone}\n")
    assert load(None, {}).settings.zone == "Asia/Tokyo"
    assert load(None, {"MAINSPRING_CONFIG": "b.yaml"}).settings.zone == "Europe/Paris"
    assert load(Path("c.yaml"), {"MAINSPRING_CONFIG": "b.yaml"}).settings.zone == "Europe/Berlin"


def test_a_named_file_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "x.yaml"
    with pytest.raises(ConfigurationInvalid) as refused:
        load(None, {"MAINSPRING_CONFIG": str(missing)})
    assert refused.value.problems == (
        f"there is no file {missing}, which MAINSPRING_CONFIG names; run 'mainspring init' to write a mainspring.yaml",
    )
    with pytest.raises(ConfigurationInvalid) as refused:
        load(tmp_path, {})
    assert refused.value.problems == (
        f"{tmp_path} is a folder; name the file in it, such as {tmp_path}/mainspring.yaml",
    )


def test_settings_cannot_be_changed(project: Project) -> None:
    settings = project.load().settings
    with pytest.raises(ValueError, match="frozen"):
        settings.zone = "UTC"  # type: ignore[misc]


def test_a_pack_reads_its_own_schedules() -> None:
    schedules = read_schedules(b"schedules:\n  q: {task: market.q, cron: '@daily'}\n", "schedules.yaml")
    assert [(name, schedule.task) for name, schedule in schedules.items()] == [("q", "market.q")]
    with pytest.raises(ConfigurationInvalid) as refused:
        read_schedules(b"worker: {slots: 1}\nschedules:\n  q: {task: market.q}\n", "schedules.yaml")
    assert refused.value.problems == (
        "schedules.yaml:1: worker: only schedules, calendars and zone may stand here",
        "schedules.yaml:3: schedules.q: no trigger is given; write exactly one of cron, fields, every, calendar, "
        "session or at",
    )


def test_importing_the_package_loads_neither_pydantic_nor_yaml() -> None:
    code = "import sys, mainspring.config as c; print(sorted({'pydantic', 'yaml', 'dotenv'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


SESSIONS = """
zone: Europe/Berlin
calendars:
  audits: [{date: 2026-11-30, name: Audit}]
schedules:
  short: {task: t, session: XNYS close - 15m}
  long:
    task: t
    start: 2026-11-23
    session:
      exchange: B3
      at: close + 30m on the last session of the month
      closed: [audits]
      hours: {2026-12-23: 10:00-13:00}
  elsewhere: {task: t, session: XNYS open, zone: Asia/Tokyo}
"""


def test_sessions_are_in_the_zone_of_their_exchange_unless_another_is_given(project: Project) -> None:
    specs = project.write(SESSIONS).load().settings.schedule_specs()
    zones = {name: spec.zone for name, spec in specs.items()}
    assert zones == {"short": "America/New_York", "long": "America/Sao_Paulo", "elsewhere": "Asia/Tokyo"}
    assert specs["long"].start_at == datetime(2026, 11, 23, 3, tzinfo=UTC)
    assert specs["elsewhere"].next_after(datetime(2026, 11, 27, tzinfo=UTC)) == datetime(
        2026, 11, 27, 14, 30, tzinfo=UTC
    )


def test_own_closures_and_hours_of_an_exchange_are_kept_in_the_schedule(project: Project) -> None:
    spec = project.write(SESSIONS).load().settings.schedule_specs()["long"]
    read_back = spec_from_text(spec.to_text())
    november, december = datetime(2026, 11, 25, tzinfo=UTC), datetime(2026, 12, 23, tzinfo=UTC)
    # Monday the 30th is the audit; on Friday the 27th B3 closes at 17:55.
    assert read_back.next_after(november) == datetime(2026, 11, 27, 21, 25, tzinfo=UTC)
    assert read_back.trigger.to_json()["hours"] == {"2026-12-23": ["10:00:00", "13:00:00"]}
    assert read_back.next_after(december) == datetime(2026, 12, 30, 21, 25, tzinfo=UTC)
