"""The run folder: what happened (journal.jsonl), where to go on (state.pt), and how it was begun (plan.json)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cropland.errors import RecipeError
from cropland.language import _
from cropland.recipe import parse_recipe


def append(run: Path, row: Mapping[str, Any]) -> None:
    """Add one line to the journal."""
    with (run / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read(run: Path) -> list[dict[str, Any]]:
    """The journal's rows, the last word of each epoch; a line cut off by a kill is passed over."""
    path = run / "journal.jsonl"
    if not path.exists():
        return []
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.endswith("}"):
            row = json.loads(line)
            rows[row["epoch"]] = row
    return list(rows.values())


def save_state(run: Path, state: Mapping[str, Any]) -> None:
    """Write where to go on from; a kill leaves the old state or the new one, never half."""
    hidden = run / ".state.pt.part"
    torch.save(dict(state), hidden)
    hidden.replace(run / "state.pt")


def load_state(run: Path, device: torch.device) -> dict[str, Any] | None:
    """The state to go on from, if there is one."""
    path = run / "state.pt"
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def frozen_plan(run: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of the first start; a second start with another recipe or other chips is refused."""
    path = run / "plan.json"
    if not path.exists():
        hidden = run / ".plan.json.part"
        hidden.write_text(json.dumps(plan, indent=1, ensure_ascii=False), encoding="utf-8")
        hidden.replace(path)
        return dict(plan)
    first: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    # Keys that recipes have got since then have the values that they had before there was a key.
    first["recipe"] = parse_recipe(first["recipe"], source=str(path)).model_dump(mode="json")
    for key in ("recipe", "chips"):
        if first[key] != json.loads(json.dumps(plan[key])):
            raise RecipeError(
                _("{run} was begun with another {key}; go on with the same, or give another --out", run=run, key=key)
            )
    return first
