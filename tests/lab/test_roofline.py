"""The roofline on made-up rates, and what its measurements count."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cropland.lab import roofline as its
from cropland.lab.measure import exactly
from cropland.lab.roofline import Roofline

CPU = torch.device("cpu")
ROOF = Roofline(
    flops={"float32": {"slow": exactly(50.0), "fast": exactly(100.0)}, "bfloat16": {"one": exactly(400.0)}},
    copies={1_000: exactly(30.0), 10_000: exactly(40.0), 100_000: exactly(10.0)},
)


def test_the_peak_is_that_of_the_best_library():
    assert (ROOF.peak(), ROOF.peak("bfloat16")) == (100.0, 400.0)


def test_the_bandwidth_is_that_of_the_main_memory():
    assert ROOF.bandwidth == 10.0


@pytest.mark.parametrize(("moved", "rate"), [(500, 40.0), (1_000, 40.0), (10_001, 10.0), (100_000, 10.0), (1e9, 10.0)])
def test_what_is_moved_lies_in_the_fastest_memory_that_holds_it(moved: float, rate: float):
    assert ROOF.bandwidth_of(moved) == rate


@pytest.mark.parametrize(
    ("flops", "moved", "dtype", "seconds"),
    [(1e7, 1e6, "float32", 1e5), (1e7, 2e6, "float32", 2e5), (1e7, 1e3, "float32", 1e5), (1e7, 1e3, "bfloat16", 2.5e4)],
)
def test_the_longer_of_arithmetic_and_memory_is_the_least_time(flops: float, moved: float, dtype: str, seconds: float):
    assert ROOF.seconds(flops, moved, dtype) == pytest.approx(seconds)


@pytest.mark.parametrize(("size", "again"), [(2**15, 22), (2**12, 3), (2**20, 1)])
def test_a_copy_moves_the_bytes_that_are_counted(size: int, again: int):
    rows = its._rows(CPU, size, again)
    assert rows.numel() * 4 == pytest.approx(size * again**2, rel=0.01)
    assert rows.untyped_storage().nbytes() <= size + 8 * its.STEP * again * torch.get_num_threads()


def test_threads_copy_apart_from_each_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    rows = its._rows(CPU, 3 * 2**12, 5)
    for thread, row in enumerate(rows):
        row.fill_(thread + 1.0)
    assert all((row == thread + 1.0).all() for thread, row in enumerate(rows))


def test_a_copy_may_write_over_itself():
    source, target = (its._rows(CPU, 2**12, 4) for _ in range(2))
    source.copy_(torch.arange(float(source.shape[-1])))
    target.copy_(source)
    assert torch.equal(target, source)


@pytest.mark.parametrize(("kernel", "channels", "pixels"), [(1, 64, 512), (3, 16, 2048), (3, 16, 1024)])
def test_a_convolution_does_the_operations_that_are_counted(kernel: int, channels: int, pixels: int):
    run, work = its._convolution(CPU, torch.float32, channels, pixels, kernel=kernel)
    with FlopCounterMode(display=False) as counter:
        run()
    assert counter.get_total_flops() == work


def test_every_way_to_multiply_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(its, "MOST_EDGE", {"cpu": its.LEAST_EDGE})
    monkeypatch.setattr(its, "BYTES", (2**15, 2**17))
    roof = its.roofline.__wrapped__(CPU, 1)
    assert set(roof.flops) == set(its.TYPES) and "numpy.matmul" in roof.flops["float32"]
    assert all(rate.value > 1e6 for rates in roof.flops.values() for rate in rates.values())
    assert list(roof.copies) == [2**15, 2**17] and all(rate.value > 1e6 for rate in roof.copies.values())
