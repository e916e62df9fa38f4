"""Every writer: the file is what others expect, and appears whole or not at all."""

import json
import re
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
import shapely
from jsonschema import Draft202012Validator

import real_qgis
from cropland.errors import GridError, OutputError
from cropland.geo.vectors import read_polygons
from cropland.model import ModelFile, default_model
from cropland.writers import replacing
from cropland.writers.cog import write_cog
from cropland.writers.qgis import parcels_style, write_qgis, write_style
from cropland.writers.stac import write_model_item
from cropland.writers.vector import add_layer_style, write_geojson, write_geopackage, write_geoparquet
from rasters import write_raster

SCHEMAS = ["https://vecorel.org/specification/v0.1.0/schema.yaml", "https://fiboa.org/specification/v0.3.0/schema.yaml"]
TABLES = [(write_geoparquet, "p.parquet"), (write_geopackage, "p.gpkg"), (write_geojson, "p.geojson")]
ITEM = default_model().with_suffix(".json")
HEADER = {
    "version": "0.1.0",
    "recipe": {
        "name": "rgb",
        "bands": ["red", "green", "blue"],
        "outputs": ["cropland"],
        "network": {"name": "unet"},
    },
    "working_pixels": [{"pixel_m": 2.0, "iou": 0.9, "threshold": 0.5}],
    "stride": 16,
    "radius": 200,
    "statistics": None,
    "metrics": {"iou": 0.9},
}

MLM = Path(__file__).with_name("mlm_1_5_2.schema.json")


def frame(crs: int | None = 32650) -> geopandas.GeoDataFrame:
    columns = {
        "id": ["1", "2"],
        "metrics:area": np.float32([1.0, 2.0]),
        "determination:datetime": geopandas.pd.Series([None, None], dtype="datetime64[ms, UTC]"),
        "name": ["北地", "south"],
    }
    boxes = [shapely.box(500_000, 4_000_000, 500_100, 4_000_100), shapely.box(500_100, 4_000_000, 500_300, 4_000_100)]
    return geopandas.GeoDataFrame(columns, geometry=boxes, crs=crs)


def raster(path: Path, *, bands: int = 1, size: int = 700, dtype: str = "uint8") -> Path:
    values = np.random.default_rng(0).integers(0, 2, (bands, size, size)).astype(dtype)
    values[:, :10] = 255
    return write_raster(path, values, nodata=255)


@pytest.mark.parametrize(("write", "name"), TABLES)
def test_tables_come_back(tmp_path: Path, write: Callable[..., None], name: str) -> None:
    out = tmp_path / "图" / name
    write([frame()], out)
    write([frame()], out)
    read = geopandas.read_parquet(out) if name.endswith("parquet") else geopandas.read_file(out)
    assert read["name"].tolist() == ["北地", "south"] and read["metrics:area"].tolist() == [1.0, 2.0]
    assert [path.name for path in out.parent.iterdir()] == [name]
    apart = shapely.symmetric_difference(read.to_crs(32650).geometry.values, frame().geometry.values)
    assert (shapely.area(apart) < 10).all()


@pytest.mark.parametrize(("write", "name"), TABLES)
def test_an_empty_table_is_written(tmp_path: Path, write: Callable[..., None], name: str) -> None:
    write([frame().iloc[:0]], tmp_path / name)
    assert (tmp_path / name).stat().st_size > 0


def test_geoparquet_is_fiboa(tmp_path: Path) -> None:
    """As fiboa.org/specification/v0.3.0 and vecorel.org/specification/v0.1.0 require it (read in November 2026)."""
    write_geoparquet([frame()], tmp_path / "p.parquet")
    schema = pq.read_schema(tmp_path / "p.parquet")
    collection = json.loads(schema.metadata[b"collection"])
    assert collection["schemas"] == {collection["collection"]: SCHEMAS} and b"fiboa" not in schema.metadata
    geo = json.loads(schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0" and geo["columns"]["geometry"]["encoding"] == "WKB"
    assert "covering" in geo["columns"]["geometry"]
    # A property that is required is declared so, and no other.
    assert {field.name for field in schema if not field.nullable} == {"id", "geometry"}
    types = {field.name: str(field.type) for field in schema}
    assert (types["id"], types["metrics:area"]) == ("string", "float")
    assert types["determination:datetime"] == "timestamp[ms, tz=UTC]"


def test_geojson_is_fiboa(tmp_path: Path) -> None:
    """Properties that are missing have no null, the id is a text, and each feature names its collection."""
    seen = geopandas.pd.Series([geopandas.pd.Timestamp("2024-06-01T10:30Z"), None], dtype="datetime64[ms, UTC]")
    expected = {"collection": "cropland", "metrics:area": 1.0, "name": "北地"}
    for table, more in (
        (frame(), {}),
        (frame().assign(**{"determination:datetime": seen}), {"determination:datetime": "2024-06-01T10:30:00Z"}),
    ):
        write_geojson([table], tmp_path / "p.geojson")
        text = json.loads((tmp_path / "p.geojson").read_text(encoding="utf-8"))
        assert text["schemas"] == {"cropland": SCHEMAS}
        assert text["features"][0]["id"] == "1" and text["features"][0]["properties"] == expected | more


def test_a_geopackage_is_read_without_naming_its_layer(tmp_path: Path) -> None:
    write_geopackage([frame()], tmp_path / "p.gpkg")
    with warnings.catch_warnings(action="error"):
        assert len(geopandas.read_file(tmp_path / "p.gpkg")) == 2


def test_geojson_is_rfc_7946(tmp_path: Path) -> None:
    write_geojson([frame()], tmp_path / "p.geojson")
    text = json.loads((tmp_path / "p.geojson").read_text(encoding="utf-8"))
    assert text["name"] == "p"
    ring = text["features"][0]["geometry"]["coordinates"][0]
    assert "crs" not in text
    assert all(116 < lon < 118 and 36 < lat < 37 for lon, lat in ring)
    assert shapely.LinearRing(ring).is_ccw
    with pytest.raises(GridError, match="no CRS"):
        write_geojson([frame(crs=None)], tmp_path / "q.geojson")


def test_geopackage_names_its_layer(tmp_path: Path) -> None:
    write_geopackage([frame()], tmp_path / "p.gpkg", layer="scenes")
    assert pyogrio.list_layers(tmp_path / "p.gpkg")[:, 0].tolist() == ["scenes"]


@pytest.mark.parametrize("overviews", ["average", "mode", "nearest"])
def test_cog(tmp_path: Path, overviews: str) -> None:
    write_cog(raster(tmp_path / "in.tif"), tmp_path / "out.tif", overviews=overviews)
    with rasterio.open(tmp_path / "in.tif") as before, rasterio.open(tmp_path / "out.tif") as after:
        np.testing.assert_array_equal(after.read(), before.read())
        assert after.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert after.overviews(1) == [2] and after.nodata == 255 and after.crs == before.crs
        assert (after.read(1, out_shape=(350, 350))[:5] == 255).all()


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    out = tmp_path / "kept.txt"
    out.write_text("before", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), replacing(out) as hidden:
        hidden.write_text("half", encoding="utf-8")
        raise ZeroDivisionError
    assert out.read_text(encoding="utf-8") == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize(("write", "name"), TABLES)
def test_a_place_that_cannot_be_written(tmp_path: Path, write: Callable[..., None], name: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        write([frame()], tmp_path / "file" / name)


def test_model_item(tmp_path: Path) -> None:
    model = tmp_path / "models" / "rgb.safetensors"
    model.parent.mkdir()
    model.write_bytes(bytes(100))
    write_model_item(HEADER, model, tmp_path / "rgb.json")
    item = json.loads((tmp_path / "rgb.json").read_text(encoding="utf-8"))
    properties = item["properties"]
    assert properties["datetime"] is None and properties["start_datetime"] < properties["end_datetime"]
    assert properties["mlm:input"][0]["input"]["shape"] == [-1, 3, -1, -1]
    assert properties["mlm:input"][0]["value_scaling"] is None
    assert item["assets"]["model"]["href"] == "models/rgb.safetensors"
    assert item["assets"]["model"]["roles"][0] == "mlm:model" and item["assets"]["model"]["file:size"] == 100
    fixed = {**HEADER, "statistics": {"bands": ["red", "green", "blue"], "low": [1, 2, 3], "high": [7, 8, 9]}}
    write_model_item(fixed, model, model.with_suffix(".json"))
    item = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
    scaling = item["properties"]["mlm:input"][0]["value_scaling"]
    assert scaling[1] == {"type": "min-max", "minimum": 2, "maximum": 8}
    assert item["assets"]["model"]["href"] == "rgb.safetensors"


@pytest.mark.parametrize("name", ["rgb", "s2", "模型", "2 m", "gf2_v1.", "a b"])
@pytest.mark.parametrize("bands", [["red", "green", "blue"], ["nir", "vh"], ["vh"]])
def test_model_item_keeps_the_rules_of_mlm(tmp_path: Path, name: str, bands: list[str]) -> None:
    """What the schema of the extension, 1.5, asks of an item (stac-extensions/mlm, json-schema/schema.json)."""
    recipe = HEADER["recipe"] | {"name": name, "bands": bands}
    (tmp_path / "m.safetensors").write_bytes(b"0")
    write_model_item(
        HEADER | {"recipe": recipe, "metrics": {"iou": np.nan}}, tmp_path / "m.safetensors", tmp_path / "m"
    )
    item = json.loads((tmp_path / "m").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert item["stac_extensions"][0] == "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"
    properties = item["properties"]
    assert properties.keys() >= {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"}
    assert item["id"] == name and re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", properties["mlm:name"])
    (taken,), (given,) = properties["mlm:input"], properties["mlm:output"]
    # Bands that an input names are a dimension of it, and are described by the item; only there is one of that name.
    assert [band["name"] for band in taken["bands"]] == bands == [band["name"] for band in properties["bands"]]
    assert "bands" in taken["input"]["dim_order"] and "bands" not in given["result"]["dim_order"]
    common = [band["eo:common_name"] for band in properties["bands"] if "eo:common_name" in band]
    assert common == [band for band in bands if band != "vh"]
    assert any("/eo/v2.0.0/" in each for each in item["stac_extensions"]) == bool(common)
    (asset,) = item["assets"].values()
    assert "mlm:model" in asset["roles"] and asset["mlm:artifact_type"] == "safetensors.torch.save_file"
    assert properties["mlm:hyperparameters"]["metrics"] == {"iou": None}
    schema = Draft202012Validator(json.loads(MLM.read_text(encoding="utf-8")))
    schema.validate(properties)
    for broken in ({"mlm:tasks": ["farming"]}, {"mlm:input": [{"name": "image"}]}, {"mlm:total_parameters": "many"}):
        assert not schema.is_valid(properties | broken)


def test_the_item_of_the_model_that_ships_is_what_is_written_today(tmp_path: Path) -> None:
    model = default_model()
    write_model_item(ModelFile.load(model).header(), model, tmp_path / "item.json")
    item, shipped = (json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "item.json", ITEM))
    assert shipped["assets"]["model"].pop("href") == model.name and item["assets"]["model"].pop("href")
    assert item == shipped


def project(
    folder: Path, *, bands: int, shown: tuple[int, int, int] | int, home: Path | None = None, boundary: bool = False
) -> ElementTree.Element:
    """The project of a small map in `folder`/map beside its scene, as XML."""
    (folder / "map").mkdir()
    scene = raster(folder / "scene & co.tif", bands=bands, dtype="uint16")
    names = ("probability", "mask", "boundary") if boundary else ("probability", "mask")
    files = {name: raster(folder / "map" / f"{name}.tif") for name in names}
    write_geopackage([frame()], folder / "map" / "parcels.gpkg")
    write_qgis(
        folder / "map" / "map.qgs",
        title="a <map>",
        scene=scene,
        bands=shown,
        limits=[(10, 2000), (20, 3000), (30, 4000)],
        parcels=folder / "map" / "parcels.gpkg",
        home=home,
        **files,
    )
    return ElementTree.parse(folder / "map" / "map.qgs").getroot()


def test_qgis_project_has_relative_paths_and_styles(tmp_path: Path) -> None:
    root = project(tmp_path, bands=4, shown=(3, 2, 1))
    layers = {layer.findtext("layername"): layer for layer in root.iter("maplayer")}
    assert {name: layer.findtext("datasource") for name, layer in layers.items()} == {
        "parcels": "./parcels.gpkg|layername=parcels",
        "mask": "./mask.tif",
        "probability": "./probability.tif",
        "scene": "../scene & co.tif",
    }
    assert root.findtext("properties/Paths/Absolute") == "false"
    assert root.findtext("projectCrs/spatialrefsys/authid") == "EPSG:32650"
    kinds = {name: layer.find("pipe/rasterrenderer").get("type") for name, layer in layers.items() if name != "parcels"}
    assert kinds == {"mask": "paletted", "probability": "singlebandpseudocolor", "scene": "multibandcolor"}
    renderer = layers["scene"].find("pipe/rasterrenderer")
    assert [renderer.get(f"{colour}Band") for colour in ("red", "green", "blue")] == ["3", "2", "1"]
    assert renderer.findtext("greenContrastEnhancement/maxValue") == "3000"
    tree = [(layer.get("name"), layer.get("checked")) for layer in root.iter("layer-tree-layer")]
    assert tree[0] == ("parcels", "Qt::Checked") and tree[-1] == ("scene", "Qt::Checked")
    ids = {layer.findtext("id") for layer in root.iter("maplayer")}
    assert ids == {layer.get("id") for layer in root.iter("layer-tree-layer")}
    assert all(len(number) >= 10 for number in ids)
    assert float(root.findtext("mapcanvas/extent/xmax")) == 507_000


def test_qgis_project_of_a_map_offers_what_a_person_says_of_a_parcel(tmp_path: Path) -> None:
    root = project(tmp_path, bands=3, shown=(1, 2, 3))
    (parcels,) = (layer for layer in root.iter("maplayer") if layer.findtext("layername") == "parcels")
    (field,) = parcels.find("fieldConfiguration")
    assert field.get("name") == "status" and field.find("editWidget").get("type") == "ValueMap"
    offered = [option.get("value") for option in field.iter("Option") if option.get("value")]
    assert offered[1:] == ["wrong", "missing", "redrawn"] and offered[0].startswith("{2839923C")  # NULL, for QGIS
    locked = {field.get("name") for field in parcels.find("editable")}
    assert "id" in locked and "status" not in locked


def test_qgis_project_has_the_boundary_between_mask_and_probability_where_there_is_one(tmp_path: Path) -> None:
    root = project(tmp_path, bands=3, shown=(1, 2, 3), boundary=True)
    tree = [(layer.get("name"), layer.get("checked")) for layer in root.iter("layer-tree-layer")]
    off = [(name, "Qt::Unchecked") for name in ("mask", "boundary", "probability")]
    assert tree == [("parcels", "Qt::Checked"), *off, ("scene", "Qt::Checked")]
    layers = {layer.findtext("layername"): layer for layer in root.iter("maplayer")}
    assert layers["boundary"].findtext("datasource") == "./boundary.tif"
    colours = [[item.get("color") for item in layers[name].iter("item")] for name in ("boundary", "probability")]
    assert len(colours[0]) == 5 and not set(colours[0][1:]) & set(colours[1][1:])


def test_qgis_project_of_bands_in_files_of_their_own_is_grey(tmp_path: Path) -> None:
    root = project(tmp_path, bands=1, shown=(3, 2, 1))
    assert root.find("projectlayers/maplayer[4]/pipe/rasterrenderer").get("type") == "singlebandgray"


def test_qgis_project_that_will_be_moved(tmp_path: Path) -> None:
    root = project(tmp_path, bands=3, shown=(1, 2, 3), home=tmp_path / "a" / "b" / "c")
    assert root.findtext("projectlayers/maplayer[4]/datasource") == "../../../scene & co.tif"


def test_the_style_of_parcels_is_that_of_the_project(tmp_path: Path) -> None:
    root = project(tmp_path, bands=3, shown=(1, 2, 3))
    write_style(tmp_path / "parcels.qml", pixel=10.0)  # of the mask's grid
    style = ElementTree.parse(tmp_path / "parcels.qml").getroot()
    assert style.tag == "qgis" and [each.tag for each in style] == ["renderer-v2"]
    told = [
        {prop.get("k"): prop.get("v") for prop in found.iter("prop")}
        for found in (style, root.find("projectlayers/maplayer[1]/renderer-v2"))
    ]
    assert told[0] == told[1] and (told[0]["style"], told[0]["outline_width"]) == ("no", "30.0")
    with pytest.raises(OutputError, match="cannot be written"):
        write_style(tmp_path / "parcels.qml" / "parcels.qml", pixel=10)


def test_qgis_opens_a_geopackage_in_the_style_that_lies_in_it(tmp_path: Path) -> None:
    out = tmp_path / "交付.gpkg"
    write_geopackage([frame()], out, style=parcels_style(pixel=2.0))
    found = real_qgis.opened(out, "parcels")
    assert (found["valid"], found["count"], found["crs"]) == (True, 2, "EPSG:32650")
    assert found["default"] and found["renderer"] == "singleSymbol"
    assert (found["symbol"]["outline_width"], found["symbol"]["style"]) == ("6", "no")
    assert found["first"]["name"] == "北地"


def test_the_last_style_of_a_layer_is_its_default(tmp_path: Path) -> None:
    out = tmp_path / "p.gpkg"
    write_geopackage([frame()], out, style=parcels_style(pixel=2.0))
    add_layer_style(out, "parcels", parcels_style(pixel=4.0), name="wide")
    assert real_qgis.opened(out, "parcels")["symbol"]["outline_width"] == "12"


def test_a_style_leaves_the_layer_as_it_is(tmp_path: Path) -> None:
    """Other programs read the layer as before, by its name, and see the table of styles as one without geometry."""
    write_geopackage([frame()], tmp_path / "p.gpkg", style=parcels_style(pixel=2.0))
    assert pyogrio.list_layers(tmp_path / "p.gpkg").tolist() == [["parcels", "Polygon"], ["layer_styles", None]]
    read = geopandas.read_file(tmp_path / "p.gpkg", layer="parcels")
    assert read.geometry.geom_equals(frame().geometry).all() and len(read_polygons(tmp_path / "p.gpkg")) == 2


def test_a_style_that_cannot_be_kept_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.gpkg").mkdir()
    with pytest.raises(sqlite3.Error):
        add_layer_style(tmp_path / "p.gpkg", "parcels", "", name="parcels")
    with pytest.raises(OutputError, match="cannot be written"), replacing(tmp_path / "q.gpkg") as hidden:
        hidden.write_bytes(b"no database, but long enough to be taken for a damaged one")
        add_layer_style(hidden, "parcels", "", name="parcels")
    assert [path.name for path in tmp_path.iterdir()] == ["p.gpkg"]
