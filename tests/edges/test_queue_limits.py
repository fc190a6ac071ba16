"""Queues are limited in the configuration and by hand, and a held run says what holds it."""

from __future__ import annotations

from pathlib import Path

from tests.edges.conftest import Cli, work_off


def _limits(cli: Cli) -> dict[str, dict[str, int | None]]:
    return {queue["name"]: queue["limits"] for queue in cli("queues", "list", "--json").json["queues"]}


def test_a_queue_is_limited_by_hand_until_the_limits_are_lifted(project: Path, cli: Cli) -> None:
    cli("apply")
    assert cli("queues", "limit", "reports", "--running", "2").out == "queue 'reports' is limited to 2 running\n"
    assert cli("queues", "limit", "reports", "--per-key", "1").out == (
        "queue 'reports' is limited to 2 running, 1 of a key\n"
    )
    assert _limits(cli)["reports"] == {"running": 2, "per_key": 1}
    assert "2 running, 1 of a key" in cli("queues", "list").out
    assert cli("apply").code == 0
    assert _limits(cli)["reports"] == {"running": 2, "per_key": 1}, "the configuration says nothing of them"
    assert cli("queues", "limit", "reports", "--lift").out == "queue 'reports' has no limits\n"
    assert _limits(cli)["reports"] == {"running": None, "per_key": None}


def test_wrong_limits_are_refused(project: Path, cli: Cli) -> None:
    cli("apply")
    both = "error: give --running, --per-key or both, or --lift alone to take the limits away\n"
    assert cli("queues", "limit", "reports").err == both
    assert cli("queues", "limit", "reports", "--lift", "--running", "2").err == both
    assert cli("queues", "limit", "reprots", "--running", "2").err.startswith("error: unknown queue 'reprots'; did you")
    assert cli("queues", "limit", "reports", "--running", "0").code == 2


def test_the_configuration_limits_queues_and_takes_its_own_limits_away(project: Path, cli: Cli) -> None:
    path = project / "mainspring.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("reports: {", "reports: {running: 3, per_key: 1, "), encoding="utf-8")
    cli("apply")
    assert _limits(cli)["reports"] == {"running": 3, "per_key": 1}
    path.write_text(text, encoding="utf-8")
    cli("apply")
    assert _limits(cli)["reports"] == {"running": None, "per_key": None}


def test_limited_runs_are_worked_off(project: Path, cli: Cli) -> None:
    cli("apply")
    cli("queues", "limit", "reports", "--running", "1")
    ids = [cli("enqueue", "team.report", "-p", f"rows={n}").out.strip() for n in range(3)]
    work_off(project)
    assert [cli("runs", "show", run_id, "--json").json["state"] for run_id in ids] == ["succeeded"] * 3
    assert cli("runs", "show", ids[0], "--json").json["hold"] is None
