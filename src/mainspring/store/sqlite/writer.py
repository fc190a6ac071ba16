"""Commit many small transactions with one fsync: group commit without a timer.

A lone caller commits on its own thread. Callers that arrive while a commit is under way queue; as soon as it ends, a
writer thread commits all that wait in one transaction, each in a savepoint of its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from mainspring.errors import StoreUnavailable

Tx = TypeVar("Tx")
T = TypeVar("T")


class GroupCommit(Generic[Tx]):
    """Runs pieces of work one after the other inside transactions that *begin* and *commit* delimit."""

    def __init__(
        self,
        begin: Callable[[], Tx],
        commit: Callable[[], None],
        rollback: Callable[[], None],
        savepoint: Callable[[Tx, Callable[[], Any]], Any],
        is_open: Callable[[Tx], bool],
        most: int = 500,
    ) -> None:
        """Group at most *most* pieces of work into one transaction."""
        self._begin, self._commit, self._rollback, self._savepoint = begin, commit, rollback, savepoint
        self._is_open, self._most = is_open, most
        self._busy = threading.Lock()
        self._queue: deque[tuple[Callable[[Tx], Any], Future[Any]]] = deque()
        self._work_arrived = threading.Event()
        self._closed = False
        self._gate = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[Tx], T]) -> T:
        """Run *work* in a transaction and return its result after the commit; what it raises is raised here.

        Raises:
            StoreUnavailable: the database was closed.
        """
        if self._closed:
            raise StoreUnavailable("the database has been closed")
        if not self._queue and self._busy.acquire(blocking=False):
            try:
                return self._alone(work)
            finally:
                self._busy.release()
        promise: Future[T] = Future()
        with self._gate:
            if self._closed:
                raise StoreUnavailable("the database has been closed")
            self._ensure_thread()
            self._queue.append((work, promise))
        self._work_arrived.set()
        return promise.result()

    def close(self) -> None:
        """Finish what waits and stop the thread."""
        with self._gate:
            self._closed = True
        self._work_arrived.set()
        if self._thread is not None:
            self._thread.join()

    def aside(self, work: Callable[[], None]) -> None:
        """Run *work* between two transactions; those who want to write wait for it."""
        with self._busy:
            work()

    def _alone(self, work: Callable[[Tx], T]) -> T:
        tx = self._begin()
        try:
            result = work(tx)
        except BaseException:
            self._rollback()
            raise
        self._commit()
        return result

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="mainspring-writer", daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        while True:
            self._work_arrived.wait()
            self._work_arrived.clear()
            while self._queue:
                with self._busy:
                    self._together()
            if self._closed and not self._queue:
                return

    def _together(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._most))]
        done: list[tuple[Future[Any], Any]] = []
        try:
            tx = self._begin()
        except Exception as error:
            for _, promise in batch:
                promise.set_exception(error)
            return
        try:
            for work, promise in batch:
                try:
                    done.append((promise, self._savepoint(tx, lambda w=work: w(tx))))  # type: ignore[misc]
                except Exception as error:  # one caller's failure is that caller's alone
                    promise.set_exception(error)
                    # A full disk makes SQLite end the whole transaction; what follows would commit piece by piece.
                    if not self._is_open(tx):
                        raise
            self._commit()
        except BaseException as error:
            self._rollback()
            for _, promise in batch:
                if not promise.done():
                    promise.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for promise, result in done:
            promise.set_result(result)
