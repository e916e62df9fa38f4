"""Files that are no scenes: one line that says what came and what to do."""

import pickle
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rasterio.shutil import copy

from cropland.errors import ReadError, SceneError
from cropland.geo import reading
from cropland.geo.reading import Remote, fetch, folder_name, identity, image_file, observed_in, parse_time, read_header
from cropland.geo.scene import Scene, open_scene
from cropland.geo.window import Window
from range_server import RangeServer, serving


def message(path, content=None):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SceneError) as caught:
        open_scene(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing(tmp_path):
    assert "no.tif is not there; give the path of an image" in message(tmp_path / "no.tif")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page, not an image"),
        (b"", "is empty"),
        (b"II*\0\x08\0\0\0", "is damaged or cut off"),
        (b"name,value\n1,2\n", "is not an image that GDAL can read; give a GeoTIFF"),
    ],
)
def test_not_an_image(tmp_path, content, expected):
    assert expected in message(tmp_path / "scene.tif", content)


def test_an_empty_folder(tmp_path):
    assert "no images in" in message(tmp_path)


def test_complex_numbers(write):
    assert "holds complex numbers" in message(write("radar.tif", np.ones((1, 4, 4), np.complex64)))


def compressed(path: Path, tag: int) -> Path:
    """The file with another number in its tag for the compression."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    entries = [start + 2 + 12 * i for i in range(count)]
    (compression,) = [at for at in entries if struct.unpack_from("<H", content, at) == (259,)]
    struct.pack_into("<H", content, compression + 8, tag)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("tag", "name"), [(4, "CCITTFAX4"), (32771, "CCITTRLEW"), (34676, "SGILOG"), (34677, "SGILOG24")]
)
def test_a_header_is_read_whatever_the_compression(write, tag, name):
    """Some have no name in rasterio's enumeration; the pixels are another matter."""
    path = compressed(write("scene.tif", np.ones((1, 8, 8), np.uint8)), tag)
    with reading.reading(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == name
    assert not read_header(path).is_lossy


def test_a_compression_that_gdal_lacks_is_no_damage(write, picture):
    assert "has a compression that GDAL cannot read here" in message(compressed(write("scene.tif", picture), 12345))


def test_a_fax_is_read(write):
    values = np.random.default_rng(0).integers(0, 2, (1, 40, 50)).astype(np.uint8)
    scene = open_scene(write("fax.tif", values, nbits=1, compress="ccittfax4"), bands="class=1")
    np.testing.assert_array_equal(scene.read().values, values)


@pytest.mark.parametrize(
    ("driver", "options", "expected"),
    [
        ("GTiff", {"compress": "jpeg"}, True),
        ("GTiff", {"compress": "jpeg", "photometric": "ycbcr"}, True),
        ("GTiff", {"compress": "webp"}, True),
        ("GTiff", {"compress": "webp", "webp_lossless": "yes"}, False),
        ("GTiff", {"compress": "lerc"}, False),
        ("JPEG", {}, True),
        ("WEBP", {}, True),
        ("PNG", {}, False),
        ("JP2OpenJPEG", {}, True),
        ("JP2OpenJPEG", {"reversible": "yes", "quality": "100"}, False),
    ],
)
def test_what_changes_values_a_little(write, tmp_path, picture, driver, options, expected):
    copy(write("a.tif", picture), tmp_path / "scene", driver=driver, **options)
    assert read_header(tmp_path / "scene").is_lossy is expected


@pytest.mark.parametrize(("color", "expected"), [("NIR", "nir"), ("SAR_Reserved_1", "undefined")])
def test_a_colour_without_a_name(write, picture, color, expected):
    path = write("a.tif", picture[:1]).with_name("scene.vrt")
    path.write_text(
        '<VRTDataset rasterXSize="60" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1">'
        f"<ColorInterp>{color}</ColorInterp><SimpleSource><SourceFilename relativeToVRT='1'>a.tif</SourceFilename>"
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    assert [band.color for band in read_header(path).bands] == [expected]


def test_few_files_stay_open(write, picture):
    paths = [write(f"{i}.tif", picture, names=("red", "green", "blue")) for i in range(reading.KEPT + 5)]
    for path in paths:
        open_scene(path)
    assert len(reading._kept()) <= reading.KEPT


@pytest.fixture
def cut_off(write):
    """A scene opened while it was whole, its file cut off since; and the whole content."""
    values = np.random.default_rng(0).integers(1, 255, (3, 800, 400)).astype(np.uint8)
    path = write("a.tif", values, names=("red", "green", "blue")).with_name("scene.tif")
    copy(path.with_name("a.tif"), path, driver="COG", blocksize=128, overviews="none")  # its directory comes first
    scene, content = open_scene(path), path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return scene, path, content, values


END = Window(700, 300, 100, 100)


def test_a_file_that_is_still_being_copied_is_waited_for(cut_off, monkeypatch):
    scene, path, content, values = cut_off
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            path.write_bytes(content)

    monkeypatch.setattr(reading.time, "sleep", sleep)
    monkeypatch.setattr(reading, "WAITS", (0.5, 2.0))
    image = scene.read(END, bands=("red", "green", "blue"))
    np.testing.assert_array_equal(image.values, values[:, *END.slices])
    assert waited == [0.5, 2.0]


def test_a_window_that_is_lost_is_told_and_the_rest_is_there(cut_off, monkeypatch):
    scene, path, _content, values = cut_off
    monkeypatch.setattr(reading, "WAITS", ())
    with pytest.raises(
        ReadError, match=r"scene.tif cannot be read in rows 700 to 799, columns 300 to 399 \("
    ) as caught:
        scene.read(END, bands=("red",))
    assert caught.value.path == path and caught.value.window == END and caught.value.exit_status == 3
    caught.value.__cause__ = caught.value.__context__ = None  # tblib, where it is installed, sends rasterio's own
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.window) == (str(caught.value), END)
    np.testing.assert_array_equal(scene.read(Window(0, 0, 9, 9), bands=("red",)).values, values[:1, :9, :9])
    path.unlink()
    with pytest.raises(ReadError, match="No such file"):
        scene.read(END, bands=("red",))


def test_what_is_damaged_at_the_first_look_is_no_scene(cut_off, monkeypatch):
    scene, path, *_ = cut_off
    monkeypatch.setattr(reading, "WAITS", ())
    for look in (lambda: open_scene(path), lambda: scene.read_decimated(bands=("red",))):
        with pytest.raises(SceneError, match=r"scene.tif is damaged or cut off"):
            look()


MOMENT = datetime(2024, 5, 1, 10, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2024-05-01T10:20:30Z", "2024:05:01 10:20:30", "2024-05-01 10:20:30", "2024-05-01T18:20:30+08:00"]
)
def test_a_time_is_utc(text):
    assert parse_time(text) == MOMENT


@pytest.mark.parametrize("text", [None, "", "soon", "0000:00:00 00:00:00", "2024:05"])
def test_anything_else_is_none(text):
    assert parse_time(text) is None


def test_a_day_is_its_beginning():
    assert parse_time("2024-05-01") == datetime(2024, 5, 1, tzinfo=UTC)


def test_the_acquisition_comes_before_the_file():
    tags = {"TIFFTAG_DATETIME": "2025:01:01 00:00:00", "ACQUISITIONDATETIME": "2024-05-01 10:20:30"}
    assert observed_in(tags) == MOMENT
    assert observed_in({"TIFFTAG_DATETIME": "2024:05:01 10:20:30"}) == MOMENT
    assert observed_in({}) is None


RGB = ("red", "green", "blue")
CORNER = Window(900, 700, 100, 120)


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(3).integers(1, 255, (3, 1024, 1024)).astype(np.uint8)


@pytest.fixture
def server(write: Callable[..., Path], values: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    monkeypatch.setattr(reading, "WAITS", (0.01, 0.02))
    path = write("north.tif", values, names=RGB, nodata=0, tiled=True, blockxsize=256, blockysize=256)
    with serving(path.parent) as running:
        yield running


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WAITS", (0.01, 0.02))


def read(scene: Scene) -> np.ndarray:
    return scene.read(CORNER, bands=RGB).values


def failing(server: RangeServer, how: str | int, times: int) -> None:
    """The next so many answers go wrong."""
    left = iter([how] * times)
    server.fails = lambda path: next(left, None)


def test_an_address_is_named_as_a_file_is():
    file = image_file("https://data.org/2024/T50%20TMK/red.tif?sig=a/b.c")
    assert isinstance(file, Remote)
    assert (file.name, file.stem, file.suffix, folder_name(file)) == ("red.tif", "red", ".tif", "T50 TMK")
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
    monkeypatch.setattr(reading.time, "sleep", waited.append)
    scene = open_scene(f"{server.address}/north.tif")
    server.fails = lambda path: how
    with pytest.raises(ReadError, match=r"north.tif cannot be read in rows 900 to 999, columns 700 to 819") as caught:
        read(scene)
    assert caught.value.window == CORNER and caught.value.exit_status == 3 and "\n" not in str(caught.value)
    assert waited == list(reading.WAITS)
    with pytest.raises(ReadError):
        scene.read(Window(0, 0, 8, 8), bands=RGB)
    assert waited == list(reading.WAITS)
    server.fails = lambda path: None
    assert read(scene).any()


def test_a_server_that_is_gone(server, values):
    scene = open_scene(f"{server.address}/north.tif")
    with serving(server.folder) as other:
        address = other.address
    with pytest.raises(SceneError, match=f"{address}/north.tif cannot be read .*check that the server is running"):
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


@pytest.mark.parametrize("how", ["closed", 503, 429])
def test_a_question_that_may_be_answered_later_is_asked_again(server, how):
    file = Remote(f"{server.address}/north.tif")
    failing(server, how, 2)
    assert identity(file)[1] == (server.folder / "north.tif").stat().st_size
    failing(server, how, 2)
    assert fetch(file) == (server.folder / "north.tif").read_bytes()
    failing(server, how, 3)
    with pytest.raises(SceneError, match=r"north.tif cannot be reached"):
        identity(file)


def test_a_body_that_breaks_off_is_asked_for_again(server):
    failing(server, "half", 1)
    assert fetch(Remote(f"{server.address}/north.tif")) == (server.folder / "north.tif").read_bytes()


def test_a_file_whose_connection_breaks_is_opened_again(server, values, monkeypatch):
    waited = []
    monkeypatch.setattr(reading.time, "sleep", waited.append)
    failing(server, "closed", 5)  # one attempt of GDAL asks twice or three times
    np.testing.assert_array_equal(read(open_scene(f"{server.address}/north.tif")), values[:, *CORNER.slices])
    assert waited and waited == list(reading.WAITS)[: len(waited)]


def test_a_handshake_that_breaks_off_is_begun_again(monkeypatch):
    monkeypatch.setattr(reading, "WAITS", (0.01, 0.02))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        came = []

        def close() -> None:
            for _ in range(3):
                connection, _ = listening.accept()
                came.append(connection.recv(1 << 16))
                connection.close()

        thread = threading.Thread(target=close, daemon=True)
        thread.start()
        with pytest.raises(SceneError, match="cannot be reached"):
            fetch(Remote(f"https://127.0.0.1:{listening.getsockname()[1]}/item.json"))
        thread.join(5)
    assert len(came) == 3


@pytest.mark.parametrize("address", ["south.tif", "nor th.tif"])
def test_a_question_without_an_answer_is_asked_once(server, monkeypatch, address):
    monkeypatch.setattr(reading.time, "sleep", lambda seconds: pytest.fail("waited"))
    with pytest.raises(SceneError, match="cannot be reached"):
        fetch(Remote(f"{server.address}/{address}"))
