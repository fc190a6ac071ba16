"""Share an instant between processes: until when a worker may trust its lease, and its children with it."""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

_FORMAT: Final = struct.Struct("d")
_NEVER: Final = 0.0
_LONG_AGO: Final = 0.001


class SharedDeadline:
    """Seconds of the boot clock in memory that a worker writes and its keepers read.

    A worker that is stopped, or hangs, writes nothing: its keepers then end their runs by themselves.
    """

    def __init__(self, descriptor: int) -> None:
        """Map the memory that *descriptor* stands for."""
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)

    @classmethod
    def make(cls) -> SharedDeadline:
        """Return a new one, not set."""
        descriptor = os.memfd_create("mainspring-deadline")
        os.ftruncate(descriptor, mmap.PAGESIZE)
        return cls(descriptor)

    def set(self, at: float) -> None:
        """Say until when the lease holds."""
        _FORMAT.pack_into(self._memory, 0, max(at, _LONG_AGO))

    def get(self) -> float | None:
        """Return until when the lease holds; None when nobody has said yet."""
        (at,) = _FORMAT.unpack_from(self._memory, 0)
        return None if at == _NEVER else at

    def close(self) -> None:
        """Give the memory up in this process."""
        self._memory.close()
        os.close(self.descriptor)
