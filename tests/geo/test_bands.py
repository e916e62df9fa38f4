"""Band names by word, by sensor, by file name and by colour; never by a guess that may be wrong."""

from pathlib import Path

import pytest

from cropland.errors import BandError, SceneError
from cropland.geo.bands import added_to, name_bands, parse_bands
from cropland.geo.reading import BandHeader


def found(*labels, colors=None, dtype="uint16", path="scene.tif"):
    colors = colors or ["gray"] + ["undefined"] * (len(labels) - 1)
    return [
        BandHeader(Path(path), i, dtype, (9, 9), None, label, color, 0.0, {})
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
    with pytest.raises(BandError, match=r"4 bands without names.*bands='red=3,green=2,blue=1' or sensor= \(gaofen2"):
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
    assert names("", "", "", "", sensor="naip", colors=("red", "green", "blue", "alpha")) == ("red", "green", "blue")
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
    with pytest.raises(BandError, match="bands='red=5': the scene has bands 1 to 4"):
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


XML = """<?xml version="1.0"?><n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/">
<BOA_ADD_OFFSET_VALUES_LIST><BOA_ADD_OFFSET band_id="1">-1000</BOA_ADD_OFFSET>
<BOA_ADD_OFFSET band_id="3">-900</BOA_ADD_OFFSET></BOA_ADD_OFFSET_VALUES_LIST></n1:Level-2A_User_Product>"""


def added(path="scene.tif", *, tags=None, step=0.0, dtype="uint16", band="red", is_sentinel2=True):
    source = BandHeader(Path(path), 1, dtype, (9, 9), None, "B04", "gray", step, tags or {})
    return added_to(source, band=band, is_sentinel2=is_sentinel2)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PROCESSING_BASELINE": "04.00"}, -1000),
        ({"PROCESSING_BASELINE": "N0511"}, -1000),
        ({"PROCESSING_BASELINE": "03.01"}, 0),
        ({"BOA_ADD_OFFSET": "-1000"}, -1000),
        ({"RADIO_ADD_OFFSET_B4": "-1000.0"}, -1000),
        ({"BOA_ADD_OFFSET": "0", "PROCESSING_BASELINE": "05.00"}, 0),
        ({}, 0),
    ],
)
def test_tags(tags, expected):
    assert added(tags=tags, is_sentinel2=False) == expected


def test_offset_over_scale_is_read_for_sentinel2_alone():
    assert added(step=-0.1 / 0.0001) == -1000
    assert added(step=-0.2 / 0.0000275, is_sentinel2=False) == 0


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pictures_and_reflectances_have_it_applied(dtype):
    assert added(tags={"PROCESSING_BASELINE": "05.00"}, dtype=dtype) == 0


def test_product_metadata_by_band(tmp_path):
    band = tmp_path / "GRANULE" / "L2A_T50SKJ" / "IMG_DATA" / "R10m" / "T50SKJ_B04_10m.jp2"
    band.parent.mkdir(parents=True)
    (tmp_path / "MTD_MSIL2A.xml").write_text(XML, encoding="utf-8")
    assert [added(band, band=name) for name in ("red", "blue", "nir")] == [-900, -1000, 0]


def test_damaged_product_metadata(tmp_path):
    (tmp_path / "MTD_MSIL1C.xml").write_text(XML[:99], encoding="utf-8")
    with pytest.raises(SceneError, match=r"MTD_MSIL1C.xml, which says what offset.*damaged"):
        added(tmp_path / "B04.jp2")


@pytest.mark.parametrize(("baseline", "expected"), [("N0509", -1000), ("N0301", 0)])
def test_the_name_of_the_product_folder(tmp_path, baseline, expected):
    product = tmp_path / f"S2A_MSIL1C_20230601T024541_{baseline}_R132_T50SKJ_20230601T044541.SAFE"
    assert added(product / "GRANULE" / "IMG_DATA" / "B04.jp2") == expected
