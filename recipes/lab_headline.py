"""The picture of the README, from a lab's results.

    python recipes/lab_headline.py docs/lab

Reads results.json there and writes separable.svg and separable.zh.svg beside it.
"""

import re
import sys
from pathlib import Path

from cropland.lab.claim import label
from cropland.lab.draw import draw
from cropland.lab.results import Results

CLAIM = "separable_remedy.ratio"
STYLE = """
text { font: 13px system-ui, "Noto Sans CJK SC", sans-serif; fill: #1d2521; }
.bar { fill: #0072b2; } .whisker { stroke: #1d2521; fill: none; } .level { stroke: #1d2521; stroke-dasharray: 4 4; }
"""


def main(folder: Path) -> None:
    results = Results.load(folder / "results.json")
    chart = next(finding for finding in results.findings if finding.claim == CLAIM).charts[0]
    figure = draw(chart, lambda text: label(text, CLAIM.partition(".")[0]))
    (picture,) = re.findall(r"<svg.*?</svg>", figure)
    for language, other, name in (("en", "zh", "separable.svg"), ("zh", "en", "separable.zh.svg")):
        shown = re.sub(rf'<text class="{other}".*?</text>', "", picture).replace(f'class="{language}"', "")
        opened = re.sub(
            r'viewBox="0 0 (\d+) (\d+)"',
            r'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \1 \2" width="\1" height="\2"',
            shown,
        )
        backed = opened.replace(">", f'><style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>', 1)
        (folder / name).write_text(backed, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
