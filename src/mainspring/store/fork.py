"""Keep a forked child's hands off its parent's connections."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that must forget what it inherited through a fork."""

    def after_fork(self) -> None:
        """Begin anew; called in the child before anything else runs there."""


_known: WeakSet[Forkable] = WeakSet()


def remember(thing: Forkable) -> None:
    """Call *thing*'s `after_fork` in every child that this process forks."""
    _known.add(thing)


def leave_to_parent(things: Any) -> None:
    """Never free *things*, not even at exit: closing them here would end what the parent goes on using."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(things))


def _after_fork() -> None:
    for thing in list(_known):
        thing.after_fork()


os.register_at_fork(after_in_child=_after_fork)
