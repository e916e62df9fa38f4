"""`cropland find` asks a STAC API, a server of another project on this machine; `cropland map` reads the answer."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from geopandas import GeoDataFrame
from rasterio.warp import transform_bounds
from rasterio.windows import Window

import cropland
from cropland.cli import main
from cropland.demo import FOLDER
from cropland.errors import InputError
from cropland.geo.scene import open_scenes
from range_server import serving
from small_model import save_model

pytest.importorskip("pystac_client", reason="no pystac-client: pip install 'cropland[stac]'")

RUSTAC = shutil.which("rustac", path=str(Path(sys.executable).parent)) or shutil.which("rustac")
SIZE = 192  # pixels of an edge of a scene
# Of each scene: its name, day, clouds in percent, and the first column of its crop of the sample.
SCENES = (
    ("A", "2024-05-03", 4.0, 0),
    ("B", "2024-06-12", 12.0, 64),
    ("C", "2024-06-30", 71.0, 0),
    ("D", "2024-08-01", None, 0),
)
DAYS = ["--from", "2024-04-01", "--to", "2024-09-30"]
COLLECTION = {
    "type": "Collection",
    "stac_version": "1.0.0",
    "id": "sentinel-2-l2a",
    "description": "Crops of the sample",
    "license": "other",
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    "links": [],
}


def crop(folder: Path, name: str, col: int) -> tuple[float, float, float, float]:
    """A part of the sample, and its classes of 20 m with a cloud; its bounds in degrees."""
    with rasterio.open(FOLDER / "sentinel2_delmarva.tif") as file:
        window = Window(col, 0, SIZE, SIZE)
        place = file.window_transform(window)
        profile = {"driver": "GTiff", "height": SIZE, "width": SIZE, "crs": file.crs, "transform": place}
        with rasterio.open(folder / f"{name}.tif", "w", **profile, count=file.count, dtype=file.dtypes[0]) as out:
            out.write(file.read(window=window))
        coarse = place @ rasterio.Affine.scale(2)
        bounds = rasterio.windows.bounds(Window(0, 0, SIZE, SIZE), place)
        degrees = transform_bounds(file.crs, "EPSG:4326", *bounds)
    classes = np.full((SIZE // 2, SIZE // 2), 4, np.uint8)
    classes[: 10 if col == 0 else 30] = 9
    profile |= {"height": SIZE // 2, "width": SIZE // 2, "transform": coarse}
    with rasterio.open(folder / f"{name}_SCL.tif", "w", **profile, count=1, dtype="uint8") as out:
        out.write(classes, 1)
    return degrees


def item(name: str, day: str, cloud: float | None, bounds: tuple[float, ...], files: str) -> dict[str, Any]:
    about = {"datetime": f"{day}T15:50:00Z"} | ({} if cloud is None else {"eo:cloud_cover": cloud})
    with rasterio.open(FOLDER / "sentinel2_delmarva.tif") as file:
        bands = [{"name": band, "common_name": band} for band in file.descriptions]
    image = {"href": f"{files}{name}.tif", "type": "image/tiff; application=geotiff", "eo:bands": bands}
    scl = {"href": f"{files}{name}_SCL.tif", "type": "image/tiff; application=geotiff"}
    outline = {"geometry": shapely.geometry.mapping(shapely.box(*bounds)), "bbox": list(bounds)}
    kind = {"type": "Feature", "stac_version": "1.0.0", "id": name, "collection": COLLECTION["id"], "links": []}
    return {**kind, **outline, "properties": about, "assets": {"image": image, "scl": scl}}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, tuple[float, ...]]]:
    """The address of a STAC API of four scenes on a file server, one far away and one with relative addresses, and the
    area of the first."""
    if RUSTAC is None:
        pytest.skip("no rustac, which has a STAC API server: pip install rustac")
    folder = tmp_path_factory.mktemp("catalog")
    with serving(folder) as files:
        places = {name: crop(folder, name, col) for name, _, _, col in SCENES}
        items = [item(*scene[:3], places[scene[0]], f"{files.address}/") for scene in SCENES]
        items += [item("far", "2024-05-03", 0.0, (10.0, 50.0, 11.0, 51.0), f"{files.address}/")]
        items += [item("relative", "2020-05-03", 0.0, places["A"], "files/")]
        for name, content in (("collection", COLLECTION), ("items", {"type": "FeatureCollection", "features": items})):
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        words = [RUSTAC, "serve", "collection.json", "items.json", "--addr", address]
        with subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                _wait(f"http://{address}/", server)
                yield f"http://{address}/", places["A"]
            finally:
                server.terminate()


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert server.poll() is None, "the server has ended"
        with suppress(urllib.error.URLError), urllib.request.urlopen(address):
            return
        time.sleep(0.05)
    pytest.fail("the server does not answer")


def words(catalog: tuple[str, tuple[float, ...]], *more: str) -> list[str]:
    address, bounds = catalog
    box = ",".join(f"{edge:.6f}" for edge in bounds)
    return ["find", box, "--catalog", address, "--collection", "sentinel-2-l2a", *more]


def test_what_is_found_is_printed_and_mapped_as_one_map_of_several_dates(catalog, tmp_path, monkeypatch, capsys):
    """Three of six: one is too cloudy, one far away, one too early; that which says nothing of clouds is kept."""
    monkeypatch.chdir(tmp_path)
    assert main(words(catalog, *DAYS, "--cloud", "20")) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == ["date", "scene", "cloud", "of", "the", "area"]
    assert [line.split() for line in told[1:4]] == [
        ["2024-05-03", "A", "4", "%", "100", "%"],
        ["2024-06-12", "B", "12", "%", "67", "%"],
        ["2024-08-01", "D", "100", "%"],
    ]
    assert told[4] == "items.json: scenes: 3, days: 3"
    scenes = open_scenes(["items.json"])
    assert [scene.name for scene in scenes] == ["A", "B", "D"] and all(scene.has_no_data for scene in scenes)
    model = save_model(tmp_path / "small.safetensors", pixel_m=10.0)
    how = ["--model", str(model.path), "--mosaic", "--merge-dates", "mean", "--out", "maps"]
    assert main(["map", "items.json", *how]) == 0
    with rasterio.open("maps/mosaic/looks.tif") as file:
        looks = file.read(1)
    # B begins 64 columns to the east. Clouds cover the first 20 rows of A and D, and 60 of B.
    expected = np.zeros((SIZE, SIZE + 64), np.uint8)
    expected[20:, :SIZE] += 2
    expected[60:, 64:] += 1
    np.testing.assert_array_equal(looks, expected)
    about = json.loads(Path("maps/mosaic/map.json").read_text(encoding="utf-8"))
    assert about["looks"]["dates"] == 3


def test_the_library_finds_the_same_in_the_polygons_of_a_file(catalog, tmp_path):
    """In another CRS; half of the area lies beside the scenes."""
    address, (west, south, east, north) = catalog
    area = GeoDataFrame(geometry=[shapely.box(2 * west - (west + east) / 2, south, (west + east) / 2, north)], crs=4326)
    area.to_crs(32618).to_file(tmp_path / "area.gpkg")
    how = {"catalog": address, "collection": "sentinel-2-l2a", "from_": "2024-05-03", "to": "2024-05-03"}
    found = cropland.find(tmp_path / "area.gpkg", **how)
    (one,) = found.items
    assert repr(found) == "scenes: 1, days: 1" and (one.name, one.day, one.cloud) == ("A", "2024-05-03", 4.0)
    assert one.cover == pytest.approx(0.5, abs=0.01)


def test_relative_addresses_begin_at_the_item(catalog):
    address, bounds = catalog
    how = {"catalog": address, "collection": "sentinel-2-l2a", "from_": "2020-01-01", "to": "2020-12-31"}
    (found,) = cropland.find(bounds, **how).items
    assert found.item["assets"]["image"]["href"] == f"{address}collections/sentinel-2-l2a/items/files/relative.tif"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--from", "2024-09-30", "--to", "2024-04-01"], "--from 2024-09-30 lies after --to 2024-04-01"),
        (["--from", "last May", "--to", "2024-04-01"], "--from 'last May' is no day; write it as 2024-04-01"),
        (["--from", "2023-04-01", "--to", "2023-09-30"], "no scene of sentinel-2-l2a from 2023-04-01 to 2023-09-30 me"),
        (
            ["--from", "2024-06-13", "--to", "2024-07-01", "--cloud", "5"],
            "each of the 1 scenes .* more than 5 % of cloud",
        ),
    ],
)
def test_what_finds_nothing_is_told_with_what_was_searched(catalog, tmp_path, monkeypatch, capsys, more, said):
    monkeypatch.chdir(tmp_path)
    assert main(words(catalog, *more)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(said, error)
    assert not Path("items.json").exists()


def test_a_collection_that_is_not_there_is_told(catalog):
    address, bounds = catalog
    with pytest.raises(InputError, match="has no collection landsat; it has sentinel-2-l2a"):
        cropland.find(bounds, catalog=address, collection="landsat", from_="2024-04-01", to="2024-09-30")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "cannot be reached .*Connection refused"),
        ("gone", r"cannot be reached \(HTTP Error 404: Not Found\)"),
        ("collections/sentinel-2-l2a", "does not answer as a STAC API"),
        ("api.html", "does not answer as a STAC API"),
    ],
)
def test_a_server_that_is_no_catalog_or_not_there_is_told(catalog, path, said):
    address, bounds = catalog
    given = address + path if path else "http://127.0.0.1:9/"
    with pytest.raises(InputError, match=said) as caught:
        cropland.find(bounds, catalog=given, collection="s", from_="2024-04-01", to="2024-09-30")
    assert "\n" not in str(caught.value)


def test_a_catalog_of_files_has_no_search(tmp_path):
    content = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "Files", "links": []}
    (tmp_path / "catalog.json").write_text(json.dumps(content), encoding="utf-8")
    with serving(tmp_path) as files, pytest.raises(InputError, match="has no search; give the address of a STAC API"):
        how = {"collection": "s", "from_": "2024-04-01", "to": "2024-09-30"}
        cropland.find("1,2,3,4", catalog=f"{files.address}/catalog.json", **how)


@pytest.mark.parametrize(
    ("area", "said"),
    [
        ("1,2,3", "is no box; write west,south,east,north in degrees"),
        ("3,2,1,4", "is no box on the Earth"),
        ((400_000, 4_000_000, 410_000, 4_010_000), "is no box on the Earth"),
        ("gone.gpkg", "gone.gpkg"),
    ],
)
def test_an_area_that_is_none_is_told(area, said):
    with pytest.raises(InputError, match=said):
        cropland.find(area, catalog="http://127.0.0.1:9/", collection="s", from_="2024-04-01", to="2024-09-30")


def test_the_package_that_is_missing_is_named(monkeypatch):
    for name in ("pystac_client", "pystac_client.errors"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    with pytest.raises(InputError, match=r"pip install 'cropland\[stac\]'"):
        cropland.find("1,2,3,4", catalog="http://127.0.0.1:9/", collection="s", from_="2024-04-01", to="2024-09-30")


def test_in_python_the_first_day_has_the_name_that_a_keyword_leaves(capsys):
    with pytest.raises(InputError, match=r"^from_='May' is no day"):
        cropland.find("1,2,3,4", catalog="x", collection="s", from_="May", to="2024-09-30")
