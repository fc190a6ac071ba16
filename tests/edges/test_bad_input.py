"""Every bad input is answered by one clear message, a code that is not 0, and nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.edges.conftest import CONFIG, TASKS, Cli

CONFIG_FILE = "mainspring.yaml"
TASK = "tasks: [work]\n"


def schedule(body: str) -> str:
    return f"{TASK}schedules:\n  a: {{task: work.add, {body}}}\n"


@dataclass(frozen=True, slots=True)
class Case:
    """A mistake, the words of the command, and the whole of what standard error must say."""

    name: str
    words: str
    said: str
    code: int = 2
    files: Mapping[str, str | bytes | None] = field(default_factory=dict)


FILES = [
    Case(
        "there is no file",
        "validate",
        "there is no mainspring.yaml in this folder; run 'mainspring init' to write one, or name a file with "
        "MAINSPRING_CONFIG",
        files={CONFIG_FILE: None},
    ),
    Case(
        "the file has another ending",
        "validate",
        "there is no mainspring.yaml in this folder; rename mainspring.yml to it, or name a file with "
        "MAINSPRING_CONFIG",
        files={CONFIG_FILE: None, "mainspring.yml": "zone: UTC\n"},
    ),
    Case("the file is a folder", "--config . validate", ". is a folder; name the file in it, such as mainspring.yaml"),
    Case(
        "the file that is named does not exist",
        "--config other.yaml validate",
        "there is no file other.yaml; run 'mainspring init' to write a mainspring.yaml",
    ),
    Case(
        "a bracket is not closed",
        "validate",
        "mainspring.yaml:1: a '[' or '{' is not closed, or a comma is missing",
        files={CONFIG_FILE: "schedules: [a\n"},
    ),
    Case(
        "a tab",
        "apply",
        "mainspring.yaml:2: a tab is used for indentation; use spaces",
        files={CONFIG_FILE: "worker:\n\tslots: 3\n"},
    ),
    Case(
        "not UTF-8",
        "apply",
        "mainspring.yaml:1: is not UTF-8: byte 0xff; save the file as UTF-8",
        files={CONFIG_FILE: b"zone: \xff\xfe\n"},
    ),
    Case(
        "a list",
        "apply",
        "mainspring.yaml:1: must be a mapping of settings ('key: value' lines), not a list",
        files={CONFIG_FILE: "- a\n- b\n"},
    ),
    Case(
        "a key twice",
        "apply",
        "mainspring.yaml:2: zone: the key is written twice, first in line 1; keep one of the two",
        files={CONFIG_FILE: "zone: UTC\nzone: Europe/Berlin\n"},
    ),
    Case(
        "an unknown key",
        "apply",
        "mainspring.yaml:1: shedules: unknown key 'shedules'; did you mean 'schedules'?",
        files={CONFIG_FILE: "shedules: {}\n"},
    ),
    Case(
        "an unknown key in a section",
        "apply",
        "mainspring.yaml:1: worker.slot: unknown key 'slot'; did you mean 'slots'?",
        files={CONFIG_FILE: "worker: {slot: 3}\n"},
    ),
    Case(
        "several mistakes at once",
        "validate",
        "mainspring.yaml:1: worker.slots: must be a whole number from 1 to 1000, not the text 'many'\n"
        'error: mainspring.yaml:1: worker.drain: duration 25 has no unit; write "25s" for seconds or '
        '"25m" for minutes\n'
        "error: mainspring.yaml:2: zone: unknown time zone 'Mars/Base'; write a name such as UTC or America/Sao_Paulo",
        files={CONFIG_FILE: "worker: {slots: many, drain: 25}\nzone: Mars/Base\n"},
    ),
    Case(
        "an unknown zone",
        "validate",
        "mainspring.yaml:1: zone: unknown time zone 'America/Sao_Paolo'; did you mean 'America/Sao_Paulo'?",
        files={CONFIG_FILE: "zone: America/Sao_Paolo\n"},
    ),
    Case(
        "cron text out of range",
        "validate",
        'mainspring.yaml:3: schedules.a.cron: cron "0 25 * * *": hour 25 is outside 0-23',
        files={CONFIG_FILE: schedule("cron: '0 25 * * *'")},
    ),
    Case(
        "no trigger",
        "validate",
        "mainspring.yaml:3: schedules.a: no trigger is given; write exactly one of cron, fields, every, calendar, "
        "session or at",
        files={CONFIG_FILE: schedule("parameters: {a: 1}")},
    ),
    Case(
        "two triggers",
        "validate",
        "mainspring.yaml:3: schedules.a: several triggers are given (cron, every); write exactly one of cron, fields, "
        "every, calendar, session or at",
        files={CONFIG_FILE: schedule("every: 5m, cron: '* * * * *'")},
    ),
    Case(
        "an interval without a unit",
        "validate",
        'mainspring.yaml:3: schedules.a.every: duration 5 has no unit; write "5s" for seconds or "5m" for minutes',
        files={CONFIG_FILE: schedule("every: 5")},
    ),
    Case(
        "an unknown calendar",
        "validate",
        "mainspring.yaml:3: schedules.a.calendars.exclude[0]: unknown calendar 'B4'; write weekdays, "
        "weekends, B3, NYSE, "
        "a country such as BR, or a calendar of your own",
        files={CONFIG_FILE: schedule("every: 5m, calendars: {exclude: [B4]}")},
    ),
    Case(
        "an unknown misfire policy",
        "validate",
        "mainspring.yaml:3: schedules.a.misfire: must be skip, latest or all, not the text 'last'; did "
        "you mean 'latest'?",
        files={CONFIG_FILE: schedule("every: 5m, misfire: last")},
    ),
    Case(
        "a schedule of an unknown task",
        "validate",
        "mainspring.yaml:3: schedules.a: unknown task 'work.ad'; did you mean 'work.add'?",
        files={CONFIG_FILE: f"{TASK}schedules:\n  a: {{task: work.ad, every: 5m}}\n"},
    ),
    Case(
        "parameters of a schedule that do not fit",
        "apply",
        "mainspring.yaml:3: schedules.a: parameters of task 'work.add' do not fit: parameter 'a' = "
        "'one': input should be "
        "a valid integer, unable to parse string as an integer; unknown parameter 'c'; known: a, b",
        files={CONFIG_FILE: schedule("every: 5m, parameters: {a: one, c: 3}")},
    ),
    Case(
        "a queue that is not written down",
        "apply",
        "mainspring.yaml:4: schedules.a.queue: unknown queue 'report'; did you mean 'reports'? If not, "
        "declare it under "
        "'queues'",
        files={CONFIG_FILE: "queues: {default: {}, reports: {}}\n" + schedule("every: 5m, queue: report")},
    ),
    Case(
        "a module that does not exist",
        "validate",
        "mainspring.yaml:1: tasks: there is no module 'wrk' in {folder} or on the Python path",
        files={CONFIG_FILE: "tasks: [wrk]\n"},
    ),
    Case(
        "a module that fails",
        "validate",
        "mainspring.yaml:4: tasks: module 'work' fails at import (work.py:1): ZeroDivisionError: division by zero",
        files={"work.py": "1 / 0\n"},
    ),
    Case(
        "a module that is no Python",
        "validate",
        "mainspring.yaml:4: tasks: module 'work' fails at import (work.py:1): SyntaxError: invalid syntax",
        files={"work.py": "def f(:\n"},
    ),
    Case(
        "a module that needs another",
        "validate",
        "mainspring.yaml:4: tasks: module 'work' needs 'no_such_library', which is not installed",
        files={"work.py": "import no_such_library\n"},
    ),
    Case(
        "a module without tasks",
        "validate",
        "mainspring.yaml:4: tasks: module 'work' holds no task; decorate a function with @task",
        files={"work.py": "x = 1\n"},
    ),
    Case(
        "an unknown pack",
        "validate",
        "mainspring.yaml: packs: unknown pack 'markt'; did you mean 'market'?",
        files={CONFIG_FILE: "packs: [markt]\n"},
    ),
    Case(
        "a secret that is not there",
        "validate",
        "mainspring.yaml: database: secret 'DB_URL' is not set; set the variable DB_URL, or DB_URL_FILE "
        "to the file that "
        "holds it",
        files={CONFIG_FILE: f"database: secret:DB_URL\n{TASK}"},
    ),
    Case(
        "a variable that is not set",
        "validate",
        "mainspring.yaml:1: database: variable 'NAME_OF_DB' is not set; set it, or give a default: "
        "${NAME_OF_DB:-default}",
        files={CONFIG_FILE: "database: sqlite:///${NAME_OF_DB}.db\n"},
    ),
    Case(
        "a database of another kind",
        "runs list",
        "mainspring.yaml:1: database: database kind 'mysql' is not known; write sqlite:///mainspring.db or "
        "postgresql://host/name",
        files={CONFIG_FILE: "database: mysql://host/db\n"},
    ),
    Case(
        "a file that is no database",
        "runs list",
        "cannot open sqlite:///{folder}/mainspring.db: file is not a database",
        code=5,
        files={"mainspring.db": "this is text " * 100},
    ),
    Case(
        "no database yet",
        "runs list",
        "there is no database {folder}/mainspring.db yet; `mainspring up` makes it, and so do apply, "
        "enqueue and db upgrade",
        code=5,
    ),
    Case(
        "a .env file that cannot be read",
        "validate",
        ".env:1: cannot be read; write NAME=value",
        files={".env": "this is no variable\n"},
    ),
]

PARAMETERS = [
    Case("an unknown task", "enqueue work.ad", "unknown task 'work.ad'; did you mean 'work.add'?", 3),
    Case(
        "a parameter that is missing",
        "enqueue work.add",
        "parameters of task 'work.add' do not fit: parameter 'a' is missing",
    ),
    Case(
        "an unknown parameter",
        "enqueue work.shapes --param txt=x",
        "parameters of task 'work.shapes' do not fit: unknown parameter 'txt'; did you mean 'text'?",
    ),
    Case(
        "a parameter of another type",
        "enqueue work.add --param a=three",
        "parameters of task 'work.add' do not fit: parameter 'a' = 'three': input should be a valid integer, unable to "
        "parse string as an integer",
    ),
    Case(
        "a parameter without a value",
        "enqueue work.add --param a",
        "--param 'a' has no name and value; write --param name=value",
    ),
    Case("a parameter twice", "enqueue work.add -p a=1 -p a=2", "--param names 'a' twice"),
    Case(
        "a list that is no JSON",
        "enqueue work.shapes -p numbers=1,2",
        "--param numbers: '1,2' is not JSON; write arrays as JSON, such as 'numbers=[1, 2]'",
    ),
    Case(
        "a choice that does not exist",
        "enqueue work.shapes -p colour=green",
        "parameters of task 'work.shapes' do not fit: parameter 'colour' = 'green': input should be 'red' or 'blue'",
    ),
    Case(
        "a date that is none",
        "enqueue work.shapes -p when=tomorrow",
        "parameters of task 'work.shapes' do not fit: parameter 'when' = 'tomorrow': input should be a valid date or "
        "datetime, input is too short",
    ),
    Case(
        "parameters that are no JSON",
        "enqueue work.add --params-json {a:1}",
        "--params-json cannot be read as JSON: Expecting property name enclosed in double quotes: line "
        "1 column 2 (char 1)",
    ),
    Case(
        "parameters that are no object",
        "enqueue work.add --params-json [1]",
        "--params-json holds a JSON array, not an object; write '{\"name\": value}'",
    ),
    Case(
        "an unknown priority",
        "enqueue work.add -p a=1 --priority urgent",
        "priority 'urgent' is not known; write high, normal, low or a number from 0 (last) to 9 (first)",
    ),
    Case(
        "an unknown queue",
        "enqueue work.add -p a=1 --queue report",
        "unknown queue 'report'; did you mean 'reports'?",
        3,
    ),
    Case(
        "a delay without a unit",
        "enqueue work.add -p a=1 --delay 5",
        '--delay: duration \'5\' has no unit; write "5s" for seconds or "5m" for minutes',
    ),
    Case(
        "a delay with a slip in its unit",
        "enqueue work.add -p a=1 --delay 5minuts",
        "--delay: duration '5minuts': unknown unit 'minuts'; did you mean 'minutes'?",
    ),
    Case(
        "a time that does not exist",
        "enqueue work.add -p a=1 --at 2026-13-01",
        "--at '2026-13-01' is not a date and time; write it as 2026-12-01T09:00",
    ),
    Case(
        "a time and a delay",
        "enqueue work.add -p a=1 --at 2030-01-01 --delay 5m",
        "--delay and --at exclude each other; give one of them",
    ),
    Case(
        "an expiry that is no duration",
        "enqueue work.add -p a=1 --expires soon",
        '--expires: duration \'soon\' cannot be read; write a number and a unit, such as "30s", "15m", "1h30m" or '
        '"2 days"',
    ),
    Case(
        "an expiry of nothing",
        "enqueue work.add -p a=1 --expires 0s",
        "--expires 0s would cancel the run at once; give it some time",
    ),
    Case(
        "a label without a value",
        "enqueue work.add -p a=1 --label team",
        "--label 'team' has no name and value; write --label name=value",
    ),
    Case("a timeout without waiting", "enqueue work.add -p a=1 --timeout 5s", "--timeout goes with --wait"),
]

COMMANDS = [
    Case("an unknown command", "shedules list", "unknown command 'shedules'; did you mean schedules?"),
    Case("nothing like a command", "frobnicate", "unknown command 'frobnicate'; `mainspring --help` lists them"),
    Case("an unknown command of a group", "runs lst", "unknown command 'lst'; did you mean list?"),
    Case("an unknown option", "runs list --stat failed", "unknown option --stat; did you mean --state?"),
    Case("an unknown global option", "--databse x runs list", "unknown option --databse; did you mean --database?"),
    Case("an argument that is missing", "runs show", "RUN is missing; see `mainspring runs show --help`"),
    Case("one argument too many", "validate now", "too many arguments: now; see `mainspring validate --help`"),
    Case(
        "a number that is none",
        "runs list --limit many",
        "--limit is not a whole number; see `mainspring runs list --help`",
    ),
    Case(
        "a number out of range", "runs list --limit 0", "--limit must be at least 1; see `mainspring runs list --help`"
    ),
    Case("an unknown state", "runs list --state faild", "unknown state 'faild'; did you mean 'failed'?"),
    Case(
        "a preview of nothing",
        "schedules preview",
        "say what to preview: the NAME of a schedule, --all, or --cron TEXT",
    ),
    Case(
        "a preview of an unknown schedule",
        "schedules preview mornig",
        "unknown schedule 'mornig'; did you mean 'morning'?",
        3,
    ),
    Case(
        "cron text with too few fields",
        "schedules preview --cron 0_9_*_*",
        'cron "0 9 * *": has 4 fields; write 5 (minute hour day month weekday) or 6 with seconds first',
    ),
    Case(
        "cron text with an eighth weekday",
        "schedules preview --cron 0_9_*_*_8",
        'cron "0 9 * * 8": weekday 8 is outside 0-7',
    ),
    Case(
        "cron text that never fires",
        "schedules preview --cron 0_9_30_2_*",
        'cron "0 9 30 2 *": names a date that never comes; no year has such a day',
    ),
    Case(
        "an unknown zone on the command line",
        "schedules preview --cron @daily --zone Brazil",
        "unknown time zone 'Brazil'; did you mean 'Brazil/West'?",
    ),
    Case(
        "a zone for a schedule that has its own",
        "schedules preview morning --zone UTC",
        "--zone goes with --cron; a schedule has its own zone",
    ),
    Case(
        "files that exist",
        "init",
        "mainspring.yaml exists already in this folder; nothing was written; name another folder, or replace with "
        "--force",
        4,
    ),
    Case("a starter of an unknown pack", "init new --pack markt", "unknown pack 'markt'; did you mean 'market'?", 3),
    Case("a folder that is a file", "init work.py", "work.py is a file; name a folder"),
    Case(
        "a database that does not answer",
        "--database sqlite:///work.py/x.db db upgrade",
        "cannot make the folder of sqlite:///{folder}/work.py/x.db: File exists",
        5,
    ),
]


@pytest.mark.parametrize("case", FILES + PARAMETERS + COMMANDS, ids=lambda case: case.name)
def test_bad_input_is_answered_by_one_message_and_nothing_is_written(case: Case, folder: Path, cli: Cli) -> None:
    before = _write(folder, case)

    answer = cli(*_words(case))

    assert answer.err.replace(str(folder), "{folder}") == f"error: {case.said}\n"
    assert answer.code == case.code
    assert answer.out == ""
    assert _files(folder) == before


PROCESSES = [
    Case(
        "a weight of 0",
        "worker --queues a:0",
        "command line: worker.queues: weight '0' of queue 'a' is not a whole number from 1 to 100",
    ),
    Case(
        "a drain without a unit",
        "worker --drain 25",
        'command line: worker.drain: duration \'25\' has no unit; write "25s" for seconds or "25m" for minutes',
    ),
    Case("no slots", "worker --slots 0", "--slots must be at least 1; see `mainspring worker --help`"),
    Case(
        "an unknown level",
        "scheduler --log-level loud",
        "--log-level: 'loud' is not known; write debug, info, warning or error; see `mainspring scheduler --help`",
    ),
    Case(
        "a server that is not there",
        "--database postgresql://me:hush-hush@127.0.0.1:1/none runs list",
        "cannot connect to postgresql://me@127.0.0.1:1/none: connection failed",
        5,
    ),
]


@pytest.mark.parametrize("case", PROCESSES, ids=lambda case: case.name)
def test_a_process_that_is_started_wrongly_says_so_and_ends(case: Case, folder: Path) -> None:
    before = _write(folder, case)

    done = subprocess.run(
        [sys.executable, "-m", "mainspring", *_words(case)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert done.stderr.startswith(f"error: {case.said}")
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr
    assert done.returncode == case.code
    assert _files(folder) == before


def test_the_table_has_at_least_forty_rows() -> None:
    assert len(FILES + PARAMETERS + COMMANDS) >= 40


def _words(case: Case) -> list[str]:
    return [word.replace("_", " ") if word.startswith("0_") else word for word in case.words.split(" ")]


def _write(folder: Path, case: Case) -> dict[str, bytes]:
    for name, content in {CONFIG_FILE: CONFIG, "work.py": TASKS, **case.files}.items():
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return _files(folder)


def _files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
