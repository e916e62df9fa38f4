"""See what cropland does: the verbs as a person would type them, on two scenes that ship."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from rich.console import Console

from cropland.data import cut
from cropland.data.labels import LabelOptions
from cropland.mapping import map as mapping

__all__ = ["FIELDS", "TILE", "command", "samples"]

FOLDER = Path(str(files("cropland") / "sample"))
PROGRAM = "cropland"
TILE, FIELDS = FOLDER / "naip_minnesota.tif", FOLDER / "naip_minnesota_fields.geojson"


def command(*, out: Path = Path("demo"), train: bool = False) -> None:
    """Map the two sample scenes that ship, to see what cropland does.

    Example:

        cropland demo
        cropland demo --train

    Parameters
    ----------
    out
        The folder for the maps; an earlier demo in it is replaced.
    train
        Cut chips from the fields drawn on one scene, train a small network for about two minutes, and map with it.
        The network has seen that scene: the picture shows the method, not the accuracy elsewhere.
    """
    if train:
        model = _train_on_the_tile(out)
        _say(f"map {TILE} --model {model} --out {out / 'map'}")
        mapping.command(str(TILE), model=model, out=out / "map", overwrite=True)
    else:
        _say(f"map {' '.join(map(str, samples()))} --out {out}")
        mapping.command(*map(str, samples()), out=out, overwrite=True)


def samples() -> list[Path]:
    """The scenes that ship: 10 m from space, 1 m from the air."""
    return sorted(FOLDER.glob("*.tif"))


def _train_on_the_tile(out: Path) -> Path:
    """Chips and a model of them, or what an earlier call left; returns the model's path."""
    from cropland.training import train  # imports torch, which mapping does without

    chips, run, recipe = out / "chips", out / "run", FOLDER / "small.toml"
    if not chips.exists():
        _say(f"chips {TILE} --labels {FIELDS} --background known --size 128 --split validation=0.25 --out {chips}")
        labels = LabelOptions(labels=FIELDS, background="known")
        cut.command(TILE, labels=labels, size=128, split="validation=0.25", out=chips)
    _say(f"train {recipe} --chips {chips} --out {run}")
    train.command(recipe, chips=chips, out=run)
    return run / "model.safetensors"


def _say(words: str) -> None:
    """Show the command that would do the same."""
    Console(soft_wrap=True, highlight=False, markup=False).print("\n" + PROGRAM, words, style="bold")
