"""Land between fields, the rule that chooses the chip, and the trace of a mark."""

import numpy as np
import torch

from cropland.lab.chapters.walk.through import (
    EDGE,
    after_encoder,
    between_fields,
    chip_of,
    ground_of,
    richest,
    stages,
    trace,
    widths_between,
)


def test_land_between_fields_is_what_is_narrow_enough():
    label = np.ones((60, 60), np.uint8)
    label[:, 10:14], label[:, 30:40] = 0, 0
    assert np.flatnonzero(between_fields(label, 4)[30]).tolist() == [10, 11, 12, 13]
    assert not between_fields(label, 3).any()
    assert between_fields(label, 10)[30].sum() == 14


def test_land_beside_a_lone_field_is_not_between_fields():
    label = np.zeros((40, 40), np.uint8)
    label[:, :20] = 1
    assert not between_fields(label, 6).any()


def test_the_chip_has_the_most_strips_of_those_half_to_nine_tenths_field():
    label, strips = np.zeros((EDGE, EDGE + 64), np.uint8), np.zeros((EDGE, EDGE + 64), bool)
    label[: int(0.7 * EDGE), :] = 1
    strips[5, EDGE + 40] = True
    assert richest(strips, label)[1].start == 64


def test_the_stages_end_in_what_the_network_gives():
    chip = chip_of(ground_of(torch.device("cpu")))
    with torch.no_grad():
        found = stages(chip.network, chip.image)
        assert torch.equal(found["head"][1], chip.network(chip.image))


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
