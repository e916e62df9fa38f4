"""The name of a scene is what its files share."""

from pathlib import Path

import pytest

from cropland.geo.files import scene_name


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["a/GF2_PMS1.tif"], "GF2_PMS1"),
        (["a/LC09_L2SP_SR_B2.TIF", "a/LC09_L2SP_SR_B5.TIF"], "LC09_L2SP_SR"),
        (["field/red.tif", "field/nir.tif"], "field"),
        (["x/麦田_红.tif", "x/麦田_绿.tif"], "麦田"),
    ],
)
def test_names(files, name):
    assert scene_name([Path(file) for file in files]) == name
