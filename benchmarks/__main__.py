"""Everything that is measured, one question after the other, and the page: `make bench`.

    python benchmarks                  all questions; the first time the peers are installed too
    python benchmarks peers roofline   these, and the page
    python benchmarks --missing        those without results
    python benchmarks three_classes    asked by name alone, since a network is trained for hours
    python benchmarks suggest          by name alone too: ten tunings, and once a training

Results are kept question by question, so what was stopped goes on. Environments and scenes are kept in build/bench or
CROPLAND_BENCH. It takes some 40 minutes on two cores, and more the first time, in which the machine should rest.
"""

import importlib
import sys

import country_scale
import report
from results import load, save

QUESTIONS = (
    "start",
    "roofline",
    "sliding",
    "breakdown",
    "parcels",
    "compare",
    "field_instances",
    "fields",
    "peers",
    "sizes",
    "training",
)
LONG = ("three_classes", "suggest")


def main(words: list[str]) -> None:
    """Ask, and write the pages."""
    chosen = words if words and words != ["--missing"] else list(QUESTIONS)
    if unknown := set(chosen) - {*QUESTIONS, *LONG}:
        sys.exit(f"no question {', '.join(sorted(unknown))}; there are: {', '.join((*QUESTIONS, *LONG))}")
    if words == ["--missing"]:
        chosen = [question for question in QUESTIONS if question not in load()]
    for question in chosen:
        save(question, importlib.import_module(question).measure)
        report.write()
    country_scale.write()


if __name__ == "__main__":
    main(sys.argv[1:])
