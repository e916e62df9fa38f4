"""Crops: image, label and validity together; nothing but (seed, epoch, index) decides."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cropland.data import augment
from cropland.data.augment import Crop, SourceChip
from cropland.recipe import Augmentation, Sampling


def source(height: int, width: int, *, pixel_m: float = 1.0) -> SourceChip:
    """A chip whose label can be read off its image: bright is cropland; the known part can be read off its second
    band."""
    rng = np.random.default_rng(7)
    rough = np.kron(rng.random((-(-height // 8), -(-width // 8))) > 0.5, np.ones((8, 8)))[:height, :width]
    known = np.kron(rng.random((-(-height // 16), -(-width // 16))) > 0.2, np.ones((16, 16)))[:height, :width] > 0
    values = np.stack([rough * 100, known * 100, np.zeros_like(rough)]).astype(np.float32)
    edge = np.zeros(3, np.float32)
    return SourceChip(values, known, rough.astype(np.uint8), edge, edge + 100, pixel_m)


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 90), st.integers(20, 90), st.sampled_from([0.5, 1.0, 2.0, 3.3]), st.integers(0, 99))
def test_label_and_validity_stay_on_their_pixels(height: int, width: int, pixel_m: float, seed: int) -> None:
    crop = augment.cut(source(height, width), pixel_m=pixel_m, size=32, rng=np.random.default_rng(seed))
    assert crop.image.shape == (3, 32, 32) and crop.target.shape == crop.valid.shape == (32, 32)
    told = (crop.image[0] >= 0.5).float()
    clear = crop.valid & ((crop.image[0] - 0.5).abs() > 0.05)
    assert torch.equal(told[clear], crop.target[clear])


def test_what_a_chip_cannot_fill_is_mirrored_without_a_seam() -> None:
    ramp = np.broadcast_to(np.arange(10, dtype=np.float32), (3, 10, 10)).copy()
    edge = np.zeros(3, np.float32)
    one = SourceChip(ramp, np.ones((10, 10), bool), np.ones((10, 10), np.uint8), edge, edge + 10, 1.0)
    crop = augment.cut(one, pixel_m=1.0, size=64, rng=np.random.default_rng(0))
    steps = torch.cat([crop.image.diff(dim=1).flatten(), crop.image.diff(dim=2).flatten()])
    assert steps.abs().max() < 0.11


def test_pasted_label_comes_with_its_image_and_unknown_is_not_pasted() -> None:
    blank = torch.zeros(3, 48, 48)
    every = torch.ones(48, 48, dtype=torch.bool)
    base = Crop(blank, torch.zeros(48, 48), every)
    half = every.clone()
    half[:, :24] = False
    for seed in range(8):
        mixed = augment.paste(base, Crop(blank + 1, torch.ones(48, 48), half), np.random.default_rng(seed))
        assert torch.equal(mixed.target, (mixed.image[0] > 0.5).float())
        assert not mixed.target[:, :24].any() and mixed.valid.all()


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_variation_keeps_label_and_validity_and_stays_in_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    crop = augment.cut(source(40, 40), pixel_m=1.0, size=32, rng=rng)
    varied = augment.stretch(augment.vary(crop, Augmentation(), rng), 0.5, rng)
    assert torch.equal(varied.target, crop.target) and torch.equal(varied.valid, crop.valid)
    assert varied.image.isfinite().all() and varied.image.min() >= -0.5 and varied.image.max() <= 1.5
    assert (varied.image[:, ~varied.valid] == 0.5).all()


@given(st.floats(0.2, 20), st.integers(0, 99))
def test_pixels_stay_within_the_limits(pixel_m: float, seed: int) -> None:
    sampling = Sampling(scale=(0.5, 4), pixel_m=(0.5, 10))
    drawn = augment.draw_pixel(source(20, 20, pixel_m=pixel_m), sampling, np.random.default_rng(seed))
    assert 0.5 <= drawn <= 10
