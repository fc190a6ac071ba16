"""A runner's end of the line to its worker: what it says, and questions that it waits on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mainspring import errors
from mainspring.errors import MainspringError
from mainspring.runtime.isolation import frames
from mainspring.runtime.isolation.frames import Frames

_PIECE = 1 << 18


class Channel:
    """Sends and receives messages; a signal's exception never tears one apart."""

    def __init__(self, line: socket.socket) -> None:
        """Talk over *line*, whose other end is the keeper's."""
        self._line, self._frames = line, Frames()
        self._sending, self._asking = threading.Lock(), threading.Lock()
        self._arrived: list[tuple[bytes, bytes]] = []
        self._questions = 0
        self.busy = 0
        """How many messages the main thread is in the middle of."""
        self.after_message: Callable[[], None] = lambda: None
        """Called in the main thread when it is in the middle of no message any more."""

    def say(self, kind: bytes, body: Any) -> None:
        """Send a message."""
        data = frames.message(kind, body)
        with self._undisturbed(), self._sending:
            self._line.sendall(data)

    def next(self) -> tuple[bytes, bytes] | None:
        """Return the next message; None when there will be none."""
        while not self._arrived:
            data = self._line.recv(_PIECE)
            if not data:
                return None
            self._frames.feed(data)
            self._arrived.extend(self._frames)
        return self._arrived.pop(0)

    def ask(self, what: str, **details: Any) -> Any:
        """Ask the worker for something and wait for its answer.

        Raises:
            MainspringError: the worker refuses, with its error.
        """
        with self._undisturbed(), self._asking:
            self._questions += 1
            number = self._questions
            self.say(frames.QUESTION, {"number": number, "what": what, **details})
            while (found := self.next()) is not None:
                kind, body = found
                answer = json.loads(body) if kind == frames.ANSWER else {}
                if answer.get("number") == number:
                    return _value(answer)
        raise MainspringError("the worker is gone")

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
        if not self.busy:
            self.after_message()


def _value(answer: dict[str, Any]) -> Any:
    if "error" not in answer:
        return answer["value"]
    kind = getattr(errors, answer["error"], MainspringError)
    if not (isinstance(kind, type) and issubclass(kind, MainspringError)):
        raise MainspringError(f"{answer['error']}: {answer['message']}")
    # Some are made of more than a message; all show one.
    error: MainspringError = BaseException.__new__(kind, answer["message"])
    raise error
