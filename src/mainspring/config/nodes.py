"""Parse YAML into nodes that know their lines, within limits, and say what is wrong with its syntax."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import yaml

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 32

_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff]")
_CORE: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final = {"str", "int", "float", "bool", "null"}


class Unreadable(Exception):
    """A text cannot be read as one YAML document; carries the line (1 is the first) and the message."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


@dataclass
class Scalar:
    """A single value; `plain` says that it stands without quotes."""

    line: int
    text: str
    plain: bool
    tag: str | None


@dataclass
class List:
    """A sequence."""

    line: int
    items: list[Node]


@dataclass
class Map:
    """A mapping; keys may repeat here."""

    line: int
    entries: list[tuple[Scalar, Node]]


Node = Scalar | List | Map


def read_nodes(data: bytes) -> Node:
    """Return the root node of the YAML document in *data*; nothing at all is an empty scalar.

    Raises:
        Unreadable: it is no YAML, or more than the limits allow.
    """
    return _compose(_decode(data))


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise Unreadable(None, f"has {len(data):,} bytes; the limit is {MAX_BYTES:,}; move data elsewhere")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, f"is not UTF-8: byte 0x{data[error.start]:02x}; save the file as UTF-8") from None
    control = _CONTROL.search(text)
    if control is not None:
        line = text.count("\n", 0, control.start()) + 1
        raise Unreadable(line, f"holds the control character U+{ord(control.group()):04X}; remove it")
    return text


def _compose(text: str) -> Node:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Composer(yaml.parse(text, Loader=loader)).document()
    except yaml.MarkedYAMLError as error:
        raise _syntax_problem(error, text) from None
    except yaml.YAMLError:
        raise Unreadable(None, "is not YAML; check its quotes and indentation") from None


class _Composer:
    """Build nodes from the parser's events; unlike PyYAML's own composer it cannot be sent into deep recursion."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._open: list[str] = []

    def document(self) -> Node:
        import yaml

        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                root = self._node(next(self._events), 1)
                break
        else:
            return Scalar(1, "", True, None)
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                raise Unreadable(_line(event), "a second document begins ('---'); keep one per file")
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        import yaml

        if depth > MAX_DEPTH:
            raise Unreadable(_line(event), f"is nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event)
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self._open.append(anchor)
        node = self._content(event, depth)
        if anchor is not None:
            self._open.pop()
            self._anchors[anchor] = node
        return node

    def _aliased(self, event: yaml.Event) -> Node:
        name: str = getattr(event, "anchor", "")
        if name in self._open:
            raise Unreadable(_line(event), f"alias '*{name}' refers to the value that contains it")
        if name not in self._anchors:
            hint = "" if name.isidentifier() else "; a text that begins with '*', such as a cron text, needs quotes"
            raise Unreadable(_line(event), f"there is no anchor '&{name}' for the alias '*{name}'{hint}")
        return self._anchors[name]

    def _content(self, event: yaml.Event, depth: int) -> Node:
        import yaml

        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(item, depth + 1))
            self._known_tag(event, {"seq"})
            return List(_line(event), items)
        if isinstance(event, yaml.MappingStartEvent):
            entries: list[tuple[Scalar, Node]] = []
            while not isinstance(item := next(self._events), yaml.MappingEndEvent):
                key = self._node(item, depth + 1)
                if not isinstance(key, Scalar):
                    raise Unreadable(key.line, "a key must be text, not a list or a mapping; quote values with { or [")
                entries.append((key, self._node(next(self._events), depth + 1)))
            self._known_tag(event, {"map"})
            return Map(_line(event), entries)
        assert isinstance(event, yaml.ScalarEvent)
        tag = self._known_tag(event, _SCALAR_TAGS)
        text = _without_surrogates(event.value, _line(event))
        return Scalar(_line(event), text, not event.style and tag != "str", tag)

    @staticmethod
    def _known_tag(event: yaml.Event, allowed: set[str]) -> str | None:
        tag: str | None = getattr(event, "tag", None)
        if tag is None or tag == "!":
            return None if tag is None else "str"
        short = tag.removeprefix(_CORE)
        if short not in allowed:
            shown = f"!!{short}" if tag.startswith(_CORE) else tag
            raise Unreadable(_line(event), f"the YAML tag '{shown}' is not allowed; write plain values")
        return short


def _without_surrogates(text: str, line: int) -> str:
    try:
        # JSON is YAML, and writes what is beyond 16 bits as two escapes.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le") if not text.isascii() else text
    except UnicodeDecodeError:
        raise Unreadable(line, "an escape from \\uD800 to \\uDFFF is half of a character; write it out") from None


def _line(event: yaml.Event) -> int:
    mark: Any = event.start_mark
    return int(mark.line) + 1


# Part of the parser's message, what to say, and whether the mistake is where the parser began, not where it gave up.
_HINTS: Final = (
    (
        "mapping values are not allowed",
        "unexpected ':'; quote a text with ': ' in it, check this line and the one before",
        False,
    ),
    ("could not find expected ':'", "a ':' is missing after a key", True),
    ("unknown escape character", "unknown escape after '\\'; use single quotes, or write '\\\\'", False),
    (
        "invalid Unicode character escape",
        "an escape from \\uD800 to \\uDFFF is half of a character; write it out",
        False,
    ),
    ("while scanning a quoted scalar", "a quoted text is not closed", True),
    ("while parsing a flow", "a '[' or '{' is not closed, or a comma is missing", True),
    ("block collection", "the indentation does not fit the lines above, or '- ' is missing", False),
    ("while parsing a block mapping", "the indentation does not fit the lines above, or a quote is misplaced", False),
    ("while scanning an anchor", "a text that begins with '&' needs quotes", False),
    ("while scanning an alias", "a text that begins with '*', such as a cron text, needs quotes", False),
    ("while scanning a block scalar", "a text that begins with '>' or '|' needs quotes", False),
)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    said = f"{error.context or ''}; {error.problem or ''}"
    unknown = ("", "is not YAML here; check quotes and indentation", False)
    _, hint, at_start = next((known for known in _HINTS if known[0] in said), unknown)
    marks: list[Any] = [error.context_mark if at_start else None, error.problem_mark]
    mark = next((mark for mark in marks if mark is not None), None)
    number = int(mark.line) if mark is not None else 0
    lines = text.splitlines() or [""]
    number = min(number, len(lines) - 1)
    tabbed = next((n for n in (number, number - 1) if n >= 0 and re.match(r" *\t", lines[n])), None)
    if tabbed is not None:
        return Unreadable(tabbed + 1, "a tab is used for indentation; use spaces")
    if re.search(r"[{\[,].*[^'\"]\$\{", lines[number]) and "flow" in said:
        hint = "'${…}' inside { } or [ ] needs quotes: \"${NAME}\""
    if "cannot start any token" in said:
        column = int(mark.column) if mark is not None else 0
        hint = f"a text that begins with {lines[number][column : column + 1]!r} needs quotes"
    return Unreadable(number + 1, hint)
