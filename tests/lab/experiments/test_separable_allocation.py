"""New pages are counted where memory is new."""

import sys

import pytest
import torch

from cropland.lab.experiments.separable_allocation import pages_of

MUCH = torch.empty(2**26, dtype=torch.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="when memory goes back to the system is its C library's choice")
def test_new_memory_is_handed_out_in_pages():
    assert pages_of(lambda: torch.empty_like(MUCH).fill_(1)) >= 2**26 / 2**21  # a huge page holds 2 MiB


def test_old_memory_is_not():
    assert pages_of(lambda: MUCH.fill_(1)) < 2**26 / 2**21
