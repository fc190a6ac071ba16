"""Print for people and for programs: tables that fit the terminal, whole lines in pipes, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mainspring.edges.cli.failures import printable
from mainspring.edges.cli.times import iso

_NARROWEST: Final = 24
"""Width to which flexible columns shrink before other columns are left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. The one with the highest *drop* goes first where the terminal is narrow; 0 always stays."""

    title: str
    drop: int = 0
    flexible: bool = False
    """Whether it may be shortened to the room there is; others keep their width."""
    right: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """Text with a style that only terminals show."""

    text: str
    style: str = ""


Row = Sequence["str | Cell"]


def is_terminal() -> bool:
    """Return whether a person looks at standard output."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print *value* as one JSON document."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, indent=2, ensure_ascii=not unicode, default=as_json_value))


def as_json_value(value: Any) -> Any:
    """Return what stands for *value* in JSON: instants as ISO text, durations as seconds."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, (tuple, set, frozenset)) else str(value)


def say(text: str = "", style: str = "") -> None:
    """Print a line or several; long ones are wrapped only by a terminal."""
    if not is_terminal():
        print(printable(text))
        return
    from rich.text import Text

    _console().print(Text(printable(text), style=style))


def print_table(columns: Sequence[Column], rows: Sequence[Row], indent: int = 0) -> None:
    """Print *rows*: fitted to a terminal, or whole and aligned into a pipe."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    cells = [[Cell(printable(cell.text), cell.style) for cell in row] for row in cells]
    if is_terminal():
        _print_fitted(columns, cells, indent)
    else:
        _print_whole(columns, cells, indent)


def print_facts(facts: Iterable[tuple[str, str | Cell]], indent: int = 0) -> None:
    """Print names with values under each other; empty values are left out."""
    shown = [(name, value if isinstance(value, Cell) else Cell(value)) for name, value in facts]
    shown = [(name, value) for name, value in shown if value.text]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        lines = printable(value.text).splitlines() or [""]
        for place, line in enumerate(lines):
            label = name if place == 0 else ""
            _print_fact(f"{' ' * indent}{label:<{width}}  ", line, value.style)


def _print_fact(label: str, line: str, style: str) -> None:
    if not is_terminal():
        print(f"{label}{line}")
        return
    from rich.text import Text

    console = _console()
    head = Text(label, style="bold")
    for part in Text(line, style=style).wrap(console, max(console.width - len(label), 20), overflow="fold"):
        part.rstrip()
        console.print(head + part)
        head = Text(" " * len(label))


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def _print_whole(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], indent: int) -> None:
    from rich.cells import cell_len

    texts = [[cell.text.replace("\n", " ") for cell in row] for row in rows]
    if any(column.title for column in columns):
        texts.insert(0, [column.title for column in columns])
    widths = [max((cell_len(row[place]) for row in texts), default=0) for place in range(len(columns))]
    for row in texts:
        line = ""
        for column, text, width in zip(columns, row, widths, strict=True):
            gap = " " * (width - cell_len(text))
            line += (gap + text if column.right else text + gap) + "  "
        print(" " * indent + line.rstrip())


def _print_fitted(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], indent: int) -> None:
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = _console()
    kept = _fitting(columns, rows, console.width - indent, cell_len)
    titled = any(column.title for column in columns)
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, show_header=titled)
    for place in kept:
        column = columns[place]
        justify: Any = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, no_wrap=not column.flexible, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[place].text, style=row[place].style) for place in kept))
    console.print(Padding(table, (0, 0, 0, indent), expand=False))


def _fitting(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], room: int, length: Any) -> list[int]:
    """Return the places of the columns to show: those of highest `drop` go until the others have room."""
    needed = [
        max([len(column.title), *(length(row[place].text) for row in rows)]) for place, column in enumerate(columns)
    ]
    needed = [
        min(width, _NARROWEST) if column.flexible else width for column, width in zip(columns, needed, strict=True)
    ]
    kept = list(range(len(columns)))
    while sum(needed[place] + 2 for place in kept) - 2 > room:
        worst = max(kept, key=lambda place: columns[place].drop)
        if columns[worst].drop == 0:
            break
        kept.remove(worst)
    return kept
