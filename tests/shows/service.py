"""A service on this machine that allows so many requests per second, refuses those over it, and can be down."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.shows.fleet import monotonic


@dataclass
class Service:
    """What the service allows, and what it was asked and answered: seconds and statuses."""

    allowed: int | None = None
    """Requests in any second; each one more is refused."""
    retry_after: int = 7
    down: bool = False
    seen: list[tuple[float, int]] = field(default_factory=list)
    _recent: deque[float] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self) -> int:
        """Return the status of a request that arrives now, and note both."""
        with self._lock:
            at = monotonic()
            status = self._status(at)
            self.seen.append((at, status))
            return status

    def times(self, status: int) -> list[float]:
        """Return when requests were answered so."""
        return [at for at, answered in self.seen if answered == status]

    def _status(self, at: float) -> int:
        if self.down:
            return 500
        while self._recent and self._recent[0] <= at - 1.0:
            self._recent.popleft()
        if self.allowed is not None and len(self._recent) >= self.allowed:
            return 429
        self._recent.append(at)
        return 200


@contextmanager
def serve(service: Service) -> Iterator[str]:
    """Give the address at which *service* answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = service.answer()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", str(service.retry_after))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: what was asked is noted."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
