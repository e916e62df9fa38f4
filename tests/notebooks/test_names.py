"""Names of the user's own code in plain values."""

from pathlib import Path

import pytest

from cropland.notebooks.names import anchored, files_of, foreign_names, is_foreign


@pytest.mark.parametrize(
    ("name", "foreign"),
    [("unet", False), ("a.py:Net", True), ("timm.models:resnet", True), ("实 验.ipynb:网络", True), ("a: b", False)],
)
def test_what_is_foreign(name: str, foreign: bool):
    assert is_foreign(name) == foreign


def test_names_anywhere_in_a_tree():
    values = {"name": "a.py:Net", "options": {"norm": "b/实验.ipynb:Norm", "more": ["timm:x", 3]}, "c.py:loss": 1.0}
    assert list(foreign_names(values)) == ["a.py:Net", "b/实验.ipynb:Norm", "timm:x", "c.py:loss"]
    assert files_of(values) == [Path("a.py"), Path("b/实验.ipynb"), Path("c.py")]
    moved = anchored(values, Path("/x/y"))
    assert moved["options"] == {"norm": "/x/y/b/实验.ipynb:Norm", "more": ["timm:x", 3]}
    assert "/x/y/c.py:loss" in moved
    assert anchored(moved, Path("/z")) == moved
