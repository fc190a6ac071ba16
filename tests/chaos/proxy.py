"""A TCP proxy that fails as networks fail: cuts, silence, delays, and a cut after a commit whose reply is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Coroutine
from typing import Any, Final, Literal

_CHUNK: Final = 65_536
_COMMIT: Final = b"COMMIT"
Mode = Literal["pass", "silent", "delay"]


class Link:
    """One listening port in front of the server; each process has its own, so that it can be hit alone."""

    def __init__(self, name: str, upstream: tuple[str, int]) -> None:
        self.name, self.upstream = name, upstream
        self.port = 0
        self.lost_replies = 0
        """How often the reply to a commit was swallowed."""
        self._mode: Mode = "pass"
        self._armed = False
        self._moved = asyncio.Event()
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None
        self._dice = random.Random(name)

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop and cut what is open."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> int:
        """Reset all connections; return how many there were."""
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            pair.abort()
        return len(pairs)

    def set_mode(self, mode: Mode) -> None:
        """Let bytes pass, keep them back in silence (the connection stays open), or let them dawdle."""
        if self._mode == "silent" and mode != "silent":
            # What was silent for long is dead: its end is noticed now, as a keepalive would.
            self.cut()
        self._mode = mode
        self._moved.set()

    def arm(self, armed: bool = True) -> None:
        """Forward the next commit to the server, and cut the connection instead of giving back its reply."""
        self._armed = armed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            await self._pass()
            server_reader, pair.server = await asyncio.open_connection(*self.upstream)
            up = asyncio.ensure_future(self._pump(pair, reader, pair.server, upwards=True))
            down = asyncio.ensure_future(self._pump(pair, server_reader, writer, upwards=False))
            _, waiting = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            pass  # The server is down: the client is told by the end of its connection.
        finally:
            pair.abort()
            self._pairs.discard(pair)

    async def _pump(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._pass()
                if upwards and self._armed and _COMMIT in data:
                    self._armed, pair.committing = False, True
                elif not upwards and pair.committing:
                    self.lost_replies += 1
                    return pair.abort()
                writer.write(data)
                await writer.drain()

    async def _pass(self) -> None:
        while self._mode == "silent":
            self._moved.clear()
            await self._moved.wait()
        if self._mode == "delay":
            await asyncio.sleep(self._dice.uniform(0.05, 0.4))


class _Pair:
    """A client's connection and ours to the server."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client, self.server = client, None
        self.committing = False

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None

    def abort(self) -> None:
        """Reset both without sending what waits."""
        for writer in (self.client, self.server):
            if writer is not None and writer.transport is not None:
                writer.transport.abort()


class Proxy:
    """Links on a thread of their own; its methods may be called from any thread."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        """Forward to *upstream*, host and port."""
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy", daemon=True)
        self._thread.start()
        self.links: dict[str, Link] = {}

    def add(self, name: str) -> Link:
        """Open a link of this name."""
        link = Link(name, self._upstream)
        self._do(link.open())
        self.links[name] = link
        return link

    def cut(self, name: str) -> int:
        """Reset all connections of a link; return how many there were."""
        return int(self._do(_called(self.links[name].cut)))

    def set_mode(self, name: str, mode: Mode) -> None:
        """Set how a link behaves."""
        self._do(_called(self.links[name].set_mode, mode))

    def arm(self, name: str, armed: bool = True) -> None:
        """Arm a link against its next commit."""
        self._do(_called(self.links[name].arm, armed))

    def lost_replies(self, name: str) -> int:
        """Return how often the reply to a commit was swallowed on a link."""
        return self.links[name].lost_replies

    def close(self) -> None:
        """Close all links and end the thread."""
        for link in self.links.values():
            self._do(link.close())
        self._do(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()

    async def _settle(self) -> None:
        ours = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not ours]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)


async def _called(function: Any, *arguments: Any) -> Any:
    return function(*arguments)
