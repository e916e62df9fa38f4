"""Land between fields, and the rule that chooses the chip."""

import numpy as np
import torch

from cropland.lab.experiments.walk import EDGE, between_fields, chip_of, ground_of, richest, stages


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
