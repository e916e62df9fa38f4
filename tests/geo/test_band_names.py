"""Band names by word, by sensor, by file name and by colour; never by a guess that may be wrong."""

from pathlib import Path

import pytest

from cropland.errors import BandError
from cropland.geo.band_names import name_bands, parse_bands
from cropland.geo.sources import Source


def found(*labels, colors=None, dtype="uint16", path="scene.tif"):
    colors = colors or ["gray"] + ["undefined"] * (len(labels) - 1)
    return [
        Source(Path(path), i, dtype, (9, 9), None, label, color, 0.0, {})
        for i, (label, color) in enumerate(zip(labels, colors, strict=True), start=1)
    ]


def names(*labels, sensor=None, bands=None, **more):
    return name_bands(found(*labels, **more), sensor=sensor, bands=bands).names


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("Red", "Green", "Blue", "NIR"), ("red", "green", "blue", "nir")),
        (("Red (665 nm)", "near infrared", "Red Edge 1"), ("red", "nir", "Red Edge 1")),
        (("B02", "B03", "B04", "B08"), ("blue", "green", "red", "nir")),
        (("B4", "B3", "B2", "B8"), ("red", "green", "blue", "nir")),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5"), ("blue", "green", "red", "nir")),
        (("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"),
         ("coastal", "blue", "green05", "green", "yellow", "red", "rededge", "nir")),
        (("blue", "Band 2"), ("blue", "band_2")),
        (("red_river_T31_B04_10m", "red_river_T31_B08_10m"), ("red", "nir")),
    ],
)  # fmt: skip
def test_descriptions_and_file_names(labels, expected):
    assert names(*labels) == expected


@pytest.mark.parametrize(
    "labels", [("B1", "B2", "B3", "B4"), ("Band 1", "Band 2", "Band 3", "Band 4"), ("", "", "", "")]
)
def test_what_may_mean_two_things_stops_with_advice(labels):
    with pytest.raises(BandError, match=r"4 bands without names.*--bands red=3,green=2,blue=1 or --sensor \(gaofen2"):
        names(*labels)


def test_a_note_names_sensors_only_where_they_decided():
    def notes(*labels):
        return name_bands(found(*labels), sensor=None, bands=None).notes

    assert notes("scene_red", "scene_green") == ()
    assert "Landsat" in notes("SR_B4", "SR_B3")[0] and " or " not in notes("B04", "B08")[0]


def test_the_names_of_files_tell_sensors_apart():
    codes = ("B2", "B3", "B4", "B5", "B10")
    assert names(*codes)[:3] == ("blue", "green", "red") and names(*codes)[3:] == ("B5", "B10")
    assert names(*codes, path="LC09_L1TP_123032_20230601_B2.TIF") == ("blue", "green", "red", "nir", "lwir11")
    assert names(*codes, path="T50SKJ_20230601T024541_B02.jp2")[3] == "rededge071"
    assert names("B04", "AOT", path="T50SKJ_20230601T024541.jp2") == ("red", "AOT")


def test_a_sensor_decides_what_a_code_or_an_order_means():
    assert names("B1", "B2", "B3", "B4", sensor="gaofen2") == ("blue", "green", "red", "nir")
    assert names("", "", "", "", sensor="naip") == ("red", "green", "blue", "nir")
    assert names("", "", "", "", sensor="naip", colors=("red", "green", "blue", "alpha"))[3] == "nir"
    with pytest.raises(BandError, match="5 bands without names, naip has 4"):
        names("", "", "", "", "", sensor="naip")


def test_colours_name_bands_and_alpha_is_none():
    assert names("", "", "", "", colors=("red", "green", "blue", "undefined")) == ("red", "green", "blue", "band_4")
    assert names("", "", "", "", colors=("blue", "green", "red", "nir")) == ("blue", "green", "red", "nir")
    assert names("", "", "", "", colors=("red", "green", "blue", "alpha")) == ("red", "green", "blue")


def test_three_bands_of_eight_bits_are_a_picture_and_it_is_said():
    named = name_bands(found("", "", "", dtype="uint8"), sensor=None, bands=None)
    assert named.names == ("red", "green", "blue") and "taken as red, green, blue" in named.notes[0]
    with pytest.raises(BandError, match="3 bands without names"):
        names("", "", "")


def test_the_users_word_counts_through_all_files():
    named = name_bands(found("a", "b", "c", "d"), sensor=None, bands={"red": 4, "nir": 1})
    assert [source.index for source in named.sources] == [4, 1]
    with pytest.raises(BandError, match="--bands red=5: the scene has bands 1 to 4"):
        names("a", "b", "c", "d", bands={"red": 5})


def test_two_bands_of_one_name():
    with pytest.raises(BandError, match="bands 1, 3 are all called red"):
        names("red", "green", "red")


def test_parse_bands():
    assert parse_bands(" red=3, Green=2,blue=1") == {"red": 3, "green": 2, "blue": 1}


@pytest.mark.parametrize("text", ["", "red", "red=x", "=3", "red=3,red=2", "red=-1", "3,2,1"])
def test_bands_that_cannot_be_read(text):
    with pytest.raises(BandError, match="write it as red=3,green=2,blue=1"):
        parse_bands(text)
