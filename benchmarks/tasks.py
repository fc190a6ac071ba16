"""The tasks that are measured: they do nothing but say that they have started."""

from __future__ import annotations

from benchmarks.trace import hit
from mainspring import task


@task
async def coroutine(number: int) -> None:
    """Start and end."""
    hit(number)


@task
def function(number: int) -> None:
    """Start and end."""
    hit(number)
