"""Answers to stripes and fields of known size, and the fields of the sample tile."""

import numpy as np
import pytest
import torch

from cropland.lab.chapters.atrous.scales import (
    WIDEST,
    _middles,
    answer,
    branches,
    fields,
    first_above,
    last_above,
    paint,
    parcel_numbers,
    standard,
    to_square,
    to_stripes,
    widths_m,
)

CPU = torch.device("cpu")


def test_a_field_without_contrast_gives_no_answer():
    (branch,) = branches([6], 4, CPU, alike=True)
    seen = answer(branch, torch.full((1, 1, 40, 40), 3.0))
    assert seen[6:-6, 6:-6].max() == pytest.approx(0, abs=1e-5)


def test_a_field_and_a_rate_twice_as_large_give_the_same_answer():
    near, far = branches([3, 6], 16, CPU, alike=True)
    assert to_square(near, 12) == pytest.approx(to_square(far, 24), rel=1e-5)


def test_stripes_as_wide_as_the_rate_are_seen_and_of_half_the_rate_are_not():
    (branch,) = branches([12], 16, CPU, alike=True)
    assert to_stripes(branch, 6) == pytest.approx(0, abs=1e-5)
    assert to_stripes(branch, 4) == pytest.approx(to_stripes(branch, 12), rel=1e-5)


def test_unrelated_pixels_give_the_same_answer_at_every_rate():
    near, far = branches([1, 8], 64, CPU, alike=True)
    image = torch.randn(1, 1, 128, 128)
    for branch in (near, far):
        assert float(answer(branch, image)[8:-8, 8:-8].square().mean().sqrt()) == pytest.approx(0.5**0.5, rel=0.1)


def test_where_a_curve_falls_and_rises():
    assert last_above([1, 2, 4, 8], np.array([0.2, 1.0, 0.75, 0.25]), 0.5) == pytest.approx(4 * 2**0.5)
    assert last_above([1, 2], np.array([1.0, 0.9]), 0.5) == 2
    assert first_above([1, 4], [0.0, 1.0], 0.5) == pytest.approx(2)
    assert first_above([1, 4], [0.7, 1.0], 0.5) == 1


def test_the_middle_pixel_lies_in_the_field_that_is_drawn():
    images, logs = fields(50, torch.Generator().manual_seed(0))
    assert images.shape == (50, 1, 2 * WIDEST + 1, 2 * WIDEST + 1)
    small = int(logs.argmin())
    edge = round(float(logs[small].exp()))
    assert int((images[small, 0] > 0.5).sum()) == edge * edge
    assert (images[:, 0, WIDEST, WIDEST] > 0.5).all()


def test_a_cut_out_gives_what_the_whole_image_gives():
    eyes = branches([3, 12], 4, CPU, alike=False)
    images, _ = fields(5, torch.Generator().manual_seed(1))
    whole = torch.cat([eye(images)[:, :, WIDEST, WIDEST] for eye in eyes], 1)
    assert torch.allclose(_middles(eyes, [3, 12], images)[:, :-1].float(), whole, atol=1e-5)


def test_painting_keeps_means_and_takes_texture():
    parcels = np.array([[1, 1, 0], [2, 2, 0]])
    image = torch.tensor([[1.0, 3.0, 5.0], [4.0, 8.0, 7.0]])[None, None]
    assert paint(image, parcels)[0, 0].tolist() == [[2, 2, 6], [6, 6, 6]]
    assert float(standard(image).mean()) == pytest.approx(0, abs=1e-6)


def test_every_field_of_the_tile_has_its_number_and_width():
    assert set(np.unique(parcel_numbers())) == set(range(len(widths_m())))
