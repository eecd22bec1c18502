"""What a benchmark found: figures with their spread and their goals, and how they are written down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that the median of a figure should keep to."""

    bound: float
    is_minimum: bool

    def __str__(self) -> str:
        return f"{'≥' if self.is_minimum else '≤'} {self.bound:g}"

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.is_minimum else value <= self.bound


def at_least(bound: float) -> Goal:
    return Goal(bound, is_minimum=True)


def at_most(bound: float) -> Goal:
    return Goal(bound, is_minimum=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, a sample for each round; `unit` is "" for a ratio."""

    name: str
    samples: tuple[float, ...]
    unit: str = ""
    goal: Goal | None = None

    @property
    def median(self) -> float:
        return median(self.samples)

    @property
    def is_good(self) -> bool:
        return self.goal is None or self.goal.is_met(self.median)

    @property
    def value(self) -> str:
        return f"{shown(self.median)} {self.unit}".rstrip()

    @property
    def spread(self) -> str:
        if len(self.samples) == 1:
            return ""
        return f"{shown(min(self.samples))} to {shown(max(self.samples))}"

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> "Figure":
        goal = Goal(plain["goal"]["bound"], plain["goal"]["is_minimum"]) if plain["goal"] else None
        return cls(plain["name"], tuple(plain["samples"]), plain["unit"], goal)


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one subject; `notes` say what a reader needs to judge them."""

    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> "Report":
        """The report that `dataclasses.asdict` made plain."""
        return cls(tuple(Figure.read(figure) for figure in plain["figures"]), tuple(plain["notes"]))


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, ...]:
    """Each numerator by the denominator that was measured beside it."""
    return tuple(numerator / denominator for numerator, denominator in zip(numerators, denominators))


def differences(minuends: Sequence[float], subtrahends: Sequence[float]) -> tuple[float, ...]:
    """Each minuend less the subtrahend that was measured beside it."""
    return tuple(minuend - subtrahend for minuend, subtrahend in zip(minuends, subtrahends))


def shown(value: float) -> str:
    """Three significant digits, large numbers in full."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def to_text(subject: str, report: Report) -> str:
    """A few aligned lines for people."""
    width = max(len(figure.name) for figure in report.figures)
    lines = [f"\n{subject}"]
    lines += [f"  {figure.name:{width}}  {_line(figure)}" for figure in report.figures]
    lines += [f"  {note}" for note in report.notes]
    return "\n".join(lines)


def to_markdown(reports: Mapping[str, Report]) -> str:
    """A table with one row a figure."""
    lines = ["| benchmark | figure | median | spread | goal |", "|---|---|---|---|---|"]
    for subject, report in reports.items():
        for figure in report.figures:
            cells = (f"`{subject}`", figure.name, figure.value, figure.spread or "–", str(figure.goal or "–"))
            lines.append(f"| {' | '.join(cells)} |")
    notes = [f"`{subject}`: {note}" for subject, report in reports.items() for note in report.notes]
    lines += ["", "; ".join(notes)] if notes else []
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    spread = f"  ({figure.spread})" if figure.spread else ""
    verdict = f"  [goal {figure.goal}: {'met' if figure.is_good else 'NOT MET'}]" if figure.goal else ""
    return f"{figure.value}{spread}{verdict}"
