"""Causes that add up, what oneDNN tells, and new pages where memory is new."""

import random
import subprocess
import sys

import pytest
import torch
from torch import nn

from cropland.lab.chapters.separable.causes import (
    CAUSES,
    algorithms,
    bounds,
    causes,
    gap,
    pages_of,
    paging,
    rate,
    reached,
    shares,
)
from cropland.lab.measure import Times, exactly
from cropland.lab.roofline import Roofline

# 100 operations per second, 10 bytes per second.
ROOF = Roofline({"float32": {"made up": exactly(100.0)}}, {2**28: exactly(10.0)})
PARTS = ("depthwise", "pointwise")
BEFORE = "onednn_verbose,v1,primitive,exec,cpu,convolution"
AFTER = "forward_training,src:f32::blocked:acdb::f0 wei:f32:a:blocked:Acdb64a::f0,attr-scratchpad:user"
VERBOSE = f"""onednn_verbose,v1,info,cpu,isa:Intel AVX-512
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:acdb::f0,,,128x128x3x3,0.09
{BEFORE},wino:avx512_core,{AFTER},alg:convolution_winograd,mb1_ic64oc64_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1,9.3
{BEFORE},jit_dw:avx2,{AFTER},alg:convolution_direct,g64mb1_ic64oc64_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1,1.3
{BEFORE},gemm:jit,{AFTER},alg:convolution_direct,mb1_ic64oc64_ih8oh8kh1sh1dh0ph0_iw8ow8kw1sw1dw0pw0,1.1
"""
MUCH = torch.empty(2**26, dtype=torch.uint8)


def measured(draw: random.Random) -> dict[str, float]:
    names = ["ordinary", *PARTS]
    runs = [*names, *(f"{name} call" for name in names), *(f"{name} pages" for name in names)]
    runs += ["ordinary layer", "separable layer", "ordinary layer pages", "separable layer pages"]
    return {name: draw.random() for name in runs}


@pytest.mark.parametrize("seed", range(20))
def test_causes_add_up_to_the_gap_whatever_was_measured(seed: int):
    draw = random.Random(seed)
    seconds = measured(draw)
    limits = {"arithmetic": draw.random(), "input and output": draw.random(), "intermediate activation": draw.random()}
    split = [causes(layer, seconds, limits) for layer in ("ordinary", "separable")]
    expected = 1 + 8 * draw.random()
    whole = seconds["separable layer"] - seconds["ordinary layer"] / expected
    assert sum(gap(split, expected).values()) == pytest.approx(whole, abs=1e-12)
    assert all(list(its) == list(CAUSES) and min(its.values()) >= 0 for its in split)


def test_what_no_cost_explains_is_the_library():
    assert shares(10.0, {"calls": 2.0, "arithmetic": 3.0}) == {"calls": 2.0, "arithmetic": 3.0, "library": 5.0}


def test_a_cost_takes_no_more_than_is_left_and_not_less_than_nothing():
    assert shares(4.0, {"calls": 3.0, "norm": -1.0, "arithmetic": 3.0}) == {
        "calls": 3.0,
        "norm": 0.0,
        "arithmetic": 1.0,
        "library": 0.0,
    }


def test_bound_by_arithmetic_the_multiply_adds_are_all():
    work, least = {"depthwise": 100.0, "pointwise": 300.0}, {"depthwise": 1.0, "pointwise": 3.0}
    found = bounds(ROOF, work, least, PARTS, ends=10.0)
    assert found == {"arithmetic": 4.0, "input and output": 0.0, "intermediate activation": 0.0}


def test_bound_by_memory_the_intermediate_costs_as_much_as_input_and_output():
    work, least = {"depthwise": 100.0, "pointwise": 100.0}, {"depthwise": 8.0, "pointwise": 8.0}
    found = bounds(ROOF, work, least, PARTS, ends=80.0)
    assert found == {"arithmetic": 2.0, "input and output": 6.0, "intermediate activation": 8.0}


def test_pages_are_paid_at_the_price_of_those_of_much_new_memory():
    seconds = {"new memory": 5.0, "old memory": 1.0, "depthwise": 1.0}
    found = paging(seconds, {"new memory": 8.0, "old memory": 0.0, "depthwise": 3.0})
    assert found == {"new memory pages": 4.0, "old memory pages": 0.0, "depthwise pages": 1.5}


def test_each_convolution_is_told_by_its_shape():
    assert algorithms(VERBOSE) == {"ordinary": "wino:avx512_core", "depthwise": "jit_dw:avx2", "pointwise": "gemm:jit"}


def test_an_older_library_writes_it_shorter():
    line = "dnnl_verbose,exec,cpu,convolution,brgconv:avx2,forward_training,src wei,,alg:x,mb1_ic4oc4_ih8kh3_iw8kw3,1.0"
    assert algorithms(line) == {"ordinary": "brgconv:avx2"}


def test_what_is_not_told_is_left_out():
    assert algorithms("onednn_verbose,v1,info,cpu\n") == {}


def test_a_depthwise_convolution_joins_no_two_channels():
    assert torch.equal(reached(nn.Conv2d(4, 4, 3, groups=4)), 9 * torch.eye(4))
    assert torch.equal(reached(nn.Conv2d(4, 6, 1)), torch.ones(6, 4))


def test_a_rate_is_a_count_over_seconds():
    number = rate(3e9, Times(1.0, (1.0, 2.0, 3.0)))
    assert (number.low, number.value, number.high) == pytest.approx((1.2, 1.5, 2.0))


@pytest.mark.skipif(sys.platform != "linux", reason="when memory goes back to the system is its C library's choice")
def test_new_memory_is_handed_out_in_pages():
    # In a process of its own: a training before it in this one would have told the C library to keep memory.
    script = (
        "import torch; from cropland.lab.chapters.separable.causes import pages_of\n"
        "print(pages_of(lambda: torch.empty(2**26, dtype=torch.uint8).fill_(1)))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True).stdout
    assert float(told) >= 2**26 / 2**21  # a huge page holds 2 MiB


def test_old_memory_is_not():
    assert pages_of(lambda: MUCH.fill_(1)) < 2**26 / 2**21
