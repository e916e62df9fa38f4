"""Crops: image, label and validity together; nothing but (seed, epoch, index) decides."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch.nn import functional as F

from cropland.data import augment
from cropland.data.augment import Crop, SourceChip
from cropland.data.boundary import boundary_distance
from cropland.recipe import Augmentation

STILL = {"gain": 0, "offset": 0, "band_gain": 0, "band_offset": 0, "gamma": 0, "haze": 0, "blur": 0, "noise": 0}


def source(height: int, width: int, *, pixel_m: float = 1.0) -> SourceChip:
    """A chip whose label can be read off its image: bright is cropland; the known part can be read off its second
    band."""
    rng = np.random.default_rng(7)
    rough = np.kron(rng.random((-(-height // 8), -(-width // 8))) > 0.5, np.ones((8, 8)))[:height, :width]
    known = np.kron(rng.random((-(-height // 16), -(-width // 16))) > 0.2, np.ones((16, 16)))[:height, :width] > 0
    values = np.stack([rough * 100, known * 100, np.zeros_like(rough)]).astype(np.float32)
    edge = np.zeros(3, np.float32)
    label = np.where(known, rough, 255).astype(np.uint8)
    boundary = boundary_distance(label, rough.astype(np.int32))
    return SourceChip(values, np.ones_like(known), label, boundary, edge, edge + 100, pixel_m)


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 90), st.integers(20, 90), st.sampled_from([0.5, 1.0, 2.0, 3.3]), st.integers(0, 99))
def test_label_and_validity_stay_on_their_pixels(height: int, width: int, pixel_m: float, seed: int) -> None:
    crop = augment.cut(source(height, width), pixel_m=pixel_m, size=32, rng=np.random.default_rng(seed))
    assert crop.image.shape == (3, 32, 32) and crop.target.shape == crop.valid.shape == (2, 32, 32)
    assert crop.seen.all()
    told = (crop.image[0] >= 0.5).float()
    clear = crop.valid[0] & (crop.image[1] > 0.999) & ((crop.image[0] - 0.5).abs() > 0.05)
    assert torch.equal(told[clear], crop.target[0][clear])


def test_ground_of_which_nothing_is_known_is_seen_all_the_same() -> None:
    """What a network maps has no holes where nobody labelled; so it must not learn from images that have."""
    crop = augment.cut(source(40, 40), pixel_m=1.0, size=40, rng=np.random.default_rng(0))
    assert not crop.valid[0].all() and torch.equal(crop.image[1] > 0.5, crop.valid[0])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([0.5, 1.0, 2.0, 5.0]), st.sampled_from([0.0, 4.0]), st.integers(0, 99))
def test_the_rim_is_never_lost_at_any_pixel(pixel_m: float, rim_m: float, seed: int) -> None:
    """A straight line between two fields stays a line without gaps, at least one pixel wide."""
    field = np.where(np.arange(160)[None] < 75, 1, 2) * np.ones((160, 1), np.int32)
    label = np.ones((160, 160), np.uint8)
    edge = np.zeros(1, np.float32)
    one = SourceChip(label[None], label > 0, label, boundary_distance(label, field), edge, edge + 1, 1.0)
    crop = augment.cut(one, pixel_m=pixel_m, size=round(160 / pixel_m), rng=np.random.default_rng(seed), rim_m=rim_m)
    rim = crop.target[1].numpy() > 0
    across = rim if rim.any(1).all() else rim.T
    widths = across.sum(1) * pixel_m
    assert (widths == widths[0]).all() and max(pixel_m, rim_m) <= widths[0] <= max(rim_m, 3 * pixel_m, 2)


def test_fields_that_touch_get_a_light_of_their_own() -> None:
    """Of two fields alike the means differ after it; a rim between them is soft; the label stays."""
    field = np.where(np.arange(64)[None] < 32, 1, 2) * np.ones((64, 1), np.int32)
    label, edge = np.ones((64, 64), np.uint8), np.zeros(3, np.float32)
    values = np.random.default_rng(0).uniform(0.3, 0.7, (3, 64, 64)).astype(np.float32)
    one = SourceChip(values, label > 0, label, boundary_distance(label, field), edge, edge + 1, 1.0)
    gaps = []
    for seed in range(12):
        crop = augment.cut(one, pixel_m=1.0, size=64, rng=np.random.default_rng(0), rim_m=4.0)
        varied = augment.vary(crop, Augmentation(**STILL, fields=1.0), np.random.default_rng(seed))
        first, second = torch.tensor_split(varied.image.mT if crop.target[1].any(0).all() else varied.image, 2, dim=2)
        gaps.append(float((first.mean() - second.mean()).abs()))
        assert torch.equal(varied.target, crop.target)
    assert np.median(gaps) > 0.1


@pytest.mark.parametrize("pixel_m", [0.7, 1.0, 2.0])
def test_a_field_of_which_only_the_mask_is_known_gets_one_light(pixel_m: float) -> None:
    """Its inside is unknown for the boundary, which must not divide it."""
    row, column = np.mgrid[:192, :192]
    label = ((np.abs(row + column / 3 - 128) < 60) & (np.abs(column - row / 3 - 64) < 60)).astype(np.uint8)
    edge, even = np.zeros(3, np.float32), np.full((3, 192, 192), 0.5, np.float32)
    one = SourceChip(even, label < 2, label, boundary_distance(label, None), edge, edge + 1, 1.0)
    crop = augment.cut(one, pixel_m=pixel_m, size=96, rng=np.random.default_rng(0), rim_m=4.0)
    assert not crop.valid[1].all()
    varied = augment.vary(crop, Augmentation(**STILL, fields=1.0), np.random.default_rng(1)).image
    inside = ndimage.binary_erosion(crop.target[0].numpy() > 0, iterations=6)
    assert inside.sum() > 400 and float(varied[:, inside].std(1).max()) < 1e-3


@pytest.mark.parametrize("reach", [2, 5])
def test_beside_a_pasted_edge_the_boundary_is_unknown(reach: int) -> None:
    every, crop = torch.ones(2, 48, 48, dtype=torch.bool), torch.zeros(2, 48, 48)
    base, other = (Crop(torch.full((3, 48, 48), value), every[0], crop, every) for value in (0.0, 1.0))
    mixed = augment.paste(base, other, np.random.default_rng(0), reach=reach)
    far = ndimage.distance_transform_cdt(_edge(mixed.image[0].numpy() > 0.5) == 0, "chessboard")
    np.testing.assert_array_equal(mixed.valid[1].numpy(), far >= reach)
    assert mixed.valid[0].all()


def _edge(shape: np.ndarray) -> np.ndarray:
    """Pixels of either side that touch the other, also at a corner."""
    return ndimage.maximum_filter(shape, 3) != ndimage.minimum_filter(shape, 3)


def test_what_a_chip_cannot_fill_is_mirrored_without_a_seam() -> None:
    ramp = np.broadcast_to(np.arange(10, dtype=np.float32), (3, 10, 10)).copy()
    edge = np.zeros(3, np.float32)
    one = SourceChip(ramp, np.ones((10, 10), bool), np.ones((10, 10), np.uint8), None, edge, edge + 10, 1.0)
    crop = augment.cut(one, pixel_m=1.0, size=64, rng=np.random.default_rng(0))
    steps = torch.cat([crop.image.diff(dim=1).flatten(), crop.image.diff(dim=2).flatten()])
    assert steps.abs().max() < 0.11


def test_pasted_label_comes_with_its_image_and_unknown_is_not_pasted() -> None:
    blank = torch.zeros(3, 48, 48)
    every = torch.ones(1, 48, 48, dtype=torch.bool)
    base = Crop(blank, every[0], torch.zeros(1, 48, 48), every)
    half = every.clone()
    half[..., :24] = False
    for seed in range(8):
        mixed = augment.paste(base, Crop(blank + 1, half[0], torch.ones(1, 48, 48), half), np.random.default_rng(seed))
        assert torch.equal(mixed.target[0], (mixed.image[0] > 0.5).float())
        assert not mixed.target[..., :24].any() and mixed.valid.all()


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_variation_keeps_label_and_validity_and_stays_in_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    crop = augment.cut(source(40, 40), pixel_m=1.0, size=32, rng=rng)
    varied = augment.stretch(augment.vary(crop, Augmentation(fields=0.5, colour=0.5, swap=0.5), rng), 0.5, rng)
    assert torch.equal(varied.target, crop.target) and torch.equal(varied.valid, crop.valid)
    assert varied.image.isfinite().all() and varied.image.min() >= -0.5 and varied.image.max() <= 1.5
    assert (varied.image[:, ~varied.seen] == 0.5).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 90), st.integers(0, 9))
def test_pixels_are_averaged_as_pytorch_does_with_antialiasing(length: int, count: int, seed: int) -> None:
    line = np.random.default_rng(seed).random((length, 5), np.float32)
    matrix = augment._triangles(length, count, np.arange(count)).matrix
    first, span = augment._triangles(length, count, np.arange(count)).span
    expected = F.interpolate(torch.from_numpy(line)[None, None], (count, 5), mode="bilinear", antialias=True)[0, 0]
    np.testing.assert_allclose(matrix @ line[first : first + span], expected, atol=2e-5)  # rounding of centres


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([0.6, 1.0, 1.7]))
def test_a_crop_is_its_chip_in_one_of_eight_positions_and_all_of_them_come(height: int, width: int, ratio: float):
    """Also where it is larger than the chip and the mirror image fills the rest; the label and the rim turn with it."""
    rng = np.random.default_rng(height * width)
    values = rng.integers(0, 255, (1, height, width)).astype(np.uint8)
    label = (values[0] > 127).astype(np.uint8)
    edge = np.zeros(1, np.float32)
    one = SourceChip(values, label < 2, label, np.where(label, 0, 200).astype(np.uint8), edge, edge + 255, 1.0)
    size = max(1, round(min(height, width) / ratio))
    found = set()
    for seed in range(120):
        crop = augment.cut(one, pixel_m=ratio, size=size, rng=np.random.default_rng(seed), rim_m=4.0)
        draw = np.random.default_rng(seed)  # the same numbers, the plain way
        windows = [augment._window(length, max(1, round(size * ratio)), draw) for length in (height, width)]
        part = torch.from_numpy(values[:, *windows].astype(np.float32) / 255)
        counts = [max(1, round(length / ratio)) for length in part.shape[1:]]
        part = F.interpolate(part[None], counts, mode="bilinear", antialias=True)[0]
        for axis, count in enumerate(counts, 1):
            if count < size:
                part = part.index_select(axis, torch.from_numpy(augment._mirrored(count, size, draw)))
        quarters, is_mirrored = int(draw.integers(4)), draw.random() < 0.5
        turned = torch.rot90(part[:, :size, :size], quarters, (1, 2))
        torch.testing.assert_close(crop.image, turned.flip(2) if is_mirrored else turned, atol=1e-5, rtol=0)
        found.add((quarters, is_mirrored))
        if ratio == 1.0:
            assert torch.equal(crop.target[0], (crop.image[0] > 127.5 / 255).float())
            assert torch.equal(crop.target[1], crop.target[0]) and crop.valid.all() and crop.seen.all()
    assert len(found) == 8


def test_noise_is_normal() -> None:
    noise = augment._noise((3, 128, 127), 0.5, np.random.default_rng(3)).ravel()
    assert noise.size == 3 * 128 * 127 and noise.dtype == np.float32
    assert stats.kstest(noise, "norm", (0, 0.5)).pvalue > 0.01
    beside = np.corrcoef(noise[1:], noise[:-1])[0, 1]
    assert abs(beside) < 0.02 and noise.std() == pytest.approx(0.5, rel=0.02)


@given(st.floats(0.2, 1.5), st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_blur_is_a_gaussian_whose_edges_go_on(sigma: float, height: int, width: int) -> None:
    image = np.random.default_rng(0).random((2, height, width), np.float32)
    reach = int(np.ceil(2 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    expected = image
    for axis in (1, 2):
        expected = ndimage.correlate1d(expected, taps / taps.sum(), axis, mode="nearest")
    np.testing.assert_allclose(augment._blur(image, sigma), expected, atol=1e-6)


@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
def test_a_shape_grows_by_a_square(reach: int, height: int, width: int, seed: int) -> None:
    shape = np.random.default_rng(seed).random((height, width)) > 0.9
    np.testing.assert_array_equal(augment._grown(shape, reach), ndimage.maximum_filter(shape, 2 * reach + 1))


@pytest.mark.parametrize("cells", range(2, 7))
def test_shapes_are_as_smooth_as_bicubic_interpolation(cells: int) -> None:
    noise = torch.rand(cells, cells, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(noise[None, None], size=(64, 64), mode="bicubic", align_corners=True)[0, 0]
    smooth = augment._bicubic(cells, 64)
    np.testing.assert_allclose(smooth @ noise.numpy() @ smooth.toarray().T, expected, atol=1e-5)


def test_a_crop_does_not_change_the_one_it_was_made_of() -> None:
    """Chips and crops are shared by threads; each of the steps gives a new crop."""
    one = source(60, 60)
    before = one.values.copy(), one.label.copy()
    base, other = (augment.cut(one, pixel_m=1.0, size=32, rng=np.random.default_rng(seed)) for seed in (0, 1))
    kept = [[layer.clone() for layer in crop] for crop in (base, other)]
    amount = Augmentation(fields=1.0, colour=1.0, swap=1.0)
    for seed in range(10):
        augment.stretch(augment.vary(base, amount, np.random.default_rng(seed)), 1.0, np.random.default_rng(seed))
        augment.paste(base, other, np.random.default_rng(seed))
    for crop, layers in zip((base, other), kept, strict=True):
        assert all(map(torch.equal, crop, layers))
    assert np.array_equal(one.values, before[0]) and np.array_equal(one.label, before[1])


@given(st.floats(0.2, 20), st.integers(0, 99))
def test_pixels_stay_within_the_limits(pixel_m: float, seed: int) -> None:
    drawn = augment.draw_pixel(pixel_m, (0.5, 4), limits=(0.5, 10), rng=np.random.default_rng(seed))
    assert 0.5 <= drawn <= 10
