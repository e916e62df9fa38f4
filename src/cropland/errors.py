"""Every error that the package raises on purpose.

CroplandError            exit status
├── InputError           2   the input is wrong; nothing was written
│   ├── SceneError           a file that is not a usable scene
│   ├── BandError            a band that is missing or has no name
│   ├── GridError            a grid or coordinate reference system that cannot be used
│   ├── LabelError           labels that cannot be used with the scene
│   ├── ChipError            a chip folder that is missing, foreign or damaged
│   ├── RecipeError          a recipe or a name in it
│   ├── ModelError           a model file that is corrupt, foreign or newer
│   └── OutputError          an output place that cannot be used
└── IncompleteError      3   stopped on the way; the same command goes on
    └── ReadError            a window of a scene that could not be read, though its file was opened
"""


class CroplandError(Exception):
    """An error with one clear line for a person: what came, what was expected, what to do."""

    exit_status = 2


class InputError(CroplandError):
    """The input is wrong."""


class SceneError(InputError):
    """A file that is not a usable scene."""


class BandError(InputError):
    """A band that is missing or has no name."""


class GridError(InputError):
    """A grid or coordinate reference system that cannot be used."""


class LabelError(InputError):
    """Labels that cannot be used with the scene."""


class ChipError(InputError):
    """A chip folder that is missing, foreign or damaged."""


class RecipeError(InputError):
    """A recipe, or a name in it, that cannot be used."""


class ModelError(InputError):
    """A model file that is corrupt, foreign or of a newer version."""


class OutputError(InputError):
    """An output place that cannot be used."""


class IncompleteError(CroplandError):
    """Work that stopped on the way; the same command goes on."""

    exit_status = 3


class ReadError(IncompleteError):
    """A window of a scene that could not be read: which file, which (row, col, height, width), and what GDAL says."""

    def __init__(self, message: str, path: object, window: tuple[int, int, int, int], cause: str) -> None:
        super().__init__(message, path, window, cause)  # all of them, so that it travels between processes
        self.path, self.window, self.cause = path, window, cause

    def __str__(self) -> str:
        return str(self.args[0])
