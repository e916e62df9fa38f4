"""New pages are counted where memory is new."""

import subprocess
import sys

import pytest
import torch

from cropland.lab.experiments.separable_allocation import pages_of

MUCH = torch.empty(2**26, dtype=torch.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="when memory goes back to the system is its C library's choice")
def test_new_memory_is_handed_out_in_pages():
    # In a process of its own: a training before it in this one would have told the C library to keep memory.
    script = (
        "import torch; from cropland.lab.experiments.separable_allocation import pages_of\n"
        "print(pages_of(lambda: torch.empty(2**26, dtype=torch.uint8).fill_(1)))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True).stdout
    assert float(told) >= 2**26 / 2**21  # a huge page holds 2 MiB


def test_old_memory_is_not():
    assert pages_of(lambda: MUCH.fill_(1)) < 2**26 / 2**21
