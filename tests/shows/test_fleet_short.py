"""The short forms of the shows with real processes; the long forms are commands (see the Makefile)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import servers
from tests.shows import firing, graphs, kills, turns


@pytest.mark.timeout(150)
def test_every_fire_time_happens_once_while_processes_are_killed_on_sqlite(tmp_path: Path) -> None:
    size = firing.Size(schedules=30, seconds=8, kill_every=2.5)
    verified = firing.show(tmp_path, f"sqlite:///{tmp_path / 'mainspring.db'}", size)
    firing.judge(verified, 240)


@pytest.mark.timeout(150)
def test_every_fire_time_happens_once_while_processes_are_killed_on_postgres(tmp_path: Path) -> None:
    size = firing.Size(schedules=30, seconds=8, kill_every=2.5)
    with servers.postgres_cluster(track_commit_timestamp="on") as cluster:
        verified = firing.show(tmp_path, cluster.url(cluster.create_database()), size)
    firing.judge(verified, 240)


@pytest.mark.timeout(150)
def test_no_run_is_lost_when_its_worker_is_killed(tmp_path: Path) -> None:
    result = kills.show(tmp_path, f"sqlite:///{tmp_path / 'mainspring.db'}", runs=30, kills=1)
    assert 1 <= result.interrupted <= 10


@pytest.mark.timeout(150)
def test_many_runs_of_one_key_do_not_delay_a_few_of_another(tmp_path: Path) -> None:
    turns.judge(turns.show(tmp_path, f"sqlite:///{tmp_path / 'mainspring.db'}", runs=4_000), share=0.25)


@pytest.mark.timeout(150)
def test_each_node_of_a_graph_succeeds_once_when_its_worker_is_killed(tmp_path: Path) -> None:
    result = graphs.show_kills(tmp_path, f"sqlite:///{tmp_path / 'mainspring.db'}", n=4, kills=1)
    assert result.nodes == 21
    assert result.repeated <= 10
