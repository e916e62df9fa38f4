"""Recipes: what is read, and what is refused in one sentence."""

from pathlib import Path

import pytest

from cropland.errors import RecipeError
from cropland.recipe import Recipe, parse_recipe, read_recipe

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_with_the_project_are_valid(path: Path) -> None:
    assert read_recipe(path).name == path.stem


def test_settings_are_laid_over(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[training]\nepochs = 3\n[network]\nname = "unet"', encoding="utf-8")
    recipe = read_recipe(path, ["training.batch=4", "network.options.width=32", "name=mine", "bands=['nir']"])
    assert (recipe.training.epochs, recipe.training.batch, recipe.name, recipe.bands) == (3, 4, "mine", ("nir",))
    assert recipe.network.options == {"width": 32}


def test_plain_values_and_back() -> None:
    recipe = Recipe(name="x")
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[training]\nepoch = 3", "did you mean 'epochs'"),
        ("trainning = 3", "did you mean 'training'"),
        ("[training]\nepochs = -1", "training.epochs = -1"),
        ("[training", "not TOML"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=said):
        read_recipe(path)


def test_a_missing_recipe_and_a_bad_setting(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe"):
        read_recipe(tmp_path / "none.toml")
    path = tmp_path / "r.toml"
    path.write_text("", encoding="utf-8")
    with pytest.raises(RecipeError, match="expected key=value"):
        read_recipe(path, ["training.epochs"])
