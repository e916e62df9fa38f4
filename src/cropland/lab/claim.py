"""What people say of a network, in words, and the rule by which numbers decide whether it holds.

The words of `chapters/CHAPTER/FILE.py` stand in `chapters/CHAPTER/FILE.toml`:

[EXPERIMENT.KEY]            a claim; its finding has this name
claim, how, answer, advice  {en = "...", zh = "..."}; `answer` speaks of the numbers: "{speedup} times as fast"
guess                       optional, {en, zh}: a question that the reader answers before the reveal
code                        lines of plain PyTorch that reproduce it
numbers                     {KEY = {en, zh}}: what each number of the finding is, for the table and the rule
decides, holds, in_part     the number that decides; it holds at or beyond `holds`, in part at or beyond `in_part`
[numbers]                   the same for numbers that all claims of the file share
[labels]                    Chinese for the labels of pictures and notes; # stands for any number; {en, zh} where the
                            label is a name of the code

Where an experiment stands in the report, and the labels that several files share, are in `labels.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache
from importlib import import_module
from pathlib import Path
from string import Formatter
from typing import Any

import torch

from cropland.lab.charts import Chart, from_plain, to_plain
from cropland.lab.measure import Budget, Number
from cropland.language import language

LAB = Path(__file__).parent
LABELS = LAB / "labels.toml"
FIGURE = re.compile(r"\d+(?:[.,]\d+)*")


class Verdict(StrEnum):
    """What the numbers say of a claim."""

    HOLDS = "holds"
    IN_PART = "holds in part"
    DOES_NOT = "does not hold"
    NOT_DECIDED = "not decided"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Words:
    """The same in both languages."""

    en: str
    zh: str

    @property
    def spoken(self) -> str:
        """In the language of the person."""
        return self.zh if language() == "zh" else self.en

    def filled(self, numbers: Mapping[str, Number]) -> Words:
        """With numbers in the place of their names."""
        return Words(self.en.format_map(numbers), self.zh.format_map(numbers))


@dataclass(frozen=True)
class Finding:
    """The numbers that the words of a claim speak of, and pictures.

    `missing` says, as a label, why nothing was measured; `notes` are labels on how it was (a size reduced, say).
    """

    claim: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    charts: Sequence[Chart] = ()
    notes: Sequence[str] = ()
    missing: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "claim": self.claim,
            "numbers": {name: asdict(number) for name, number in self.numbers.items()},
            "charts": [to_plain(chart) for chart in self.charts],
            "notes": list(self.notes),
            "missing": self.missing,
        }

    @staticmethod
    def of(plain: Mapping[str, Any]) -> Finding:
        """From what JSON holds."""
        numbers = {name: Number(**number) for name, number in plain["numbers"].items()}
        charts = tuple(map(from_plain, plain["charts"]))
        return Finding(plain["claim"], numbers, charts, tuple(plain["notes"]), plain["missing"])


Experiment = Callable[[torch.device, Budget], Iterable[Finding]]


@dataclass(frozen=True)
class Claim:
    """A claim, how it is measured, what the numbers answer, what to do, and the limits of the verdict."""

    claim: Words
    how: Words
    answer: Words
    advice: Words
    code: str
    decides: str
    holds: float
    in_part: float
    numbers: Mapping[str, Words]
    guess: Words | None = None

    def named(self, number: str) -> Words:
        """What a number is; its key where a file of another version has one that no words know."""
        return self.numbers.get(number, Words(number, number))

    def written(self, number: str) -> str:
        """The format in which the answer writes a number: "%", "d" or none."""
        formats = {name: spec for _, name, spec, _ in Formatter().parse(self.answer.en)}
        return (formats.get(number) or "").replace("value", "")

    def verdict(self, finding: Finding) -> Verdict:
        """What the deciding number says; not measured if it is not there."""
        number = finding.numbers.get(self.decides)
        return Verdict.NOT_MEASURED if number is None else decide(number, holds=self.holds, in_part=self.in_part)


def decide(number: Number, *, holds: float, in_part: float) -> Verdict:
    """The verdict where the whole interval lies on one side of each limit; else not decided.

    Where `holds` is the smaller limit, less is better.
    """
    sign = 1.0 if holds >= in_part else -1.0
    low, high = sorted((sign * number.low, sign * number.high))
    if low >= sign * holds:
        return Verdict.HOLDS
    if high < sign * in_part:
        return Verdict.DOES_NOT
    if low >= sign * in_part and high < sign * holds:
        return Verdict.IN_PART
    return Verdict.NOT_DECIDED


def split(finding: str) -> tuple[str, str]:
    """Experiment and key of a finding's name."""
    experiment, _, key = finding.partition(".")
    return experiment, key


@cache
def experiments() -> dict[str, Path]:
    """The file of words of every experiment, by its name; the code of the same name lies beside it."""
    paths = sorted((LAB / "chapters").rglob("*.toml"))
    return {name: path for path in paths for name in _read(path) if name not in ("labels", "numbers")}


def experiment_named(name: str) -> Experiment:
    """The function that measures what the words of this name claim."""
    module = ".".join(("cropland", *experiments()[name].relative_to(LAB.parent).with_suffix("").parts))
    found: Experiment = getattr(import_module(module), name)
    return found


@cache
def claims(experiment: str) -> dict[str, Claim]:
    """The claims of an experiment, by key, in order."""
    own = _read(experiments()[experiment])
    shared = own.get("numbers", {})
    return {
        key: Claim(**_worded({**its, "numbers": shared | its.get("numbers", {})}))
        for key, its in own[experiment].items()
    }


@dataclass(frozen=True)
class Chapter:
    """A part of the report: experiments are `NAME`, then `NAME_PART` in the order of `parts`, then the others."""

    title: Words
    about: Words
    parts: tuple[str, ...] = ()


@cache
def chapters() -> dict[str, Chapter]:
    """The chapters by name, in the order of the report."""
    return {name: Chapter(**_worded(its)) for name, its in _read(LABELS)["chapters"].items()}


def place(experiment: str) -> tuple[int, int, str]:
    """Where an experiment stands in the report; smaller is earlier."""
    chapter, _, part = experiment.partition("_")
    parts = ("", *chapters()[chapter].parts)
    return list(chapters()).index(chapter), parts.index(part) if part in parts else len(parts), part


def label(english: str, experiment: str = "") -> Words:
    """A label of a picture, or of the page itself, in both languages; one that no file knows stays as it is."""
    pattern, figures = FIGURE.sub("#", english), FIGURE.findall(english)
    own = _read(experiments()[experiment]) if experiment else {}
    known = {**_read(LABELS)["labels"], **own.get("labels", {})}
    chinese = known.get(english, known.get(pattern, english))
    if isinstance(chinese, dict):
        return Words(**chinese)
    return Words(english, re.sub("#", lambda _: figures.pop(0) if figures else "#", chinese))


@cache
def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _worded(values: Mapping[str, Any]) -> dict[str, Any]:
    """With `Words` in the place of every {en, zh}, also of those within a table."""
    return {name: _words(value) if isinstance(value, dict) else value for name, value in values.items()}


def _words(table: Mapping[str, Any]) -> Words | dict[str, Any]:
    return Words(**table) if table.keys() == {"en", "zh"} else _worded(table)
