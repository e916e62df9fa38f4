"""Memory is used again when nobody holds it, and never before."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from cropland.lab.kernel import memory
from cropland.lab.kernel.memory import kept_empty


def test_memory_is_used_again_when_nobody_holds_it():
    first = kept_empty(1, 16, 8, 9)
    place = first.data_ptr()
    del first
    assert kept_empty(1, 16, 8, 9).data_ptr() == place


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([(1, 16, 4, 5), (1, 16, 5, 4), (2, 16, 4, 4)])), max_size=12))
def test_tensors_that_are_held_never_share_memory(steps):
    held: list[torch.Tensor] = []
    for let_go, shape in steps:
        if let_go and held:
            held.pop(0)
        held.append(kept_empty(*shape)[:, :1])  # a view holds the memory too
    assert len({tensor.data_ptr() for tensor in held}) == len(held)
    assert len(memory._blocks) <= memory.KEPT


def test_in_channels_last_order():
    assert kept_empty(2, 16, 4, 5).is_contiguous(memory_format=torch.channels_last)
