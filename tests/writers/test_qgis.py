"""The QGIS project of a sample: what is drawn, what the form offers, and that its files are found."""

from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import pandas
import pyogrio
import pytest
import shapely

from cropland.errors import OutputError
from cropland.language import speaking
from cropland.writers.qgis import write_sample_project
from rasters import write_raster


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A sample beside which the project is to lie, over a scene in the folder above."""
    references = pandas.array([None, 1, 0, 255], dtype="Int16")
    columns = {"id": [1, 2, 3, 4], "reference": references, "note": [None] * 4}
    places = shapely.points([500_100, 500_200, 500_300, 500_450], [3_999_900, 3_999_800, 3_999_700, 3_999_600])
    frame = geopandas.GeoDataFrame(columns, geometry=places, crs=32650)
    (tmp_path / "survey").mkdir()
    frame.to_file(tmp_path / "survey" / "sample.gpkg", layer="sample")
    return tmp_path / "survey" / "sample.gpkg"


def project(sample: Path, *, scene: Path | None = None) -> ElementTree.Element:
    out = sample.with_name("sample.qgs")
    write_sample_project(
        out, title="a <sample>", sample=sample, scene=scene, bands=(3, 2, 1), limits=[(0, 10), (0, 20), (0, 30)]
    )
    return ElementTree.parse(out).getroot()


def test_the_points_lie_over_the_scene_by_paths_that_resolve(tmp_path: Path, sample: Path):
    scene = write_raster(tmp_path / "scene.tif", np.zeros((3, 50, 50), np.uint8))
    root = project(sample, scene=scene)
    layers = {layer.findtext("layername"): layer for layer in root.iter("maplayer")}
    assert list(layers) == ["sample", "scene"] and root.findtext("title") == "a <sample>"
    path, _, name = layers["sample"].findtext("datasource").partition("|layername=")
    assert len(pyogrio.read_dataframe(sample.parent / path, layer=name)) == 4
    assert (sample.parent / layers["scene"].findtext("datasource")).resolve() == scene.resolve()
    assert [layer.get("name") for layer in root.iter("layer-tree-layer")] == ["sample", "scene"]
    assert root.findtext("projectCrs/spatialrefsys/authid") == "EPSG:32650"
    extent = [float(root.findtext(f"mapcanvas/extent/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    assert extent == [500_100, 3_999_600, 500_450, 3_999_900]
    assert layers["scene"].find("pipe/rasterrenderer").get("redBand") == "3"


def test_every_point_has_one_colour_by_its_reference(sample: Path):
    """The conditions are asked of the GeoPackage itself, whose SQL they share."""
    renderer = project(sample).find("projectlayers/maplayer/renderer-v2")
    drawn = {}
    for rule in renderer.iter("rule"):
        found = pyogrio.read_dataframe(sample, layer="sample", where=rule.get("filter"))
        marker = renderer.find(f"symbols/symbol[@name='{rule.get('symbol')}']/layer")
        colours = {prop.get("k"): prop.get("v") for prop in marker.iter("prop")}
        drawn |= {number: (rule.get("label"), colours["color"]) for number in found["id"]}
    assert drawn == {
        1: ("not judged yet", "0,0,0,0"),
        2: ("cropland", "84,140,47,255"),
        3: ("not cropland", "139,90,43,255"),
        4: ("cannot tell", "128,128,128,255"),
    }


def test_the_form_offers_the_answers_in_words(sample: Path):
    widget = project(sample).find("projectlayers/maplayer/fieldConfiguration/field[@name='reference']/editWidget")
    offered = {option.get("name"): option.get("value") for option in widget.iter("Option") if option.get("value")}
    empty = "{2839923C-8B7D-419E-B84B-CA2FE9B80EC7}"
    assert widget.get("type") == "ValueMap"
    assert offered == {"not judged yet": empty, "cropland": "1", "not cropland": "0", "cannot tell": "255"}


def test_its_words_are_those_of_the_person(sample: Path):
    with speaking("zh"):
        labels = [rule.get("label") for rule in project(sample).iter("rule")]
    assert labels[1:3] == ["耕地", "非耕地"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, sample: Path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_sample_project(sample / "s.qgs", title="", sample=sample, scene=None)
