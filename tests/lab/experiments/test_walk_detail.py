"""The trace of a mark, and the ways it takes."""

import numpy as np
import torch

from cropland.lab.experiments.walk import EDGE, chip_of, ground_of
from cropland.lab.experiments.walk_detail import after_encoder, trace, widths_between


def test_the_trace_is_measured_where_the_mark_lies_in_units_of_the_spread():
    before = torch.tensor([1.0, -1.0]).repeat(4)[None, None, :, None].expand(1, 1, 8, 8).clone()
    after = before.clone()
    after[..., 2, :] += 3
    stride = EDGE // 8
    everywhere = slice(0, EDGE)
    assert trace(before, after, slice(2 * stride + 5, 2 * stride + 6), everywhere) == 3.0
    assert trace(before, after, slice(3 * stride, 3 * stride + 1), everywhere) == 0.0


def test_the_decoder_makes_of_the_encoders_maps_what_the_network_makes():
    chip = chip_of(ground_of(torch.device("cpu")))
    with torch.no_grad():
        maps = chip.network.encoder(chip.image)
        assert torch.equal(after_encoder(chip, maps), chip.network(chip.image))
        assert not torch.equal(after_encoder(chip, [0 * maps[0], *maps[1:]]), chip.network(chip.image))


def test_the_width_of_land_between_fields_is_that_of_the_narrowest_closing():
    label = np.ones((40, 60), np.uint8)
    label[:, 10:12], label[:, 30:35] = 0, 0
    assert widths_between(label, 8)[20].tolist() == [0] * 10 + [2] * 2 + [0] * 18 + [5] * 5 + [0] * 25
