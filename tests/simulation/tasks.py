"""Tasks of the simulated service: they take virtual time, leave effects outside the database, and fail now and then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from mainspring import Context, Fail, RetryLater, Snooze, task
from mainspring.domain.retry import Backoff
from mainspring.domain.tasks import Task

_QUICK: Final = Backoff(timedelta(seconds=1), maximum=timedelta(seconds=8))


class FragileContext:
    """The context of a task in a child process, which it can bring down."""

    def die(self) -> None:
        """End the process."""
        raise NotImplementedError


class Stage:
    """Where the tasks play; a simulation sets what they do there."""

    effect: Callable[[str, int, str], None]
    """Called with run id, attempt and what happened: start, end."""
    spend: Callable[[float], None]
    """Let virtual seconds pass."""
    luck: Callable[[], float]


STAGE: Final = Stage()


def _work(ctx: Context, seconds: float, trouble: float, *, may_snooze: bool = True) -> dict[str, Any]:
    STAGE.effect(ctx.run_id, ctx.attempt, "start")
    luck = STAGE.luck()
    if luck > 1 - trouble / 2 and isinstance(ctx, FragileContext):
        ctx.die()
    left = seconds
    while left > 0:
        STAGE.spend(min(left, 0.7))
        left -= 0.7
        ctx.progress(seconds - left, seconds)
    if luck < trouble:
        _fail(luck / trouble, may_snooze)
    STAGE.effect(ctx.run_id, ctx.attempt, "end")
    return {"attempt": ctx.attempt}


def _fail(luck: float, may_snooze: bool = True) -> None:
    if luck < 0.6:
        raise ValueError("the simulated source was not there")
    if luck < 0.75:
        raise RetryLater(timedelta(seconds=3), "the simulated source asked for a pause")
    if luck < 0.9 and may_snooze:
        raise Snooze(timedelta(seconds=2))
    raise Fail("the simulated source said never")


@task(name="sim.work", max_retries=3, backoff=_QUICK)
def work(ctx: Context, seconds: float = 0.3, trouble: float = 0.0, member: str = "") -> dict[str, Any]:
    """Work, on a thread."""
    return _work(ctx, seconds, trouble)


@task(name="sim.once", at_most_once=True)
def once(ctx: Context, seconds: float = 0.3, trouble: float = 0.0, member: str = "") -> dict[str, Any]:
    """Work that must not be repeated; a snooze would ask for just that."""
    return _work(ctx, seconds, trouble, may_snooze=False)


@task(name="sim.alone", max_retries=1, backoff=_QUICK, isolated=True)
def alone(ctx: Context, seconds: float = 0.3, trouble: float = 0.0, member: str = "") -> dict[str, Any]:
    """Work, in a child process, which may die of it."""
    return _work(ctx, seconds, trouble)


@task(name="sim.wave", max_retries=2, backoff=_QUICK, queue="waves")
async def wave(ctx: Context, seconds: float = 0.3, trouble: float = 0.0, member: str = "") -> dict[str, Any]:
    """Work, on an event loop."""
    STAGE.effect(ctx.run_id, ctx.attempt, "start")
    luck = STAGE.luck()
    await Pause(seconds)
    if luck < trouble:
        _fail(luck / trouble)
    STAGE.effect(ctx.run_id, ctx.attempt, "end")
    return {"attempt": ctx.attempt}


class Pause:
    """Awaited, lets virtual seconds pass; the simulated event loop knows it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Any:
        yield self


TASKS: Final[tuple[Task[..., Any], ...]] = (work, once, alone, wave)
