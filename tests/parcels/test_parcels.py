"""Parcels are valid, apart from one another, as large as their pixels, and know their probability."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import Geod
from rasterio.transform import from_origin
from scipy import ndimage

from cropland.errors import GridError, InputError, OutputError, SceneError
from cropland.parcels.parcels import CELL, PolygonStore, command, find_parcels, parcels
from cropland.writers.vector import write_geoparquet
from rasters import write_raster
from shuffled import shuffled

write_mask = partial(write_raster, nodata=255)


def fields(shape: tuple[int, int] = (400, 500), *, seed: int = 0) -> np.ndarray:
    """Irregular fields of some hundred pixels each."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 7)
    return (noise > np.quantile(noise, 0.6)).astype(np.uint8)


@pytest.mark.parametrize("ending", ["parquet", "gpkg", "geojson"])
def test_command_writes_each_format(tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = fields((200, 200))
    values[0, 0] = 1
    out = tmp_path / "田块" / f"parcels.{ending}"
    command(write_mask(tmp_path / "m.tif", values), out=out, min_area_mu=1)
    read = geopandas.read_parquet(out) if ending == "parquet" else geopandas.read_file(out)
    assert len(read) > 5 and (read["area_ha"] > 1 / 15).all()
    assert f"{len(read)} parcels" in capsys.readouterr().out
    style = [out.with_suffix(".qml")] if ending == "gpkg" else []
    assert sorted(out.parent.iterdir()) == [out, *style]


def test_a_style_that_somebody_made_is_kept(tmp_path: Path) -> None:
    (tmp_path / "m_parcels.qml").write_text("mine", encoding="utf-8")
    command(write_mask(tmp_path / "m.tif", fields((100, 100))), out=tmp_path / "m_parcels.gpkg")
    assert (tmp_path / "m_parcels.qml").read_text(encoding="utf-8") == "mine"


def test_command_takes_a_class_of_a_land_cover_map(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "cover.tif", np.where(fields((100, 100)) == 1, 40, 10).astype(np.uint8))
    with pytest.raises(SceneError, match="values 10, 40 and no 1; say which is cropland with value="):
        command(mask)
    command(mask, value=40)
    assert len(geopandas.read_parquet(tmp_path / "cover_parcels.parquet")) > 0


def test_command_without_crs_wants_the_pixel(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "m.tif", fields((100, 100)), crs=None, transform=rasterio.Affine.identity())
    with pytest.raises(GridError, match="pixel_m="):
        command(mask)
    command(mask, pixel_m=2, min_area_m2=0)
    read = geopandas.read_parquet(tmp_path / "m_parcels.parquet")
    assert read.crs is None
    assert read["area_ha"].sum() == pytest.approx(4e-4 * fields((100, 100)).sum(), rel=0.02)


def test_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "m.tif", fields((50, 50)))
    with pytest.raises(OutputError, match=r"\.shp.*\.parquet, \.gpkg"):
        command(mask, out=tmp_path / "parcels.shp")
    with pytest.raises(InputError, match="mean the same"):
        command(mask, min_area_m2=1, min_area_mu=1)
    (tmp_path / "broken.tif").write_text("no image", encoding="utf-8")
    with pytest.raises(SceneError, match=r"broken\.tif cannot be read"):
        command(tmp_path / "broken.tif")


def test_a_parcel_around_the_pole(tmp_path: Path) -> None:
    """The scale of the projection is 0.97 at the pole."""
    values = np.zeros((300, 300), np.uint8)
    values[30:270, 60:270] = 1
    mask = write_raster(tmp_path / "m.tif", values, crs="EPSG:3413", transform=from_origin(-1500, 1500, 10, 10))
    (row,) = parcels(mask, simplify_m=0).to_dict("records")
    assert row["area_ha"] == pytest.approx(row["geometry"].area / 0.9697**2 / 1e4, rel=1e-3)
    assert row["area_ha"] == pytest.approx(504 / 0.9697**2, rel=2e-3)
    assert row["metrics:perimeter"] == pytest.approx(row["geometry"].length / 0.9697, rel=1e-3)


def test_a_staircase_becomes_a_line(tmp_path: Path) -> None:
    (polygon,) = parcels(write_mask(tmp_path / "m.tif", np.tri(60, dtype=np.uint8)), simplify_m=0).geometry
    x, y = shapely.get_coordinates(polygon).T / 10
    assert len(x) < 12
    assert np.ptp((x + y)[(x + y) > (x + y).min() + 10]) <= 1.0


def test_area_is_that_of_the_pixels(tmp_path: Path) -> None:
    values = fields()
    areas = np.sort(parcels(write_mask(tmp_path / "m.tif", values)).geometry.area) / 100
    labels, count = ndimage.label(values)
    pixels = np.sort(ndimage.sum_labels(values, labels, range(1, count + 1)))
    assert areas.sum() == pytest.approx(pixels.sum(), rel=0.005)
    large = pixels > 300
    assert np.abs(areas[large] / pixels[large] - 1).mean() < 0.01


def test_simplification_removes_most_points(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "m.tif", fields())
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
    found = parcels(
        write_mask(tmp_path / "m.tif", values), probability=write_mask(tmp_path / "p.tif", levels), observed=seen
    )
    (row,) = found.to_dict("records")
    assert found.crs.to_epsg() == 32650 and row["id"] == "1" and row["determination:method"] == "auto-imagery"
    assert row["determination:datetime"] == seen
    # UTM is 0.9996 on its central meridian, so the ellipsoid has 0.08 % more; rounded corners are the rest.
    assert row["area_ha"] == pytest.approx(5.5 / 0.9996**2, rel=5e-3)
    assert row["mean_probability"] == pytest.approx((190 + 330 * 0.5) / 520, abs=1e-3)
    ring = geopandas.GeoSeries([row["geometry"]], crs=32650).to_crs(4326)[0]
    earth = Geod(ellps="WGS84")
    assert row["metrics:area"] == pytest.approx(earth.geometry_area_perimeter(ring)[0], rel=1e-4)
    assert row["area_mu"] == pytest.approx(15 * row["area_ha"]) and row["area_ha"] * 1e4 == pytest.approx(
        row["metrics:area"]
    )
    assert row["metrics:perimeter"] == pytest.approx(sum(map(earth.geometry_length, shapely.get_rings(ring))), rel=1e-4)
    assert row["geometry"].exterior.is_ccw


def test_polygons_come_back_in_any_order() -> None:
    polygons = shapely.buffer(shapely.points(np.arange(9), 0), np.arange(1, 10), quad_segs=3)
    store = PolygonStore(BytesIO())
    for low, high in ((0, 0), (0, 4), (4, 4), (4, 9)):
        store.add(polygons[low:high], {"area": shapely.area(polygons[low:high])})
    assert len(store) == 9
    np.testing.assert_array_equal(store.figures("area"), shapely.area(polygons))
    order = np.array([7, 0, 8, 3, 3])
    assert shapely.equals_exact(store.polygons(order), polygons[order]).all()
    assert len(store.polygons(np.zeros(0, np.int64))) == 0


MASKS = st.tuples(st.integers(1, 16), st.integers(1, 16)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 1, 255]))
)
CELLS = st.sampled_from([1, 2, 3, 5, 8, CELL])
TOLERANCES = st.sampled_from([0.0, 0.75, 1.0, 2.0, 5.0])


write_in_pixels = partial(write_mask, transform=from_origin(0, 0, 1, 1))  # coordinates are (column, -row)


def find(mask: Path, *, rows: int = 7, **how: object) -> geopandas.GeoDataFrame:
    with find_parcels(mask, unit_m=1, **how) as found:
        table = pd.concat(found.chunks(rows), ignore_index=True)
        assert len(found) == len(table)
    return table


def marching_squares(values: np.ndarray) -> list[shapely.Polygon]:
    """Outlines by the definition: what four neighbouring centres enclose, united.

    Corners of cropland and the middles beside them span what is cropland; two opposite ones are apart.
    """
    parts, inside = [], np.pad(values == 1, 1)
    for row, column in np.ndindex(values.shape[0] + 1, values.shape[1] + 1):
        square = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
        here = np.array([row, column])
        corners = square[inside[tuple((square + here).T)]]
        opposite = len(corners) == 2 and (corners[0] != corners[1]).all()
        for some in corners[:, None] if opposite else [corners]:
            middles = [(one + other) / 2 for one in some for other in square if (one != other).sum() == 1]
            points = np.array([*some, *middles]).reshape(-1, 2) + here - 0.5
            parts.append(shapely.MultiPoint(points[:, ::-1] * [1, -1]).convex_hull)
    return [_corners(polygon) for polygon in shapely.get_parts(shapely.union_all(parts))]


def _corners(polygon: shapely.Polygon) -> shapely.Polygon:
    rings = []
    for ring in shapely.get_rings(polygon):
        points = shapely.get_coordinates(ring)[:-1]
        before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
        rings.append(points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]])
    return shapely.Polygon(rings[0], rings[1:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parcels")


@settings(max_examples=25, deadline=None)
@given(values=MASKS, cell=CELLS)
def test_outlines_run_through_the_middles_of_edges(folder: Path, values: np.ndarray, cell: int) -> None:
    found = find(write_in_pixels(folder / "m.tif", values), simplify_m=0, cell=cell).geometry.to_numpy()
    assert known(found) == known(np.array(marching_squares(values), object))


def known(polygons: np.ndarray) -> list[bytes]:
    """Polygons as what can be compared, whatever their order and where their rings begin."""
    return sorted(shapely.to_wkb(shapely.normalize(shapely.transform(polygons, lambda points: points + 0.0))))


@settings(max_examples=60, deadline=None)
@given(values=MASKS, cell=CELLS, tolerance=TOLERANCES)
def test_parcels_are_valid_and_apart_one_per_region(
    folder: Path, values: np.ndarray, cell: int, tolerance: float
) -> None:
    polygons = find(write_in_pixels(folder / "m.tif", values), simplify_m=tolerance, cell=cell).geometry.to_numpy()
    _, count = ndimage.label(values == 1)
    assert len(polygons) == count
    assert shapely.is_valid(polygons).all() and not shapely.is_empty(polygons).any()
    assert set(shapely.get_type_id(polygons)) <= {shapely.GeometryType.POLYGON}
    one, other = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    assert (one == other).all()  # they do not even touch
    _, holes = ndimage.label(np.pad(values, 1) != 1, np.ones((3, 3)))
    assert shapely.get_num_interior_rings(polygons).sum() == holes - 1


@settings(max_examples=20, deadline=None)
@given(values=MASKS, cell=CELLS, tolerance=TOLERANCES, seed=st.integers(0, 9))
def test_the_same_table_in_any_order_of_cells_and_of_any_layout(
    folder: Path, values: np.ndarray, cell: int, tolerance: float, seed: int
) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, values.shape, dtype=np.uint8)

    how = {"simplify_m": tolerance, "cell": cell}
    one = find(
        write_in_pixels(folder / "m.tif", values),
        probability=write_in_pixels(folder / "p.tif", levels),
        **how,
    )
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    mask, probability = (
        write_in_pixels(folder / "n.tif", values, **tiled),
        write_in_pixels(folder / "q.tif", levels, **tiled),
    )
    other = find(mask, probability=probability, spread=shuffled(seed), rows=1 + seed, **how)
    pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(other), check_exact=True)
    assert one["id"].tolist() == [str(number) for number in range(1, len(one) + 1)]
    assert shapely.to_wkb(one.geometry).tolist() == shapely.to_wkb(other.geometry).tolist()


@settings(max_examples=20, deadline=None)
@given(values=MASKS, cell=CELLS, seed=st.integers(0, 9))
def test_probability_is_of_the_pixels_of_each_region(folder: Path, values: np.ndarray, cell: int, seed: int) -> None:
    levels = np.random.default_rng(seed).choice(np.uint8([0, 3, 90, 254, 255]), values.shape)
    found = find(
        write_in_pixels(folder / "m.tif", values),
        probability=write_in_pixels(folder / "p.tif", levels),
        cell=cell,
    )
    labels, count = ndimage.label(values == 1)
    known = np.where(levels == 255, 0, labels)
    expected = ndimage.mean(levels / 254, known, range(1, count + 1)) if count else np.zeros(0)
    points = shapely.get_coordinates(shapely.get_point(shapely.get_exterior_ring(found.geometry.to_numpy()), 0))
    at = [_label_near(labels, column, -row) for column, row in points]
    np.testing.assert_allclose(found["mean_probability"], [expected[label - 1] for label in at], atol=1e-6)


def _label_near(labels: np.ndarray, column: float, row: float) -> int:
    """The region that a point of an outline belongs to: the point is the middle of one of its edges."""
    framed = np.pad(labels, 1)
    low, high = (framed[int(to(row + 0.5)), int(to(column + 0.5))] for to in (np.floor, np.ceil))
    return max(low, high)


def test_what_no_line_crosses_is_as_without_lines(tmp_path: Path) -> None:
    mask = write_in_pixels(tmp_path / "m.tif", fields((300, 400)))
    whole, cut = find(mask, cell=CELL), find(mask, cell=64)
    left, bottom, right, top = shapely.bounds(whole.geometry.to_numpy()).T
    lines = np.arange(64, 400, 64) - 0.5
    is_cut = (np.searchsorted(lines, left) != np.searchsorted(lines, right)) | (
        np.searchsorted(lines, -top) != np.searchsorted(lines, -bottom)
    )
    assert 0.2 < is_cut.mean() < 0.9
    assert set(known(whole.geometry.to_numpy()[~is_cut])) <= set(known(cut.geometry.to_numpy()))
    assert np.abs(cut.area.sum() / whole.area.sum() - 1) < 1e-3
    apart = shapely.area(shapely.symmetric_difference(cut.union_all(), whole.union_all()))
    assert apart < 0.01 * whole.area.sum()


def test_a_straight_edge_has_no_point_on_a_line(tmp_path: Path) -> None:
    for values in (np.tri(60, dtype=np.uint8), np.ones((60, 60), np.uint8), np.tri(60, dtype=np.uint8)[::-1]):
        (polygon,) = find(write_in_pixels(tmp_path / "m.tif", values), cell=8, simplify_m=0).geometry
        assert shapely.get_num_coordinates(polygon) <= 9


def test_neighbours_in_the_table_are_neighbours_on_the_ground(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:256, :256]
    found = find(write_in_pixels(tmp_path / "m.tif", ((rows % 4 < 2) & (columns % 4 < 2)).astype(np.uint8)), cell=100)
    centres = shapely.get_coordinates(shapely.centroid(found.geometry.to_numpy()))
    assert len(centres) == 64**2
    assert np.median(np.hypot(*np.diff(centres, axis=0).T)) == 4


def test_readers_of_a_place_skip_row_groups(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:256, :256]
    mask = write_in_pixels(tmp_path / "m.tif", ((rows % 4 < 2) & (columns % 4 < 2)).astype(np.uint8))
    with find_parcels(mask, cell=100) as found:
        write_geoparquet(found.chunks(64), tmp_path / "p.parquet")
    near = geopandas.read_parquet(tmp_path / "p.parquet", bbox=(0, -15, 15, 0))
    assert len(near) == 16
    assert len(row_groups_of(tmp_path / "p.parquet", (0, -15, 15, 0))) == 1


def row_groups_of(path: Path, bbox: tuple[float, float, float, float]) -> list[int]:
    """The row groups whose statistics do not exclude the box."""
    metadata = pq.read_metadata(path)
    left, bottom, right, top = (
        [_statistics(metadata.row_group(number), f"bbox.{name}") for number in range(metadata.num_row_groups)]
        for name in ("xmin", "ymin", "xmax", "ymax")
    )
    return [
        number
        for number in range(metadata.num_row_groups)
        if left[number].min <= bbox[2]
        and right[number].max >= bbox[0]
        and bottom[number].min <= bbox[3]
        and top[number].max >= bbox[1]
    ]


def _statistics(group: pq.RowGroupMetaData, name: str) -> pq.Statistics:
    columns = [group.column(number) for number in range(group.num_columns)]
    return next(column.statistics for column in columns if column.path_in_schema == name)


def write_squares(path: Path, shape: tuple[int, int]) -> Path:
    """A parcel of two by two pixels in every four by four."""
    height, width = shape
    rows, columns = np.mgrid[:512, :width]
    block = ((rows % 4 < 2) & (columns % 4 < 2)).astype(np.uint8)
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    place = {"crs": "EPSG:32650", "transform": from_origin(0, 0, 1, 1), "nodata": 255}
    with rasterio.open(path, "w", "GTiff", width, height, 1, dtype="uint8", **place, **layout) as target:
        for top in range(0, height, 512):
            part = block[: height - top]
            target.write(part, 1, window=rasterio.windows.Window(0, top, width, len(part)))
    return path


CHILD = """
import sys
from pathlib import Path
from cropland.parcels.parcels import find_parcels
from cropland.writers.vector import write_geoparquet
from rasters import write_raster
with find_parcels(Path(sys.argv[1])) as found:
    write_geoparquet(found.chunks(), Path(sys.argv[2]))
status = Path("/proc/self/status").read_text(encoding="utf-8")
print(len(found), int(status.partition("VmHWM:")[2].split()[0]) / 1e3)
"""


def count_and_peak(mask: Path, out: Path) -> tuple[int, float]:
    """The parcels, and the peak memory in MB of a process that wrote them to `out`."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the memory of a process is read from /proc: Linux only")
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(mask), str(out)]
    # Else GDAL keeps a twentieth of the machine's memory in blocks, and that would grow.
    environment = {**os.environ, "GDAL_CACHEMAX": "64"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=environment)
    count, peak = done.stdout.split()
    return int(count), float(peak)


@pytest.mark.soak
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for height in (16_384, 65_536):
        mask = write_squares(tmp_path / "m.tif", (height, 256))
        count, peak = count_and_peak(mask, tmp_path / "p.parquet")
        assert count == height * 256 // 16
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0] + 24 * 3 * 65_536 * 16 / 1e6  # and some bytes for each parcel


@pytest.mark.soak
def test_a_million_parcels(tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    count, peak = count_and_peak(write_squares(tmp_path / "m.tif", (4000, 4000)), out)
    assert count == 1_000_000 and peak < 1500  # a row of cells has a quarter of them
    box = (1000, -1100, 1100, -1000)
    near = geopandas.read_parquet(out, bbox=box)
    assert 25**2 <= len(near) <= 27**2
    assert len(row_groups_of(out, box)) <= 4 and pq.read_metadata(out).num_row_groups > 100
    assert near["id"].is_unique and shapely.is_valid(near.geometry).all()


def test_a_mask_without_cropland_has_one_table_without_rows(tmp_path: Path) -> None:
    found = find(write_in_pixels(tmp_path / "m.tif", np.zeros((9, 9), np.uint8)), cell=4)
    assert len(found) == 0 and "metrics:area" in found and found.crs.to_epsg() == 32650


def test_probability_of_another_grid_is_refused(tmp_path: Path) -> None:
    mask, other = (
        write_in_pixels(tmp_path / "m.tif", fields((50, 50))),
        write_in_pixels(tmp_path / "p.tif", fields((50, 51))),
    )
    with pytest.raises(GridError, match="not on the grid"):
        find(mask, probability=other)
