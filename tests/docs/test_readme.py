"""Neither language of the README falls behind the other, and what it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def parts(name: str) -> tuple[list[int], list[str], list[str], int]:
    """Levels of headings, blocks of code, files that are linked or shown, rows of tables."""
    text = (ROOT / name).read_text(encoding="utf-8")
    prose = FENCE.sub("", text)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]
    links = [re.sub(r"\.zh(-CN)?\.", ".", link) for link in LINK.findall(prose) if not link.startswith("README")]
    return levels, FENCE.findall(text), sorted(links), len(re.findall(r"^\|", prose, re.MULTILINE))


def test_both_say_the_same():
    english, chinese = parts("README.md"), parts("README.zh-CN.md")
    for one, other in zip(english, chinese, strict=True):
        assert one == other


def test_what_is_linked_is_there():
    for name in (
        "README.md",
        "README.zh-CN.md",
        "CONTRIBUTING.md",
        "docs/index.md",
        "docs/how_to/use_code_from_a_notebook.md",
    ):
        path = ROOT / name
        links = LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8")))
        assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []
