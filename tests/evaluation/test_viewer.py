"""The slippy picture: what its tiles hold, what it costs, and how it behaves in a browser."""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from PIL import Image
from playwright.sync_api import Browser, Page

from cropland.evaluation import report
from cropland.evaluation.score import Picture
from cropland.evaluation.viewer import FALSE, MISSED, RIGHT, Place, Sheet, assembled, viewer
from cropland.geo.window import Window
from cropland.language import speaking
from evaluation.chromium import opened

METRE = (1.0, 1.0)


def sheet(prediction: np.ndarray, truth: np.ndarray, rgb: np.ndarray | None = None, **more: object) -> Sheet:
    def read(window: Window, step: int) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        rows, cols = window.slices
        assert window.row >= 0 <= window.col and rows.stop <= prediction.shape[0] and cols.stop <= prediction.shape[1]
        parts = [None if each is None else each[rows, cols][::step, ::step] for each in (rgb, prediction, truth)]
        assert parts[1].size <= 1024 * 1024, "memory is that of one block"
        return tuple(parts)

    values = {"name": "scene", "shape": prediction.shape, "pixel_m": METRE, "read": read}
    return Sheet(**(values | more))


def masks(*shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return tuple(draw.integers(0, 2, shape).astype(np.uint8) for _ in range(2))


def content(html: Markup) -> dict:
    (text,) = re.findall(r'<script type="application/json" data-part="data">(.*?)</script>', html, flags=re.S)
    return json.loads(text)


def levels(tiles: dict[str, list[str]], which: int) -> dict[int, dict[tuple[int, int], np.ndarray]]:
    """The pixels of all tiles by level, row and column: numbers of the palette, or red, green and blue."""
    found: dict[int, dict[tuple[int, int], np.ndarray]] = {}
    for key, texts in tiles.items():
        level, row, col = map(int, key.split("/"))
        pixels = Image.open(io.BytesIO(base64.b64decode(texts[which]))) if texts[which] else None
        found.setdefault(level, {})[row, col] = None if pixels is None else np.asarray(pixels)
    return found


def joined(tiles: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    rows, cols = (max(key[axis] for key in tiles) + 1 for axis in (0, 1))
    return np.vstack([np.hstack([tiles[row, col] for col in range(cols)]) for row in range(rows)])


@settings(max_examples=10)
@given(height=st.integers(1, 1200), width=st.integers(1, 1200), seed=st.integers(0, 9))
def test_every_pixel_is_in_a_tile_of_every_level(height, width, seed):
    prediction, reference = masks(height, width, seed=seed)
    prediction[0, 0] = reference[0, 0] = 1  # a picture of a single tile without cropland has no verdict to show
    (its,) = content(viewer([sheet(prediction, reference)], budget_bytes=10**9))["sheets"]
    found = levels(its["tiles"], 1)
    assert sorted(found) == list(range(its["top"] + 1))
    assert max(height, width) <= 256 * 2 ** its["top"] and (
        its["top"] == 0 or max(height, width) > 128 * 2 ** its["top"]
    )
    for level, tiles in found.items():
        tiles = {key: np.zeros((1, 1)) if tile is None else tile for key, tile in tiles.items()}
        assert np.array_equal(joined(tiles), (prediction + 2 * reference)[:: 2**level, :: 2**level])


@settings(max_examples=6)
@given(height=st.integers(100, 600), width=st.integers(100, 600))
def test_imagery_is_averaged_from_level_to_level(height, width):
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = np.linspace(0, 250, width), np.linspace(0, 250, height)[:, None]
    (its,) = content(viewer([sheet(*masks(height, width), rgb)], budget_bytes=10**9))["sheets"]
    for level, tiles in levels(its["tiles"], 0).items():
        rows, cols = (np.arange(0, length, 2**level) for length in (height, width))
        sums = np.add.reduceat(np.add.reduceat(rgb.astype(float), rows, axis=0), cols, axis=1)
        counts = np.add.reduceat(np.add.reduceat(np.ones((height, width)), rows, axis=0), cols, axis=1)
        shown = joined(tiles)
        assert shown.shape == (len(rows), len(cols), 3)
        # JPEG, roundings, and at the far edges a last pixel that counts for those beyond it.
        assert np.abs(shown[:-1, :-1] - (sums / counts[..., None])[:-1, :-1]).max(initial=0) < 8


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (*shape, 3)).astype(np.uint8)


@pytest.mark.parametrize("budget", [60_000, 200_000, 700_000, 3_000_000, 9_000_000])
def test_the_budget_holds(budget):
    sheets = [sheet(*masks(1100, 900), noise(1100, 900)), sheet(*masks(300, 260), noise(300, 260))]
    html = viewer(sheets, budget_bytes=budget)
    assert len(html.encode()) < budget + 190_000
    assert len(content(html)["sheets"]) == 2


def test_pictures_for_which_there_is_no_room_are_left_out_and_counted():
    sheets = [sheet(*masks(64, 64), noise(64, 64), name=f"scene {number}") for number in range(40)]
    html = viewer(sheets, places=[Place("there", 39, Window(0, 0, 8, 8))], budget_bytes=60_000)
    shown = len(content(html)["sheets"])
    assert 0 < shown < 40 and f"{40 - shown} further pictures are left out" in html
    assert 'data-place="' not in html and "scene 0" in html and "scene 39" not in html


def test_without_pictures_there_is_nothing():
    assert viewer([]) == viewer([sheet(*masks(64, 64))], budget_bytes=10) == ""


def smooth(*shape: int) -> np.ndarray:
    rows, cols = np.indices(shape)
    return np.stack([rows % 251, cols % 241, (rows + cols) % 239], axis=2).astype(np.uint8)


def test_where_most_is_wrong_is_sharp_and_what_is_listed_comes_first():
    prediction, reference = np.zeros((2, 2048, 2048), np.uint8)
    order = np.random.default_rng(0).permutation(16)
    for rank, part in enumerate(order):  # parts of 512 x 512, from the worst
        reference[512 * (part // 4) :, 512 * (part % 4) :][: 400 - 20 * rank, :400] = 1
    picture = sheet(prediction, reference, smooth(2048, 2048))

    def sharp(*places: Place) -> set[int]:
        tiles = content(viewer([picture], places=places, budget_bytes=400_000))["sheets"][0]["tiles"]
        keys = [tuple(map(int, key.split("/"))) for key in tiles]
        return {row // 2 * 4 + col // 2 for level, row, col in keys if level == 0}

    worst = sharp()
    assert 1 < len(worst) < 16 and worst == {*order[: len(worst)].tolist()}
    last = int(order[-1])
    listed = sharp(Place("listed", 0, Window(512 * (last // 4) + 100, 512 * (last % 4) + 100, 50, 50)))
    assert last in listed and listed - {last} == {*order[: len(listed) - 1].tolist()}


def test_a_strip_of_a_million_pixels():
    def read(window: Window, step: int) -> tuple[None, np.ndarray, np.ndarray]:
        mask = ((np.arange(window.col, window.col + window.width, step) // 1000) % 2).astype(np.uint8)
        mask = np.broadcast_to(mask, (-(-window.height // step), len(mask)))
        assert mask.size <= 1024 * 1024
        return None, mask, 1 - mask

    html = viewer([Sheet("strip", (3, 1_000_000), (10.0, 10.0), read)], budget_bytes=500_000)
    (its,) = content(html)["sheets"]
    assert its["top"] == 12 and its["home"] == [0, 0, 3, 1_000_000] and len(html) < 690_000
    assert levels(its["tiles"], 1)[12][0, 0].shape == (1, 245)


def test_a_picture_opens_on_what_is_known():
    prediction, reference = masks(600, 800)
    reference[:] = 255
    reference[100:201, 300:500] = 1
    row, col, height, width = content(viewer([sheet(prediction, reference)]))["sheets"][0]["home"]
    assert row <= 100 and col <= 300 and row + height >= 201 and col + width >= 500
    assert height < 130 and width < 230


CHIPS = [(Window(5, 0, 20, 30), 1), (Window(40, 33, 17, 25), 2), (Window(50, 40, 20, 20), 3)]


@given(data=st.data(), step=st.integers(1, 9))
def test_assembled_chips_are_the_scene_that_they_were_cut_from(data, step):
    pictures = {window: Picture(noise(*window.shape), *masks(*window.shape, seed=seed)) for window, seed in CHIPS}
    made = assembled("s", [(window, lambda w=window: pictures[w]) for window, _ in CHIPS], pixel_m=METRE)
    assert made.shape == (70, 60)
    rgb, prediction, reference = np.full((70, 60, 3), 200, np.uint8), *(np.full((70, 60), 255, np.uint8),) * 2
    prediction = prediction.copy()
    for window, picture in pictures.items():
        rgb[window.slices], prediction[window.slices], reference[window.slices] = picture
    row, col = data.draw(st.integers(0, 69)), data.draw(st.integers(0, 59))
    window = Window(row, col, data.draw(st.integers(1, 70 - row)), data.draw(st.integers(1, 60 - col)))
    its_rgb, *its_masks = made.read(window, step)
    for its, whole in zip(its_masks, (prediction, reference), strict=True):
        assert np.array_equal(its, whole[window.slices][::step, ::step])
    known = prediction[window.slices][::step, ::step] != 255
    assert np.array_equal(its_rgb, rgb[window.slices][::step, ::step]) if known.any() else its_rgb is None


def decoded(rings: list[list[int]]) -> list[np.ndarray]:
    return [np.cumsum(np.reshape(ring, (-1, 2)), axis=0) / 4 for ring in rings]


def test_outlines_are_written_close_to_where_they_are():
    holed = shapely.Point(50, 40).buffer(30).difference(shapely.Point(50, 40).buffer(10))
    fields = [holed, shapely.MultiPolygon([shapely.box(1, 2, 9, 12), shapely.box(70, 70, 90, 95)])]
    its = content(viewer([sheet(*masks(100, 100), predicted=fields)]))["sheets"][0]
    found = shapely.union_all([shapely.LinearRing(ring) for ring in decoded(its["predicted"])])
    assert len(its["predicted"]) == 4 and its["reference"] == []
    assert shapely.hausdorff_distance(found, shapely.union_all(fields).boundary) < 0.25 + 0.2


def test_too_many_outlines_are_left_out_and_the_page_says_so():
    fields = np.array([shapely.Point(x, y).buffer(3) for x in range(25) for y in range(25)])
    html = viewer([sheet(*masks(64, 64), reference=fields)], budget_bytes=40_000)
    assert content(html)["sheets"][0]["reference"] == [] and "The outlines of the fields are left out" in html
    assert 'data-part="reference"' not in html


def test_the_colours_are_those_of_the_report():
    assert (RIGHT, FALSE, MISSED) == (report.RIGHT, report.FALSE, report.MISSED)


# In a browser ---------------------------------------------------------------------------------------------------------

HOSTILE = "rice & <b> </script><script>alert(1)</script> \"'"
BLANK = (200, 200, 200)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures: right, false alarm, missed and other land in quarters; and one that is missed but for a spot."""
    prediction, reference = np.zeros((2, 1024, 1024), np.uint8)
    prediction[:512], reference[:, :512] = 1, 1
    missed = np.zeros((700, 900), np.uint8), np.ones((700, 900), np.uint8)
    missed[0][600:650, 800:850] = missed[1][600:650, 800:850] = 1
    field = [shapely.box(100, 100, 924, 924)]
    sheets = [sheet(prediction, reference, name=HOSTILE, predicted=field), sheet(*missed, name="second")]
    places = [Place("false", 0, Window(200, 700, 64, 64)), Place(HOSTILE, 1, Window(600, 800, 50, 50), HOSTILE)]
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(f'<!doctype html><meta charset="utf-8">{viewer(sheets, places=places)}', encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    yield from opened(browser, path)


def shown(page: Page, *points: tuple[int, int]) -> list[np.ndarray]:
    """The colours at points, so far right of and below the middle of the map, when all of its tiles are there."""
    page.wait_for_function(
        "(tiles => tiles.length && tiles.every(tile => tile.matches('.leaflet-tile-loaded')))"
        "([...document.querySelectorAll('.leaflet-tile')])"
    )
    box = page.locator(".viewer-map").bounding_box()
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    scale = image.width / page.viewport_size["width"]
    middle = np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
    return [
        np.array(image.getpixel(tuple(np.rint((middle + point) * scale).astype(int).tolist())), int) for point in points
    ]


def over(colour: tuple[int, int, int], opacity: int) -> np.ndarray:
    return (np.array(colour) * opacity + np.array(BLANK) * (255 - opacity)) / 255


def same(found: list[np.ndarray], *wanted: np.ndarray) -> bool:
    return bool(np.abs(np.array(found) - np.array(wanted)).max() < 4)


CORNERS = ((-60, -60), (60, -60), (-60, 60), (60, 60))


@pytest.mark.parametrize("device_scale_factor", [1, 1.5])
def test_a_quarter_has_its_colour_at_every_zoom(browser, path, device_scale_factor):
    small = {"width": 760, "height": 500}
    for page in opened(browser, path, device_scale_factor=device_scale_factor, viewport=small):
        page.locator(".viewer-map").focus()
        scales = set()
        for _zoom in range(5):
            assert same(shown(page, *CORNERS), over(RIGHT, 65), over(FALSE, 215), over(MISSED, 215), BLANK)
            scales.add(page.locator(".leaflet-control-scale-line").inner_text())
            page.keyboard.press("+")
        assert len(scales) == 5


def test_tiles_meet_without_a_seam_at_zooms_between_whole_numbers(browser, tmp_path):
    one = np.ones((2600, 2600), np.uint8)
    page_file = tmp_path / "page.html"
    page_file.write_text(str(viewer([sheet(one * 0, one)])), encoding="utf-8")
    for size in (520, 740):  # which the picture fills at other fractions of a zoom
        for page in opened(browser, page_file, viewport={"width": size, "height": size}):
            points = [(at, at // 3) for at in range(-140, 141)]
            assert same(shown(page, *points), *[over(MISSED, 215)] * len(points))


def test_imagery_that_is_dark_all_over_has_no_light_line(browser, tmp_path):
    """Tiles of the pyramid meet within a point of the screen, through which the ground of the picture shows."""
    nothing = np.zeros((1024, 1024), np.uint8)
    page_file = tmp_path / "page.html"
    dark = np.full((1024, 1024, 3), 20, np.uint8)
    slim = sheet(nothing, nothing, dark, pixel_m=(1.0, 0.93))  # so that tiles begin within points of the screen
    page_file.write_text(str(viewer([slim])), encoding="utf-8")
    for page in opened(browser, page_file, viewport={"width": 900, "height": 680}):
        picture = Image.open(io.BytesIO(page.locator(".viewer-map").screenshot())).convert("L")
        pixels = np.asarray(picture)[: picture.height - 60, 60:]  # without buttons and the bar of metres
        inside = pixels[:, (pixels < 60).mean(axis=0) > 0.5]
        assert inside.shape[1] > 300
        assert (np.median(inside, axis=0) < 24).all()


def test_arrows_and_wheel_move_the_picture_once_it_is_asked_for(page):
    scale = page.locator(".leaflet-control-scale-line")
    first = scale.inner_text()
    page.locator(".viewer-map").hover()
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(200)
    assert scale.inner_text() == first, "the wheel belongs to the page"
    page.locator(".viewer-map").click(position={"x": 200, "y": 300})
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(300)
    assert scale.inner_text() != first
    page.locator("[title='The whole picture']").click()
    page.locator(".viewer-map").focus()
    assert same(shown(page, (60, -60)), over(FALSE, 215))
    for _step in range(2):
        page.keyboard.press("ArrowDown")
    page.wait_for_timeout(200)
    assert same(shown(page, (60, -60)), BLANK)


def test_the_comparison_fades_and_goes(page):
    page.locator("[data-part=opacity]").fill("50")
    assert same(shown(page, (60, -60)), over(FALSE, 215 // 2))
    page.locator("[data-part=verdict]").uncheck()
    assert same(shown(page, (60, -60)), BLANK)
    page.locator("[data-part=verdict]").check()
    assert same(shown(page, (60, -60)), over(FALSE, 215 // 2))


def test_another_picture_is_chosen_by_its_name(page):
    assert page.locator("select option").all_inner_texts() == [HOSTILE, "second"]
    page.locator("select").select_option("second")
    assert same(shown(page, (0, 0)), over(MISSED, 215))


def test_a_click_on_a_place_flies_there(page):
    page.get_by_role("button", name="false").click()
    page.wait_for_timeout(100)
    assert same(shown(page, (-100, 0), (100, 0)), *[over(FALSE, 215)] * 2)
    page.locator("[data-place='1']").click()
    assert same(shown(page, (0, 0)), over(RIGHT, 65)) and page.locator("select").input_value() == "1"
    assert page.locator("[data-place='1']").get_attribute("aria-current") == "true"
    assert page.locator("[data-place='1'] small").inner_text() == HOSTILE


def test_outlines_are_drawn_where_they_are(browser, tmp_path):
    none = np.zeros((512, 512), np.uint8)
    page_file = tmp_path / "page.html"
    page_file.write_text(str(viewer([sheet(none, none, predicted=[shapely.box(0, 0, 256, 512)])])), encoding="utf-8")
    for page in opened(browser, page_file):
        assert same(shown(page, (0, 0)), BLANK)
        page.locator("[data-part=predicted]").check()
        page.wait_for_timeout(100)
        ((red, _green, blue),) = shown(page, (0, 0))
        assert red - blue > 100, "yellow"


def test_it_fills_the_window_and_gives_it_back(page):
    section = page.locator(".viewer")
    before = section.bounding_box()
    page.locator("[title='Fill the window']").click()
    assert section.bounding_box() == {"x": 0, "y": 0, "width": 1000, "height": 800}
    assert same(shown(page, (60, -60)), over(FALSE, 215))
    page.keyboard.press("Escape")
    assert section.bounding_box() == before


def test_zooming_shows_finer_tiles_where_there_are_some(browser, tmp_path):
    def read(window: Window, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = [-(-length // step) for length in window.shape]
        rgb = noise(*size) // 2 + np.array([0, 0, 120] if step == 1 else [120, 0, 0], np.uint8)
        mask = np.zeros(size, np.uint8)
        return rgb, mask, mask

    place = Place("there", 0, Window(900, 900, 100, 100))
    html = viewer([Sheet("noise", (2048, 2048), METRE, read)], places=[place], budget_bytes=2_000_000)
    assert "m wide, and 1 m where most is wrong" in content(html)["sheets"][0]["note"]
    page_file = tmp_path / "page.html"
    page_file.write_text(str(html), encoding="utf-8")
    for page in opened(browser, page_file):
        ((red, _green, blue),) = shown(page, (0, 0))
        assert red > blue, "coarse tiles are red"
        page.get_by_role("button", name="there").click()
        page.locator(".viewer-map").focus()
        page.wait_for_timeout(100)
        ((red, _green, blue),) = shown(page, (0, 0))
        assert blue > red, "fine ones are blue"
        for _zoom in range(2):
            page.keyboard.press("-")
        page.wait_for_timeout(100)
        (left_red, _green, left_blue), (right_red, _green, right_blue) = shown(page, (-140, -140), (140, 140))
        assert left_blue > left_red and right_red > right_blue, "coarse ones stand in where there are no fine ones"


def test_a_metre_is_as_long_across_as_it_is_down(browser, tmp_path):
    one = np.ones((512, 512), np.uint8)
    page_file = tmp_path / "page.html"
    page_file.write_text(str(viewer([sheet(one * 0, one, pixel_m=(2.0, 1.0))])), encoding="utf-8")
    for page in opened(browser, page_file):
        assert same(shown(page, (0, -220), (110, 0), (0, 220), (-110, 0)), *[over(MISSED, 215)] * 4)
        assert not any(same([colour], over(MISSED, 215)) for colour in shown(page, (-180, 0), (180, 0)))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_fits_a_phone(browser, language, tmp_path):
    with speaking(language):
        html = viewer(
            [sheet(*masks(300, 300), name="a long name of a scene " * 5)] * 2,
            places=[Place("x" * 80, 0, Window(0, 0, 9, 9))],
        )
    page_file = tmp_path / "page.html"
    page_file.write_text(f'<!doctype html><meta name="viewport" content="width=device-width">{html}', encoding="utf-8")
    for page in opened(browser, page_file, viewport={"width": 400, "height": 740}, has_touch=True):
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        assert page.locator(".viewer-map").bounding_box()["height"] > 300
