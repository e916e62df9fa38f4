"""The journal in TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["show"]


def show(row: Mapping[str, Any], run: Path) -> None:
    """Add one row of the journal to the run folder's event files; nothing where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run)) as writer:
        for name in ("loss", "rate", "gradient", "iou"):
            writer.add_scalar(name, row[name], row["epoch"])
