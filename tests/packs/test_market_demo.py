"""Run the demonstration as a user does, and compare what the database says with what the services counted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from mainspring.clock import SystemClock
from mainspring.packs.market.demo.figures import Job, by_scraper, jobs, problems, progress
from mainspring.packs.market.scrapers.bcb import SERIES

DEMO = [sys.executable, "-m", "mainspring.packs.market.demo"]
MAINSPRING = [sys.executable, "-m", "mainspring"]

Request = tuple[str, str, int]
"""What was asked, about which ticker, with which answer's status."""


def clean_environment(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


def read_json(folder: Path, *words: str) -> Any:
    done = subprocess.run(
        [*MAINSPRING, "--config", "demo/mainspring.yaml", *words, "--json"],
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def requests_of(result: Mapping[str, Any]) -> Iterator[Request]:
    """Yield the requests that one scrape makes, but for COTAHIST, whose file is asked for once."""
    ticker, status = result["ticker"], 200 if result["success"] else 503
    match result["scraper_name"]:
        case "b3_quotes":
            yield "quote", ticker, status
        case "us_quotes":
            yield "chart", ticker, status
        case "fundamentals":
            yield "fundamentals", ticker, status
        case "news":
            yield from (("rss", ticker, status), ("atom", ticker, status))
        case "crypto":
            yield "day", ticker, status
            if result["success"]:
                yield "candles", ticker, status
        case "bcb":
            yield "series", str(SERIES[ticker].code), status
        case "complete_scan" | "ai_analysis" as name:
            american = ticker == "AAPL"
            yield ("chart" if american else "quote"), ticker, 200
            # The local service has no fundamentals of US companies; the scan goes on without.
            yield "fundamentals", ticker, 404 if american else 200
            yield from (("rss", ticker, 200), ("atom", ticker, 200))
            if name == "ai_analysis":
                yield "completion", "", 200


PATHS = {
    r"/api/quote/(\w+)": "quote",
    r"/v8/finance/chart/(\w+)": "chart",
    r"/feeds/(?:rss|atom)": "feed",
    r"/api/v3/ticker/24hr": "day",
    r"/api/v3/klines": "candles",
    r"/dados/serie/bcdata\.sgs\.(\d+)/dados/ultimos/\d+": "series",
    r"/v1/chat/completions": "completion",
    r"/InstDados/SerHist/COTAHIST_D\d{8}\.ZIP": "cotahist",
}


def counted_requests(counts: Mapping[str, Mapping[str, int]]) -> Counter[Request]:
    found: Counter[Request] = Counter()
    for target, by_status in counts.items():
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        (kind, match), *_ = ((kind, m) for path, kind in PATHS.items() if (m := re.fullmatch(path, parts.path)))
        if kind == "feed":
            kind = parts.path.removeprefix("/feeds/")
        if kind == "quote" and "modules" in query:
            kind = "fundamentals"
        (ticker,) = match.groups() or query.get("symbol") or query.get("s") or ("",)
        found.update({(kind, ticker, int(status)): count for status, count in by_status.items()})
    return found


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_demonstration_ends_by_itself_and_its_figures_are_what_the_services_counted(tmp_path: Path) -> None:
    # Alone it takes about 25 s; here it shares the machine with other tests.
    done = subprocess.run(
        DEMO,
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not as it must be" not in done.stdout

    runs = read_json(tmp_path, "runs", "list", "--limit", "1000")["runs"]
    results = read_json(tmp_path, "market", "results", "--limit", "1000")["results"]
    counted = counted_requests(json.loads((tmp_path / "demo" / "requests.json").read_text()))
    assert counted.pop(("cotahist", "", 200)) == 1
    assert counted == Counter(request for result in results for request in requests_of(result))

    states = Counter((run["labels"]["scraper"], run["member"], run["state"]) for run in runs)
    failed = {(scraper, ticker) for scraper, ticker, state in states if state != "succeeded"}
    assert failed == {("crypto", "XRPBRL")}
    assert len(results) == sum(run["tries"] for run in runs)
    tries = Counter(result["job_id"] for result in results)
    assert {run["id"]: run["tries"] for run in runs} == tries
    assert {run["schedule"] for run in runs} == {
        s["name"] for s in read_json(tmp_path, "schedules", "list")["schedules"]
    }
    printed_total = re.search(r"^ *all +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", done.stdout, re.MULTILINE)
    assert printed_total is not None
    assert [int(number) for number in printed_total.groups()] == [
        len(runs),
        sum(run["state"] == "succeeded" for run in runs),
        sum(run["tries"] > 1 for run in runs),
        sum(run["state"] == "failed" for run in runs),
        len(results),
    ]
    (recovered,) = [run for run in runs if run["member"] == "selic_target" and run["tries"] == 3]
    assert f"runs show {recovered['id'][-12:]}" in done.stdout
    assert "bcb selic_target - tried 3 times. 2 times: http://127.0.0.1:" in done.stdout
    assert "crypto XRPBRL - tried 4 times. 4 times: http://127.0.0.1:" in done.stdout
    assert "every hour, from 09:00 to 17:00, Monday to Friday (America/Sao_Paulo)" in done.stdout
    commands = [line.split() for line in done.stdout.split("To try next:")[1].strip().splitlines()]
    assert len(commands) == 3
    for command in commands:
        subprocess.run([*MAINSPRING, *command[1:]], cwd=tmp_path, capture_output=True, check=True)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("stop", "code"), [("Ctrl-C", 0), ("SIGTERM", 143)])
def test_serving_goes_on_until_it_is_stopped_and_leaves_nothing_running(tmp_path: Path, stop: str, code: int) -> None:
    with subprocess.Popen(
        [*DEMO, "--serve"],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as served:
        clock = SystemClock()
        while not (tmp_path / "demo" / "mainspring.db").exists():
            assert served.poll() is None
            clock.wait(threading.Event(), 0.1)
        group = psutil.Process(served.pid).children(recursive=True)
        assert group
        if stop == "Ctrl-C":
            # As a terminal does it: to all processes of the group.
            os.killpg(served.pid, signal.SIGINT)
        else:
            served.terminate()
        served.communicate(timeout=40)
    assert served.returncode == code
    assert not psutil.wait_procs(group, timeout=5)[1]


def test_a_folder_that_is_not_the_demonstrations_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("keep")
    done = subprocess.run(DEMO, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not the demonstration's; run it in another folder" in done.stderr
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["mine.txt"]


def run(number: int, scraper: str, ticker: str, state: str, tries: int = 1) -> dict[str, Any]:
    labels = {"scraper": scraper}
    return {"id": f"id-{number}", "labels": labels, "member": ticker, "state": state, "tries": tries}


def failures(number: int, count: int) -> list[dict[str, Any]]:
    return [{"job_id": f"id-{number}", "success": False, "error": "refused"}] * count


AS_IT_MUST_BE = [
    run(3, "news", "PETR4", "succeeded"),
    run(2, "crypto", "XRPBRL", "failed", 4),
    run(1, "bcb", "selic_target", "succeeded", 3),
]
ITS_FAILURES = failures(1, 2) + failures(2, 4)


def found(*changed: dict[str, Any], results: Iterable[dict[str, Any]] = ITS_FAILURES) -> list[Job]:
    by_id = {each["id"]: each for each in (*AS_IT_MUST_BE, *changed)}
    return jobs(by_id.values(), results)


def test_figures_that_are_what_they_must_be_have_no_problem() -> None:
    assert problems(found(), ["id-1", "id-2", "id-3"], refused=6) == []


def test_every_deviation_is_a_problem() -> None:
    def said(*changed: dict[str, Any], refused: int = 6, results: Iterable[dict[str, Any]] = ITS_FAILURES) -> list[str]:
        return problems(found(*changed, results=results), ["id-1"], refused)

    assert problems(found(), ["id-9"], 6) == ["job id-9 was started and is not there"]
    assert said(refused=7) == ["the services refused 7 requests, and 6 tries failed"]
    assert said(run(3, "news", "PETR4", "running")) == [
        "job id-3 (news PETR4) is running",
        "job id-3 (news PETR4) must succeed; it is running: ",
    ]
    assert said(run(2, "crypto", "XRPBRL", "failed", 3)) == [
        "job id-2 (crypto XRPBRL) must fail after 4 tries; it is failed after 3"
    ]
    assert said(results=failures(1, 1) + failures(2, 4), refused=5) == [
        "bcb selic_target must fail 2 times before it succeeds; it failed 1 times"
    ]
    assert said(results=ITS_FAILURES + failures(3, 1), refused=7) == ["job id-3 (news PETR4) was retried: refused"]


def test_figures_are_counted_by_scraper() -> None:
    counted = by_scraper(found())
    assert list(counted) == ["bcb", "crypto", "news"]
    crypto = counted["crypto"]
    assert (crypto.runs, crypto.succeeded, crypto.retried, crypto.failed, crypto.tries) == (1, 0, 1, 1, 4)


def test_progress_counts_those_that_wait_to_be_retried() -> None:
    runs = [
        run(1, "news", "PETR4", "scheduled", 1),
        run(2, "news", "VALE3", "running", 0),
        run(3, "bcb", "x", "failed"),
    ]
    assert progress(runs, 5).in_words() == "1 of 5 jobs done, 1 running, 1 waiting to be retried"
