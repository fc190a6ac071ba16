"""Choose the steps: a state machine for Hypothesis over the steps of `driver`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pprint import pformat
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.model import choices
from tests.model.driver import Driver
from tests.model.found import OPEN, Steps
from tests.model.store import QUEUES, Store

Choice = st.SearchStrategy[Any]
_few = st.integers(0, 3)
_either = st.integers(0, 1)
_flag = st.booleans()
_rarely = st.sampled_from([False, False, False, True])


def _of(values: Any) -> Choice:
    return st.integers(0, len(values) - 1)


# One more than there are ways to end: say again what was said before.
_ends = st.lists(st.tuples(_few, st.integers(0, len(choices.ENDS))), min_size=1, max_size=3)


@dataclass
class Exploration:
    """What was seen on the way."""

    counts: Counter[str] = field(default_factory=Counter)
    """Examples and steps, and how often each thing happened."""
    last: Steps = field(default_factory=list)
    """The steps of the example that was tried last."""
    failed: tuple[Exception, Steps] | None = None
    """What failed first. It need not fail again: a server may have been too slow just then."""


class Found(AssertionError):
    """The store and the model differ."""


# In an empty store most steps do nothing, and short examples would prove little.
_AT_FIRST: Steps = [
    ("submit", {"n": 2, "tries": 2}),
    ("submit", {"once": True, "priority": 1}),
    ("claim", {"session": 0, "slots": 2}),
    ("submit", {"n": 2, "queue": 1, "tries": 3}),
]


class _Machine(RuleBasedStateMachine):
    store: Store
    seen: Exploration

    def __init__(self) -> None:
        super().__init__()
        self.seen.counts["examples"] += 1
        self.seen.last = []
        self.driver = Driver(self.store)
        for step, choice in _AT_FIRST:
            self.take(step, dict(choice))

    def take(self, step: str, choice: dict[str, Any]) -> None:
        """Take a step and remember it."""
        self.seen.counts["steps"] += 1
        self.seen.last.append((step, choice))
        self._try(lambda: getattr(self.driver, step)(**choice))

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.driver.sound = False
            self.seen.failed = self.seen.failed or (error, list(self.seen.last))
            raise

    def teardown(self) -> None:
        """Judge the whole, unless a step has failed already."""
        if self.driver.sound:
            self._try(self.driver.finally_verified)
        self.seen.counts.update(self.driver.model.happened)


def _step(step: str, when: Callable[[Driver], Any] | None = None, /, **choices: Choice) -> Any:
    def take(self: _Machine, **choice: Any) -> None:
        self.take(step, choice)

    take.__name__ = step
    decorate: Any = rule
    made = decorate(**choices)(take)
    return made if when is None else precondition(lambda self: when(self.driver))(made)


def _runs(driver: Driver) -> bool:
    return bool(driver.model.runs)


def _grants(driver: Driver) -> bool:
    return driver.can_act() and bool(driver.grants)


def _failed(driver: Driver) -> bool:
    return any(run.state == "failed" for run in driver.model.runs.values())


def _schedules(driver: Driver) -> bool:
    return bool(driver.model.schedules)


def _ready(driver: Driver) -> bool:
    return any(run.state == "ready" for run in driver.model.runs.values())


class StoreMachine(_Machine):
    """Everything that people, workers, schedulers and clocks do to a store; `store` is set by a subclass."""

    submit = _step(
        "submit", n=st.integers(1, 3), queue=_of(QUEUES), priority=_of(choices.PRIORITIES), due=_of(choices.DUE_IN),
        expires=_of(choices.EXPIRES), tries=st.integers(1, 3), once=_rarely, lost=_rarely,
    )  # fmt: skip
    submit_after = _step("submit_after", _runs, needed=st.lists(_few, min_size=1, max_size=2), lost=_rarely)
    claim = _step(
        "claim", _ready, session=_few, slots=st.integers(1, 4), order=_of(choices.ORDERS), lost=_rarely,
        overtaken=_rarely,
    )  # fmt: skip
    finish = _step("finish", _grants, session=_few, ends=_ends, late=_rarely, lost=_rarely)
    cycle = _step(
        "cycle", _grants, session=_few, ends=_ends, late=_rarely, slots=st.integers(1, 4), order=_of(choices.ORDERS),
        lost=_rarely,
    )  # fmt: skip
    cancel = _step("cancel", _runs, run=_few, ended=_rarely, who=_either, overtaken=_rarely, lost=_rarely)
    retry = _step("retry", _failed, run=_few, lost=_rarely)
    maintain = _step("maintain", by=_either, lost=_rarely)
    pass_time = _step("pass_time", amount=_of(choices.SPANS), beating=_flag)
    step_wall = _step("step_wall", by=_of(choices.STEPS_OF_THE_WALL))
    open_session = _step("open_session", lambda driver: len(driver.model.sessions) < 8, steady=_flag)
    heartbeat = _step("heartbeat", Driver.can_act, session=_few)
    stop = _step("stop", Driver.can_act, session=_few, seen_to_die=_flag)
    restart_machine = _step("restart_machine", Driver.can_act)
    rescue = _step("rescue", by=_either, lost=_rarely, overtaken=_rarely)
    tidy = _step(
        "tidy", lambda driver: any(s.ended_at is not None for s in driver.model.sessions.values()), late=_rarely
    )
    pause_queue = _step("pause_queue", queue=_of(QUEUES), resume=st.sampled_from([False, True, True]), lost=_rarely)
    put_schedule = _step("put_schedule", name=_of(choices.NAMES), rule=_of(choices.RULES), lost=_rarely)
    pause_schedule = _step(
        "pause_schedule", _schedules, name=_of(choices.NAMES), until=_of(choices.PAUSES), lost=_rarely
    )
    resume_schedule = _step("resume_schedule", _schedules, name=_of(choices.NAMES), lost=_rarely)
    delete_schedule = _step("delete_schedule", _schedules, name=_of(choices.NAMES), lost=_rarely)
    trigger = _step("trigger", _schedules, name=_of(choices.NAMES), lost=_rarely)
    fire = _step(
        "fire", _schedules, by=_either, overtaken=_of(choices.OVERTAKERS), name=_of(choices.NAMES),
        rule=_of(choices.RULES), lost=_rarely,
    )  # fmt: skip
    # Each rule is as likely as any other: these are what a store does all day.
    submit_more, claim_more, claim_on, finish_more, finish_on, cycle_more = submit, claim, claim, finish, finish, cycle
    time_goes_on, fire_more, rescue_more = pass_time, fire, rescue
    look = _step("look", state=_few, queue=_of(QUEUES), most=st.integers(1, 5))


def explore(store: Store, examples: int, steps: int, start: int | None, seen: Exploration | None = None) -> None:
    """Try *examples* of *steps* each on *store*; *start* is the seed, None leaves it to the profile.

    Raises:
        Found: what is wrong, and the steps that show it.
    """
    seen = seen or Exploration()
    machine: Any = type("StoreMachine", (StoreMachine,), {"store": store, "seen": seen})
    if start is not None:
        machine = seed(start)(machine)
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, database=None, phases=[Phase.generate], deadline=None,
        report_multiple_bugs=False, print_blob=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except Exception as last:
        error, taken = seen.failed or (last, seen.last)
        shortest = shorten(store, taken, type(error))
        raise Found(f"{error!s:.2000}\nThe steps, to be kept:\n{pformat(shortest, width=120)}") from error


def shorten(store: Store, steps: Steps, kind: type[Exception]) -> Steps:
    """Return as few of *steps* as still fail in the same way: each is left out in turn, long stretches first."""
    size = len(steps)
    while size > 0:
        place = 0
        while place < len(steps):
            fewer = steps[:place] + steps[place + size :]
            if _fails(store, fewer, kind):
                steps = fewer
            else:
                place += size
        size //= 2
    return steps


def _fails(store: Store, steps: Steps, kind: type[Exception]) -> bool:
    try:
        replay(store, steps)
    except kind:
        return True
    except Exception:  # a step that no longer makes sense without the others
        return False
    return False


def replay(store: Store, steps: Steps, avoided: frozenset[str] = OPEN) -> None:
    """Take kept steps once more, and judge the whole."""
    again = Driver(store, avoided)
    for step, choice in steps:
        getattr(again, step)(**choice)
    again.finally_verified()
