"""The demo's parts: what ships, and the way from labels to a model. The whole runs in test_wheel.py."""

import geopandas
import pytest
import rasterio
import shapely

from cropland.demo import FIELDS, TILE, command, samples


def test_two_scenes_ship_with_their_place_and_the_names_of_their_bands():
    for path in samples():
        with rasterio.open(path) as scene:
            assert scene.crs is not None and {"red", "green", "blue"} <= set(scene.descriptions)
            assert scene.tags()["TIFFTAG_COPYRIGHT"]


def test_the_fields_lie_on_the_tile():
    with rasterio.open(TILE) as scene:
        left, bottom, right, top = scene.bounds
    fields = geopandas.read_file(FIELDS)
    assert len(fields) == 34
    # The place of the tile is rebuilt: the fields may reach over its edge by a few pixels.
    assert fields.within(shapely.box(left, bottom, right, top).buffer(1e-4)).all()


@pytest.mark.soak
def test_the_whole_way_from_labels_to_a_map(tmp_path, capsys):
    command(out=tmp_path / "demo", train=True)
    assert (tmp_path / "demo" / "map" / "overview.png").exists()
    assert "ha of cropland" in capsys.readouterr().out
