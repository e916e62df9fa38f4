"""Sentinel-2's offset, wherever it is declared."""

from pathlib import Path

import pytest

from cropland.errors import SceneError
from cropland.geo.baseline import added_to
from cropland.geo.sources import Source

XML = """<?xml version="1.0"?><n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/">
<BOA_ADD_OFFSET_VALUES_LIST><BOA_ADD_OFFSET band_id="1">-1000</BOA_ADD_OFFSET>
<BOA_ADD_OFFSET band_id="3">-900</BOA_ADD_OFFSET></BOA_ADD_OFFSET_VALUES_LIST></n1:Level-2A_User_Product>"""


def added(path="scene.tif", *, tags=None, step=0.0, dtype="uint16", band="red", is_sentinel2=True):
    source = Source(Path(path), 1, dtype, (9, 9), None, "B04", "gray", step, tags or {})
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
