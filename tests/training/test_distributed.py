"""Several processes give the gradients and the weights of one, go on after a kill, and refuse chips that differ."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from chip_folder import write_chips
from cropland.data.chips import ChipFolder
from cropland.errors import RecipeError
from cropland.training.distributed import Processes

VALUES = {
    "name": "tiny",
    "network": {"options": {"norm": "channel_norm", "width": 4, "encoder_options": {"width": 4, "depth": 2}}},
    "sampling": {"crop": 32, "scale": [1.0, 1.5]},
    "training": {
        "epochs": 2,
        "chips_per_epoch": 16,
        "batch": 4,
        "learning_rate": 0.02,
        "ema": 0.8,
        "precision": "float32",
    },
}
# 50 steps of SGD in double precision; the gradients of the first and the weights of the last.
STEPS = """
import sys, torch
from cropland.data.batches import Sampler, batches
from cropland.data.chips import open_chips
from cropland.model import build_network
from cropland.recipe import parse_recipe
from cropland.training.distributed import processes
from cropland.training.optimizer import accumulate, recipe_objective, take_step

chips, out, values = open_chips(sys.argv[1]), sys.argv[2], eval(sys.argv[3])
values["training"] |= {"chips_per_epoch": 200}
recipe = parse_recipe(values)
torch.manual_seed(0)
network, objective = build_network(recipe).double().train(), recipe_objective(recipe)
optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
with processes(torch.device("cpu")) as among:
    part = among.part(4)
    for step, batch in enumerate(batches(Sampler(chips.where(split="train"), recipe), 0, part=part)):
        batch = batch._replace(image=batch.image.double(), target=batch.target.double())
        if step == 0:
            accumulate(network, batch, objective, micro=2)
            first = [weight.grad.clone() for weight in network.parameters()]
            among.average(first)
            network.zero_grad()
        take_step(network, optimizer, batch, objective, micro=2, among=among)
    if among.is_first:
        torch.save({"first": first, "last": [*network.parameters()], "steps": step + 1}, out)
"""
TRAINS = """
import os, signal, sys
from cropland.data.chips import open_chips
from cropland.recipe import parse_recipe
from cropland.training import train as module
chips, rank, dies = open_chips(sys.argv[1]), os.environ["RANK"], sys.argv[4]
if dies == "other chips" and rank == "1":
    chips = chips.where(group="g0")
taken, step = [0], module.take_step
def dying(*given, **named):
    taken[0] += 1
    if dies == "in the second epoch" and rank == "1" and taken[0] == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*given, **named)
module.take_step = dying
if dies == "full memory" and rank == "1":
    from cropland.training import optimizer
    accumulate = optimizer.accumulate
    def full(network, batch, objective, *, micro, **named):
        if micro > 1:
            raise optimizer.FullMemoryError(in_pieces=False)
        return accumulate(network, batch, objective, micro=micro, **named)
    optimizer.accumulate = full
module.train(parse_recipe(eval(sys.argv[3])), chips, sys.argv[2])
"""


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> ChipFolder:
    return write_chips(tmp_path_factory.mktemp("chips") / "folder")


def start(script: str, chips: ChipFolder, out: Path, *more: str, count: int) -> subprocess.CompletedProcess[str]:
    """A script in so many processes, as torchrun starts them."""
    ranks = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}")
    path = out.with_suffix(".py")
    path.write_text(script, encoding="utf-8")
    command = [sys.executable, *(ranks if count > 1 else ()), path, chips.path, out, repr(VALUES), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RANK": "0"}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=300)


def test_two_processes_compute_what_one_does_in_two_parts(chips: ChipFolder, tmp_path: Path) -> None:
    found = []
    for count in (1, 2):
        out = tmp_path / f"{count}.pt"
        done = start(STEPS, chips, out, count=count)
        assert done.returncode == 0, done.stderr
        found.append(torch.load(out, weights_only=False))
    one, two = found
    assert one["steps"] == two["steps"] == 50
    for mine, theirs in zip(one["first"], two["first"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    assert max(float(gradient.abs().max()) for gradient in one["first"]) > 1e-3
    for mine, theirs in zip(one["last"], two["last"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_a_run_goes_on_after_one_of_its_processes_was_killed(chips: ChipFolder, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(TRAINS, chips, whole, "never", count=2).returncode == 0
    died = start(TRAINS, chips, broken, "in the second epoch", count=2)
    assert died.returncode != 0 and (broken / "state.pt").exists() and not (broken / "model.safetensors").exists()
    again = start(TRAINS, chips, broken, "never", count=2)
    assert again.returncode == 0, again.stderr
    one, other = (load_file(run / "model.safetensors") for run in (whole, broken))
    assert one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)
    rows = (broken / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [0, 1], "the first process alone writes"
    assert died.stdout.count("epoch 1:") == 1


def test_a_process_with_other_chips_is_refused(chips: ChipFolder, tmp_path: Path) -> None:
    done = start(TRAINS, chips, tmp_path / "run", "other chips", count=2)
    assert done.returncode != 0 and "process 1 of this training has other chips or another recipe" in done.stderr
    assert not (tmp_path / "run").exists()


def test_where_the_memory_of_one_process_is_full_all_compute_fewer_chips(chips: ChipFolder, tmp_path: Path) -> None:
    done = start(TRAINS, chips, tmp_path / "run", "full memory", count=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("memory was full; from here 1 chips are computed at a time") == 1
    plan = json.loads((tmp_path / "run" / "plan.json").read_text(encoding="utf-8"))
    assert (plan["micro_batch"], plan["accumulation"]) == (1, 2)


def test_a_batch_is_shared_evenly_or_refused() -> None:
    assert [Processes(rank, 4).part(8) for rank in range(4)] == [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)]
    with pytest.raises(RecipeError, match="batch = 8 cannot be shared evenly by 3 processes"):
        Processes(0, 3).part(8)
