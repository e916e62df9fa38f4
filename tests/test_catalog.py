"""Names on the shelves, and names of the user's own."""

from pathlib import Path

import pytest

from cropland.catalog import find, names
from cropland.errors import RecipeError


@pytest.mark.parametrize("shelf", ["blocks", "encoders", "networks", "losses"])
def test_every_file_on_a_shelf_holds_one_public_name(shelf: str) -> None:
    assert names(shelf)
    for name in names(shelf):
        assert callable(find(shelf, name))
        assert find(shelf, name).__doc__


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(RecipeError, match="did you mean 'unet'"):
        find("networks", "u_net")


def test_a_name_in_a_file_and_in_a_package(tmp_path: Path) -> None:
    path = tmp_path / "我的.py"
    path.write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    assert find("networks", f"{path}:double")(4) == 8
    assert find("networks", "math:sqrt")(9) == 3


@pytest.mark.parametrize(
    ("name", "said"), [("none.py:Net", "no file"), ("no_such.package:Net", "cannot import"), ("math:Net", "no 'Net'")]
)
def test_what_cannot_be_found_is_said(name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        find("networks", name)
