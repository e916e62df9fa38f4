import numpy as np
import pytest

from cropland.lab.experiments.transposed_trained import EDGE, peak, spectrum

SMOOTH = np.cumsum(np.cumsum(np.random.default_rng(0).normal(size=(256, 320)), 0), 1)


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_a_wave_has_its_power_at_its_frequency(period: int):
    wave = np.broadcast_to(np.cos(2 * np.pi * np.arange(64) / period), (64, 64))
    assert spectrum(wave).argmax() == EDGE // period


def test_rows_and_columns_count_alike():
    np.testing.assert_allclose(spectrum(SMOOTH), spectrum(SMOOTH.T))


def test_a_level_has_no_power():
    assert spectrum(np.full((64, 64), 7.0)).max() == pytest.approx(0)


def test_a_smooth_map_has_no_peak():
    assert peak(spectrum(SMOOTH)) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("period", [2, 4, 8])
def test_a_checkerboard_stands_out(period: int):
    grid = np.indices(SMOOTH.shape).sum(0) % period < period / 2
    assert peak(spectrum(SMOOTH + 20 * grid)) > 1.5 * peak(spectrum(SMOOTH))


def test_what_lies_between_the_lines_is_no_checkerboard():
    wave = np.broadcast_to(np.cos(2 * np.pi * np.arange(320) * 10 / EDGE), SMOOTH.shape)
    assert peak(spectrum(SMOOTH + 20 * wave)) < peak(spectrum(SMOOTH))


def test_a_line_of_its_height():
    power = np.ones(EDGE // 2 + 1)
    power[8::4] = 9
    assert peak(power) == pytest.approx(9)
