"""A finding in three lines of Markdown, for a notebook."""

from cropland.lab.claim import claims, label, split
from cropland.lab.results import Results

__all__ = ["told"]


def told(results: Results, name: str, language: str) -> str:
    """Claim, verdict and answer of `EXPERIMENT.KEY` in "en" or "zh". Raises `KeyError` if it was not measured."""
    experiment, key = split(name)
    claim, finding = claims(experiment)[key], {each.claim: each for each in results.findings}[name]
    verdict = label(str(claim.verdict(finding)), experiment)
    lines = (getattr(words, language) for words in (claim.claim, verdict, claim.answer.filled(finding.numbers)))
    return "**{}** → *{}*\n\n{}".format(*lines)
