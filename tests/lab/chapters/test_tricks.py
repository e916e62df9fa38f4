"""Ten tricks: each is one line, time is equal, an outcome is found again, and gains are paired."""

from pathlib import Path

import pytest
import torch

from cropland.lab import trials
from cropland.lab.chapters.tricks import ALL, NONE, TRICKS, census, gains, recipes, steps
from cropland.lab.trials import Outcome, chip_folder, one_thread, remembered
from cropland.recipe import Recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def contenders() -> dict[str, Recipe]:
    return recipes(chip_folder(None), crop=32)


def plain(recipe: Recipe) -> dict[str, object]:
    """Every key with its value, one level deep; options of the network too."""
    values = recipe.model_dump()
    options = {f"network.options.{key}": value for key, value in recipe.network.options.items()}
    return {f"{part}.{key}": v for part in ("training", "loss") for key, v in values[part].items()} | options


def test_each_trick_changes_one_key_to_what_its_line_says(contenders: dict[str, Recipe]) -> None:
    base = plain(contenders[NONE])
    changed = {}
    for name, line in TRICKS.items():
        key, _, _ = line.partition("=")
        with_line = plain(contenders[name])
        assert {k for k in with_line if with_line[k] != base.get(k)} == {key}
        changed[key] = with_line[key]
    together = plain(contenders[ALL])
    assert len(changed) == 10 and together == {**base, **changed}


def test_time_ends_a_training_and_its_outcome_is_found_again(
    contenders: dict[str, Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chips, recipe = chip_folder(None), contenders[NONE]
    ticks = iter(range(1000))
    monkeypatch.setattr(trials, "_clock", lambda device: float(next(ticks)))  # every step takes one second
    with one_thread():
        first = remembered(recipe, chips, CPU, seed=0, limit_s=3.0, kept=tmp_path)
        assert first.steps == 3 and 0 < first.iou < 1
        monkeypatch.setattr(trials, "trial", lambda *given, **options: pytest.fail("trained again"))
        assert remembered(recipe, chips, CPU, seed=0, limit_s=3.0, kept=tmp_path) == first
        for other in ({"seed": 1, "limit_s": 3.0}, {"seed": 0, "limit_s": 4.0}):
            with pytest.raises(pytest.fail.Exception, match="trained again"):
                remembered(recipe, chips, CPU, kept=tmp_path, **other)
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            remembered(contenders["dice_added"], chips, CPU, seed=0, limit_s=3.0, kept=tmp_path)


def test_progress_follows_the_time(contenders: dict[str, Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, seen = iter(range(1000)), []
    monkeypatch.setattr(trials, "_clock", lambda device: float(next(ticks)))
    monkeypatch.setattr(trials, "set_rate", lambda optimizer, training, progress: seen.append(progress))
    trials.trial(contenders[NONE], chip_folder(None), CPU, seed=0, steps=10**9, limit_s=4.0)
    assert seen == pytest.approx([0, 0.25, 0.5, 0.75], abs=1e-6)


def test_one_thread_is_given_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyboardInterrupt
    assert torch.get_num_threads() == before


def test_gains_are_paired_and_counted() -> None:
    """Seeds scatter by 10 points, the first trick adds 1 point to each: paired, that is seen."""
    base = [Outcome(0.7, 100), Outcome(0.8, 100), Outcome(0.9, 100)]
    outcomes = dict.fromkeys((NONE, ALL, *TRICKS), base)
    first, second, third, *_ = TRICKS
    outcomes[first] = [Outcome(its.iou + 0.01 + tiny, 150) for its, tiny in zip(base, (0, 1e-4, -1e-4), strict=True)]
    outcomes[second] = [Outcome(its.iou - 0.01 + tiny, 50) for its, tiny in zip(base, (0, 1e-4, -1e-4), strict=True)]
    outcomes[third] = [Outcome(its.iou + shift, 100) for its, shift in zip(base, (0.05, -0.05, 0.01), strict=True)]
    assert gains(outcomes, first) == pytest.approx([1, 1.01, 0.99])
    assert (steps(outcomes, first).value, steps(outcomes, second).value) == (1.5, 0.5)
    counted = {name: number.value for name, number in census(outcomes).items()}
    assert counted == pytest.approx({"helped": 1, "harmed": 1, "unseen": 8, "sum": 1 / 3})
