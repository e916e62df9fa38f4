"""By which recipe a run goes on, and which one is refused."""

import json
from pathlib import Path

import pytest

from cropland.errors import RecipeError
from cropland.recipe import Recipe
from cropland.training.run_folder import frozen_plan


def plan() -> dict[str, object]:
    return {"recipe": Recipe().model_dump(mode="json"), "chips": {"count": 3}, "micro_batch": 4}


def test_a_run_goes_on_that_was_begun_before_recipes_had_a_key(tmp_path: Path):
    older = json.loads(json.dumps(plan()))
    del older["recipe"]["training"]["schedule"]
    (tmp_path / "plan.json").write_text(json.dumps(older), encoding="utf-8")
    assert frozen_plan(tmp_path, {**plan(), "micro_batch": 2}) == plan()


def test_another_recipe_is_refused(tmp_path: Path):
    frozen_plan(tmp_path, plan())
    other = plan() | {"recipe": Recipe(name="other").model_dump(mode="json")}
    with pytest.raises(RecipeError, match="begun with another recipe"):
        frozen_plan(tmp_path, other)
