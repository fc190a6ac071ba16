"""Check single values of settings: what they may be, said in plain words when they are not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from mainspring.config.document import scalar_value
from mainspring.config.variables import VariableText
from mainspring.domain.duration import format_duration, parse_duration
from mainspring.domain.priority import parse_priority
from mainspring.domain.queue_order import QUEUE_NAME, QueueOrder
from mainspring.domain.rate import Rate
from mainspring.domain.resource_limits import RESOURCE_NAME
from mainspring.domain.size import Size, parse_size
from mainspring.domain.zones import zone as find_zone
from mainspring.domain.zones import zone_names
from mainspring.errors import MainspringError, nearest

T = TypeVar("T")

DURATION_PATTERN: Final = r"^\s*(\d+(\.\d+)?\s*[A-Za-z]+\s*,?\s*)+$|\$\{"
SIZE_PATTERN: Final = r"^\s*\d+(\.\d+)?\s*([kKmMgGtT]i?)?[bB]?\s*$|\$\{"
_VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}
_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_MODULE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_PACK: Final = re.compile(r"[A-Za-z_][\w.-]*(:[A-Za-z_]\w*)?", re.ASCII)
_PATTERN: Final = re.compile(r"\S{1,200}")
_TASK: Final = re.compile(r"[^\s*?\[\]]{1,200}")
_LONGEST_SHOWN: Final = 60
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


def problem(message: str) -> PydanticCustomError:
    """Return the error with which a validator refuses a value; *message* is a plain sentence part."""
    return PydanticCustomError("unusable", "{message}", {"message": message})


def shown(value: object) -> str:
    """Return *value* in words, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {str(value)!r}" if len(value) <= _LONGEST_SHOWN else f"a text of {len(value)} characters"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return "a mapping" if isinstance(value, Mapping) else "a list" if isinstance(value, (list, tuple)) else "this value"


def checked(read: Callable[[Any], T]) -> Callable[[Any], T]:
    """Return *read* with errors of ours turned into ones that pydantic collects."""

    def check(value: Any) -> T:
        try:
            return read(value)
        except MainspringError as error:
            raise problem(str(error)) from None

    return check


def text(value: object) -> str:
    """Return *value*, which must be text."""
    if isinstance(value, str):
        return str(value)
    quote = "; put it in quotes" if isinstance(value, (int, float)) else ""
    raise problem(f"must be text, not {shown(value)}{quote}")


def _name(what: str, form: re.Pattern[str], rule: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        found = text(value)
        if form.fullmatch(found) is None:
            raise problem(f"{shown(found)} is no {what}; {rule}")
        return found

    return check


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """Return a check for whole numbers from *low* to *high*."""

    def check(value: object) -> int:
        found = _scalar(value) if isinstance(value, VariableText) else value
        if not isinstance(found, int) or isinstance(found, bool):
            unquote = "; remove the quotes" if isinstance(value, str) and value.isdigit() else ""
            raise problem(f"must be a whole number from {low} to {high}, not {shown(value)}{unquote}")
        if not low <= found <= high:
            raise problem(f"must be a whole number from {low} to {high}, not {found}")
        return found

    return check


def _scalar(value: VariableText) -> object:
    try:
        return scalar_value(value.strip())
    except ValueError as error:
        raise problem(str(error)) from None


def boolean(value: object) -> bool:
    """Return *value*, which must be true or false; from variables, yes and on, no and off count too."""
    if isinstance(value, bool):
        return value
    folded = value.strip().lower() if isinstance(value, str) else ""
    if isinstance(value, VariableText) and folded in _TRUE | _FALSE:
        return folded in _TRUE
    known = folded in _TRUE | _FALSE
    way_out = f"; write {str(folded in _TRUE).lower()}" if known else ""
    raise problem(f"must be true or false, not {shown(value)}{way_out}")


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    found = parse_duration(str(value) if isinstance(value, str) else value)
    if found <= timedelta(0):
        raise problem(f"must be longer than nothing, not {shown(value)}")
    return found


def _span(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    return parse_duration(str(value) if isinstance(value, str) else value)


def _drain(value: object) -> timedelta | None:
    if isinstance(value, str):
        if value.strip().lower() == "forever":
            return None
        guess = nearest(value.strip(), ["forever"])
        if guess:
            raise problem(f"{shown(value)} is no duration; did you mean 'forever'?")
    return _span(value)


def _keep(value: object) -> timedelta | None:
    found = _drain(value)
    if found is not None and found <= timedelta(0):
        raise problem(f"must be longer than nothing, or 'forever', not {shown(value)}")
    return found


def _size(value: object) -> Size:
    found = parse_size(str(value) if isinstance(value, str) else value)
    if found <= 0:
        raise problem(f"must be more than nothing, not {shown(value)}")
    return Size(found)


def choice(*words: str) -> Callable[[object], str]:
    """Return a check for one of *words*."""
    known = f"{', '.join(words[:-1])} or {words[-1]}"

    def check(value: object) -> str:
        if isinstance(value, str) and value in words:
            return str(value)
        guess = nearest(value, words) if isinstance(value, str) else None
        raise problem(f"must be {known}, not {shown(value)}" + (f"; did you mean {guess!r}?" if guess else ""))

    return check


def _zone(value: object) -> str:
    name = text(value)
    if name not in zone_names() and nearest(name, zone_names()) is None:
        raise problem(f"unknown time zone {name!r}; write a name such as UTC or America/Sao_Paulo")
    find_zone(name)
    return name


def moment(value: object) -> date | datetime:
    """Return the date or the date and time that *value* says; without an offset it is local time.

    A datetime keeps its offset where it has one. Seconds may be left out.
    """
    if isinstance(value, (date, datetime)):
        return value
    if not isinstance(value, str):
        raise problem(f"must be a date or a date and time such as 2026-12-31T09:00, not {shown(value)}")
    try:
        if len(value.strip()) <= len("2026-12-31"):
            return date.fromisoformat(value.strip())
        return datetime.fromisoformat(value.strip())
    except ValueError:
        raise problem(
            f"{shown(value)} is no date or time; write 2026-12-31, or 2026-12-31T09:00 in the schedule's zone"
        ) from None


def date_and_time(value: object) -> datetime:
    """Return the date and time that *value* says; without an offset it is local time."""
    found = moment(value)
    if isinstance(found, datetime):
        return found
    raise problem(f"needs a time of day as well; write {found.isoformat()}T09:00")


def day(value: object) -> date:
    """Return the day that *value* says."""
    try:
        found = moment(value)
    except PydanticCustomError:
        raise problem(f"{shown(value)} is no day; write it as 2026-12-31") from None
    if isinstance(found, datetime):
        raise problem(f"must be a day such as {found.date().isoformat()}, without a time")
    return found


def _database(value: object) -> str:
    address = text(value)
    if address.startswith("secret:"):
        return address
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in ("sqlite", "postgresql"):
        raise problem(_unknown_database(scheme if separator else ""))
    if scheme == "sqlite" and not rest.startswith("/"):
        raise problem("an SQLite address has three slashes, or four for an absolute path: sqlite:///mainspring.db")
    if scheme == "sqlite" and not rest.strip("/"):
        raise problem("an SQLite address needs a file name: sqlite:///mainspring.db")
    _usable_address(address)
    return address


def _unknown_database(scheme: str) -> str:
    if scheme == "postgres" or scheme.startswith("postgresql+"):
        return f"database kind {scheme!r} is not known; write postgresql://…"
    guess = nearest(scheme, ["sqlite", "postgresql"])
    meant = f"; did you mean '{guess}://'?" if guess else ""
    named = f"database kind {scheme!r} is not known" if scheme else "must be the address of a database"
    return named + (meant or "; write sqlite:///mainspring.db or postgresql://host/name")


def _usable_address(address: str) -> None:
    try:
        _ = urlsplit(address).port
    except ValueError:
        raise problem("the address cannot be read; write %XX for special characters in the password") from None


class DatabaseAddress(str):
    """The address of a database; its password does not show in `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(hide_password(str(self)))


def hide_password(address: str) -> str:
    """Return *address* with the password of a URL in it replaced."""
    return re.sub(r"(://[^:/@\s]*):\S+@", r"\1:•••@", address)


_module_name = _name("module", _MODULE, "write it as in Python's import, such as 'tasks' or 'reports.daily'")


def _module(value: object) -> str:
    name = _module_name(value)
    if name.endswith(".py"):
        raise problem(f"{shown(name)} is a file; name the module: {name.removesuffix('.py')!r}")
    return name


def _queue_order(value: object) -> QueueOrder:
    if isinstance(value, QueueOrder):
        return value
    if isinstance(value, list):
        return QueueOrder.parse(",".join(text(name) for name in value))
    if not isinstance(value, str):
        raise problem(f"must be text such as 'high,default,low' or 'scraping:3,analysis:1', not {shown(value)}")
    return QueueOrder.parse(str(value))


def _rate(value: object) -> Rate:
    return value if isinstance(value, Rate) else Rate.parse(str(value) if isinstance(value, str) else value)


def share(value: object) -> float:
    """Return *value*, which must be a number above 0 and up to 1."""
    found = _scalar(value) if isinstance(value, VariableText) else value
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not 0 < found <= 1:
        raise problem(f"must be a share above 0 and up to 1, such as 0.5, not {shown(value)}")
    return float(found)


def between(least: timedelta, most: timedelta) -> Callable[[object], timedelta]:
    """Return a check for durations from *least* to *most*."""

    def check(value: object) -> timedelta:
        found = _span(value)
        if not least <= found <= most:
            raise problem(
                f"must be between {format_duration(least)} and {format_duration(most)}, not {format_duration(found)}"
            )
        return found

    return checked(check)


def _priority(value: object) -> int:
    if isinstance(value, str):
        guess = nearest(value, ["high", "normal", "low"])
        if guess is not None and value.strip().lower() != guess:
            raise problem(f"priority {str(value)!r} is not known; did you mean {guess!r}?")
    return parse_priority(str(value) if isinstance(value, VariableText) else value)


def _schema(kind: str, **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **more})


def _or_variable(schema: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [schema, _VARIABLE]})


def integer(low: int, high: int) -> WithJsonSchema:
    """Return the JSON schema of a whole number from *low* to *high*."""
    return _or_variable({"type": "integer", "minimum": low, "maximum": high})


Text = Annotated[str, BeforeValidator(text), _schema("string")]
Flag = Annotated[bool, BeforeValidator(boolean), _or_variable({"type": "boolean"})]
Zone = Annotated[
    str, BeforeValidator(checked(_zone)), _schema("string", examples=["UTC", "America/Sao_Paulo", "Europe/Berlin"])
]
Database = Annotated[
    str,
    BeforeValidator(checked(_database)),
    AfterValidator(DatabaseAddress),
    _schema("string", pattern=r"^(sqlite:///|postgresql://|secret:|.*\$\{)", examples=["sqlite:///mainspring.db"]),
]
SchemaName = Annotated[
    str,
    BeforeValidator(
        _name("name of a PostgreSQL schema", _IDENTIFIER, "use at most 63 of a-z, 0-9 and '_', no digit first")
    ),
    _schema("string", pattern=r"^[a-z_][a-z0-9_]{0,62}$|\$\{"),
]
ModuleName = Annotated[
    str,
    BeforeValidator(_module),
    _schema("string"),
]
PackName = Annotated[
    str,
    BeforeValidator(_name("pack", _PACK, "write the name of an installed pack, such as 'market', or 'module:object'")),
    _schema("string"),
]
TaskName = Annotated[
    str,
    BeforeValidator(_name("name of a task", _TASK, "write it as in 'market.quotes', without spaces and wildcards")),
    _schema("string"),
]
TaskPattern = Annotated[
    str,
    BeforeValidator(_name("pattern of task names", _PATTERN, "write a name or a pattern such as 'market.*'")),
    _schema("string"),
]
QueueName = Annotated[
    str,
    BeforeValidator(
        _name("name of a queue", QUEUE_NAME, "use 1 to 100 letters, digits, '_', '.' and '-', no sign first")
    ),
    _schema("string", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$|\$\{"),
]
ResourceName = Annotated[
    str,
    BeforeValidator(
        _name("name of a resource", RESOURCE_NAME, "use 1 to 200 letters, digits, '_', '.', ':' and '-', no sign first")
    ),
    _schema("string", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}$|\$\{"),
]
RateOfUse = Annotated[
    Rate, BeforeValidator(checked(_rate)), _schema("string", examples=["5/s", "100/min", "1000/h", "5/s burst 10"])
]
Duration = Annotated[
    timedelta,
    BeforeValidator(checked(_duration)),
    _schema("string", pattern=DURATION_PATTERN, examples=["15m", "1h30m"]),
]
Span = Annotated[
    timedelta, BeforeValidator(checked(_span)), _schema("string", pattern=DURATION_PATTERN, examples=["30s", "0s"])
]
Drain = Annotated[
    timedelta | None,
    BeforeValidator(checked(_drain)),
    WithJsonSchema(
        {
            "anyOf": [{"const": "forever"}, {"type": "string", "pattern": DURATION_PATTERN}],
            "examples": ["25s", "forever"],
        }
    ),
]
Keep = Annotated[
    timedelta | None,
    BeforeValidator(checked(_keep)),
    WithJsonSchema(
        {
            "anyOf": [{"const": "forever"}, {"type": "string", "pattern": DURATION_PATTERN}],
            "examples": ["30d", "forever"],
        }
    ),
]
ByteSize = Annotated[
    int,
    BeforeValidator(checked(_size)),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"type": "integer", "minimum": 1}],
            "examples": ["256MB", "20GB", "1GiB"],
        }
    ),
]
Moment = Annotated[
    date | datetime, BeforeValidator(moment), _schema("string", examples=["2026-12-31", "2026-12-31T09:00"])
]
DateAndTime = Annotated[datetime, BeforeValidator(date_and_time), _schema("string", examples=["2026-12-31T09:00"])]
Day = Annotated[date, BeforeValidator(day), _schema("string", pattern=r"^\d{4}-\d{2}-\d{2}$|\$\{")]
Priority = Annotated[
    int,
    BeforeValidator(checked(_priority)),
    _or_variable({"enum": ["high", "normal", "low", *range(10)]}),
]
Queues = Annotated[
    QueueOrder,
    BeforeValidator(checked(_queue_order)),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "examples": ["high,default,low", "scraping:3,analysis:1"],
        }
    ),
]
