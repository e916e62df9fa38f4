"""Parcels are valid, apart from one another, as large as their pixels, and know their probability."""

from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Geod
from rasterio.transform import from_origin
from scipy import ndimage

from cropland.errors import GridError, InputError, OutputError, SceneError
from cropland.mapping.parcels import command, parcels


def write(
    path: Path, values: np.ndarray, *, crs: str | None = "EPSG:32650", transform: rasterio.Affine | None = None
) -> Path:
    height, width = values.shape
    place = {"crs": crs, "transform": transform or from_origin(500_000, 4_000_000, 10, 10), "nodata": 255}
    with rasterio.open(path, "w", "GTiff", width, height, 1, dtype=values.dtype, **place) as target:
        target.write(values, 1)
    return path


def fields(shape: tuple[int, int] = (400, 500), *, seed: int = 0) -> np.ndarray:
    """Irregular fields of some hundred pixels each."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 7)
    return (noise > np.quantile(noise, 0.6)).astype(np.uint8)


def test_a_staircase_becomes_a_line(tmp_path: Path) -> None:
    (polygon,) = parcels(write(tmp_path / "m.tif", np.tri(60, dtype=np.uint8)), simplify_m=0).geometry
    x, y = shapely.get_coordinates(polygon).T / 10
    assert len(x) < 12
    assert np.ptp((x + y)[(x + y) > (x + y).min() + 10]) <= 1.0


def test_area_is_that_of_the_pixels(tmp_path: Path) -> None:
    values = fields()
    areas = np.sort(parcels(write(tmp_path / "m.tif", values)).geometry.area) / 100
    labels, count = ndimage.label(values)
    pixels = np.sort(ndimage.sum_labels(values, labels, range(1, count + 1)))
    assert areas.sum() == pytest.approx(pixels.sum(), rel=0.005)
    large = pixels > 300
    assert np.abs(areas[large] / pixels[large] - 1).mean() < 0.01


def test_simplification_removes_most_points(tmp_path: Path) -> None:
    mask = write(tmp_path / "m.tif", fields())
    tables = [parcels(mask, simplify_m=10.1 * tolerance) for tolerance in (0, 1, 3)]
    counts = [shapely.get_num_coordinates(table.geometry.to_numpy()).sum() for table in tables]
    assert counts[0] > 1.5 * counts[1] > 1.5 * counts[2]


def test_the_columns_are_those_of_fiboa(tmp_path: Path) -> None:
    values = np.zeros((40, 50), np.uint8)
    values[5:25, 10:40], values[10:20, 15:20] = 1, 255
    levels = np.where(values == 1, 127, 0).astype(np.uint8)
    levels[5, 10:40] = 255
    levels[6:25, 30:40] = 254
    seen = datetime(2024, 6, 1, 10, 30, tzinfo=UTC)
    found = parcels(write(tmp_path / "m.tif", values), probability=write(tmp_path / "p.tif", levels), observed=seen)
    (row,) = found.to_dict("records")
    assert found.crs.to_epsg() == 32650 and row["id"] == "1" and row["determination_method"] == "auto-imagery"
    assert row["determination_datetime"] == seen
    # UTM is 0.9996 on its central meridian, so the ellipsoid has 0.08 % more; rounded corners are the rest.
    assert row["area"] == pytest.approx(5.5 / 0.9996**2, rel=5e-3)
    assert row["mean_probability"] == pytest.approx((190 + 330 * 0.5) / 520, abs=1e-3)
    ring = geopandas.GeoSeries([row["geometry"]], crs=32650).to_crs(4326)[0]
    earth = Geod(ellps="WGS84")
    assert row["area"] == pytest.approx(earth.geometry_area_perimeter(ring)[0] / 1e4, rel=1e-4)
    assert row["perimeter"] == pytest.approx(sum(map(earth.geometry_length, shapely.get_rings(ring))), rel=1e-4)
    assert row["geometry"].exterior.is_ccw


@pytest.mark.parametrize("ending", ["parquet", "gpkg", "geojson"])
def test_command_writes_each_format(tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = fields((200, 200))
    values[0, 0] = 1
    out = tmp_path / "田块" / f"parcels.{ending}"
    command(write(tmp_path / "m.tif", values), out=out, min_area_mu=1)
    read = geopandas.read_parquet(out) if ending == "parquet" else geopandas.read_file(out)
    assert len(read) > 5 and (read["area"] > 1 / 15).all()
    assert f"{len(read)} parcels" in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_command_takes_a_class_of_a_land_cover_map(tmp_path: Path) -> None:
    mask = write(tmp_path / "cover.tif", np.where(fields((100, 100)) == 1, 40, 10).astype(np.uint8))
    with pytest.raises(SceneError, match="values 10, 40 and no 1; say which is cropland with --value"):
        command(mask)
    command(mask, value=40)
    assert len(geopandas.read_parquet(tmp_path / "cover_parcels.parquet")) > 0


def test_command_without_crs_wants_the_pixel(tmp_path: Path) -> None:
    mask = write(tmp_path / "m.tif", fields((100, 100)), crs=None, transform=rasterio.Affine.identity())
    with pytest.raises(GridError, match="--pixel-m"):
        command(mask)
    command(mask, pixel_m=2, min_area_m2=0)
    read = geopandas.read_parquet(tmp_path / "m_parcels.parquet")
    assert read.crs is None
    assert read["area"].sum() == pytest.approx(4e-4 * fields((100, 100)).sum(), rel=0.02)


def test_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    mask = write(tmp_path / "m.tif", fields((50, 50)))
    with pytest.raises(OutputError, match=r"\.shp.*\.parquet, \.gpkg"):
        command(mask, out=tmp_path / "parcels.shp")
    with pytest.raises(InputError, match="twice"):
        command(mask, min_area_m2=1, min_area_mu=1)
    (tmp_path / "broken.tif").write_text("no image", encoding="utf-8")
    with pytest.raises(SceneError, match=r"broken\.tif cannot be read"):
        command(tmp_path / "broken.tif")
