"""Secrets are resolved late and shown nowhere."""

from __future__ import annotations

import json
import logging

import pytest

from mainspring.config import SecretBook, SecretMissing, difference, load
from mainspring.errors import ConfigurationInvalid
from tests.config.conftest import Project

CANARY = "c4nary-Tweet!42"


def test_a_reference_is_kept_as_it_is_and_resolved_when_asked(project: Project) -> None:
    project.write("database: secret:DB\npack_settings: {market: {keys: ['secret:KEY', plain], n: 1}}\n")
    environ: dict[str, str] = {}
    loaded = project.load(environ)
    assert loaded.settings.pack_settings["market"]["keys"] == ["secret:KEY", "plain"]
    environ |= {"KEY": CANARY, "DB": "postgresql://u:p@h/d"}
    assert loaded.pack_settings("market") == {"keys": [CANARY, "plain"], "n": 1}
    assert loaded.pack_settings("other") == {}
    assert loaded.database_address() == "postgresql://u:p@h/d"


def test_a_secret_may_stand_in_a_file(project: Project) -> None:
    project.write(f"{CANARY}\n", "key.txt").write("KEY_FILE=key.txt\n", ".env")
    assert project.load().secrets.resolve("secret:KEY") == CANARY


def test_a_secret_that_is_not_there_is_named_with_the_way_out(project: Project) -> None:
    secrets = project.load({"B_FILE": "nowhere"}).secrets
    with pytest.raises(SecretMissing) as missing:
        secrets.resolve("secret:A")
    assert str(missing.value) == "secret 'A' is not set; set the variable A, or A_FILE to the file that holds it"
    assert secrets.missing({"x": ["secret:B", 5, "plain"]}) == [
        "secret 'B' cannot be read from the file that B_FILE names: No such file or directory"
    ]


def test_a_resolved_secret_is_redacted_in_every_form(project: Project) -> None:
    secrets = project.load({"KEY": 'p@ss"w\nrd/long'}).secrets
    secrets.resolve("secret:KEY")
    said = secrets.redact("""plain p@ss"w\nrd/long, in an address p%40ss%22w%0Ard%2Flong, quoted 'p@ss"w\\nrd/long'""")
    assert said == "plain •••, in an address •••, quoted '•••'"


def test_a_short_secret_is_hidden_only_as_a_word_of_its_own() -> None:
    secrets = SecretBook({})
    secrets.remember("pg", "")
    assert secrets.redact("pg://pg@host, pgbouncer, 'pg'") == "•••://•••@host, pgbouncer, '•••'"


def test_passwords_in_addresses_are_hidden_even_if_nobody_knows_them() -> None:
    assert SecretBook({}).redact("no answer from postgresql://ana:x@y@host/d") == (
        "no answer from postgresql://ana:•••@host/d"
    )


BAD_PLACES = [
    "zone: ${API_KEY}\n",
    "zone: [${API_KEY}]\n",
    "database: ${API_KEY}\n",
    "database: postgres://u:${API_KEY}@h/d\n",
    f"database: mysql://u:{CANARY}@h/d\n",
    f"database: postgresql://u:{CANARY}@h:x/d\n",
    "schema: ${API_KEY}\n",
    "tasks: ${API_KEY}\n",
    "tasks: ['${API_KEY}']\n",
    "worker: {slots: '${API_KEY}'}\n",
    "worker: {queues: '${API_KEY}:1,b'}\n",
    "worker: {drain: '${API_KEY}'}\n",
    "worker: '${API_KEY}'\n",
    "queues: {a: '${API_KEY}'}\n",
    "routes: ['${API_KEY}']\n",
    "routes: [{task: a, priority: '${API_KEY}'}]\n",
    "calendars: {a: ['${API_KEY}']}\n",
    "schedules: {a: {task: '${API_KEY}*', every: 5m}}\n",
    "schedules: {a: {task: b, cron: '${API_KEY}'}}\n",
    "schedules: {a: {task: b, cron: '0 ${API_KEY} * * *'}}\n",
    "schedules: {a: {task: b, fields: {hour: '${API_KEY}'}}}\n",
    "schedules: {a: {task: b, every: '${API_KEY}'}}\n",
    "schedules: {a: {task: b, at: '${API_KEY}'}}\n",
    "schedules: {a: {task: b, calendar: {months: 1, time: '${API_KEY}'}}}\n",
    "schedules: {a: {task: b, every: 5m, zone: '${API_KEY}'}}\n",
    "schedules: {a: {task: b, every: 5m, misfire: '${API_KEY}'}}\n",
    "schedules: {a: {task: b, every: 5m, overlap: '${API_KEY}'}}\n",
    "schedules: {a: {task: b, every: 5m, calendars: {exclude: ['${API_KEY}']}}}\n",
    "schedules: {a: {task: b, every: 5m, fan_out: {parameter: c, over: ['${API_KEY}', '${API_KEY}']}}}\n",
    "schedules: {a: {task: b, every: 5m, fan_out: {parameter: '${API_KEY}', over: [1]}, parameters: {x: 1}, z: 1}}\n",
    "schedules: {a: {task: b, every: 5m, api_key: '${API_KEY}'}}\n",
    f"api_key: {CANARY}\n",
    f"pack_settings: {{market: {{api_key: {CANARY}}}}}\nzone: {CANARY}\n",
]


@pytest.mark.parametrize("text", BAD_PLACES)
def test_no_message_shows_a_secret_wherever_it_was_put_by_mistake(
    project: Project, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    project.write(text)
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationInvalid) as refused:
        project.load({"API_KEY": CANARY})
    said = f"{refused.value} {refused.value.problems} {caplog.text}"
    assert "c4nary" not in said.lower()
    assert "tweet" not in said.lower()
    assert "Traceback" not in said


def test_no_message_shows_a_secret_that_a_variable_of_ours_holds(project: Project) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        project.load({"MAINSPRING_DATABASE": f"postgresql://u:{CANARY}@h:x/d", "MAINSPRING_WORKER__SLOTS": CANARY})
    assert CANARY not in str(refused.value)
    with pytest.raises(ConfigurationInvalid) as refused:
        project.load({}, {"database": f"mysql://u:{CANARY}@h/d"})
    assert CANARY not in str(refused.value)


def test_no_repr_shows_a_secret(project: Project) -> None:
    project.write("""\
database: postgresql://u:${DB_PASSWORD}@h/d
pack_settings: {market: {api_key: "${DB_PASSWORD}", other: "secret:DB_PASSWORD"}}
schedules:
  a: {task: b, every: 5m, parameters: {token: "${DB_PASSWORD}"}, fan_out: {parameter: c, over: ["${DB_PASSWORD}"]}}
""")
    loaded = project.load({"DB_PASSWORD": CANARY})
    loaded.pack_settings("market")
    settings = loaded.settings
    shown = [loaded, settings, loaded.secrets, loaded.variables, loaded.sources, settings.schedules, settings.database]
    assert not [one for one in shown if CANARY in repr(one)]
    assert not [one for one in (loaded, settings, settings.schedules["a"]) if CANARY in f"{one}"]
    assert CANARY not in loaded.secrets.redact(json.dumps(settings.pack_settings["market"]))


def test_no_difference_shows_a_secret(project: Project) -> None:
    text = "database: postgresql://u:{}@h/d\npack_settings: {{m: {{key: {}}}}}\ndata_dir: ${{A_TOKEN}}\n"
    old = project.write(text.format("a", "b")).load({"A_TOKEN": "old"})
    new = load(project.write(text.format(CANARY, CANARY)).path, {"A_TOKEN": CANARY})
    assert difference(old, new) == [
        "database: changed (needs a restart)",
        "data_dir: old → ••• (needs a restart)",
        "pack_settings.m: changed (needs a restart)",
    ]
