"""The sheet for judging points, worked in a browser: `apt install chromium`, or name one in CROPLAND_CHROMIUM."""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from matplotlib.image import imread
from odc.geo.geobox import GeoBox
from playwright.sync_api import Browser, Page, expect
from pyproj import Transformer
from rasterio.features import rasterize

from cropland.errors import GridError, SceneError
from cropland.geo.scene import open_scene
from cropland.language import speaking
from cropland.sampling.sheet import OUTSIDE, write_sheet
from rasters import UTM50, write_raster

MASK = GeoBox((120, 150), UTM50, 32650)
PIXELS = [(60, 75), (0, 0), (119, 149), (20, 30), (90, 40), (50, 120)]  # rows and columns of the points
NEAR, FAR = ".view >> nth=0", ".view >> nth=1"
HEADER = "sample,id,reference,interpreter\n"
MERGED = "4 answers taken from {}; 0 that differ from yours were left as they are."


def points(pixels: list[tuple[int, int]] = PIXELS, crs: object = 32650) -> geopandas.GeoDataFrame:
    """Points within those pixels of the mask, not in their middle, with what an interpreter must not see."""
    places = [shapely.Point(MASK.affine @ (col + 0.2, row + 0.7)) for row, col in pixels]
    ids = np.arange(1, len(pixels) + 1)
    return geopandas.GeoDataFrame({"id": ids, "stratum": "hidden_edge", "mapped": 1}, geometry=places, crs=crs)


@pytest.fixture(scope="module")
def imagery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blue, green, red and infrared in longitude and latitude, of a quarter of the mask's pixel, around the mask.

    The pixels of the mask that are judged are bright in red and dark in all else.
    """
    to_degrees = Transformer.from_crs(32650, 4326, always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(*MASK.boundingbox)
    grid = Affine(2.8e-5, 0, west - 0.001, 0, -2.25e-5, north + 0.001)
    height, width = int((north - south + 0.002) / 2.25e-5), int((east - west + 0.002) / 2.8e-5)
    squares = [shapely.box(*(MASK.affine @ (col, row)), *(MASK.affine @ (col + 1, row + 1))) for row, col in PIXELS]
    judged = [shapely.transform(each, to_degrees.transform, interleaved=False) for each in squares]
    values = np.random.default_rng(0).integers(100, 110, (4, height, width)).astype(np.uint16)
    values[:, :, width // 2 :] += 200
    is_judged = rasterize(judged, (height, width), transform=grid).astype(bool)
    values[:, is_judged] = np.array([[0], [0], [900], [0]])
    path = tmp_path_factory.mktemp("imagery") / "scene.tif"
    names = ("blue", "green", "red", "nir")
    return write_raster(path, values, names=names, crs="EPSG:4326", transform=grid)


@pytest.fixture(scope="module")
def path(imagery: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sheet") / "sheet.html"
    scene = open_scene(imagery)
    write_sheet(out, points(), pixel=MASK, imagery=scene, title="a <b> & c", sample="5a3f")
    return out


def views(path: Path) -> list[list[dict]]:
    """The views of each point, as the page has them."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="sheet">(.*?)</script>', text, re.DOTALL)
    return [point["views"] for point in json.loads(found[1])["points"]]


def pixels_of(uri: str) -> np.ndarray:
    """Rows, columns and colours of a picture."""
    kind, _, data = uri.partition(";base64,")
    assert kind == "data:image/jpeg"
    return imread(io.BytesIO(base64.b64decode(data)), format="jpg").astype(int)


def test_the_outline_lies_where_the_pixel_lies_in_the_picture(path: Path):
    """Imagery in degrees: the red square, which rasterio burnt, fills the outline, which the sheet computed."""
    for near, _ in views(path):
        picture = pixels_of(near["pictures"][0])
        rows, cols = np.nonzero(picture[:, :, 0] - picture[:, :, 2] > 90)
        scale = 480 / np.array(picture.shape[1::-1])
        seen = np.array([[cols.min(), rows.min()], [cols.max() + 1, rows.max() + 1]]) * scale
        outline = np.array([point.split(",") for point in near["outline"].split()], float)
        drawn = np.array([outline.min(axis=0), outline.max(axis=0)])
        assert np.abs(seen - drawn).max() < scale.max()  # rasterio burns whole pixels of the imagery
        assert 400 < near["side"] < 420 and 470 / 41 < np.ptp(outline, axis=0).max() < 500 / 41


def test_the_far_view_leads_to_a_pixel_that_is_too_small_to_be_outlined(path: Path):
    for near, far in views(path):
        assert near["middle"] is None and far["side"] == pytest.approx(near["side"] * 401 / 41)
        outline = np.array([point.split(",") for point in far["outline"].split()], float)
        assert np.ptp(outline, axis=0).max() < 2
        assert np.abs(np.array(far["middle"]) - outline.mean(axis=0)).max() < 0.01
        assert np.abs(np.array(far["middle"]) - 240).max() <= 1  # of 480: the middle of the view


def test_what_lies_beyond_the_imagery_is_grey(tmp_path: Path):
    values = np.random.default_rng(0).integers(0, 40, (120, 150)).astype(np.uint8)
    scene = open_scene(write_raster(tmp_path / "scene.tif", values), bands=["grey"])
    write_sheet(tmp_path / "s.html", points([(0, 149)]), pixel=MASK, imagery=scene, title="", sample="1")
    near = pixels_of(views(tmp_path / "s.html")[0][0]["pictures"][0])
    assert near.shape == (41, 41, 3)
    assert np.abs(near[:18] - OUTSIDE).max() < 12 and np.abs(near[:, 23:] - OUTSIDE).max() < 12
    assert near[22:, :18].std() > 30


def test_views_of_bright_and_dark_places_are_stretched_alike(tmp_path: Path):
    values = np.full((120, 150), 20, np.uint8)
    values[:, 75:] = 200
    scene = open_scene(write_raster(tmp_path / "scene.tif", values), bands=["grey"])
    pair = points([(60, 25), (60, 125)])
    write_sheet(tmp_path / "s.html", pair, pixel=MASK, imagery=scene, title="", sample="1")
    dark, bright = (pixels_of(near["pictures"][0])[20, 20, 0] for near, _ in views(tmp_path / "s.html"))
    assert dark < 10 and bright > 245


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_imagery_in_pixel_space(tmp_path: Path):
    """Without a CRS the mask and its points have the coordinates of the imagery, here two pixels of it to one."""
    values = np.random.default_rng(0).integers(0, 255, (300, 300)).astype(np.uint8)
    path = write_raster(tmp_path / "photo.tif", values, crs=None, transform=None)
    scene = open_scene(path, bands=["grey"], pixel_m=0.5)
    mask = scene.working_grid(2)
    places = geopandas.GeoDataFrame({"id": ["a"]}, geometry=[shapely.Point(mask.affine @ (60.5, 70.5))])
    write_sheet(tmp_path / "s.html", places, pixel=mask, imagery=scene, title="", sample="1")
    near, _ = views(tmp_path / "s.html")[0]
    shown = values[141 - 41 : 141 + 41, 121 - 41 : 121 + 41]
    assert near["side"] == pytest.approx(41) and pixels_of(near["pictures"][0]).shape == (82, 82, 3)
    drawn = pixels_of(near["pictures"][0])[:, :, 0]
    assert np.corrcoef(drawn.ravel(), shown.ravel())[0, 1] > 0.95
    assert near["outline"] == "234.15,234.15 245.85,234.15 245.85,245.85 234.15,245.85"


def test_neither_stratum_nor_class_is_in_the_file(path: Path):
    text = path.read_text(encoding="utf-8")
    assert "hidden_edge" not in text and "stratum" not in text and "mapped" not in text
    assert "http:" not in text and "https:" not in text
    assert path.stat().st_size < 100e3 * len(PIXELS)


@pytest.mark.parametrize(
    ("pixels", "crs", "error", "told"),
    [
        ([(60, 75), (60, 500)], 32650, SceneError, "1 of 2 points of the sample lie outside of scene"),
        (PIXELS, 2333, GridError, "have different frames"),  # Xi'an 1980
        (PIXELS, None, GridError, "only one has a coordinate reference system"),
    ],
)
def test_points_that_cannot_be_seen_are_one_line(imagery: Path, tmp_path: Path, pixels, crs, error, told):
    grid = GeoBox(MASK.shape, MASK.affine, crs)
    with pytest.raises(error, match=told):
        write_sheet(
            tmp_path / "s.html", points(pixels, crs), pixel=grid, imagery=open_scene(imagery), title="", sample="1"
        )
    assert list(tmp_path.iterdir()) == []


# --- in the browser ---------------------------------------------------------------------------------------------------


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    """The sheet as an interpreter without any past opens it; nothing may go wrong or leave the page."""
    context = browser.new_context(viewport={"width": 1024, "height": 700})
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or faults.append(asked.url))
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(path.as_uri())
    yield page
    assert faults == []
    context.close()


def begin(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.keyboard.press("Enter")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def saved(page: Page) -> tuple[str, str]:
    """The name and the text of the file that "Save CSV" gives."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save CSV").click()
    return download.value.suggested_filename, download.value.path().read_text(encoding="utf-8")


def open_files(page: Page, *files: Path, button: str = "Open CSV") -> None:
    with page.expect_file_chooser() as chooser:
        page.locator(f"button:visible:text-is('{button}')").last.click()
    chooser.value.set_files(list(files))


def csv(folder: Path, name: str, answers: str) -> Path:
    path = folder / f"answers_{name}.csv"
    rows = [f"5a3f,{at},{answer},{name}\n" for at, answer in enumerate(answers, start=1)]
    path.write_text(HEADER + "".join(rows), encoding="utf-8")
    return path


def progress(page: Page) -> str:
    return page.get_by_role("status").inner_text()


def answer(page: Page) -> str | None:
    """The answer of the point that is shown."""
    pressed = page.locator("[data-answer][aria-pressed=true]")
    return pressed.get_attribute("data-answer") if pressed.count() else None


def test_an_answer_leads_to_the_next_point_and_can_be_corrected(page: Page):
    begin(page, "Li Na")
    assert progress(page) == "Point 1 of 6 · 0 of 6 answered"
    first = page.locator("img").first.get_attribute("src")
    press(page, "1", "0", "?")
    assert progress(page).startswith("Point 4 of 6 · 3 of 6 answered · ") and "per minute" in progress(page)
    assert page.locator("img").first.get_attribute("src") != first and answer(page) is None
    press(page, "Backspace", "ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert progress(page).startswith("Point 1 of 6") and answer(page) == "1"
    press(page, "ArrowRight")
    assert answer(page) == "0"
    press(page, "u")  # corrects it, and goes on to the next point without an answer
    assert progress(page).startswith("Point 4 of 6 · 3 of 6 answered")
    press(page, "/", "1", "1")
    assert page.get_by_role("alert").first.inner_text() == "All points are answered; save the CSV."
    assert saved(page) == (
        "answers_Li_Na.csv",
        HEADER + "".join(f"5a3f,{at + 1},{given},Li Na\n" for at, given in enumerate("1???11")),
    )


def test_buttons_answer_as_keys_do(page: Page):
    begin(page, "Li")
    for name in ("cropland", "not cropland", "cannot tell", "Back"):
        page.get_by_role("button", name=re.compile(rf"^\W?\w?\W?{name}$")).click()
    assert progress(page).startswith("Point 3 of 6 · 3 of 6 answered") and answer(page) == "?"


def test_a_key_that_is_held_down_judges_one_point(page: Page):
    begin(page, "Li")
    for _ in range(3):
        page.keyboard.down("1")
    assert progress(page).startswith("Point 2 of 6 · 1 of 6 answered")


def test_a_name_is_required_and_its_letters_judge_nothing(page: Page):
    press(page, "Enter", "Escape", "Escape", "Escape")
    assert page.get_by_role("dialog").is_visible()
    begin(page, "10 ?")
    assert progress(page) == "Point 1 of 6 · 0 of 6 answered"


def test_a_reload_goes_on(page: Page):
    begin(page, "Li")
    press(page, "1", "0")
    page.reload()
    assert progress(page).startswith("Point 3 of 6 · 2 of 6 answered")
    press(page, "ArrowLeft")
    assert answer(page) == "0"


def test_another_interpreter_does_not_see_the_answers_of_the_first(page: Page):
    begin(page, "Li")
    press(page, "1", "1")
    page.get_by_role("button", name="Li", exact=True).click()
    begin(page, "Wang")
    assert progress(page).startswith("Point 1 of 6 · 0 of 6 answered")
    page.get_by_role("button", name="Wang").click()
    begin(page, "Li")
    assert progress(page).startswith("Point 3 of 6 · 2 of 6 answered")


def test_leaving_with_answers_that_are_not_saved_warns(page: Page):
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.type))
    begin(page, "Li")
    page.reload()
    assert asked == []
    press(page, "1")
    page.reload()
    assert asked == ["beforeunload"]
    saved(page)
    page.reload()
    assert asked == ["beforeunload"]


@pytest.mark.parametrize("name", ["Li", 'Li, "Na"', "李娜"])
def test_a_file_goes_on_in_another_browser(browser: Browser, page: Page, path: Path, tmp_path: Path, name: str):
    begin(page, name)
    press(page, "1", "0", "?", "1")
    file, text = saved(page)
    (tmp_path / file).write_text(text, encoding="utf-8")
    elsewhere = browser.new_page()
    elsewhere.goto(path.as_uri())
    open_files(elsewhere, tmp_path / file)
    expect(elsewhere.get_by_role("alert").first).to_have_text(MERGED.format(file))
    press(elsewhere, "0")
    assert saved(elsewhere) == (file, text + text.splitlines()[1].replace("5a3f,1,1", "5a3f,5,0") + "\n")
    elsewhere.close()


def test_an_older_file_undoes_nothing(page: Page, tmp_path: Path):
    begin(page, "Li")
    press(page, "1", "1")
    open_files(page, csv(tmp_path, "Li", "010"))
    expect(page.get_by_role("alert").first).to_have_text(
        "1 answers taken from answers_Li.csv; 1 that differ from yours were left as they are."
    )
    assert [line.split(",")[2] for line in saved(page)[1].splitlines()[1:]] == ["1", "1", "0"]


BAD = {
    "other sample": ("beef,1,1,Li\n", "belongs to sample beef and this sheet to sample 5a3f"),
    "unknown point": ("5a3f,99,1,Li\n", "line 2: 5a3f,99,1,Li is not a sample, the id of a point"),
    "unknown answer": ("5a3f,1,1,Li\n5a3f,2,yes,Li\n", "line 3: 5a3f,2,yes,Li is not"),
    "torn line": ("5a3f,1,1,Li\n5a3f,2", "line 3: 5a3f,2 is not"),
    "a column more": ("5a3f,1,1,Li,\n", "line 2: 5a3f,1,1,Li, is not"),
    "no name": ("5a3f,1,1, \n", "line 2: 5a3f,1,1,  is not"),
    "twice": ("5a3f,1,1,Li\n5a3f,1,0,Li\n", "line 3: point 1 stands there twice"),
    "two names": ("5a3f,1,1,Li\n5a3f,2,0,Wang\n", "line 3: the file has the answers of Li and of Wang"),
    "nothing": ("", "has no answers"),
}


def test_a_file_that_cannot_be_used_changes_nothing(page: Page, tmp_path: Path):
    begin(page, "Li")
    press(page, "0")
    for name, (lines, told) in BAD.items():
        (tmp_path / f"{name}.csv").write_text(HEADER + lines, encoding="utf-8")
        open_files(page, tmp_path / f"{name}.csv")
        expect(page.get_by_role("alert").first).to_contain_text(f"{name}.csv")
        expect(page.get_by_role("alert").first).to_contain_text(told)
        expect(page.get_by_role("alert").first).to_contain_text("Nothing was changed.")
        assert progress(page).startswith("Point 2 of 6 · 1 of 6 answered")
    assert saved(page)[1] == HEADER + "5a3f,1,0,Li\n"


def test_a_table_of_something_else_and_the_file_of_somebody_else_are_refused(page: Page, tmp_path: Path):
    begin(page, "Li")
    (tmp_path / "other.csv").write_text("id;reference\n1;1\n", encoding="utf-8")
    open_files(page, tmp_path / "other.csv")
    expect(page.get_by_role("alert").first).to_contain_text("other.csv does not begin with the line sample,id")
    open_files(page, csv(tmp_path, "Wang", "11"))
    expect(page.get_by_role("alert").first).to_contain_text("is by Wang and you answer as Li")
    assert progress(page) == "Point 1 of 6 · 0 of 6 answered"


@pytest.mark.parametrize("at_once", [True, False], ids=["together", "one after the other"])
def test_two_interpreters_settle_where_they_differ(page: Page, tmp_path: Path, at_once: bool):
    files = csv(tmp_path, "Li", "11?0"), csv(tmp_path, "Wang", "10011")
    if at_once:
        open_files(page, *files)
    else:
        open_files(page, files[0], button="Compare")
        expect(page.locator("#refused")).to_have_text("Li is read; open the CSV of the second interpreter.")
        open_files(page, files[1], button="Compare")
    expect(page.get_by_role("status")).to_have_text("Point 1 of 3 · 0 of 3 answered")
    assert page.locator("#others").inner_text() == "Li: cropland · Wang: not cropland"
    press(page, "0")
    assert page.locator("#others").inner_text() == "Li: cannot tell · Wang: not cropland"
    page.reload()
    assert progress(page).startswith("Point 2 of 3 · 1 of 3 answered")
    press(page, "?", "1")
    rows = "5a3f,2,0,Li + Wang\n5a3f,3,?,Li + Wang\n5a3f,4,1,Li + Wang\n"
    assert saved(page) == ("resolved.csv", HEADER + rows)


def test_nothing_to_compare_is_told(page: Page, tmp_path: Path):
    begin(page, "Li")
    open_files(page, csv(tmp_path, "Li", "110"), csv(tmp_path, "Wang", "11"))
    expect(page.get_by_role("alert").first).to_contain_text("Li and Wang agree on all points that both have answered")
    (tmp_path / "again").mkdir()
    open_files(page, csv(tmp_path, "Li", "110"), csv(tmp_path / "again", "Li", "11"))
    expect(page.get_by_role("alert").first).to_contain_text("Both files are by Li")
    open_files(page, *(csv(tmp_path, name, "1") for name in ("Li", "Wang", "Zhao")))
    expect(page.get_by_role("alert").first).to_contain_text("3 files were chosen")


def test_infrared_and_lines_over_the_picture(page: Page):
    begin(page, "Li")
    natural = page.locator("img").first.get_attribute("src")
    press(page, "n")
    assert page.locator("img").first.get_attribute("src") != natural
    press(page, "n")
    assert page.locator("img").first.get_attribute("src") == natural
    near, far = (page.locator("svg").nth(at).bounding_box() for at in (0, 1))
    outline, cross = page.locator("polygon.light").first.bounding_box(), page.locator("path.light").last.bounding_box()
    for view, box in ((near, outline), (far, cross)):
        assert abs(box["x"] + box["width"] / 2 - view["x"] - view["width"] / 2) < 8
        assert abs(box["y"] + box["height"] / 2 - view["y"] - view["height"] / 2) < 8
    assert re.fullmatch(r"36\.\d{6}, 117\.\d{6}", page.locator("#place").inner_text())
    assert page.locator("#id").inner_text() == "1"
    assert page.locator("figcaption").all_inner_texts() == ["near\n100 m", "far\n1 km"]


@pytest.mark.parametrize("size", [(1024, 700), (390, 844), (1920, 1080)], ids=["small", "phone", "large"])
def test_all_is_seen_without_scrolling(page: Page, size: tuple[int, int]):
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    begin(page, "A rather long name of an interpreter")
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [*size]
    near, far, judge, help = (page.locator(each).bounding_box() for each in (NEAR, FAR, ".judge", "footer"))
    assert near["width"] == near["height"] == far["width"] > 200
    assert far["y"] + far["height"] <= judge["y"] and judge["y"] + judge["height"] <= help["y"]


def test_a_sheet_in_chinese(browser: Browser, imagery: Path, tmp_path: Path):
    out = tmp_path / "判读.html"
    with speaking("zh"):
        write_sheet(out, points(), pixel=MASK, imagery=open_scene(imagery), title="耕地", sample="5a3f")
    page = browser.new_page(locale="zh-CN")
    page.goto(out.as_uri())
    page.locator("#who").fill("李娜")
    press(page, "Enter", "1")
    page.dispatch_event("body", "keydown", {"key": "？"})
    assert page.locator("html").get_attribute("lang") == "zh" and progress(page).count("6") == 2
    assert page.locator(".judge span").all_inner_texts()[:2] == ["耕地", "非耕地"]
    press(page, "ArrowLeft")
    assert answer(page) == "?"
    page.close()
