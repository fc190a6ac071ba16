"""Make functions into tasks: named objects that check their parameters before anything is enqueued."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from mainspring.domain.cache import Cache
from mainspring.domain.needs import Concurrency, Flow, Text
from mainspring.domain.priority import NORMAL, parse_priority
from mainspring.domain.queue_order import QUEUE_NAME
from mainspring.domain.retry import Backoff
from mainspring.domain.size import parse_size
from mainspring.domain.unique import Unique
from mainspring.errors import InvalidInput, ParametersInvalid, nearest, unknown_name

if TYPE_CHECKING:
    from pydantic import BaseModel

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_LIMITS: Final = ("isolated", "soft_time_limit", "time_limit", "silence_limit", "memory_limit", "cpu_limit",
                  "recycle_after", "output_limit")  # fmt: skip
_OPTIONS: Final = (
    "name", "queue", "priority", "max_retries", "backoff", "at_most_once", "expires", "description", "cache", "unique",
    "uses", "concurrency", "fair", *_LIMITS,
)  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,199}")
DEFAULT_MAX_RETRIES: Final = 3
MAX_RETRIES: Final = 1_000
DEFAULT_RECYCLE_AFTER: Final = 500
DEFAULT_OUTPUT_LIMIT: Final = 10_000_000
_LARGEST_OUTPUT: Final = 100_000_000
_SMALLEST: Final = {"memory_limit": 1_000_000, "output_limit": 1_000}
_SHORTEST_SILENCE: Final = timedelta(seconds=1)


class Context(Protocol):
    """What a running attempt can ask of and tell to Mainspring.

    A task gets it by naming a parameter with this type. It is not part of the task's parameters.
    """

    run_id: str
    attempt: int
    """Pass it, with `run_id`, to outside systems that should refuse a late attempt: it only grows."""
    task: str
    queue: str
    schedule_id: str | None
    """The id of the schedule that started the run, if one did."""
    log: Any
    """A `logging.Logger`; what it is given lands in the attempt's log."""

    @property
    def cancelled(self) -> bool:
        """Whether this run was told to stop (cancelled, out of time, worker stops); a ``def`` task should look."""

    def on_stop(self, callback: Callable[[str], object]) -> None:
        """Call *callback* once when the run is told to stop, from another thread perhaps; at once if it was already.

        It is given the cause: ``cancelled``, ``interrupted`` (its worker stops), ``soft_time_limit`` or
        ``silence_limit``.
        """

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report how far the work is; shown live, with the time it will still take. The latest report counts."""

    def track(self, items: Iterable[T], total: float | None = None, note: str = "", start: float = 0) -> Iterator[T]:
        """Give *items* one by one and report each as done; stops the loop when the run is told to stop.

        *total* is their number unless given. A loop that goes on from a checkpoint says with *start* how much is done.
        """

    def beat(self) -> None:
        """Say that the work goes on, for tasks with a silence limit; raises when the run is told to stop."""

    @property
    def checkpoint(self) -> Any:
        """What was saved last, by this attempt or an earlier one; None at first."""

    def save_checkpoint(self, value: Any, every: timedelta | None = None) -> bool:
        """Save where the work stands, as JSON: a later attempt goes on from there. It is durable on return.

        With *every* it is saved only if the last time is that long ago; returns whether it was.
        """

    def artifact(self, name: str, data: Any, media_type: str | None = None) -> str:
        """Save *data* (bytes, text, a path or an open binary file) under *name* with this run; return its id."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may take. Hard limits hold because the run has a process of its own, which is killed."""

    isolated: bool = False
    """Run in a child process: what happens to it happens to this run alone."""
    soft_time_limit: timedelta | None = None
    """After this the task is told, and may clean up."""
    time_limit: timedelta | None = None
    """After this it is killed, with all processes that it started."""
    silence_limit: timedelta | None = None
    """When it has not been heard of for so long, it is told to stop; an isolated one that goes on is killed."""
    memory_limit: int | None = None
    """Bytes that its processes may take together, beyond what the child held when the run began."""
    cpu_limit: timedelta | None = None
    """Processor time of all its processes together."""
    recycle_after: int = DEFAULT_RECYCLE_AFTER
    """Runs after which a child process is replaced by a fresh one."""
    output_limit: int = DEFAULT_OUTPUT_LIMIT
    """Bytes of its log that are kept: the first tenth, and the last nine."""

    def to_json(self) -> dict[str, Any]:
        """Return a form for the description of a task; durations are seconds."""
        return {
            "isolated": self.isolated,
            "soft_time_limit": _seconds(self.soft_time_limit),
            "time_limit": _seconds(self.time_limit),
            "silence_limit": _seconds(self.silence_limit),
            "memory_limit": self.memory_limit,
            "cpu_limit": _seconds(self.cpu_limit),
            "recycle_after": self.recycle_after,
            "output_limit": self.output_limit,
        }


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


@dataclass(frozen=True, eq=False)
class Task(Generic[P, R]):
    """A named function with its defaults. Calling it calls the function, at once and in this process."""

    function: Callable[P, R]
    name: str
    queue: str | None = None
    """None lets routes decide, and after them the queue `default`."""
    priority: int | None = None
    max_retries: int = DEFAULT_MAX_RETRIES
    """Tries after the first."""
    backoff: Backoff = field(default_factory=Backoff)
    at_most_once: bool = False
    """Never repeat a run that may have happened: a lost one ends as failed (lost)."""
    expires: timedelta | None = None
    """A run not started this long after it came due is cancelled."""
    description: str = ""
    limits: Limits = field(default_factory=Limits)
    cache: Cache | None = None
    """For how long its results answer for later runs with the same parameters, if at all."""
    unique: Unique | None = None
    """Which of its runs are the same, so that only one of them is made."""
    flow: Flow = field(default_factory=Flow)
    """Resources and concurrency keys that each attempt needs, and the key by which runs take turns."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    @property
    def max_tries(self) -> int:
        """How often a run is tried at most."""
        return self.max_retries + 1

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function: it then runs on the worker's event loop."""
        return inspect.iscoroutinefunction(inspect.unwrap(self.function))

    @cached_property
    def context_parameter(self) -> str | None:
        """The name of the parameter that receives the context, if any."""
        return next((name for name, hint in self._hints.items() if _plain(hint) is Context and name != "return"), None)

    @cached_property
    def given_parameters(self) -> dict[str, type]:
        """Parameters that Mainspring or a pack gives, not the caller: by name, the type asked for."""
        hints = {name: _plain(hint) for name, hint in self._hints.items()}
        found = {name: hint for name, hint in hints.items() if getattr(hint, "__mainspring_given__", False)}
        return {name: hint for name, hint in found.items() if name != "return"}

    @cached_property
    def code_version(self) -> str:
        """A short hash of the function's source, kept with each run's snapshot."""
        try:
            source = inspect.getsource(inspect.unwrap(self.function))
        except (OSError, TypeError):
            source = f"{self.function.__module__}.{self.function.__qualname__}"
        return sha256(source.encode()).hexdigest()[:12]

    def validate(self, parameters: Mapping[str, Any], coming: Iterable[str] = ()) -> dict[str, Any]:
        """Return *parameters* with defaults filled in, in the form in which they are stored.

        Those that are *coming* are not known yet: they are missing from what is returned, and checked by `bind`.

        Raises:
            ParametersInvalid: names each parameter that is unknown, missing or of the wrong type.
        """
        checked = self._checked(parameters, frozenset(coming))
        try:
            return checked.model_dump(mode="json", by_alias=True)
        except (ValueError, RecursionError) as error:  # pydantic's own error is a ValueError
            said = str(error).partition("\n")[0]
            raise ParametersInvalid(self.name, [f"a value cannot be stored as JSON: {said}"]) from None

    def bind(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for the function, of the types it names, from parameters that were stored.

        Raises:
            ParametersInvalid: they do not fit (any more).
        """
        checked = self._checked(stored)
        fields = type(checked).model_fields
        arguments = {str(field.alias): getattr(checked, name) for name, field in fields.items()}
        return {**arguments, **(checked.model_extra or {})}

    def check_unique(self, unique: Unique) -> None:
        """Refuse *unique* where it names parameters that the function has not.

        Raises:
            InvalidInput: names the nearest one that it has.
        """
        # By names alone: where the task is defined its types may not be known yet.
        parameters = inspect.signature(self.function).parameters.values()
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            unique.check(self.name, [parameter.name for parameter in parameters])

    def prepare(self) -> None:
        """Make what the first check of parameters would make: a process that forks does it once for its children.

        Raises:
            InvalidInput: a parameter has a type that cannot be stored.
        """
        _ = self._model, self.is_async, self.context_parameter, self.given_parameters
        self._check_flow()

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema of the parameters."""
        self._check_flow()
        schema = self._model.model_json_schema()
        schema["title"] = self.name
        return schema

    def _check_flow(self) -> None:
        fields, extra = self._model.model_fields, self._model.model_config.get("extra")
        names = [str(field.alias) for field in fields.values()]
        try:
            self.flow.check(None if extra == "allow" else names)
        except InvalidInput as error:
            raise InvalidInput(f"task {self.name!r}: {error}") from None

    def _checked(self, parameters: Mapping[str, Any], coming: frozenset[str] = frozenset()) -> BaseModel:
        from pydantic import ValidationError

        model = self._model_without(coming) if coming else self._model
        try:
            return model.model_validate(dict(parameters))
        except ValidationError as error:
            names = {name: str(field.alias) for name, field in model.model_fields.items()}
            raise ParametersInvalid(self.name, [_problem(e, names) for e in error.errors()]) from None

    @cached_property
    def _hints(self) -> dict[str, Any]:
        function = inspect.unwrap(self.function)
        try:
            return get_type_hints(function, include_extras=True)
        except NameError as error:
            raise InvalidInput(f"task {self.name!r}: a type of its parameters is not known: {error}") from error

    def _model_without(self, coming: frozenset[str]) -> type[BaseModel]:
        """Return what checks all parameters but those that are coming.

        Raises:
            ParametersInvalid: the task has no parameter of such a name.
        """
        found = self._partial_models.get(coming)
        if found is None:
            known = [str(field.alias) for field in self._model.model_fields.values()]
            if unknown := sorted(coming - set(known)) if self._model.model_config["extra"] == "forbid" else []:
                raise ParametersInvalid(self.name, [_unknown(name, known) for name in unknown])
            found = self._partial_models[coming] = self._make_model(coming)
        return found

    @cached_property
    def _partial_models(self) -> dict[frozenset[str], type[BaseModel]]:
        return {}

    @cached_property
    def _model(self) -> type[BaseModel]:
        return self._make_model(frozenset())

    def _make_model(self, leave_out: frozenset[str]) -> type[BaseModel]:
        # pydantic is slow to import; a process that only schedules never needs it.
        from pydantic import ConfigDict, Field, create_model
        from pydantic.errors import PydanticSchemaGenerationError

        fields: dict[str, Any] = {}
        extra = "forbid"
        for name, parameter in inspect.signature(self.function).parameters.items():
            if name == self.context_parameter or name in self.given_parameters or name in leave_out:
                continue
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                extra = "allow"
                continue
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            hint = self._hints.get(name, Any)
            # "x: int = None" means what it does; and names that mean something to pydantic are fine for parameters.
            fields[f"field_{len(fields)}"] = (hint | None if default is None else hint, Field(default, alias=name))
        # A default is stored as well; and NaN would be stored as null, which does not come back as a number.
        config = ConfigDict(extra=extra, validate_default=True, allow_inf_nan=False)  # type: ignore[typeddict-item]
        try:
            return create_model(self.function.__name__, __config__=config, **fields)
        except PydanticSchemaGenerationError as error:
            first = str(error).splitlines()[0]
            raise InvalidInput(
                f"task {self.name!r}: a parameter has a type that cannot be stored as JSON: {first}"
            ) from error


def _plain(hint: Any) -> Any:
    """Return the type in ``T | None``, so that a task can be called without what it is given."""
    parts = [part for part in get_args(hint) if part is not type(None)]
    return parts[0] if len(parts) == 1 and get_origin(hint) in (Union, UnionType) else hint


def _problem(error: Any, names: Mapping[str, str]) -> str:
    """Return the sentence for *error*; *names* are those of the parameters by the fields that hold them."""
    place, known = ".".join(str(part) for part in error["loc"]), list(names.values())
    if error["type"] == "extra_forbidden":
        return _unknown(place, known)
    if error["type"] == "missing":
        return f"parameter {place!r} is missing"
    # Of a default that does not fit, pydantic names the field.
    place = names.get(place, place)
    shown = repr(error["input"])
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"parameter {place!r} = {shown}: {message}"


def _unknown(name: str, known: Sequence[str]) -> str:
    guess = nearest(name, known)
    hint = f"; did you mean {guess!r}?" if guess else f"; known: {', '.join(known) or 'none'}"
    return f"unknown parameter {name!r}{hint}"


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    queue: str | None = None,
    priority: str | int | None = None,
    max_retries: int = ...,
    backoff: Backoff | None = None,
    at_most_once: bool = False,
    expires: timedelta | None = None,
    description: str | None = None,
    unique: Unique | None = None,
    isolated: bool | None = None,
    soft_time_limit: timedelta | None = None,
    time_limit: timedelta | None = None,
    memory_limit: int | str | None = None,
    cpu_limit: timedelta | None = None,
    recycle_after: int = ...,
    output_limit: int | str = ...,
    silence_limit: timedelta | None = None,
    cache: Cache | None = None,
    uses: Iterable[str] | Callable[[Mapping[str, Any]], Iterable[str]] = (),
    concurrency: Concurrency | int | None = None,
    fair: Text | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function into a task.

    Args:
        function: the function, where the decorator stands without brackets.
        **options: what follows, by name.
        name: how schedules and callers name it; ``module.function`` unless given.
        queue: the line in which its runs wait unless a route, a schedule or the caller says otherwise.
        priority: high, normal, low or 0 to 9 (9 first).
        max_retries: tries after the first, 0 to 1,000; 3 unless given, with *at_most_once* none.
        backoff: delays between tries; 2 s doubling with equal jitter unless given.
        at_most_once: never repeat a run that may have happened; tries follow only if *max_retries* asks for them.
        expires: cancel a run that has not started this long after it came due.
        description: what it does; the first paragraph of the docstring unless given.
        unique: which of its runs are the same, so that only one of them is made: ``Unique(fields=("ticker",))``.
        isolated: run in a warm child process of its own, which can be killed; implied by each hard limit.
        soft_time_limit: tell the task after this time: `SoftTimeLimit` is raised in it, or it is cancelled.
        time_limit: kill it after this time, with all processes that it started.
        memory_limit: kill it when its processes take more: bytes, or text such as "200MB" or "1GiB".
        cpu_limit: the same for processor time; a ``def`` task is told first, by `CpuLimitExceeded`.
        recycle_after: replace the child process after so many runs; 500 unless given.
        output_limit: how much of a run's log is kept, its middle left out; "10MB" unless given.
        silence_limit: tell it to stop when it has neither beaten nor reported for so long, a second at least.
        cache: take over the result of an earlier run with the same parameters: ``Cache(ttl=timedelta(hours=1))``.
        uses: resources that each attempt needs: names, with parameters as in "host:{host}", or a function of them.
        concurrency: how many runs at the same time: a number, or `Concurrency(2, key="{customer}")` for each key.
        fair: runs with the same value, as in "{customer}", take turns with those of other values.

    Raises:
        InvalidInput: a value is out of range, or the function cannot be a task (positional-only or ``*args``).
    """
    if function is not None:
        return _make(function, {})
    unknown = [option for option in options if option not in _OPTIONS]
    if unknown:
        raise InvalidInput(f"@task: {unknown_name('option', unknown[0], _OPTIONS)}")
    return lambda decorated: _make(decorated, dict(options))


def _make(function: Any, options: dict[str, Any]) -> Task[..., Any]:
    if isinstance(function, Task):
        raise InvalidInput(f"{function.name!r} is a task already; decorate it once")
    if not callable(function) or not hasattr(function, "__name__"):
        raise InvalidInput(f"@task needs a function, not {function!r}")
    name = options.pop("name", None) or f"{function.__module__}.{function.__qualname__}".replace("<locals>.", "")
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"task name {name!r} is not usable; write letters, digits, '_', '-' and '.', at most 200")
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
            raise InvalidInput(
                f"task {name!r}: parameter {parameter.name!r} has no name to be passed by; parameters go by name"
            )
    if options.get("at_most_once"):
        # Trying again is doing it again: only who asks for both gets both.
        options.setdefault("max_retries", 0)
    retries = options.get("max_retries", DEFAULT_MAX_RETRIES)
    if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= MAX_RETRIES:
        raise InvalidInput(f"task {name!r}: max_retries {retries!r} is not a number from 0 to {MAX_RETRIES}")
    queue, expires = options.get("queue"), options.get("expires")
    if queue is not None and not (isinstance(queue, str) and QUEUE_NAME.fullmatch(queue)):
        raise InvalidInput(f"task {name!r}: queue {queue!r} is not usable; write letters, digits, '_', '.' and '-'")
    if expires is not None and not (isinstance(expires, timedelta) and expires > timedelta(0)):
        raise InvalidInput(f"task {name!r}: expires {expires!r} is not a positive timedelta")
    priority = options.pop("priority", None)
    description = options.pop("description", None) or (inspect.getdoc(function) or "").partition("\n\n")[0]
    backoff = options.pop("backoff", None) or Backoff()
    if not isinstance(backoff, Backoff):
        raise InvalidInput(
            f"task {name!r}: backoff {backoff!r} is not usable; write backoff=Backoff(timedelta(seconds=2))"
        )
    unique = options.get("unique")
    if unique is not None and not isinstance(unique, Unique):
        raise InvalidInput(f'task {name!r}: unique {unique!r} is not usable; write unique=Unique(fields=("ticker",))')
    parsed = None if priority is None else parse_priority(priority)
    _check_cache(name, function, options.get("cache"))
    limits = _limits(name, {option: options.pop(option) for option in _LIMITS if option in options})
    flow = _flow(name, *(options.pop(option, None) for option in ("uses", "concurrency", "fair")))
    made = Task(
        function, name, priority=parsed, description=description, backoff=backoff, limits=limits, flow=flow, **options
    )
    if unique is not None:
        made.check_unique(unique)
    return made


def _check_cache(name: str, function: Any, cache: Any) -> None:
    if cache is None:
        return
    if not isinstance(cache, Cache):
        raise InvalidInput(f"task {name!r}: cache {cache!r} is not usable; write cache=Cache(ttl=timedelta(hours=1))")
    known = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for field_name in cache.fields or ():
        if field_name not in known:
            raise InvalidInput(f"task {name!r}: cache: {unknown_name('parameter', field_name, known)}")


def _flow(name: str, uses: Any, concurrency: Any, fair: Any) -> Flow:
    try:
        if isinstance(concurrency, int):
            concurrency = Concurrency(concurrency)
        if not (concurrency is None or isinstance(concurrency, Concurrency)):
            raise InvalidInput(
                f"concurrency {concurrency!r} is not usable; write a number or Concurrency(2, key='{{x}}')"
            )
        if not (fair is None or isinstance(fair, str) or callable(fair)):
            raise InvalidInput(f"fair {fair!r} is neither text such as '{{customer}}' nor a function")
        if isinstance(uses, str) or not (uses is None or callable(uses) or isinstance(uses, Iterable)):
            raise InvalidInput(f"uses {uses!r} is not usable; write a list of names, such as uses=['brapi']")
        names = uses if callable(uses) else tuple(uses or ())
        if isinstance(names, tuple) and not all(isinstance(text, str) for text in names):
            raise InvalidInput(f"uses {list(names)!r} is not usable; write a list of names, such as uses=['brapi']")
        return Flow(names, concurrency, fair)
    except InvalidInput as error:
        raise InvalidInput(f"task {name!r}: {error}") from None


def _limits(name: str, given: dict[str, Any]) -> Limits:
    given = {option: value for option, value in given.items() if value is not None}
    for option in ("soft_time_limit", "time_limit", "silence_limit", "cpu_limit"):
        span = given.get(option)
        if span is not None and not (isinstance(span, timedelta) and span > timedelta(0)):
            raise InvalidInput(f"task {name!r}: {option} {span!r} is not a positive timedelta")
    silence = given.get("silence_limit")
    if silence is not None and silence < _SHORTEST_SILENCE:
        raise InvalidInput(
            f"task {name!r}: silence_limit {silence} is below a second; beats are not counted so exactly"
        )
    for option, smallest in _SMALLEST.items():
        if option in given:
            given[option] = _size(name, option, given[option], smallest)
    if given.get("output_limit", 0) > _LARGEST_OUTPUT:
        raise InvalidInput(f"task {name!r}: output_limit {given['output_limit']} is above {_LARGEST_OUTPUT} bytes")
    runs = given.get("recycle_after", DEFAULT_RECYCLE_AFTER)
    if not isinstance(runs, int) or isinstance(runs, bool) or runs < 1:
        raise InvalidInput(f"task {name!r}: recycle_after {runs!r} is not a number of runs, 1 or more")
    soft, hard = given.get("soft_time_limit"), given.get("time_limit")
    if soft is not None and hard is not None and soft >= hard:
        raise InvalidInput(
            f"task {name!r}: soft_time_limit {soft} must be shorter than time_limit {hard}: it is told, then killed"
        )
    needs = next((option for option in ("time_limit", "memory_limit", "cpu_limit") if option in given), None)
    isolated = given.get("isolated", needs is not None)
    if not isinstance(isolated, bool):
        raise InvalidInput(f"task {name!r}: isolated {isolated!r} is neither True nor False")
    if needs is not None and not isolated:
        raise InvalidInput(
            f"task {name!r}: {needs} cannot hold with isolated=False: only a process can be killed; leave isolated out"
        )
    return Limits(**{**given, "isolated": isolated})


def _size(name: str, option: str, given: Any, smallest: int) -> int:
    try:
        size = parse_size(given)
    except InvalidInput as error:
        raise InvalidInput(f"task {name!r}: {option} {error}") from None
    if size < smallest:
        raise InvalidInput(f"task {name!r}: {option} {given!r} is below {smallest} bytes, too little for any run")
    return size


DEFAULT_QUEUE: Final = "default"
DEFAULT_PRIORITY: Final = NORMAL
