"""Settings, variables and `.env`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mainspring.domain.queue_order import QueueOrder
from mainspring.errors import ConfigurationInvalid
from tests.config.conftest import Project


def refusal(project: Project, environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationInvalid) as refused:
        project.load(environ)
    return refused.value.problems


def test_variables_are_typed_by_the_setting_that_receives_them(project: Project) -> None:
    project.write("schedules:\n  quotes-hourly: {task: a, every: 5m}\n")
    loaded = project.load(
        {
            "MAINSPRING_WORKER__SLOTS": "20",
            "MAINSPRING_WORKER__DRAIN": "forever",
            "MAINSPRING_WORKER__QUEUES": "default:2,slow:1",
            "MAINSPRING_SCHEMA": "jobs",
            "MAINSPRING_TASKS": "tasks, reports.daily",
            "MAINSPRING_PACKS": '["market"]',
            "MAINSPRING_PACK_SETTINGS__MARKET__CONCURRENT_JOBS": "3",
            "MAINSPRING_PACK_SETTINGS__MARKET__HOSTS": '{"b3": [1, 2]}',
            "MAINSPRING_SCHEDULES__QUOTES_HOURLY__ENABLED": "no",
            "MAINSPRING_SCHEDULES__QUOTES_HOURLY__PRIORITY": "7",
            "MAINSPRING_SCHEDULES__QUOTES_HOURLY__PARAMETERS__DEPTH": "2",
            "MAINSPRING_QUEUES__SLOW__DESCRIPTION": "5",
        }
    )
    settings = loaded.settings
    assert settings.worker.slots == 20
    assert settings.worker.drain is None
    assert settings.worker.queues == QueueOrder(("default", "slow"), (2, 1))
    assert settings.database_schema == "jobs"
    assert settings.tasks == ("tasks", "reports.daily")
    assert settings.packs == ("market",)
    assert settings.pack_settings == {"market": {"concurrent_jobs": 3, "hosts": {"b3": [1, 2]}}}
    schedule = settings.schedules["quotes-hourly"]
    assert (schedule.enabled, schedule.priority, schedule.parameters) == (False, 7, {"depth": 2})
    assert settings.queues["slow"].description == "5"
    assert loaded.source_of("worker.slots") == "environment MAINSPRING_WORKER__SLOTS"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "MAINSPRING_WORKER__SLOT",
            "5",
            "environment: unknown setting MAINSPRING_WORKER__SLOT; did you mean MAINSPRING_WORKER__SLOTS?",
        ),
        (
            "MAINSPRING_WORKER_SLOTS",
            "5",
            "environment: unknown setting MAINSPRING_WORKER_SLOTS; did you mean MAINSPRING_WORKER__SLOTS?",
        ),
        (
            "MAINSPRING_SCHEDULES__QUOTS__ENABLED",
            "no",
            "environment: unknown setting MAINSPRING_SCHEDULES__QUOTS__ENABLED; "
            "did you mean MAINSPRING_SCHEDULES__QUOTES__ENABLED?",
        ),
        ("MAINSPRING_XYZZY", "1", "environment: unknown setting MAINSPRING_XYZZY; see the reference of settings"),
        (
            "MAINSPRING_WORKER__SLOTS",
            "many",
            "environment MAINSPRING_WORKER__SLOTS: worker.slots: "
            "must be a whole number from 1 to 1000, not the text 'many'",
        ),
        (
            "MAINSPRING_WORKER__SLOTS",
            "0",
            "environment MAINSPRING_WORKER__SLOTS: worker.slots: must be a whole number from 1 to 1000, not 0",
        ),
        (
            "MAINSPRING_SCHEDULES__QUOTES__ENABLED",
            "maybe",
            "environment MAINSPRING_SCHEDULES__QUOTES__ENABLED: schedules.quotes.enabled: "
            "must be true or false, not the text 'maybe'",
        ),
        (
            "MAINSPRING_WORKER",
            "{slots: 5}",
            "environment MAINSPRING_WORKER: is no JSON, at character 2: "
            "Expecting property name enclosed in double quotes",
        ),
        (
            "MAINSPRING_WORKER",
            "5",
            "environment MAINSPRING_WORKER: worker: must be a mapping ('key: value' lines), not the text '5'",
        ),
    ],
)
def test_a_bad_variable_is_refused_by_its_name(project: Project, name: str, value: str, message: str) -> None:
    project.write("schedules:\n  quotes: {task: a, every: 5m}\n")
    assert refusal(project, {name: value}) == (message,)


def test_a_section_given_as_json_is_merged_and_its_single_settings_win(project: Project) -> None:
    project.write("worker: {drain: 5s}\n")
    environ = {"MAINSPRING_WORKER": '{"slots": 5, "drain": "7s"}', "MAINSPRING_WORKER__SLOTS": "6"}
    worker = project.load(environ).settings.worker
    assert (worker.slots, worker.drain) == (6, timedelta(seconds=7))


def test_empty_variables_and_those_of_tests_are_left_alone(project: Project) -> None:
    environ = {
        "MAINSPRING_ZONE": "",
        "MAINSPRING_TEST_DATABASE": "x",
        "MAINSPRING_CONFIG": "elsewhere.yaml",
        "OTHER": "1",
    }
    assert project.load(environ).settings.zone == "UTC"


def test_a_variable_that_the_file_asks_for_may_begin_like_ours(project: Project) -> None:
    project.write("data_dir: ${MAINSPRING_HOST}\npack_settings: {m: {key: 'secret:MAINSPRING_KEY'}}\n")
    loaded = project.load({"MAINSPRING_HOST": "a", "MAINSPRING_KEY_FILE": "/nowhere"})
    assert loaded.settings.data_dir == "a"


def test_a_file_variable_gives_the_content_of_the_file(project: Project) -> None:
    project.write("postgresql://u:hunter2@h/d\n", "address")
    loaded = project.load({"MAINSPRING_DATABASE_FILE": "address"})
    assert loaded.settings.database == "postgresql://u:hunter2@h/d"
    assert loaded.source_of("database") == "environment MAINSPRING_DATABASE_FILE"


def test_a_file_variable_that_cannot_be_used_is_refused(project: Project) -> None:
    assert refusal(project, {"MAINSPRING_DATABASE_FILE": "nowhere"}) == (
        "environment MAINSPRING_DATABASE_FILE: the file cannot be read: No such file or directory",
    )
    assert refusal(project, {"MAINSPRING_DATABASE_FILE": "x", "MAINSPRING_DATABASE": "sqlite:///x"}) == (
        "environment MAINSPRING_DATABASE_FILE: MAINSPRING_DATABASE is set too; keep one of the two",
    )


def test_dotenv_values_are_literal_quoted_and_commented_as_usual(project: Project) -> None:
    project.write(
        "# comment\nexport MAINSPRING_ZONE='Asia/Tokyo'\nMAINSPRING_DATA_DIR=\"a b\" # spaces\nPASS=a$b${c}\nBARE\n",
        ".env",
    )
    loaded = project.load()
    assert (loaded.settings.zone, loaded.settings.data_dir) == ("Asia/Tokyo", "a b")
    assert loaded.variables["PASS"] == "a$b${c}"
    assert "BARE" not in loaded.variables


def test_mistakes_in_dotenv_are_told_with_their_lines(project: Project) -> None:
    project.write("A=1\nnot a line\nMAINSPRING_ZON=UTC\nMAINSPRING_WORKER__SLOTS=x\n", ".env")
    assert refusal(project, {}) == (
        ".env:2: cannot be read; write NAME=value",
        ".env:3: unknown setting MAINSPRING_ZON; did you mean MAINSPRING_ZONE?",
        ".env:4: worker.slots: must be a whole number from 1 to 1000, not the text 'x'",
    )


def test_variables_are_filled_into_text(project: Project) -> None:
    project.write("""\
data_dir: "${ROOT}/${SUB:-data}/$${literal}"
zone: ${ZONE:-America/Sao_Paulo}
worker: {slots: "${SLOTS:-3}"}
tasks: ${TASKS}
schedules:
  quotes:
    task: a
    every: ${EVERY}
    enabled: ${ENABLED}
    priority: ${PRIORITY}
    parameters: {depth: 1}
    labels: {host: "${HOST}"}
  news:
    task: a
    every: 5m
    parameters:
      number: ${SLOTS:-3}
      text: "${SLOTS:-3}"
      list: ${LIST}
      colon: ${COLON}
""")
    environ = {
        "ROOT": "/srv",
        "TASKS": "one,two",
        "EVERY": "15m",
        "ENABLED": "yes",
        "PRIORITY": "9",
        "HOST": "5",
        "LIST": "[1, 2]",
        "COLON": "a: b # c",
    }
    settings = project.load(environ).settings
    assert settings.data_dir == "/srv/data/${literal}"
    assert settings.zone == "America/Sao_Paulo"
    assert settings.worker.slots == 3
    assert settings.tasks == ("one", "two")
    quotes, news = settings.schedules["quotes"], settings.schedules["news"]
    assert (quotes.every, quotes.enabled, quotes.priority) == (timedelta(minutes=15), True, 9)
    assert quotes.labels == {"host": "5"}
    assert news.parameters == {"number": 3, "text": "3", "list": [1, 2], "colon": "a: b # c"}


def test_the_environment_is_filled_in_before_dotenv(project: Project) -> None:
    project.write("data_dir: ${A}-${B}-${C:-c}\n").write("A=dotenv\nB=dotenv\nC=\n", ".env")
    assert project.load({"A": "environment"}).settings.data_dir == "environment-dotenv-c"


def test_comments_and_keys_are_not_filled_in(project: Project) -> None:
    project.write("# ${MISSING}\npack_settings: {m: {'${KEY}': 1}}\n")
    assert project.load().settings.pack_settings == {"m": {"${KEY}": 1}}
