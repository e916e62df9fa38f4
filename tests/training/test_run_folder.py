"""By which recipe a run goes on, which one is refused, and what a start learns of how the last one ended."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chip_folder import write_chips
from cropland.data.chips import ChipFolder
from cropland.errors import RecipeError
from cropland.recipe import Recipe
from cropland.training import run_folder
from cropland.training.plan import BatchPlan

PLAN = BatchPlan("cpu", micro_batch=4, accumulation=2)
DIES = """
import os, signal, sys
from pathlib import Path
from cropland.training import run_folder
with run_folder.watched(Path(sys.argv[1])) as stepped:
    if sys.argv[2] == "after a step":
        stepped()
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise KeyboardInterrupt
"""


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> ChipFolder:
    return write_chips(tmp_path_factory.mktemp("chips") / "folder").where(split="train")


def test_a_run_goes_on_that_was_begun_before_recipes_and_plans_had_a_key(tmp_path: Path, chips: ChipFolder):
    run_folder.write_plan(tmp_path, Recipe(), chips, PLAN)
    older = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    del older["recipe"]["training"]["schedule"], older["precision"], older["checkpointing"]
    (tmp_path / "plan.json").write_text(json.dumps(older), encoding="utf-8")
    assert run_folder.is_begun(tmp_path, Recipe(), chips)
    assert run_folder.read_plan(tmp_path) == (Recipe(), PLAN, older["threads"])


def test_another_recipe_and_other_chips_are_refused(tmp_path: Path, chips: ChipFolder):
    assert not run_folder.is_begun(tmp_path, Recipe(), chips)
    run_folder.write_plan(tmp_path, Recipe(), chips, PLAN)
    with pytest.raises(RecipeError, match="begun with another recipe"):
        run_folder.is_begun(tmp_path, Recipe(name="other"), chips)
    with pytest.raises(RecipeError, match="begun with another chips"):
        run_folder.is_begun(tmp_path, Recipe(), chips.where(group="g0"))


def test_what_the_plan_decides_is_in_the_recipe_that_a_run_goes_on_by(tmp_path: Path, chips: ChipFolder):
    left_open = Recipe.model_validate({"network": {"options": {"norm": "auto"}}})
    decided = BatchPlan("cpu", 1, 8, norm="channel_norm", frozen_norm=True)
    run_folder.write_plan(tmp_path, left_open, chips, decided)
    recipe, plan, _threads = run_folder.read_plan(tmp_path)
    assert recipe.network.options == {"norm": "channel_norm"} and recipe.training.frozen_norm and plan == decided
    assert run_folder.is_begun(tmp_path, left_open, chips)
    run_folder.change_plan(tmp_path, plan.halved() if plan.micro_batch > 1 else PLAN)
    assert run_folder.read_plan(tmp_path)[1] == PLAN


@pytest.mark.parametrize(
    ("when", "how", "for_memory"),
    [
        ("before a step", "killed", True),  # whatever it was, it would happen again
        ("after a step", "killed", False),
        ("before a step", "stopped", False),
        ("after a step", "stopped", False),
    ],
)
def test_a_start_knows_whether_the_last_one_died_for_memory(tmp_path: Path, when: str, how: str, for_memory: bool):
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path), when, how], stderr=subprocess.DEVNULL)
    assert (done.returncode == -signal.SIGKILL) == (how == "killed") and done.returncode != 0
    assert run_folder.died_for_memory(tmp_path) == for_memory


@pytest.mark.skipif(not Path("/proc/vmstat").exists(), reason="Linux counts the processes that it kills for memory")
def test_a_kill_by_linux_for_memory_is_seen(tmp_path: Path):
    with run_folder.watched(tmp_path) as stepped:
        stepped()
        assert not run_folder.died_for_memory(tmp_path)
        written = json.loads((tmp_path / "running.json").read_text(encoding="utf-8"))
        written["out_of_memory_kills"] -= 1
        (tmp_path / "running.json").write_text(json.dumps(written), encoding="utf-8")
        assert run_folder.died_for_memory(tmp_path)
