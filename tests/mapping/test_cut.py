"""Units partition the grid, whatever its shape, and strips stay as narrow as was asked."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cropland.mapping.cut import Cut, cut_swaths, cut_tiles
from cropland.model import Model
from small_model import save_model


def model(tmp_path_factory: object, made: list[Model] = []) -> Model:  # noqa: B006  # made once
    if not made:
        made.append(save_model(tmp_path_factory.mktemp("model") / "m.safetensors"))
    return made[0]


def check(cut: Cut) -> None:
    seen = np.zeros(cut.shape, np.uint8)
    for unit in cut.units:
        seen[unit.core.slices] += 1
        assert unit.padded.col <= unit.core.col and unit.padded.height >= unit.core.height
    assert (seen == 1).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 1500), st.integers(100, 2000))
def test_units_partition_the_grid(tmp_path_factory: object, height: int, width: int, widest: int) -> None:
    small = model(tmp_path_factory)
    swaths = cut_swaths((height, width), small, widest=widest)
    check(swaths)
    assert max(unit.padded.width for unit in swaths.units) <= max(widest, 4 * small.radius) + small.stride
    check(cut_tiles((height, width), small, at_once=widest**2))


def test_a_run_goes_down_one_strip(tmp_path_factory: object) -> None:
    cut = cut_swaths((9000, 900), model(tmp_path_factory), widest=500)
    strips = len({unit.core.col for unit in cut.units})
    each = len(cut.units) // strips
    assert strips > 1 and each > 2
    everything = list(range(len(cut.units)))
    assert [len(run) for run in cut.runs(everything)] == [each] * strips
    assert cut.runs([0, 1, 3]) == [[0, 1], [3]]
    assert max(len(run) for run in cut.runs(everything, most=2)) == 2
