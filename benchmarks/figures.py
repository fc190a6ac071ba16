"""Figures: the median of several rounds with its range, and ratios within one round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a figure should reach."""

    bound: float
    most: bool = False
    """Whether the bound is the most that it may be, not the least."""

    def is_met(self, value: float) -> bool:
        """Return whether *value* reaches it."""
        return value <= self.bound if self.most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.most else '≥'} {number(self.bound)}"


def least(bound: float) -> Wanted:
    """Want *bound* or more."""
    return Wanted(bound)


def most(bound: float) -> Wanted:
    """Want *bound* or less."""
    return Wanted(bound, most=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, measured once in each round."""

    measure: str
    name: str
    unit: str
    samples: tuple[float, ...]
    wanted: Wanted | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Return what counts."""
        return statistics.median(self.samples)

    @property
    def is_missed(self) -> bool:
        """Return whether something was wanted and is not reached."""
        return self.wanted is not None and not self.wanted.is_met(self.median)

    def to_json(self) -> dict[str, Any]:
        """Return a form for a file."""
        return {
            "measure": self.measure,
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.samples),
            "max": max(self.samples),
            "samples": list(self.samples),
            "wanted": None if self.wanted is None else str(self.wanted),
            "missed": self.is_missed,
            "note": self.note,
        }


def wanting(figure: Figure, wanted: Wanted) -> Figure:
    """Return *figure* with what it should reach."""
    return replace(figure, wanted=wanted)


def ratio(one: Figure, other: Figure, wanted: Wanted | None = None, name: str | None = None) -> Figure:
    """Return *one* as a multiple of *other*, round by round: the machine's mood cancels out."""
    samples = tuple(a / b for a, b in zip(one.samples, other.samples, strict=True))
    return Figure(one.measure, name or f"{one.name} ÷ {other.name}", "×", samples, wanted)


def alternate(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, tuple[float, ...]]:
    """Let everybody run once in each round, and somebody else begin each time; return what each measured."""
    names, samples = list(contestants), {name: list[float]() for name in contestants}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(contestants[name]())
    return {name: tuple(values) for name, values in samples.items()}


def percentile(values: Iterable[float], part: float) -> float:
    """Return the value that *part* of all are not above."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def number(value: float) -> str:
    """Return *value* with three digits that mean something."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@dataclass
class Report:
    """All figures of one run, with the machine and the sizes that they belong to."""

    facts: dict[str, str]
    figures: list[Figure] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return a form for a file."""
        return {
            "facts": self.facts,
            "figures": [figure.to_json() for figure in self.figures],
            "left_out": self.left_out,
        }

    def to_markdown(self) -> str:
        """Return the facts and a table for each measure."""
        lines = ["| what | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in self.facts.items())]
        for measure in dict.fromkeys(figure.measure for figure in self.figures):
            lines += ["", f"### {measure}", "", *_section([f for f in self.figures if f.measure == measure])]
        if self.left_out:
            lines += ["", "Left out: " + "; ".join(self.left_out) + "."]
        missed = [f"- {figure.measure}: {_missed(figure)}" for figure in self.figures if figure.is_missed]
        return "\n".join([*lines, "", "### Where more is wanted", "", *(missed or ["Nowhere."])]) + "\n"


def _section(figures: Sequence[Figure]) -> list[str]:
    notes = {f.note for f in figures if f.unit != "×"}
    if len(notes) != 1:
        return _table(figures, with_notes=True)
    # What holds for all is said once.
    (note,) = notes
    return [*([f"{note}.", ""] if note else []), *_table(figures)]


def _table(figures: Sequence[Figure], *, with_notes: bool = False) -> list[str]:
    rows = ["| figure | unit | median | min – max | wanted |", "|---|---|---|---|---|"]
    for f in figures:
        said = f"{f.name} ({f.note})" if f.note and with_notes else f.name
        wanted = "" if f.wanted is None else f"{f.wanted}{' — missed' if f.is_missed else ''}"
        low, high = number(min(f.samples)), number(max(f.samples))
        rows.append(f"| {said} | {f.unit} | {number(f.median)} | {low} – {high} | {wanted} |")
    return rows


def _missed(figure: Figure) -> str:
    unit = "×" if figure.unit == "×" else f" {figure.unit}"
    return f"{figure.name} is {number(figure.median)}{unit}, wanted {figure.wanted}"
