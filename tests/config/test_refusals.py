"""Every malformed configuration is answered by clear messages, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.config import ScheduleConfig, Settings, load
from mainspring.config.document import read_document
from mainspring.config.nodes import MAX_BYTES
from mainspring.errors import ConfigurationInvalid

# Text of mainspring.yaml, and the message without the file's name.
FILES = [
    ("- a\n- b\n", "1: must be a mapping of settings ('key: value' lines), not a list"),
    ("just text\n", "1: must be a mapping of settings ('key: value' lines), not a single value"),
    (
        "zone UTC\nworker:\n  slots: 3\n",
        "2: unexpected ':'; quote a text with ': ' in it, check this line and the one before",
    ),
    ("worker:\n\tslots: 3\n", "2: a tab is used for indentation; use spaces"),
    ("zone: UTC\n zone: b\n", "2: unexpected ':'; quote a text with ': ' in it, check this line and the one before"),
    ("a: 'x\n", "1: a quoted text is not closed"),
    ("worker: {slots: 3\n", "1: a '[' or '{' is not closed, or a comma is missing"),
    ("worker: {slots: ${N}}\n", "1: '${…}' inside { } or [ ] needs quotes: \"${NAME}\""),
    ("description: a: b\n", "1: unexpected ':'; quote a text with ': ' in it, check this line and the one before"),
    ("schedules:\n  q:\n    cron: */5 * * * *\n", "3: a text that begins with '*', such as a cron text, needs quotes"),
    ("schedules:\n  q:\n    cron: @daily\n", "3: a text that begins with '@' needs quotes"),
    ("zone: UTC\n---\nzone: UTC\n", "2: a second document begins ('---'); keep one per file"),
    ("zone: *x\n", "1: there is no anchor '&x' for the alias '*x'"),
    ("zone: &x [*x]\n", "1: alias '*x' refers to the value that contains it"),
    (
        "zone: !!python/name:os.system x\n",
        "1: the YAML tag '!!python/name:os.system' is not allowed; write plain values",
    ),
    ("zone: !secret x\n", "1: the YAML tag '!secret' is not allowed; write plain values"),
    ("? [a]\n: b\n", "1: a key must be text, not a list or a mapping; quote values with { or ["),
    ("zone: a\x07b\n", "1: holds the control character U+0007; remove it"),
    ('zone: "\\q"\n', "1: unknown escape after '\\'; use single quotes, or write '\\\\'"),
    ("%YAML 9.9\n", "1: is not YAML here; check quotes and indentation"),
    ("zone: UTC\nworker: {}\nzone: UTC\n", "3: zone: the key is written twice, first in line 1; keep one of the two"),
    ("? \n: 3\n", "1: null: a key is empty; write a name before the colon"),
    (
        "worker:\n  slots: 1\n  slots: 2\n",
        "3: worker.slots: the key is written twice, first in line 2; keep one of the two",
    ),
    ("<<: 5\n", "1: '<<': merges mappings only, such as '<<: *defaults'"),
    ("worker:\n  slots: .inf\n", "2: worker.slots: .inf is no finite number; quote it if it is text"),
    ("worker:\n  slots: !!int x\n", "2: worker.slots: 'x' does not fit its YAML tag '!!int'"),
    (
        "pack_settings:\n  market:\n    n: " + "9" * 101 + "\n",
        "3: pack_settings.market.n: a number of 101 digits is too large; quote it if it is text",
    ),
    (
        "resources: {-x: {}}\n",
        "1: resources.-x: the text '-x' is no name of a resource; use 1 to 200 letters, digits, '_', '.', ':' and '-', "
        "no sign first",
    ),
    (
        "resources: {brapi: {rate: 5}}\n",
        '1: resources.brapi.rate: rate 5 cannot be read; write a number and a period, such as "5/s", "100/min", '
        '"1000/h" or "5/s burst 10"',
    ),
    (
        "resources: {brapi: {concurency: 4}}\n",
        "1: resources.brapi.concurency: unknown key 'concurency'; did you mean 'concurrency'?",
    ),
    (
        "resources: {brapi: {breaker: {ratio: 2}}}\n",
        "1: resources.brapi.breaker.ratio: must be a share above 0 and up to 1, such as 0.5, not the number 2",
    ),
    (
        "resources: {brapi: {breaker: {cool_down: 0s}}}\n",
        "1: resources.brapi.breaker.cool_down: must be between 1s and 1d, not 0s",
    ),
    ("zone: ${ZONE}\n", "1: zone: variable 'ZONE' is not set; set it, or give a default: ${ZONE:-default}"),
    ("zone: ${HOEM}\n", "1: zone: variable 'HOEM' is not set; did you mean 'HOME'?"),
    ("zone: ${my zone}\n", "1: zone: '${my zone}' is no variable; write '${NAME}' or '${NAME:-default}'"),
    ("zone: ${ZONE\n", "1: zone: '${' is not closed with '}'; write '$${' for the text itself"),
    ("wroker: {}\n", "1: wroker: unknown key 'wroker'; did you mean 'worker'?"),
    ("timezone: UTC\n", "1: timezone: unknown key 'timezone'; did you mean 'zone'?"),
    (
        "frobnicate: 1\n",
        "1: frobnicate: unknown key 'frobnicate'; known: artifacts, calendars, data_dir, database, hints_database, "
        "pack_settings, packs, queues, resources, routes, scheduler, schedules, …",
    ),
    ("zone: 5\n", "1: zone: must be text, not the number 5; put it in quotes"),
    ("zone: Sao_Paulo\n", "1: zone: unknown time zone 'Sao_Paulo'; did you mean 'America/Sao_Paulo'?"),
    ("zone: America/Sao_Paolo\n", "1: zone: unknown time zone 'America/Sao_Paolo'; did you mean 'America/Sao_Paulo'?"),
    ("zone: [UTC]\n", "1: zone: must be text, not a list"),
    ("worker: 5\n", "1: worker: must be a mapping ('key: value' lines), not the number 5"),
    (
        "worker:\n  slots: '5'\n",
        "2: worker.slots: must be a whole number from 1 to 1000, not the text '5'; remove the quotes",
    ),
    ("worker:\n  slots: 0\n", "2: worker.slots: must be a whole number from 1 to 1000, not 0"),
    ("worker:\n  slots: 2.5\n", "2: worker.slots: must be a whole number from 1 to 1000, not the number 2.5"),
    ("worker:\n  slots: true\n", "2: worker.slots: must be a whole number from 1 to 1000, not true"),
    ("worker:\n  slots: many\n", "2: worker.slots: must be a whole number from 1 to 1000, not the text 'many'"),
    (
        "worker:\n  queues: high:3,low\n",
        "2: worker.queues: 'high:3' has a weight and 'low' has none; write names in strict order "
        "('high,default,low') or each name with a weight ('scraping:3,analysis:1')",
    ),
    ("worker:\n  queues: [5]\n", "2: worker.queues: must be text, not the number 5; put it in quotes"),
    (
        "worker:\n  queues: 5\n",
        "2: worker.queues: must be text such as 'high,default,low' or 'scraping:3,analysis:1', not the number 5",
    ),
    (
        "worker:\n  drain: 25\n",
        '2: worker.drain: duration 25 has no unit; write "25s" for seconds or "25m" for minutes',
    ),
    ("worker:\n  drain: forevr\n", "2: worker.drain: the text 'forevr' is no duration; did you mean 'forever'?"),
    ("worker:\n  slot: 5\n", "2: worker.slot: unknown key 'slot'; did you mean 'slots'?"),
    (
        "database: mysql://h/d\n",
        "1: database: database kind 'mysql' is not known; write sqlite:///mainspring.db or postgresql://host/name",
    ),
    (
        "database: postgres://u:hunter2@h/d\n",
        "1: database: database kind 'postgres' is not known; write postgresql://…",
    ),
    (
        "database: sqlite://x.db\n",
        "1: database: an SQLite address has three slashes, or four for an absolute path: sqlite:///mainspring.db",
    ),
    ("database: sqlite:///\n", "1: database: an SQLite address needs a file name: sqlite:///mainspring.db"),
    (
        "database: mainspring.db\n",
        "1: database: must be the address of a database; write sqlite:///mainspring.db or postgresql://host/name",
    ),
    (
        "database: postgresql://u:p@h:port/d\n",
        "1: database: the address cannot be read; write %XX for special characters in the password",
    ),
    (
        "database: 'secret:'\n",
        "1: database: 'secret:' is followed by no usable name; write secret:NAME, as in secret:API_KEY",
    ),
    (
        "database: postgresq://h/d\n",
        "1: database: database kind 'postgresq' is not known; did you mean 'postgresql://'?",
    ),
    (
        "schema: My-Schema\n",
        "1: schema: the text 'My-Schema' is no name of a PostgreSQL schema; use at most 63 of a-z, 0-9 "
        "and '_', no digit first",
    ),
    ("data_dir: 5\n", "1: data_dir: must be text, not the number 5; put it in quotes"),
    ("tasks: tasks\n", "1: tasks: must be a list, not the text 'tasks'; write [tasks]"),
    (
        "tasks: [my-tasks]\n",
        "1: tasks[0]: the text 'my-tasks' is no module; write it as in Python's import, such as 'tasks' "
        "or 'reports.daily'",
    ),
    ("tasks: [tasks.py]\n", "1: tasks[0]: the text 'tasks.py' is a file; name the module: 'tasks'"),
    ("packs: [5]\n", "1: packs[0]: must be text, not the number 5; put it in quotes"),
    (
        "pack_settings: {market: 5}\n",
        "1: pack_settings.market: must be a mapping ('key: value' lines), not the number 5",
    ),
    (
        "pack_settings:\n  market:\n    key: 'secret:a b'\n",
        "3: pack_settings.market.key: 'secret:' is followed by no usable name; write secret:NAME, as in secret:API_KEY",
    ),
    (
        "queues: {'a b': {}}\n",
        "1: queues.'a b': the text 'a b' is no name of a queue; use 1 to 100 letters, digits, '_', '.' "
        "and '-', no sign first",
    ),
    ("queues: [a]\n", "1: queues: must be a mapping ('key: value' lines), not a list"),
    (
        "queues:\n  scraping: {descripton: x}\n",
        "2: queues.scraping.descripton: unknown key 'descripton'; did you mean 'description'?",
    ),
    (
        "queues: {scraping: {}}\nroutes:\n  - {task: a, queue: scrapping}\n",
        "3: routes[0].queue: unknown queue 'scrapping'; did you mean 'scraping'? If not, declare it under 'queues'",
    ),
    (
        "queues: {scraping: {}}\nworker: {queues: 'scraping,analysis'}\n",
        "2: worker.queues: unknown queue 'analysis'; declare it under 'queues'",
    ),
    ("routes: {task: a}\n", "1: routes: must be a list, not a mapping"),
    ("routes:\n  - task: a\n", "2: routes[0]: a route needs 'queue' or 'priority'"),
    ("routes:\n  - queue: a\n", "2: routes[0]: 'task' is missing"),
    (
        "routes:\n  - {task: a, priority: urgent}\n",
        "2: routes[0].priority: priority 'urgent' is not known; write high, normal, low or a number "
        "from 0 (last) to 9 (first)",
    ),
    (
        "routes:\n  - {task: 'a b', queue: c}\n",
        "2: routes[0].task: the text 'a b' is no pattern of task names; write a name or a pattern such as 'market.*'",
    ),
    (
        "calendars: {mine: [2026-13-01]}\n",
        "1: calendars.mine[0].date: the text '2026-13-01' is no day; write it as 2026-12-31",
    ),
    (
        "calendars: {mine: 2026-12-01}\n",
        "1: calendars.mine: must be a list, not the text '2026-12-01'; write [2026-12-01]",
    ),
    ("calendars: {mine: [5]}\n", "1: calendars.mine[0].date: the number 5 is no day; write it as 2026-12-31"),
    (
        "calendars: {mine: [{date: 2026-12-01, nam: x}]}\n",
        "1: calendars.mine[0].nam: unknown key 'nam'; did you mean 'name'?",
    ),
    (
        "calendars: {B3: [2026-12-01]}\n",
        "1: calendars.B3: calendar 'B3': the name is that of a built-in calendar; choose another",
    ),
    (
        "calendars: {mine: [2026-12-01T09:00]}\n",
        "1: calendars.mine[0].date: must be a day such as 2026-12-01, without a time",
    ),
    (
        "schedules:\n  quotes:\n    task: market.quotes\n",
        "2: schedules.quotes: no trigger is given; write exactly one of cron, fields, every, calendar, session or at",
    ),
    ("schedules:\n  quotes: {cron: '@daily'}\n", "2: schedules.quotes: 'task' is missing"),
    ("schedules: []\n", "1: schedules: must be a mapping ('key: value' lines), not a list"),
    (
        "schedules:\n  quotes: market.quotes\n",
        "2: schedules.quotes: must be a mapping ('key: value' lines), not the text 'market.quotes'",
    ),
    (
        "schedules:\n  quotes: {task: 'market.*', cron: '@daily'}\n",
        "2: schedules.quotes.task: the text 'market.*' is no name of a task; write it as in "
        "'market.quotes', without spaces and wildcards",
    ),
    (
        "schedules:\n  '': {task: a, cron: '@daily'}\n",
        "2: schedules.'': the name of a schedule has 1 to 200 printable characters",
    ),
    ("schedules:\n  quotes:\n", "2: schedules.quotes: 'task' is missing"),
]

# Lines of the schedule `quotes`, which stand from line 4 on, and the message without the file's name.
SCHEDULES = [
    (
        "cron: '0 9 * *'",
        '4: schedules.quotes.cron: cron "0 9 * *": has 4 fields; write 5 (minute hour day month '
        "weekday) or 6 with seconds first",
    ),
    ("cron: '0 25 * * *'", '4: schedules.quotes.cron: cron "0 25 * * *": hour 25 is outside 0-23'),
    ("cron: 5", "4: schedules.quotes.cron: must be text, not the number 5; put it in quotes"),
    ("cron: '@dayly'", '4: schedules.quotes.cron: cron "@dayly": @dayly is not known; did you mean @daily?'),
    (
        "cron: '0 9 * * 1-5'\nevery: 5m",
        "2: schedules.quotes: several triggers are given (cron, every); write exactly one of cron, "
        "fields, every, calendar, session or at",
    ),
    ("session: XNYX close", "4: schedules.quotes.session: unknown exchange 'XNYX'; did you mean 'XNYS'?"),
    (
        "session: XNYS open + 8h",
        "4: schedules.quotes.session: open + 8h lies after the close: a session of XNYS is 6h30m long; count from the "
        "close instead",
    ),
    (
        "session: {exchange: XNYS, at: open, closed: [audit]}",
        "4: schedules.quotes.session: closed: unknown calendar of your own 'audit'; there is no calendar of your own "
        "yet; built-in ones go under calendars: exclude",
    ),
    (
        "session: {exchange: XNYS, at: open, clsed: []}",
        "4: schedules.quotes.session.clsed: unknown key 'clsed'; did you mean 'closed'?",
    ),
    ("session: 5", "4: schedules.quotes.session: must be a mapping ('key: value' lines), not the number 5"),
    ("every: 15", '4: schedules.quotes.every: duration 15 has no unit; write "15s" for seconds or "15m" for minutes'),
    (
        "every: 15 mins 3",
        "4: schedules.quotes.every: duration '15 mins 3' cannot be read; write a number and a unit, "
        'such as "30s", "15m", "1h30m" or "2 days"',
    ),
    ("every: 0s", "4: schedules.quotes.every: must be longer than nothing, not the text '0s'"),
    ("interval: 15m", "4: schedules.quotes.interval: unknown key 'interval'; did you mean 'every'?"),
    (
        "fields: {hour: 9, dow: 1}",
        "4: schedules.quotes.fields: unknown field 'dow'; known: day, day_of_week, hour, minute, month, "
        "second, week, year",
    ),
    ("fields: 9", "4: schedules.quotes.fields: must be a mapping ('key: value' lines), not the number 9"),
    ("fields: {hour: 12:30}", "4: schedules.quotes.fields: hour '12:30' is not a number; use 0-23"),
    ("calendar: {months: 1, day: 32}", "4: schedules.quotes.calendar.day: must be a whole number from 1 to 31, not 32"),
    (
        "calendar: {months: 1, weeks: 1}",
        "4: schedules.quotes.calendar: write exactly one of days, weeks, months or years; several are "
        "given (weeks, months)",
    ),
    (
        "calendar: {months: 1, time: 9am}",
        "4: schedules.quotes.calendar: time '9am' is not a time of day; write it as \"09:00\"",
    ),
    (
        "calendar: {day: 3}",
        "4: schedules.quotes.calendar: write exactly one of days, weeks, months or years; none is given",
    ),
    (
        "at: tomorrow",
        "4: schedules.quotes.at: the text 'tomorrow' is no date or time; write 2026-12-31, or "
        "2026-12-31T09:00 in the schedule's zone",
    ),
    (
        "at: 2026-02-30T09:00",
        "4: schedules.quotes.at: the text '2026-02-30T09:00' is no date or time; write 2026-12-31, or "
        "2026-12-31T09:00 in the schedule's zone",
    ),
    (
        "cron: '@daily'\nanchor: 2026-01-01",
        "5: schedules.quotes.anchor: anchor goes with every or calendar, not with cron",
    ),
    ("cron: '@daily'\nmisfre: skip", "5: schedules.quotes.misfre: unknown key 'misfre'; did you mean 'misfire'?"),
    (
        "cron: '@daily'\nmisfire: lates",
        "5: schedules.quotes.misfire: must be skip, latest or all, not the text 'lates'; did you mean 'latest'?",
    ),
    (
        "cron: '@daily'\nmisfire: {policy: all, cap: 0}",
        "5: schedules.quotes.misfire.cap: must be a whole number from 1 to 100000, not 0",
    ),
    (
        "cron: '@daily'\nmisfire: {polcy: all}",
        "5: schedules.quotes.misfire.polcy: unknown key 'polcy'; did you mean 'policy'?",
    ),
    (
        "cron: '@daily'\noverlap: queue",
        "5: schedules.quotes.overlap: must be allow, skip, queue_one or cancel_running, not the text "
        "'queue'; did you mean 'queue_one'?",
    ),
    (
        "cron: '@daily'\nenabled: yes",
        "5: schedules.quotes.enabled: must be true or false, not the text 'yes'; write true",
    ),
    ("cron: '@daily'\nenabled: maybe", "5: schedules.quotes.enabled: must be true or false, not the text 'maybe'"),
    ("cron: '@daily'\nenabled: 1", "5: schedules.quotes.enabled: must be true or false, not the number 1"),
    (
        "cron: '@daily'\npriority: 11",
        "5: schedules.quotes.priority: priority 11 is not known; write high, normal, low or a number "
        "from 0 (last) to 9 (first)",
    ),
    (
        "cron: '@daily'\npriority: hihg",
        "5: schedules.quotes.priority: priority 'hihg' is not known; did you mean 'high'?",
    ),
    (
        "cron: '@daily'\nzone: Mars/Olympus",
        "5: schedules.quotes.zone: unknown time zone 'Mars/Olympus'; write a name such as UTC or America/Sao_Paulo",
    ),
    ("cron: '@daily'\ndst: {gap: before}", "5: schedules.quotes.dst.gap: must be after or skip, not the text 'before'"),
    (
        "cron: '@daily'\ndst: skip",
        "5: schedules.quotes.dst: must be a mapping ('key: value' lines), not the text 'skip'",
    ),
    (
        "cron: '@daily'\njitter: -5s",
        "5: schedules.quotes.jitter: duration '-5s' cannot be read; write a number and a unit, such as "
        '"30s", "15m", "1h30m" or "2 days"',
    ),
    (
        "cron: '@daily'\nexpires: 1 fortnight",
        "5: schedules.quotes.expires: duration '1 fortnight': unknown unit 'fortnight'; units are w, d, "
        "h, m, s, ms and us",
    ),
    (
        "cron: '@daily'\nmax_retries: -1",
        "5: schedules.quotes.max_retries: must be a whole number from 0 to 1000, not -1",
    ),
    (
        "cron: '@daily'\nstart: 2026-12-31\nend: 2026-01-01",
        "6: schedules.quotes.end: ends (2026-01-01) before it starts (2026-12-31)",
    ),
    (
        "cron: '0 0 29 2 *'\nstart: 2026-01-01\nend: 2026-12-31",
        "2: schedules.quotes: never fires between its start and its end; check the trigger, start and end",
    ),
    (
        "cron: '@daily'\ncalendars: {exclude: [B4]}",
        "5: schedules.quotes.calendars.exclude[0]: unknown calendar 'B4'; write weekdays, weekends, B3, "
        "NYSE, a country such as BR, or a calendar of your own",
    ),
    (
        "cron: '@daily'\ncalendars: [B3]",
        "5: schedules.quotes.calendars: must be a mapping ('key: value' lines), not a list",
    ),
    ("cron: '@daily'\nfan_out: {parameter: t}", "5: schedules.quotes.fan_out: 'over' is missing"),
    (
        "cron: '@daily'\nfan_out: {parameter: t, over: []}",
        "5: schedules.quotes.fan_out.over: must name at least one member",
    ),
    (
        "cron: '@daily'\nfan_out: {parameter: t, over: [a, a]}",
        "5: schedules.quotes.fan_out.over: names the text 'a' twice",
    ),
    (
        "cron: '@daily'\nfan_out: {parameter: t, over: [{a: 1}]}",
        "5: schedules.quotes.fan_out.over: members are text, numbers, true or false, not a mapping",
    ),
    (
        "cron: '@daily'\nfan_out: {parameter: t, over: [a]}\nparameters: {t: 1}",
        "5: schedules.quotes.fan_out.parameter: 't' also stands in parameters; leave it out there",
    ),
    (
        "cron: '@daily'\nparameters: [1]",
        "5: schedules.quotes.parameters: must be a mapping ('key: value' lines), not a list",
    ),
    (
        "cron: '@daily'\nlabels: {team: 5}",
        "5: schedules.quotes.labels.team: must be text, not the number 5; put it in quotes",
    ),
    (
        "cron: '@daily'\nqueue: 'a,b'",
        "5: schedules.quotes.queue: the text 'a,b' is no name of a queue; use 1 to 100 letters, digits, "
        "'_', '.' and '-', no sign first",
    ),
    ("cron: '@daily'\nretries: 3", "5: schedules.quotes.retries: unknown key 'retries'; did you mean 'max_retries'?"),
    (
        "cron: '0 0 31 2 *'",
        '4: schedules.quotes.cron: cron "0 0 31 2 *": names a date that never comes; no year has such a day',
    ),
]


def problems(folder: Path, text: str | bytes) -> tuple[str, ...]:
    path = folder / "mainspring.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationInvalid) as refused:
        load(path, {"HOME": "/home/ana"})
    return refused.value.problems


@pytest.mark.parametrize(("text", "message"), FILES)
def test_a_malformed_file_is_answered_by_one_clear_message(tmp_path: Path, text: str, message: str) -> None:
    assert problems(tmp_path, text) == (f"mainspring.yaml:{message}",)


@pytest.mark.parametrize(("lines", "message"), SCHEDULES)
def test_a_malformed_schedule_is_answered_by_one_clear_message(tmp_path: Path, lines: str, message: str) -> None:
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    text = f"schedules:\n  quotes:\n    task: market.quotes\n{indented}"
    assert problems(tmp_path, text) == (f"mainspring.yaml:{message}",)


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = """\
schedules:
  quotes:
    task: market.quotes
    cron: "0 25 * * *"
    misfire: {policy: al, grace: 5}
  news: {every: 5m}
worker:
  slots: 0
  slots: 1
zone: Sao_Paulo
"""
    assert problems(tmp_path, text) == (
        "mainspring.yaml:5: schedules.quotes.misfire.policy: must be skip, latest or all, not the text 'al'; "
        "did you mean 'all'?",
        'mainspring.yaml:5: schedules.quotes.misfire.grace: duration 5 has no unit; write "5s" for seconds or "5m" '
        "for minutes",
        "mainspring.yaml:6: schedules.news: 'task' is missing",
        "mainspring.yaml:9: worker.slots: the key is written twice, first in line 8; keep one of the two",
        "mainspring.yaml:10: zone: unknown time zone 'Sao_Paulo'; did you mean 'America/Sao_Paulo'?",
    )


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    assert problems(tmp_path, b"zone: UTC\ndata_dir: caf\xe9\n") == (
        "mainspring.yaml:2: is not UTF-8: byte 0xe9; save the file as UTF-8",
    )


def test_half_of_a_character_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, r'zone: "\ud800"') == (
        r"mainspring.yaml:1: an escape from \uD800 to \uDFFF is half of a character; write it out",
    )


@pytest.mark.parametrize(("text", "message"), FILES)
def test_the_parser_in_python_gives_the_same_answers(
    tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert problems(tmp_path, text) == (f"mainspring.yaml:{message}",)


def test_a_file_above_the_limit_is_refused_unread(tmp_path: Path) -> None:
    assert problems(tmp_path, b"#" * (MAX_BYTES + 1)) == (
        "mainspring.yaml: has 1,000,001 bytes; the limit is 1,000,000; move data elsewhere",
    )


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "a: " + "[" * 50_000) == ("mainspring.yaml:1: is nested more than 32 levels deep",)


def test_aliases_that_multiply_each_other_are_refused(tmp_path: Path) -> None:
    lines = ["x-a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (said,) = problems(tmp_path, "\n".join(lines))
    assert said.endswith(": has more than 100,000 values; do its aliases multiply each other?")


def test_merge_keys_that_multiply_each_other_are_refused(tmp_path: Path) -> None:
    lines = ["x-a: &a0 {}"]
    lines += [f"x-{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    (said,) = problems(tmp_path, "\n".join(lines))
    assert said.endswith(": has more than 100,000 values; do its aliases multiply each other?")


def test_an_odd_name_cannot_break_the_lines_of_a_message(tmp_path: Path) -> None:
    assert problems(tmp_path, 'worker: {"a\\nmainspring.yaml:9: b": 1}\n') == (
        "mainspring.yaml:1: worker.'a\\nmainspring.yaml:9: b': unknown key 'a\\nmainspring.yaml:9: b'; "
        "known: drain, queues, slots",
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
KEYS = [*(field.alias or name for name, field in Settings.model_fields.items()), "x-any"]
SCHEDULE_KEYS = list(ScheduleConfig.model_fields)
PLAUSIBLE = [
    "@daily",
    "5m",
    "UTC",
    "2026-01-01",
    "9999-12-31",
    "0001-01-01T00:00+14:00",
    "skip",
    "all",
    "secret:X",
    "${",
    5,
]
schedule_values = json_values | st.sampled_from(PLAUSIBLE)
schedules = st.dictionaries(st.sampled_from(SCHEDULE_KEYS), schedule_values, max_size=5)


def is_loaded_or_refused_in_words(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        load(path, {})
    except ConfigurationInvalid as refused:
        said = refused.problems
    else:
        return
    assert said
    assert all(problem.startswith("mainspring.yaml") and "\n" not in problem for problem in said)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), json_values, max_size=5))
def test_any_mapping_is_loaded_or_refused_in_words(tmp_path: Path, mapping: dict[str, object]) -> None:
    is_loaded_or_refused_in_words(tmp_path / "mainspring.yaml", json.dumps(mapping).encode())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedules)
def test_any_schedule_is_loaded_or_refused_in_words(tmp_path: Path, schedule: dict[str, object]) -> None:
    body = {"schedules": {"quotes": {"task": "a", "cron": "@daily"} | schedule}}
    is_loaded_or_refused_in_words(tmp_path / "mainspring.yaml", json.dumps(body).encode())


@settings(max_examples=200)
@given(st.text(alphabet="ab: \n-[]{}'\"*&!%@#|>?,~\t<\\${}", max_size=40) | st.binary(max_size=30))
def test_any_text_is_read_or_refused_in_words(text: str | bytes) -> None:
    document = read_document(text if isinstance(text, bytes) else text.encode(), "mainspring.yaml")
    assert document.readable or document.problems
