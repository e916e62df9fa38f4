"""The algorithms for QGIS, in a real QGIS: they map, load what they made with its style, and can be cancelled."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio

from cropland.demo import FIELDS
from rasters import write_raster
from source_tree import PACKAGE, ROOT

SCRIPT = ROOT / "recipes" / "qgis" / "cropland_processing.py"
PYTHON = Path("/usr/bin/python3")  # of the system, since it has PyQGIS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("qgis")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    """`cropland` of these sources, as a file: QGIS does not run what this Python would import."""
    path = folder / "cropland"
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="{PACKAGE.parent}" exec "{sys.executable}" -m cropland "$@"\n', encoding="utf-8"
    )
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def seen(folder: Path, program: Path, quarter: Path) -> dict[str, Any]:
    """What `in_qgis.py` says of a map, its parcels, two mistakes, and a map that is cancelled halfway."""
    # What a QGIS elsewhere sets for itself, and what would lead the program to its Python modules and its PROJ.
    of_qgis = {"PYTHONPATH": "/usr/share/qgis/python/plugins", "PROJ_LIB": "/usr/share/proj"}
    quiet = {"QT_QPA_PLATFORM": "offscreen", "QGIS_CUSTOM_CONFIG_PATH": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    how: dict[str, Any] = {"env": os.environ | of_qgis | quiet, "capture_output": True, "encoding": "utf-8"}
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", "import qgis.core, processing"], **how).returncode:
        pytest.skip(f"no QGIS for {PYTHON}: apt install qgis python3-qgis")
    with rasterio.open(quarter) as file:
        large, names = np.tile(file.read(), (1, 4, 5)), file.descriptions
        place = {"crs": file.crs, "transform": file.transform @ file.transform.scale(2)}
    write_raster(folder / "large.tif", large, names=names, **place)
    (folder / "out").mkdir()
    files = [SCRIPT, program, quarter, FIELDS, folder / "large.tif", folder / "out"]
    done = subprocess.run([PYTHON, Path(__file__).with_name("in_qgis.py"), *files], **how)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_one_file_gives_three_algorithms_in_the_language_of_qgis(seen):
    assert seen["titles"] == ["Compare polygons with a map", "Map cropland", "Parcels from a mask"]
    assert seen["Chinese titles"] == ["多边形与地图对比", "耕地制图", "由掩膜生成地块"]
    assert seen["scripts"] == []  # none of them a second time


def test_what_was_made_is_loaded_with_its_style(seen, folder):
    out = folder / "out"
    assert seen["layers"][str(out / "map" / "mask.tif")] == ["Mask", True, "paletted"]
    assert seen["layers"][str(out / "map" / "parcels.gpkg")] == ["Parcels", True, "singleSymbol"]
    assert seen["layers"][str(out / "fields.gpkg")] == ["Parcels", True, "singleSymbol"]
    assert not (out / "wrong").exists()


def test_the_parameters_arrive(seen, folder, quarter):
    fields = geopandas.read_file(folder / "out" / "fields.gpkg")
    assert len(fields) and fields["metrics:area"].min() >= 5000
    assert (folder / "out" / "seconds.json").exists()  # one of the further options
    with rasterio.open(folder / "out" / "map" / "mask.tif") as mask, rasterio.open(quarter) as scene:
        assert mask.shape == scene.shape and mask.crs == scene.crs


def test_the_program_is_heard(seen):
    logs = seen["logs"]
    assert any("ha of cropland" in line for line in logs["map"])
    assert logs["wrong"][-1].startswith("cropland: mask.tif has 1 band without a name")
    assert "/nowhere/cropland cannot be started" in logs["no program"][-1]
    assert any("个地块" in line for line in logs["Chinese"])


def test_a_map_that_is_cancelled_goes_on(seen):
    assert seen["logs"]["cancelled"][0].startswith("cropland: stopped")
    assert any("resuming an earlier run" in line for line in seen["logs"]["again"])


def test_polygons_are_compared_with_a_map(seen, folder):
    for name in ("compared", "with_bare"):  # the map in a folder, and a mask by itself
        out = folder / "out" / name
        assert (out / "report.html").exists()
        assert seen["layers"][str(out / "polygons.gpkg")][1:] == [True, "RuleRenderer"]
        assert seen["layers"][str(out / "changes.gpkg")][1:] == [True, "RuleRenderer"]
    assert "mean_probability" in geopandas.read_file(folder / "out" / "compared" / "polygons.gpkg", layer="polygons")
