"""What every engine keeps, whatever it runs on; and which one is chosen."""

import sys
from importlib import import_module

import numpy as np
import pytest
import torch

from cropland.catalog import names
from cropland.engines import Engine, Precision, choose_engine
from cropland.errors import InputError
from cropland.model import ModelFile
from cropland.streaming.slide import slide_down
from small_model import save_model

ENGINES = names("engines")
# The largest difference of a logit from torch in single precision; half precision has 8 or 11 bits.
MOST = {"fastest": 0.1, "f32": 1e-5, "f64": 1e-5}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_model(tmp_path_factory.mktemp("model") / "m.safetensors", outputs=("cropland", "boundary"))


@pytest.fixture(scope="module", params=[(name, precision) for name in ENGINES for precision in MOST], ids="-".join)
def opened(
    request: pytest.FixtureRequest, model: ModelFile, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Engine, Precision]:
    name, precision = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROPLAND_CACHE", str(tmp_path_factory.getbasetemp() / "engines"))
        engine: Engine = import_module(f"cropland.engines.{name}").open_engine(model, threads=1, precision=precision)
        engine(np.zeros((1, 3, 64, 64), np.float32))
        engine.slide(64)
    return engine, precision


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def true(model: ModelFile, of: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.network()(torch.from_numpy(of)).numpy()


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, 3, 97, 130), (2, 3, 1, 1), (1, 3, 5, 200)])
def test_logits_are_those_of_torch_at_any_size(
    opened: tuple[Engine, Precision], model: ModelFile, shape: tuple[int, ...]
) -> None:
    engine, precision = opened
    came = engine(image(*shape))
    assert came.shape == (shape[0], 2, *shape[2:]) and came.dtype in (np.float32, np.float64)
    assert np.abs(came - true(model, image(*shape))).max() <= MOST[precision]


@pytest.mark.parametrize("size", [(300, 70), (40, 64), (129, 9)])
def test_sliding_gives_what_a_call_gives(
    opened: tuple[Engine, Precision], model: ModelFile, size: tuple[int, int]
) -> None:
    engine, precision = opened
    given, slide = image(1, 3, *size), engine.slide(size[1])
    bands = np.split(given, range(slide.band, size[0], slide.band), axis=2)
    came = np.concatenate(list(slide_down(slide, bands, size[0])), axis=2)
    assert came.shape == (1, 2, *size)
    assert np.abs(came - true(model, given)).max() <= MOST[precision]


def test_an_image_is_left_as_it_was(opened: tuple[Engine, Precision]) -> None:
    given = image(1, 3, 64, 64)
    opened[0](given)
    np.testing.assert_array_equal(given, image(1, 3, 64, 64))


@pytest.mark.parametrize("name", ENGINES)
def test_the_engine_asked_for_is_taken(name: str) -> None:
    chosen = choose_engine(name)
    assert (chosen.name, chosen.reason) == (name, "asked for")


def test_the_engine_is_that_of_the_machine() -> None:
    chosen = choose_engine()
    found = ("torch", "CUDA is there") if torch.cuda.is_available() else ("openvino", "no CUDA device")
    assert (chosen.name, chosen.reason) == found


def test_an_unknown_engine_names_those_there_are() -> None:
    with pytest.raises(InputError, match="no 'tensorrt' among the engines; there are: openvino, torch"):
        choose_engine("tensorrt")


def test_an_engine_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # type: ignore[arg-type]  # as python knows what is missing
    with pytest.raises(InputError, match="pip install openvino"):
        choose_engine("openvino")
