"""Say what each attempt of a run needs before it may start: resources, and a place under each of its concurrency keys.

A task declares it as texts, perhaps with its parameters in them ("host:{host}"), or as functions of its parameters.
Texts are filled in by whoever makes the run; functions only where the task's code is at hand, otherwise by the worker
that meets the run first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final

from mainspring.domain.resource_limits import resource_name
from mainspring.encoding import decode, encode, fingerprint
from mainspring.errors import InvalidInput, unknown_name

ASK: Final = '"?"'
"""The needs of a run whose task only knows them by its code: the worker that claims it first fills them in."""
MOST: Final = 20
"""Needs that one run may have."""
_LONGEST_VALUE: Final = 200
_KEY: Final = "key/"
"""How the names of keys begin; no resource is called so."""
_MOST_RUNNING: Final = 100_000
Text = str | Callable[[Mapping[str, Any]], Any]
"""A text with parameters in braces, or a function of the parameters."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most *limit* runs of a task at the same time: of all, or of those with the same *key*."""

    limit: int
    key: Text | None = None

    def __post_init__(self) -> None:
        _check_limit("concurrency: limit", self.limit)
        if self.key is not None and not (callable(self.key) or isinstance(self.key, str)):
            raise InvalidInput(f"concurrency: key {self.key!r} is neither text such as '{{customer}}' nor a function")


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many runs of a queue may run at the same time: all together, and those with the same key."""

    running: int | None = None
    per_key: int | None = None
    set_by: str = ""
    """Who set them; empty where the configuration did."""

    def __post_init__(self) -> None:
        for name in ("running", "per_key"):
            if getattr(self, name) is not None:
                _check_limit(f"limit {name!r} of a queue", getattr(self, name))

    @property
    def none(self) -> bool:
        """Whether nothing is limited."""
        return self.running is None and self.per_key is None

    @classmethod
    def from_json(cls, text: str | None) -> QueueLimits:
        """Return the limits that `to_json` wrote."""
        body = decode(text) or {}
        return cls(body.get("running"), body.get("per_key"), body.get("set_by", ""))

    def to_json(self) -> str:
        """Return a JSON text that `from_json` reads; empty braces where nothing is limited."""
        if self.none:
            return "{}"
        return encode({name: getattr(self, name) for name in self.__slots__ if getattr(self, name)})

    def __str__(self) -> str:
        said = [] if self.running is None else [f"{self.running:,} running"]
        return ", ".join([*said, *([] if self.per_key is None else [f"{self.per_key:,} of a key"])])


def _check_limit(what: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_RUNNING:
        raise InvalidInput(
            f"{what} {value!r} is not a number of runs from 1 to {_MOST_RUNNING:,}; leave it out for any"
        )


@dataclass(frozen=True, slots=True)
class Need:
    """A resource, or with a limit the place under a key."""

    name: str
    limit: int | None = None

    @property
    def is_key(self) -> bool:
        """Whether it is a place under a concurrency key."""
        return self.name.startswith(_KEY)


def needs_of(text: str | None) -> tuple[Need, ...]:
    """Return the needs that a run's `uses` says; none where its worker has yet to say them."""
    body = decode(text)
    return tuple(Need(item["name"], item.get("limit")) for item in body) if isinstance(body, list) else ()


def queue_needs(queue: str, limits: QueueLimits, key: str | None) -> tuple[Need, ...]:
    """Return what the limits of its queue make a run need."""
    found = [] if limits.running is None else [Need(f"{_KEY}queue:{queue}", limits.running)]
    if limits.per_key is not None and key is not None:
        found.append(Need(f"{_KEY}queue:{queue}:{key}", limits.per_key))
    return tuple(found)


def all_needs(uses: str | None, queue: str, limits: QueueLimits, key: str | None) -> tuple[Need, ...]:
    """Return everything a run needs, keys first: they cost nothing to ask."""
    found = (*queue_needs(queue, limits, key), *needs_of(uses))
    return tuple(sorted(found, key=lambda need: not need.is_key))


def need_in_words(name: str) -> str:
    """Return what a need is called towards people: a resource by its name, a key by what it limits."""
    if not name.startswith(_KEY):
        return name
    scope, owner, *value = name.removeprefix(_KEY).split(":", 2)
    return f"key {value[0]!r} of {scope} {owner}" if value else f"{scope} {owner}"


@dataclass(frozen=True, slots=True)
class RunNeeds:
    """What a run needs and by which key it takes turns, as its row keeps them."""

    uses: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """What a task declares about resources, concurrency and turns."""

    uses: tuple[str, ...] | Callable[[Mapping[str, Any]], Iterable[str]] = ()
    concurrency: Concurrency | None = None
    fair: Text | None = None
    """Runs with the same value take turns with those of other values; without a limit."""

    @property
    def declared(self) -> bool:
        """Whether it says anything."""
        return self != Flow()

    @property
    def limits(self) -> bool:
        """Whether there may be anything to ask before a run begins."""
        return bool(self.uses) or self.concurrency is not None

    @property
    def asks(self) -> bool:
        """Whether a part of it is a function, which needs the task's code."""
        return any(callable(part) for part in (self.uses, self.fair, self.concurrency and self.concurrency.key))

    def check(self, known: Sequence[str] | None) -> None:
        """Refuse what no run could ever need; *known* are the task's parameters, None where any name may be given.

        Raises:
            InvalidInput: a text names a parameter that the task has not, or cannot name a resource.
        """
        for text in () if callable(self.uses) else self.uses:
            names = _parameters_in("uses", text, known)
            if not names:
                resource_name(text)
        for option, part in (("concurrency key", self.concurrency and self.concurrency.key), ("fair", self.fair)):
            if isinstance(part, str):
                _parameters_in(option, part, known)

    def needs(self, task: str, parameters: Mapping[str, Any]) -> RunNeeds:
        """Return what a run of *task* with these parameters, in their stored form, needs.

        Raises:
            InvalidInput: a value cannot name a resource, or a parameter is not given.
        """
        names = (
            self.uses(parameters) if callable(self.uses) else [_fill("uses", text, parameters) for text in self.uses]
        )
        if isinstance(names, str):
            raise InvalidInput(f"task {task!r}: uses gave the text {names!r}; return a list of names")
        needs = [Need(resource_name(name)) for name in dict.fromkeys(names)]
        key = _value("fair", self.fair, parameters)
        if self.concurrency is not None:
            own = _value("concurrency key", self.concurrency.key, parameters)
            key = own if key is None else key
            needs.append(Need(f"{_KEY}task:{task}" + ("" if own is None else f":{own}"), self.concurrency.limit))
        if len(needs) > MOST:
            raise InvalidInput(f"task {task!r}: a run of it needs {len(needs)} resources; the most are {MOST}")
        return RunNeeds(_to_text(needs), key)

    def to_json(self) -> dict[str, Any] | None:
        """Return a form for the description of a task, None where nothing is declared."""
        if not self.declared:
            return None
        if self.asks:
            return {"asks": True}
        limit = None if self.concurrency is None else self.concurrency.limit
        key = None if self.concurrency is None else self.concurrency.key
        return {"uses": list(self.uses if isinstance(self.uses, tuple) else ()), "limit": limit, "key": key,
                "fair": self.fair}  # fmt: skip


def described_needs(
    task: str, flow: Mapping[str, Any] | None, schema: Mapping[str, Any], parameters: Mapping[str, Any]
) -> RunNeeds:
    """Return what a run needs, from the description of its task; `ASK` where only the code can say it."""
    if flow is None:
        return RunNeeds()
    if flow.get("asks"):
        return RunNeeds(ASK)
    limit = flow["limit"]
    declared = Flow(tuple(flow["uses"]), None if limit is None else Concurrency(limit, flow["key"]), flow["fair"])
    properties = schema.get("properties", {})
    defaults = {name: said["default"] for name, said in properties.items() if "default" in said}
    try:
        return declared.needs(task, {**defaults, **parameters})
    except InvalidInput:
        # The worker says the same, where the run's own log can tell of it.
        return RunNeeds(ASK)


def _to_text(needs: Sequence[Need]) -> str | None:
    if not needs:
        return None
    return encode([{"name": n.name} if n.limit is None else {"name": n.name, "limit": n.limit} for n in needs])


def _parameters_in(option: str, text: str, known: Sequence[str] | None) -> list[str]:
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise InvalidInput(f"{option} {text!r}: {error}; write a parameter as {{name}}") from None
    found = [name for _, name, _, _ in parts if name is not None]
    for _, name, form, conversion in parts:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise InvalidInput(f"{option} {text!r}: write a parameter as {{name}}, and nothing else between braces")
    for name in found:
        if known is not None and name not in known:
            raise InvalidInput(f"{option} {text!r}: {unknown_name('parameter', name, known)}")
    return found


def _fill(option: str, text: str, parameters: Mapping[str, Any]) -> str:
    filled = []
    for literal, name, _, _ in Formatter().parse(text):
        filled.append(literal)
        if name is None:
            continue
        if name not in parameters:
            raise InvalidInput(f"{option} {text!r}: parameter {name!r} is not given")
        filled.append(_text(parameters[name]))
    return "".join(filled)


def _value(option: str, part: Text | None, parameters: Mapping[str, Any]) -> str | None:
    if part is None:
        return None
    text = _fill(option, part, parameters) if isinstance(part, str) else _text(part(parameters))
    # A long value only has to be told from others.
    return text if len(text) <= _LONGEST_VALUE else f"sha256:{fingerprint(text)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encode(value)
