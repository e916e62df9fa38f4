"""The plan of a training: what fits, what it is predicted to take, and what happens when memory is full."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from chip_folder import write_chips
from cropland.data.batches import Batch
from cropland.data.chips import ChipFolder
from cropland.errors import InputError
from cropland.model import build_network
from cropland.recipe import Recipe, parse_recipe
from cropland.training import run_folder
from cropland.training.memory import autocast, checkpointed, kept_bytes
from cropland.training.optimizer import accumulate, make_objective
from cropland.training.plan import SOUND, BatchPlan, Way, _asking, _takes_one_chip, choose
from cropland.training.train import train

SMALL = {
    "name": "tiny",
    "network": {"options": {"width": 8, "encoder_options": {"width": 8, "depth": 3}}},
    "sampling": {"crop": 32, "scale": [1.0, 1.5]},
    "training": {"epochs": 1, "chips_per_epoch": 16, "batch": 8, "learning_rate": 0.02, "precision": "float32"},
}
plans = st.builds(
    BatchPlan,
    st.sampled_from(["cpu", "cuda"]),
    st.sampled_from([1, 2, 4, 8]),
    st.just(1),
    st.sampled_from(["float32", "bfloat16"]),
    st.booleans(),
    bytes=st.integers(1, 10**10),
    seconds=st.floats(0.01, 100),
)


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> ChipFolder:
    return write_chips(tmp_path_factory.mktemp("chips") / "folder")


def recipe(crop: int = 32, **training: object) -> Recipe:
    """The small recipe, with another edge of its crops and other values of its training."""
    changed = {"sampling": {**SMALL["sampling"], "crop": crop}, "training": {**SMALL["training"], **training}}
    return parse_recipe({**SMALL, **changed})


@given(st.lists(plans, min_size=1, max_size=8), st.integers(10**9, 10**10), st.sampled_from([1, SOUND]))
def test_the_fastest_plan_that_fits_is_chosen_and_sound_ones_come_first(every: list[BatchPlan], limit: int, sound: int):
    limits = {"cpu": limit, "cuda": limit // 2}
    fitting = [plan for plan in every if plan.bytes * 1.05 <= limits[plan.device]]
    if not fitting:
        with pytest.raises(InputError, match=r"one chip at a time takes .* GB on c"):
            choose(every, limits, sound=sound)
        return
    chosen = choose(every, limits, sound=sound)
    first = [plan for plan in fitting if plan.micro_batch >= sound] or fitting
    assert chosen in first and chosen.seconds == min(plan.seconds for plan in first)


@given(st.integers(1, 64))
def test_halving_keeps_the_batch_until_one_chip_is_left(batch: int):
    plan = BatchPlan("cpu", batch, 1)
    while plan.micro_batch > 1:
        smaller = plan.halved()
        assert smaller.micro_batch * smaller.accumulation == batch and smaller.micro_batch <= plan.micro_batch // 2
        plan = smaller
    with pytest.raises(InputError, match="memory is full with one chip at a time"):
        plan.halved()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("encoder", ["plain", "efficientnet_lite0"])
def test_what_is_computed_again_gives_the_same_gradients_from_less_memory(encoder: str, precision: str):
    torch.manual_seed(0)
    made = parse_recipe({"network": {"options": {"width": 8, "encoder": encoder}}})
    plain, again = build_network(made).train(), build_network(made).train()
    again.load_state_dict(plain.state_dict())
    checkpointed(again, bands=3)
    image = torch.randn(2, 3, 64, 64)
    for network in (plain, again):
        with autocast(torch.device("cpu"), precision):
            made = network(image)
        made.float().square().mean().backward()
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(plain.buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other), "running statistics move once"
    assert kept_bytes(again, image) < 0.6 * kept_bytes(plain, image)


def test_one_value_of_each_chip_wants_two_chips_at_a_time():
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3)).train()
    assert not _takes_one_chip(pooled, recipe()) and _takes_one_chip(pooled[1:], recipe())
    plan = Way("cpu", "float32", False, least=2, bytes=(100, 150), seconds=(1.0, 1.5), update=0.1).plan(4, 8)
    assert (plan.micro_batch, plan.accumulation, plan.bytes) == (4, 2, 200) and plan.seconds == pytest.approx(4.1)


FRAIL = """
import os, signal
from torch import nn

class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 1, 1)

    def forward(self, image):
        print("a notebook prints", end="")
        if len(image) == 3:
            raise KeyError("no such layer")
        if len(image) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(image)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_every_question_is_answered_by_a_process_of_its_own(tmp_path: Path):
    (tmp_path / "net.py").write_text(FRAIL, encoding="utf-8")
    frail = recipe().model_copy(
        update={"network": parse_recipe({"network": {"name": f"{tmp_path}/net.py:Net"}}).network}
    )
    way = {"device": "cpu", "precision": "float32", "checkpointing": False}
    with _asking(frail) as ask:
        assert len(ask(way)["bytes"]) == 2
        with pytest.raises(InputError, match="cannot be measured: KeyError: 'no such layer'"):
            ask({**way, "sizes": [3]})
        assert ask({**way, "sizes": [5]}) is None and ask({**way, "sizes": [4]})["least"] == 1


def test_a_run_whose_activations_are_computed_again_goes_on_at_the_same_bits(
    chips: ChipFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from cropland.training import train as module

    plan, made = BatchPlan("cpu", 4, 2, "float32", checkpointing=True), recipe(epochs=2)
    for name in ("whole", "broken"):
        run_folder.write_plan(tmp_path / name, made, chips.where(split="train"), plan)
    whole = train(made, chips, tmp_path / "whole").network().state_dict()
    steps, step = iter(range(3)), module.take_step
    monkeypatch.setattr(module, "take_step", lambda *given, **named: (next(steps), step(*given, **named))[1])
    with pytest.raises(StopIteration):
        train(made, chips, tmp_path / "broken")
    monkeypatch.setattr(module, "take_step", step)
    resumed = train(made, chips, tmp_path / "broken").network().state_dict()
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


class Full(nn.Module):
    """As a GPU whose memory holds two chips."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if len(image) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.layer(image)


def test_when_memory_is_full_the_same_step_is_taken_in_smaller_parts(
    chips: ChipFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As on a GPU: the step runs on PyTorch's `meta`..."""
    from cropland.training import train as module

    monkeypatch.setattr(run_folder, "change_plan", lambda run, plan: kept.append(plan))
    kept: list[BatchPlan] = []
    torch.manual_seed(0)
    network = Full()
    before = [weight.clone() for weight in network.parameters()]
    batch = Batch(torch.randn(8, 3, 4, 4), torch.ones(8, 1, 4, 4), torch.ones(8, 1, 4, 4, dtype=torch.bool), ("",) * 8)
    objective, training = make_objective({"cross_entropy": 1.0}), recipe(clip=0.0).training
    how = {"plan": BatchPlan("cpu", 8, 1, "float32"), "among": module.Processes()}
    sgd = torch.optim.SGD(network.parameters(), lr=1.0)
    plan, losses, _norm = module._step(tmp_path, network, sgd, batch, objective, training, **how)
    assert [each.micro_batch for each in kept] == [4, 2] and plan == kept[-1] and plan.accumulation == 4
    moved = [was - weight for was, weight in zip(before, network.parameters(), strict=True)]
    for weight, was in zip(network.parameters(), before, strict=True):
        weight.data = was
    assert torch.equal(losses, accumulate(network, batch, objective, micro=2))
    for weight, change in zip(network.parameters(), moved, strict=True):
        torch.testing.assert_close(weight.grad, change, msg="one step, by the gradients of the whole batch")


LIMITED = """
import resource, sys
import psutil, torch
from cropland.data.chips import open_chips
from cropland.errors import CroplandError
from cropland.recipe import parse_recipe
from cropland.training import train as module
from cropland.training.plan import _peak

step, room = module.take_step, int(float(sys.argv[4]))
def limited(*given, **named):
    limit = psutil.Process().memory_info().data + room if room else -1
    resource.setrlimit(resource.RLIMIT_DATA, (limit, -1))
    try:
        return step(*given, **named)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))
module.take_step = limited
memory = int(float(sys.argv[5])) if len(sys.argv) > 5 else None
try:
    module.train(parse_recipe(eval(sys.argv[3])), open_chips(sys.argv[1]), sys.argv[2], memory=memory)
except CroplandError as error:
    print(error)
    sys.exit(error.exit_status)
print("peak", _peak(torch.device("cpu")))
"""


def start(script: str, chips: ChipFolder, run: Path, made: Recipe, *more: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own."""
    command = [sys.executable, "-c", script, chips.path, run, repr(made.model_dump(mode="json")), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=300)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the data of a process")
def test_within_a_real_limit_the_next_start_goes_on_with_smaller_parts(chips: ChipFolder, tmp_path: Path):
    """A step of 8 chips of 256 x 256 takes about 500 MB; the process may take 350 MB more than it has."""
    run, made = tmp_path / "run", recipe(crop=256)
    first = start(LIMITED, chips, run, made, "350e6")
    assert first.returncode == 3 and "memory was full; the same command goes on" in first.stdout, first.stderr
    assert run_folder.read_plan(run)[1] == BatchPlan("cpu", 4, 2, "float32")
    statuses = iter(lambda: start(LIMITED, chips, run, made, "350e6").returncode, 0)
    assert {*islice(statuses, 3)} <= {3} and (run / "model.safetensors").exists()
    plan = run_folder.read_plan(run)[1]
    assert plan.micro_batch < 8 and plan.micro_batch * plan.accumulation == 8


def test_the_predicted_memory_is_that_of_the_training(chips: ChipFolder, tmp_path: Path):
    """Within 10 %, and never less: beside other work chips are ready later, and the peak is lower than it may be."""
    ratios: list[float] = []
    while not ratios or (ratios[-1] >= 1.1 and len(ratios) < 3):
        run = tmp_path / f"run_{len(ratios)}"
        done = start(LIMITED, chips, run, recipe(crop=256), "0", "8e9")
        assert done.returncode == 0, done.stderr
        _recipe, plan, _threads = run_folder.read_plan(run)
        assert plan.micro_batch >= SOUND and plan.seconds > 0 and plan.memory == 8e9
        ratios.append(plan.bytes / int(done.stdout.split()[-1]))
        assert ratios[-1] > 0.9
    assert ratios[-1] < 1.1, ratios


def test_too_little_memory_says_the_least_that_would_do():
    every = [BatchPlan("cpu", micro, 8 // micro, bytes=micro * 10**9, seconds=1.0) for micro in (1, 2, 4, 8)]
    with pytest.raises(
        InputError, match=r"takes 1\.05 GB on cpu, and there are 0\.50 GB: give memory='1\.05GB' or more"
    ):
        choose(every, {"cpu": 5 * 10**8})


def test_norm_auto_is_channel_norm_where_one_chip_at_a_time_fits(chips: ChipFolder, tmp_path: Path):
    options = {**SMALL["network"]["options"], "norm": "auto"}
    made = recipe(batch=2).model_copy(update={"network": recipe().network.model_copy(update={"options": options})})
    model = train(made, chips, tmp_path / "few")
    assert model.recipe.network.options["norm"] == "channel_norm"
    many = made.model_copy(update={"training": recipe(batch=8).training})
    assert train(many, chips, tmp_path / "many").recipe.network.options["norm"] == "batch_norm"


DIES = """
import os, signal, sys
from cropland.data.chips import open_chips
from cropland.recipe import parse_recipe
from cropland.training import train as module
module.take_step = lambda *given, **named: os.kill(os.getpid(), signal.SIGKILL)
module.train(parse_recipe(eval(sys.argv[3])), open_chips(sys.argv[1]), sys.argv[2])
"""


def test_a_start_that_was_killed_in_its_first_step_is_followed_by_one_with_half_as_many_chips(
    chips: ChipFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    assert start(DIES, chips, run, recipe()).returncode < 0
    train(recipe(), chips, run)
    assert "ended for want of memory; this one computes half as many" in capsys.readouterr().out
    assert run_folder.read_plan(run)[1] == replace(BatchPlan("cpu", 4, 2, "float32"))
    assert not (run / "running.json").exists() and (run / "model.safetensors").exists()
