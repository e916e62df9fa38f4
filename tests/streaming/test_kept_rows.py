"""Rows are kept where that is cheaper than to compute them again."""

import pytest
from torch import nn

from cropland.streaming.step import plan


def kept(*layers: nn.Module) -> list[tuple[int, ...]]:
    """Channels and rows of what is kept."""
    return [each.shape(512)[1:3] for each in plan(nn.Sequential(*layers).eval(), 3).schedule.kept]


def expanded(channels: int, wide: int) -> list[nn.Module]:
    """An inverted residual unit without its shortcut."""
    around = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
    return [nn.Conv2d(channels, wide, 1), nn.ReLU6(), around, nn.ReLU6(), nn.Conv2d(wide, channels, 1)]


def test_a_high_band_is_kept_where_it_is_narrow() -> None:
    assert kept(*expanded(3, 48)) == [(3, 2)]


def test_two_convolutions_in_turn_keep_rows_once() -> None:
    assert kept(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)) == [(3, 4)]


def test_a_low_band_is_kept_where_it_is_wide_but_dear() -> None:
    down, up = nn.Conv2d(3, 128, 32, 32), nn.ConvTranspose2d(128, 1, 32, 32)
    assert kept(down, *expanded(128, 512), up) == [(512, 2)]


@pytest.mark.parametrize(("products", "expected"), [(1e-3, (8, 2)), (1e9, (3, 4))])
def test_what_a_product_costs_decides(
    products: float, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cropland.streaming.kept_rows.PRODUCTS", products)
    assert expected in kept(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
