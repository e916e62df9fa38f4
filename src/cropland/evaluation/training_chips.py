"""Chips that a model was trained on are recognised, and not measured unless that is what one wants."""

from __future__ import annotations

from cropland.data.chips import ChipFolder
from cropland.errors import ChipError
from cropland.language import Message
from cropland.model import ModelFile

__all__ = ["refuse_training_chips"]


def refuse_training_chips(folder: ChipFolder, model: ModelFile, *, allow: bool) -> list[Message]:
    """Notes on what is known of the chips that are to be measured and of those that the model was trained on.

    allow: training chips are counted in a note. Raises `ChipError` otherwise if a chip shares ground, or pixels of the
    same source, with one of them.
    """
    ground = model.trained_on
    if ground is None:
        return [Message("the model does not say what it was trained on, so it may have been trained on these chips")]
    notes = []
    if not ground.is_complete:
        notes.append(
            Message(
                "the weights that the model started from do not say what they were trained on; "
                "that may include these chips"
            )
        )
    trained = ground.overlaps(folder.index)
    if not trained.any():
        return notes
    if not allow:
        raise ChipError(
            "{trained:,} of {count:,} chips of {path} lie on ground that {model} was trained on, such as {example}: "
            "choose others with --split or another --chips, or measure these too with --allow-training-chips",
            trained=int(trained.sum()),
            count=len(folder),
            path=folder.path,
            model=model.name,
            example=folder.index["id"].to_numpy()[trained][0],
        )
    how = {"trained": int(trained.sum()), "count": len(folder)}
    return [*notes, Message("{trained:,} of {count:,} chips lie on ground that the model was trained on", **how)]
