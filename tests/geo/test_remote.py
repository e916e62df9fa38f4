"""Images with an address: read by ranges from a real server, which is also slow to come, breaks off or goes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cropland.errors import ReadError, SceneError
from cropland.geo import datasets
from cropland.geo.remote import Remote, identity, image_file
from cropland.geo.scene import Scene, open_scene
from cropland.geo.tiles import Window
from range_server import RangeServer, serving

RGB = ("red", "green", "blue")
CORNER = Window(900, 700, 100, 120)


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(3).integers(1, 255, (3, 1024, 1024)).astype(np.uint8)


@pytest.fixture
def server(write: Callable[..., Path], values: np.ndarray) -> Iterator[RangeServer]:
    path = write("north.tif", values, names=RGB, nodata=0, tiled=True, blockxsize=256, blockysize=256)
    with serving(path.parent) as running:
        yield running


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "WAITS", (0.01, 0.02))


def read(scene: Scene) -> np.ndarray:
    return scene.read(CORNER, bands=RGB).values


def failing(server: RangeServer, how: str | int, times: int) -> None:
    """The next so many answers go wrong."""
    left = iter([how] * times)
    server.fails = lambda path: next(left, None)


def test_an_address_is_named_as_a_file_is():
    file = image_file("https://data.org/2024/T50%20TMK/red.tif?sig=a/b.c")
    assert isinstance(file, Remote)
    assert (file.name, file.stem, file.suffix, file.folder_name) == ("red.tif", "red", ".tif", "T50 TMK")
    assert image_file(f"/vsicurl/{file}") == file and file.gdal == f"/vsicurl/{file}"
    assert image_file("/vsizip/a.zip/b.tif") == Remote("/vsizip/a.zip/b.tif")
    assert image_file("scene.tif") == Path("scene.tif")


def test_windows_are_read_by_ranges(server, values):
    scene = open_scene(f"{server.address}/north.tif")
    assert scene.name == "north" and scene.bands == RGB
    np.testing.assert_array_equal(read(scene), values[:, *CORNER.slices])
    asked = [range for command, path, range in server.asked if command == "GET"]
    sizes = [int(last) - int(first) + 1 for first, last in (range.removeprefix("bytes=").split("-") for range in asked)]
    assert sum(sizes) < values.nbytes / 2, "the whole file came"


@pytest.mark.parametrize("how", ["half", "closed", 503])
def test_what_broke_off_is_asked_for_again(server, values, how):
    scene = open_scene(f"{server.address}/north.tif")
    failing(server, how, 2)
    np.testing.assert_array_equal(read(scene), values[:, *CORNER.slices])


@pytest.mark.parametrize("how", ["half", "closed", 404])
def test_a_window_that_never_comes_is_told_and_others_do_not_wait(server, monkeypatch, how):
    waited = []
    monkeypatch.setattr(datasets.time, "sleep", waited.append)
    scene = open_scene(f"{server.address}/north.tif")
    server.fails = lambda path: how
    with pytest.raises(ReadError, match=r"north.tif cannot be read in rows 900 to 999, columns 700 to 819") as caught:
        read(scene)
    assert caught.value.window == CORNER and caught.value.exit_status == 3 and "\n" not in str(caught.value)
    assert waited == list(datasets.WAITS)
    with pytest.raises(ReadError):
        scene.read(Window(0, 0, 8, 8), bands=RGB)
    assert waited == list(datasets.WAITS)
    server.fails = lambda path: None
    assert read(scene).any()


def test_a_server_that_is_gone(server, values):
    scene = open_scene(f"{server.address}/north.tif")
    with serving(server.folder) as other:
        address = other.address
    with pytest.raises(SceneError, match=f"{address}/north.tif cannot be read .*see that the server is there"):
        open_scene(f"{address}/north.tif")
    with pytest.raises(SceneError, match="cannot be reached"):
        identity(Remote(f"{address}/north.tif"))
    assert read(scene).any()  # the first is still there


def test_it_is_another_when_it_was_replaced(server, write, values):
    file = Remote(f"{server.address}/north.tif")
    before = identity(file)
    assert before == identity(file) and before[1] == (server.folder / "north.tif").stat().st_size
    write("north.tif", values[:, ::-1], names=RGB)
    assert identity(file) != before


def test_no_file_there(server):
    with pytest.raises(SceneError, match=r"south.tif cannot be read"):
        open_scene(f"{server.address}/south.tif")
