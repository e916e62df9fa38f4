"""What oneDNN tells, read; which channels a convolution joins."""

import pytest
import torch
from torch import nn

from cropland.lab.experiments.separable_algorithm import algorithms, rate, reached
from cropland.lab.measure import Times

BEFORE = "onednn_verbose,v1,primitive,exec,cpu,convolution"
AFTER = "forward_training,src:f32::blocked:acdb::f0 wei:f32:a:blocked:Acdb64a::f0,attr-scratchpad:user"
VERBOSE = f"""onednn_verbose,v1,info,cpu,isa:Intel AVX-512
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:acdb::f0,,,128x128x3x3,0.09
{BEFORE},wino:avx512_core,{AFTER},alg:convolution_winograd,mb1_ic64oc64_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1,9.3
{BEFORE},jit_dw:avx2,{AFTER},alg:convolution_direct,g64mb1_ic64oc64_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1,1.3
{BEFORE},gemm:jit,{AFTER},alg:convolution_direct,mb1_ic64oc64_ih8oh8kh1sh1dh0ph0_iw8ow8kw1sw1dw0pw0,1.1
"""


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
