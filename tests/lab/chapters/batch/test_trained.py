"""Batches of any size take the same chips in the same order."""

from itertools import product

import pytest
import torch

from cropland.data.batches import Batch
from cropland.lab.chapters.batch.trained import regrouped


@pytest.mark.parametrize(("count", "size"), product((1, 3), (2, 8, 16)))
def test_the_same_chips_in_the_same_order(count: int, size: int):
    image = torch.arange(count * 8.0).reshape(count * 8, 1, 1, 1)
    data = [Batch(part, part[:, :1], part[:, :1] > 3, ()) for part in image.split(8)]
    found = regrouped(data, size)
    assert {len(batch.image) for batch in found} <= {size}
    joined = torch.cat([batch.image for batch in found]) if found else image[:0]
    assert torch.equal(joined, image[: len(image) // size * size])
    assert all(torch.equal(batch.valid, batch.target > 3) for batch in found)
