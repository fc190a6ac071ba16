"""Say which runs are the same, so that only one of them is made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from mainspring.clock import EPOCH
from mainspring.encoding import canonical, fingerprint
from mainspring.errors import InvalidInput, unknown_name

States = Literal["unfinished", "any"]
OnConflict = Literal["reject", "existing", "replace", "keep_last"]
_STATES: Final = get_args(States)
_ON_CONFLICT: Final = get_args(OnConflict)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RunKey:
    """What no two runs may have at once."""

    scope: str
    """The task."""
    key: str
    until_end: bool
    """Whether it is free again when its run has ended."""
    expires_at: datetime | None
    """When it is free again whatever became of its run; None with *until_end* False means never."""
    on_conflict: OnConflict
    wait_at_most: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unique:
    """Which runs of a task are the same, and what becomes of a wish for a run that is there already."""

    fields: tuple[str, ...] | None = None
    """The parameters that make the difference; None means all, an empty tuple none."""
    period: timedelta | None = None
    """Only runs asked for in the same period are the same; periods are counted from 1970-01-01 00:00 UTC."""
    states: States = "unfinished"
    """``unfinished``: a run that has ended is in nobody's way; ``any``: the key holds until its period ends."""
    on_conflict: OnConflict = "reject"
    """``reject``: `DuplicateRun`; ``existing``: that run; ``replace``: give it the new parameters, priority and due
    time; ``keep_last``: the same, and start its *wait* anew."""
    wait: timedelta | None = None
    """For ``keep_last``: how long a run waits for a later wish."""
    wait_at_most: timedelta | None = None
    """For ``keep_last``: how long after the first wish it starts although later ones keep coming."""

    def __post_init__(self) -> None:
        fields: Any = self.fields
        if fields is not None and (isinstance(fields, str) or not all(isinstance(name, str) for name in fields)):
            raise InvalidInput(f'unique: fields {fields!r} are not names of parameters; write fields=("ticker",)')
        object.__setattr__(self, "fields", None if fields is None else tuple(fields))
        if self.states not in _STATES:
            raise InvalidInput(f"unique: {unknown_name('states', str(self.states), _STATES)}")
        if self.on_conflict not in _ON_CONFLICT:
            raise InvalidInput(f"unique: {unknown_name('on_conflict', str(self.on_conflict), _ON_CONFLICT)}")
        for name in ("period", "wait", "wait_at_most"):
            span = getattr(self, name)
            if span is not None and not (isinstance(span, timedelta) and span > timedelta(0)):
                raise InvalidInput(f"unique: {name} {span!r} is not a positive timedelta")
        if self.on_conflict == "keep_last":
            if self.wait is None:
                raise InvalidInput("unique: keep_last needs wait=timedelta(…): how long a run waits for a later wish")
            if self.wait_at_most is not None and self.wait_at_most < self.wait:
                raise InvalidInput(f"unique: wait_at_most {self.wait_at_most} is shorter than wait {self.wait}")
        elif self.wait is not None or self.wait_at_most is not None:
            raise InvalidInput(f"unique: wait and wait_at_most belong to keep_last, not to {self.on_conflict!r}")

    def check(self, task: str, known: Collection[str]) -> None:
        """Refuse fields that are not among the *known* parameters of the task."""
        for name in self.fields or ():
            if name not in known:
                raise InvalidInput(f"task {task!r}: unique: {unknown_name('parameter', name, known)}")

    def key_of(self, task: str, parameters: Mapping[str, Any], moment: datetime) -> RunKey:
        """Return the key of a run with these stored *parameters* that is asked for at *moment*."""
        chosen = parameters if self.fields is None else {name: parameters.get(name) for name in self.fields}
        place = None if self.period is None else (moment - EPOCH) // self.period
        span = None if self.period is None else self.period // _MICROSECOND
        until_end = self.states == "unfinished"
        ends = None if until_end or self.period is None or place is None else EPOCH + (place + 1) * self.period
        key = fingerprint(canonical({"parameters": chosen, "fields": self.fields, "period": span, "place": place}))
        return RunKey(task, key, until_end, ends, self.on_conflict, self.wait_at_most)

    def to_json(self) -> dict[str, Any]:
        """Return a form for the description of a task; durations are seconds."""
        return {
            "fields": None if self.fields is None else list(self.fields),
            "period": _seconds(self.period),
            "states": self.states,
            "on_conflict": self.on_conflict,
            "wait": _seconds(self.wait),
            "wait_at_most": _seconds(self.wait_at_most),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Unique:
        """Return what `to_json` wrote."""
        spans = {name: _span(body.get(name)) for name in ("period", "wait", "wait_at_most")}
        fields = body.get("fields")
        return cls(None if fields is None else tuple(fields), states=body["states"], on_conflict=body["on_conflict"],
                   **spans)  # fmt: skip


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
