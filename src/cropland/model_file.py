"""The file of a model: weights in half precision, and a header of plain values that is read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from cropland.errors import ModelError
from cropland.language import _

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
KEY = "cropland"


def write(path: Path, weights: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write weights (vectors, such as those of norms, stay single) and header, by renaming."""
    import torch
    from safetensors.torch import save

    halves = {
        name: (value.half() if value.dim() > 1 and value.is_floating_point() else value).contiguous().cpu()
        for name, value in weights.items()
        if torch.is_tensor(value)
    }
    hidden = path.with_name(f".{path.name}.part")
    text = json.dumps(header, ensure_ascii=False, sort_keys=True)
    hidden.write_bytes(save(halves, metadata={KEY: text}))  # save_file would make it readable to its owner only
    hidden.replace(path)


def read_header(path: Path) -> dict[str, Any]:
    """What a file says of itself. Raises `ModelError` for one that is missing, damaged, foreign or newer."""
    if not path.is_file():
        raise ModelError(_("no model {path}; give the path of a .safetensors file", path=path))
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            _("{path} is not a safetensors file, or a damaged one: {error}", path=path, error=first_line(error))
        ) from error
    if KEY not in metadata:
        raise ModelError(
            _("{path} is a safetensors file of another program; expected one made by 'cropland train'", path=path)
        )
    return _read_header(metadata[KEY], path)


def _read_header(text: str, path: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(text)
        newest = int(header["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            _("{path} has a damaged header ({error}); get the file again", path=path, error=first_line(error))
        ) from error
    if newest > FORMAT:
        raise ModelError(
            _(
                "{path} is of format {came}, this program reads up to {known}; upgrade cropland",
                path=path,
                came=newest,
                known=FORMAT,
            )
        )
    return header


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in single precision. Raises `ModelError` if the file is damaged."""
    from safetensors.torch import load_file

    try:
        return {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            _("{path} is damaged: {error}; get the file again", path=path, error=first_line(error))
        ) from error


def first_line(error: Exception) -> str:
    """What an error says, without what follows."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
