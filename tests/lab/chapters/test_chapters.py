"""The contract of every experiment: it answers its claims, in its order, in both languages, on a budget of seconds."""

import json
import re
import string
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch

from cropland.lab.charts import Bars, Chart, Lines, Panels, Stack
from cropland.lab.claim import LAB, Finding, chapters, claims, experiment_named, experiments, label, split
from cropland.lab.measure import Budget
from cropland.lab.results import Results
from source_tree import ROOT

TINY = Budget("tiny", rounds=2, size=32, channels=8, seeds=2, steps=2, every=8)
EXPERIMENTS = sorted(experiments())
FILES = sorted(path for path in (LAB / "chapters").rglob("*.py") if path.name != "__init__.py")
CLAIMS = [(name, key) for name in EXPERIMENTS for key in claims(name)]
CPU = torch.device("cpu")
KEPT = (ROOT / "docs" / "lab" / "results.json", ROOT / "docs" / "lab" / "tricks" / "results.json")


@cache  # in one process: what asks for the same ones runs in the same worker
def findings(name: str) -> tuple[Finding, ...]:
    return tuple(experiment_named(name)(CPU, TINY))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_one_finding_per_claim_in_order(name: str):
    assert [split(finding.claim) for finding in findings(name)] == [(name, key) for key in claims(name)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_numbers_are_what_the_words_speak_of(name: str):
    for finding in findings(name):
        claim = claims(name)[split(finding.claim)[1]]
        if finding.missing:
            assert not finding.numbers and label(finding.missing, name).zh != finding.missing
        else:
            assert claim.decides in finding.numbers
            claim.answer.filled(finding.numbers)
            assert finding.numbers.keys() <= claim.numbers.keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_pictures_speak_both_languages(name: str):
    for finding in findings(name):
        for text in [*finding.notes, *(text for chart in finding.charts for text in labels(chart))]:
            assert not is_english(text) or is_chinese(label(text, name).zh), f"'{text}' is not among the labels"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_findings_travel_as_json(name: str):
    for finding in findings(name):
        text = json.dumps(finding.plain())
        assert json.dumps(Finding.of(json.loads(text)).plain()) == text


@pytest.mark.parametrize(("name", "key"), CLAIMS)
def test_both_languages_speak_of_the_same_numbers(name: str, key: str):
    claim = claims(name)[key]
    assert fields(claim.answer.en) == fields(claim.answer.zh)
    for words in (claim.claim, claim.how, claim.answer, claim.advice):
        assert is_english(words.en) and is_chinese(words.zh)


@pytest.mark.parametrize(("name", "key"), CLAIMS)
def test_every_number_has_words(name: str, key: str):
    """A page shows what a number is, never its key; two numbers of a claim are not called the same."""
    claim = claims(name)[key]
    assert {claim.decides, *fields(claim.answer.en)} <= claim.numbers.keys()
    assert all(is_english(words.en) and is_chinese(words.zh) for words in claim.numbers.values())
    for language in ("en", "zh"):
        assert len({getattr(words, language) for words in claim.numbers.values()}) == len(claim.numbers)
    assert not [number for number in claim.numbers if f"`{number}`" in claim.how.en + claim.how.zh]


def test_every_number_that_is_kept_has_words():
    for finding in (finding for path in KEPT for finding in Results.load(path).findings):
        experiment, key = split(finding.claim)
        assert finding.numbers.keys() <= claims(experiment)[key].numbers.keys(), finding.claim


@pytest.mark.parametrize(("name", "key"), CLAIMS)
def test_the_plain_lines_run(name: str, key: str, capsys: pytest.CaptureFixture[str]):
    exec(compile(claims(name)[key].code, f"{name}.{key}", "exec"), {"__name__": "__main__"})
    torch.set_grad_enabled(True)
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LAB).with_suffix("").as_posix())
def test_a_file_measures_what_its_words_claim(path: Path):
    """What a file offers, in the order of its words; its chapter is the first word of each name."""
    module = import_module(".".join(("cropland", *path.relative_to(LAB.parent).with_suffix("").parts)))
    worded = [name for name, its in experiments().items() if its == path.with_suffix(".toml")]
    assert sorted(module.__all__) == sorted(worded) and worded
    assert {name.partition("_")[0] for name in worded} == {path.relative_to(LAB / "chapters").with_suffix("").parts[0]}


def test_every_experiment_has_a_chapter():
    assert {name.partition("_")[0] for name in EXPERIMENTS} <= set(chapters())


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def is_english(text: str) -> bool:
    """Whether there are words in it: more than symbols such as C, 3 x 3 or names in backticks."""
    return bool(re.search(r"[a-z]{3}", text))


def is_chinese(text: str) -> bool:
    return bool(re.search(r"[一-鿿]", text)) or text in NAMES


NAMES = {"OpenVINO", "torch.compile", "float32", "bfloat16", "float16", "torch.mm", "numpy.matmul", "sgemm"}


def labels(chart: Chart) -> list[str]:
    match chart:
        case Lines():
            return [chart.title, chart.x, chart.y, *chart.curves, *chart.levels]
        case Bars():
            return [chart.title, chart.unit, *chart.bars]
        case Stack():
            return [chart.title, chart.unit, *chart.bars, *(part for bar in chart.bars.values() for part in bar)]
        case Panels():
            captions = [text for panel in chart.panels for text in (panel.caption, *(box.label for box in panel.boxes))]
            return [chart.title, *captions]
