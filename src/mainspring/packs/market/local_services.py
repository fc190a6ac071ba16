"""Serve the samples on this machine as the real services would: for the demonstration and for tests."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from mainspring.packs.market.local_answers import LocalAnswer, answer_for, cotahist_day

COUNTS_PATH: Final = "/_counts"
_BODY_LIMIT = 1024 * 1024


@dataclass(slots=True)
class Fault:
    """What goes wrong with requests whose path and query fit `pattern`; `times` None: always.

    `delay` in seconds comes before the answer; with `hold` the answer waits for that event. `status` None: the
    ordinary answer follows. `answer` is given in place of everything else.
    """

    pattern: str
    times: int | None = 1
    status: int | None = 503
    retry_after: str | None = None
    delay: float = 0.0
    hold: threading.Event | None = None
    answer: LocalAnswer | None = None


DEMO_FAULTS: Final = (
    ("/dados/serie/bcdata.sgs.432/*", 2),
    ("/api/v3/ticker/24hr?symbol=XRPBRL", None),
)
"""Pattern and times of the demonstration's faults: one source recovers after two failures, the other never does."""


class LocalServices:
    """A server on the loopback interface that speaks for all services; use it as a context.

    It counts every request by path with query and status, and fails on request.
    """

    def __init__(self, port: int = 0) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, int]] = Counter()
        self._faults: list[Fault] = []
        self._under_way = self._peak = 0
        self._stopped = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="local-services", daemon=True
        )

    def __enter__(self) -> LocalServices:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The base URL of all services."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def under_way(self) -> int:
        """The requests that are being answered now."""
        with self._lock:
            return self._under_way

    @property
    def peak(self) -> int:
        """The most requests that were under way at the same time."""
        with self._lock:
            return self._peak

    def environment(self) -> dict[str, str]:
        """Return the pack's settings, as environment variables, that lead all its requests here, briskly."""
        brisk = {"127.0.0.1": {"rate": 50, "burst": 10, "concurrency": 4}}
        bases = ("BRAPI", "US_QUOTES", "B3", "CRYPTO", "BCB", "AI")
        return {
            **{f"MARKET_{name}_URL": self.url for name in bases},
            "MARKET_COTAHIST_DAY": cotahist_day().isoformat(),
            "MARKET_NEWS_FEEDS": json.dumps([f"{self.url}/feeds/{kind}?s={{ticker}}" for kind in ("rss", "atom")]),
            "MARKET_POLITENESS": json.dumps(brisk),
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how often each path (with its query) was answered with each status."""
        found: dict[str, dict[str, int]] = {}
        with self._lock:
            for (target, status), count in sorted(self._counts.items()):
                found.setdefault(target, {})[str(status)] = count
        return found

    def total(self, pattern: str = "*", status: int | None = None) -> int:
        """Return how many requests fitted *pattern*, of those with *status* when it is given."""
        with self._lock:
            items = list(self._counts.items())
        return sum(n for (target, code), n in items if fnmatchcase(target, pattern) and status in (None, code))

    def fail(
        self, pattern: str, times: int | None = 1, status: int = 503, retry_after: str | None = None, delay: float = 0.0
    ) -> None:
        """Answer the next *times* requests that fit *pattern* with *status*; None: all of them."""
        self._add(Fault(pattern, times, status, retry_after, delay))

    def delay(self, pattern: str, seconds: float, times: int | None = None) -> None:
        """Answer requests that fit *pattern* as usual, but *seconds* later."""
        self._add(Fault(pattern, times, None, delay=seconds))

    def hold(self, pattern: str, times: int | None = None) -> threading.Event:
        """Keep requests that fit *pattern* waiting until the event that is returned is set."""
        event = threading.Event()
        self._add(Fault(pattern, times, None, hold=event))
        return event

    def answer(self, pattern: str, answer: LocalAnswer, times: int | None = None) -> None:
        """Answer requests that fit *pattern* with *answer*."""
        self._add(Fault(pattern, times, None, answer=answer))

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def respond(self, target: str, body: bytes) -> LocalAnswer:
        """Return the answer to one request; called by the server, on the thread of the request."""
        if target == COUNTS_PATH:
            return LocalAnswer(200, json.dumps(self.counts()).encode())
        with self._lock:
            self._under_way += 1
            self._peak = max(self._peak, self._under_way)
            fault = self._next_fault(target)
        try:
            answer = self._faulty(fault, target, body) if fault else answer_for(target, body)
        finally:
            with self._lock:
                self._under_way -= 1
        with self._lock:
            self._counts[target, answer.status] += 1
        return answer

    def _next_fault(self, target: str) -> Fault | None:
        for fault in self._faults:
            if fault.times != 0 and fnmatchcase(target, fault.pattern):
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None

    def _faulty(self, fault: Fault, target: str, body: bytes) -> LocalAnswer:
        if fault.delay:
            self._stopped.wait(fault.delay)
        while fault.hold is not None and not fault.hold.wait(0.05) and not self._stopped.is_set():
            continue
        if fault.answer is not None:
            return fault.answer
        if fault.status is None:
            return answer_for(target, body)
        headers = {"retry-after": fault.retry_after} if fault.retry_after else {}
        return LocalAnswer(fault.status, b'{"error": true, "message": "fault on request"}', headers=headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], services: LocalServices) -> None:
        self.services = services
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Wake the threads that wait for the next request on an open connection."""
        with self._guard:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # The other side was faster.
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: a client that went away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet; in two, the second would wait for the client's acknowledgement.
    wbufsize = -1
    server_version = "LocalServices"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        """Answer a GET."""
        self._send(self.server.services.respond(self.path, b""))

    def do_POST(self) -> None:
        """Answer a POST."""
        length = min(int(self.headers.get("content-length") or 0), _BODY_LIMIT)
        self._send(self.server.services.respond(self.path, self.rfile.read(length)))

    def _send(self, answer: LocalAnswer) -> None:
        self.send_response(answer.status)
        headers: Mapping[str, str] = {"content-type": answer.media_type, "content-length": str(len(answer.content))}
        for name, value in {**headers, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the counts say it all."""


def main(arguments: Iterable[str] | None = None) -> None:
    """Serve until interrupted; prints the settings that lead the pack here, one a line."""
    parser = argparse.ArgumentParser(description="Serve samples as the market pack's services would.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--faults", action="store_true", help="let one source fail twice and another one always")
    options = parser.parse_args(None if arguments is None else list(arguments))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with LocalServices(options.port) as services:
        for pattern, times in DEMO_FAULTS if options.faults else ():
            services.fail(pattern, times)
        for name, value in services.environment().items():
            print(f"{name}={value}", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
