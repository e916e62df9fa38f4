"""The page that a learner reads: one file, English and Chinese, a column for every machine."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from string import Template

from cropland import __version__
from cropland.files import write_text
from cropland.lab.claim import Claim, Finding, Verdict, Words, chapters, claims, label, place, split
from cropland.lab.draw import draw, spans
from cropland.lab.results import Results

OTHER = "measured by another version of cropland, or not at all: run it again"
# What a learner needs first, in this order; each chapter has the rest.
FIRST = (
    "separable_layer.waterfall",
    "separable_causes.memory",
    "separable_remedy.ratio",
    "convolution_growth.growth",
    "network.parameters",
    "atrous.field",
    "transposed.checkerboard",
    "pooling.work",
    "normalisation_mapping.fold",
    "batch.accumulation",
)
GPU = "a GPU"  # the column that says 'not measured' until one has been


def write(machines: Sequence[Results], folder: Path) -> Path:
    """Write report.html, by renaming."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    write_text(path, page(machines))
    return path


def page(machines: Sequence[Results]) -> str:
    """The report as HTML, from results alone."""
    template = Template((files("cropland.lab") / "report.html").read_text(encoding="utf-8"))
    known = dict.fromkeys(finding.claim for each in machines for finding in each.findings)
    order = sorted(known, key=lambda name: place(split(name)[0]))
    parts = {name: list(keys) for name, keys in groupby(order, _chapter)}
    return template.substitute(
        version=__version__,
        machines="".join(map(_machine, machines)),
        contents="".join(f'<a href="#{name}">{spans(chapters()[name].title)}</a>' for name in parts),
        answers=_answers(machines),
        summary=_summary(order, machines),
        chapters="".join(_section(name, keys, machines) for name, keys in parts.items()),
    )


def as_markdown(results: Results, name: str, language: str) -> str:
    """Claim, verdict and answer of `EXPERIMENT.KEY` in "en" or "zh", for a notebook.

    Raises `KeyError` if it was not measured.
    """
    experiment, key = split(name)
    claim, finding = claims(experiment)[key], {each.claim: each for each in results.findings}[name]
    verdict = label(str(claim.verdict(finding)), experiment)
    lines = (getattr(words, language) for words in (claim.claim, verdict, claim.answer.filled(finding.numbers)))
    return "**{}** → *{}*\n\n{}".format(*lines)


def _chapter(name: str) -> str:
    return split(name)[0].partition("_")[0]


def _machine(its: Results) -> str:
    about = its.machine
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    facts = (
        *((about["features"], ""), (f"{about['cores']}", "cores"), (f"{about['threads']}", "threads")),
        *((f"{about['memory_gb']:g} GB", "memory"), (its.budget, "budget")),
        *((f"{number}", f"chips: {side}") for side, number in about.get("chips", {}).items()),
    )
    said = " · ".join(
        f"{spans(label(name))} {escape(value)}".strip() if name else escape(value) for value, name in facts
    )
    small = f"{escape(about['system'])}, {escape(versions)}, {escape(about['when'])}"
    return f"<p class=machine><b>{escape(its.name)}</b> {said}<br><small>{small}</small></p>"


def _answers(machines: Sequence[Results]) -> str:
    """The ten answers to begin with, as the first machine gives them; those that it has not measured are left out."""
    known = ((name, _of(machines[0], name)) for name in FIRST)
    items = [
        f'<li><a href="#{name}">{spans(claim.claim)}</a> {_chip(claim.verdict(finding))}<br>{spans(answer)}</li>'
        for name, finding in known
        if finding and (answer := _answer(claim := claims(split(name)[0])[split(name)[1]], finding))
    ]
    title = f'<h2 id="answers">{spans(label("Ten answers to begin with"))}</h2>'
    return f'{title}<ol class="first">{"".join(items)}</ol>' * bool(items)


def _summary(order: Sequence[str], machines: Sequence[Results]) -> str:
    columns = [its.name for its in machines] + [GPU] * all(its.machine["kind"] == "cpu" for its in machines)
    head = "".join(f"<th>{spans(label(name))}</th>" for name in columns)
    rows, before = [], ""
    for name in order:
        experiment, key = split(name)
        if before != (before := _chapter(name)):
            rows.append(f'<tr><th colspan="{1 + len(columns)}">{spans(chapters()[before].title)}</th></tr>')
        claim = claims(experiment)[key]
        cells = "".join(f"<td>{_chip(_verdict(claim, _of(its, name)))}</td>" for its in machines)
        cells += f"<td>{_chip(Verdict.NOT_MEASURED)}</td>" * (len(columns) - len(machines))
        rows.append(f'<tr><td><a href="#{name}">{spans(claim.claim)}</a></td>{cells}</tr>')
    table = f"<thead><tr><th>{spans(label('claim'))}</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table>{table}</table></div>'


def _of(its: Results, name: str) -> Finding | None:
    return next((finding for finding in its.findings if finding.claim == name), None)


def _verdict(claim: Claim, finding: Finding | None) -> Verdict:
    return Verdict.NOT_MEASURED if finding is None else claim.verdict(finding)


def _chip(verdict: Verdict) -> str:
    return f'<b class="verdict {verdict.name.lower().replace("_", "-")}">{spans(label(verdict.value))}</b>'


def _section(name: str, keys: Sequence[str], machines: Sequence[Results]) -> str:
    words = chapters()[name]
    title = f'<h2 id="{name}">{spans(words.title)}</h2><p class="lead">{spans(words.about)}</p>'
    return title + "".join(_article(key, machines) for key in keys)


def _article(name: str, machines: Sequence[Results]) -> str:
    experiment, key = split(name)
    claim = claims(experiment)[key]
    measured = "".join(_measured(claim, its, name, alone=len(machines) == 1) for its in machines)
    if claim.guess:
        measured = f'<details class="guess"><summary>{spans(claim.guess)}</summary>{measured}</details>'
    practice = f"<dt>{spans(label('in practice'))}</dt><dd>{spans(claim.advice)}</dd>"
    how = f"<dt>{spans(label('how it is measured'))}</dt><dd>{spans(claim.how)} {spans(_rule(claim))}</dd>"
    reproduce = f"<summary>{spans(label('reproduce it in plain PyTorch'))}</summary>"
    code = f"<details>{reproduce}<pre>{escape(claim.code.strip())}</pre></details>"
    return f'<article id="{name}"><h3>{spans(claim.claim)}</h3>{measured}<dl>{practice}{how}</dl>{code}</article>'


def _measured(claim: Claim, its: Results, name: str, *, alone: bool) -> str:
    finding = _of(its, name) or Finding(name)
    experiment = split(name)[0]

    def say(text: str) -> Words:
        return label(text, experiment)

    where = "" if alone else f"<small>{escape(its.name)}</small>"
    answer = spans(_answer(claim, finding) or say(finding.missing or OTHER))
    notes = "".join(f'<p class="soft">{spans(say(note))}</p>' for note in finding.notes)
    charts = "".join(draw(chart, say) for chart in finding.charts)
    said = f'<p class="answer">{_chip(claim.verdict(finding))} {where} {answer}</p>'
    return f'{said}{notes}<div class="charts">{charts}</div>{_table(claim, finding)}'


def _answer(claim: Claim, finding: Finding) -> Words | None:
    """The claim's sentences with the numbers; None where one of them was not measured."""
    try:
        return claim.answer.filled(finding.numbers)
    except KeyError:
        return None


def _rule(claim: Claim) -> Words:
    """The limits in a sentence."""
    more = claim.holds >= claim.in_part
    within, beyond, within_zh, beyond_zh = (
        ("at least", "below", "不低于", "低于此值") if more else ("at most", "above", "不高于", "高于此值")
    )
    percent = claim.written(claim.decides) == "%"
    holds, half = (f"{100 * limit:g} %" if percent else f"{limit:g}" for limit in (claim.holds, claim.in_part))
    some = claim.holds != claim.in_part
    name = claim.named(claim.decides)
    return Words(
        f"Deciding number: {name.en}. {within.capitalize()} {holds}: holds; "
        f"{f'{within} {half}: holds in part; ' * some}{beyond}: does not hold. "
        "Not decided if the interval crosses a limit.",
        f"判定依据：{name.zh}。{within_zh} {holds}：成立；{f'{within_zh} {half}：部分成立；' * some}"
        f"{beyond_zh}：不成立。区间跨越界限则无法判定。",
    )


def _table(claim: Claim, finding: Finding) -> str:
    if not finding.numbers:
        return ""
    rows = "".join(
        f"<tr><td>{spans(claim.named(name))}</td><td>{escape(f'{number:{claim.written(name)}}')}</td></tr>"
        for name, number in finding.numbers.items()
    )
    return f"<details><summary>{spans(label('all numbers'))}</summary><table>{rows}</table></details>"
