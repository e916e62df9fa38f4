"""The sensors on the shelf are complete and say where their figures come from."""

import pytest

from cropland.errors import SceneError
from cropland.geo.sensor import load_sensor, sensor_names


def test_the_shelf():
    assert {
        "gaofen2", "jilin1", "landsat_oli", "naip", "planetscope", "rgb", "sentinel2_l1c", "sentinel2_l2a",
    } <= set(sensor_names())  # fmt: skip


@pytest.mark.parametrize("name", sensor_names())
def test_every_sensor_is_sound(name):
    sensor = load_sensor(name)
    names = [band.name for band in sensor.bands]
    assert sensor.title and sensor.source and len(set(names)) == len(names) and {"red", "green", "blue"} <= set(names)
    assert all(0.4 <= low < high < 13 for low, high in (band.wavelength_um for band in sensor.bands))
    assert all(set(layout) <= set(names) for layout in sensor.layouts)
    assert len({len(layout) for layout in sensor.layouts}) == len(sensor.layouts), "a number of bands has one layout"


def test_figures():
    assert load_sensor("sentinel2_l2a").layout(4) == ("blue", "green", "red", "nir")
    assert load_sensor("naip").layout(4) == ("red", "green", "blue", "nir")
    assert load_sensor("landsat_oli").aliases["sr_b5"] == "nir"
    assert (load_sensor("landsat_oli").scale, load_sensor("landsat_oli").offset) == (0.0000275, -0.2)


def test_unknown_sensor():
    with pytest.raises(SceneError, match="unknown sensor 'sentinel3'; known are gaofen2"):
        load_sensor("sentinel3")
