"""Sliding from anywhere: the same bytes as from the top, and steps that bring nothing new are spared."""

from collections.abc import Iterator

import numpy as np
import pytest

from cropland.engines import Engine
from cropland.engines.openvino import open_engine as open_openvino
from cropland.engines.torch import open_engine as open_torch
from cropland.model import ModelFile
from cropland.streaming.slide import Slide, slide_down
from small_model import save_model

WIDTH = 90


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_model(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture(scope="module", params=["openvino fastest", "openvino f32", "torch f32"])
def engine(model: ModelFile, request: pytest.FixtureRequest) -> Engine:
    name, precision = request.param.split()
    return {"openvino": open_openvino, "torch": open_torch}[name](model, precision=precision)


def image(height: int) -> np.ndarray:
    return np.random.default_rng(0).random((1, 3, height, WIDTH), np.float32)


def bands(slide: Slide, values: np.ndarray, first: int = 0) -> Iterator[np.ndarray]:
    for row in range(first * slide.band, values.shape[2], slide.band):
        yield values[:, :, row : row + slide.band]


@pytest.mark.parametrize("top", [1, 300, 517, 900, 1190])
def test_a_slide_that_begins_further_down_gives_the_same_bytes(engine: Engine, model: ModelFile, top: int) -> None:
    """Of all rows from `top` on, when it begins as far above as the network sees."""
    values = image(1200)
    slide = engine.slide(WIDTH)
    whole = np.concatenate(list(slide_down(slide, bands(slide, values), 1200)), axis=2)
    assert model.radius is not None
    slide, first = engine.slide(WIDTH), max(0, top - model.radius) // slide.band
    part = np.concatenate(list(slide_down(slide, bands(slide, values, first), 1200, first=first)), axis=2)
    assert np.array_equal(part[:, :, top - 1200 :], whole[:, :, top:])


def test_steps_over_one_value_are_spared_and_change_nothing(engine: Engine, model: ModelFile) -> None:
    values = image(4000)
    values[:, :, 700:3000] = 0.5
    whole, spared, calls = engine.slide(WIDTH), engine.slide(WIDTH), []

    class Counted:
        schedule, band = spared.schedule, spared.band

        def __call__(self, *given: object) -> np.ndarray:
            calls.append(1)
            return spared(*given)

    expected = np.concatenate(list(slide_down(whole, bands(whole, values), 4000)), axis=2)
    came = np.concatenate(list(slide_down(Counted(), bands(whole, values), 4000, radius=model.radius)), axis=2)
    assert np.array_equal(came, expected)
    assert len(calls) < 0.7 * whole.schedule.steps(4000, whole.band)
