"""Every error that the package raises on purpose.

raise SceneError("{path} has no band {band}; name it with --bands {band}=NUMBER", path=path, band=band)

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

An error keeps its message and the values, and is put into words when it is shown. As text it is English and names the
arguments of Python (`bands='red=3'`, `bands=`, `overwrite=True`); `cropland.language.shown` gives the words of the
command line (`--bands red=3`) in the language of the person.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from keyword import iskeyword

from cropland.language import Message, Translatable


class CroplandError(Exception):
    """An error with one clear line for a person: what came, what was expected, what to do.

    message: a literal with `{places}` and options as they are typed; or a `Message`, which has its values already.
    """

    exit_status = 2

    def __init__(self, message: str, /, **values: object) -> None:
        super().__init__(message)
        ready = message if isinstance(message, Message) else None
        self.message: str = ready.message if ready else message
        self.values: Mapping[str, object] = {
            name: _kept(value) for name, value in (ready.values if ready else values).items()
        }

    def __str__(self) -> str:
        return _in_python(self)

    def __reduce__(self) -> tuple[object, ...]:
        """Travels between processes, with a cause of another package as its text: not all of those can."""
        cause = self.__cause__
        if cause is not None and not isinstance(cause, CroplandError):
            cause = Exception(f"{type(cause).__name__}: {cause}")
        return partial(type(self), self.message, **self.values), (), {"__cause__": cause} if cause else None


def _kept(value: object) -> object:
    """Another package's error as its text: it would keep its frames, and may not travel."""
    is_foreign = isinstance(value, Exception) and not isinstance(value, CroplandError)
    return str(value) if is_foreign else value


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

    def __init__(
        self, message: str, /, *, path: object, window: tuple[int, int, int, int], cause: str, **values: object
    ) -> None:
        super().__init__(message, path=path, window=window, cause=cause, **values)
        self.path, self.window, self.cause = path, window, cause


def first_line(error: BaseException) -> str:
    """What another package's error says, without what follows; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class Option(str):
    """Options among the values of an error, such as `--out-crs` or `--where, --layer`; never what a user gave."""


FLAGS = {"append", "mosaic", "overwrite", "allow_datum_shift", "allow_training_chips", "robustness", "trust"}
# Lower-case words after an option are prose, but for these, which are its value.
CHOICES = "cropland|cuda|dask|known|none|other|train|unknown"
_OPTION = re.compile(
    rf"""`[^`]*`  # a command to type, which stays
    | --(?P<name>[a-z][a-z0-9-]*)
      (?:[ ](?P<value>
        "[^"]*" | '[^']*'
        | (?:{CHOICES})\b
        | (?=\S*[{{=\dA-Z]) (?:\{{[^{{}}]*\}} | [^\s{{}},:;()] | [,:](?=[\w.{{]))+
      ))?""",
    re.VERBOSE,
)
# Stands in Python as it does on the command line: quoted, a number, a word such as FILE, a value with its own format.
_AS_IT_IS = re.compile(r""""[^"]*"|'[^']*'|-?[\d.]+|(?!GBK)[A-Z]+|\{\w+[!:][^{}]*\}""")


def _in_python(said: Translatable) -> str:
    message = said.message
    for name, value in said.values.items():
        if isinstance(value, Option):
            message = message.replace(f"{{{name}}}", value)
    values = {name: _plain(value) for name, value in said.values.items()}
    message = _OPTION.sub(_argument, message)
    return message.format(**values) if values else message


def _plain(value: object) -> object:
    if isinstance(value, Translatable):
        return _in_python(value)
    return str(value) if isinstance(value, os.PathLike) else value  # a path is quoted as its text


def _argument(option: re.Match[str]) -> str:
    if not option["name"]:
        return option[0]
    name, value = option["name"].replace("-", "_"), option["value"]
    name += "_" if iskeyword(name) else ""  # --from is from_
    if value is None:
        return f"{name}=True" if name in FLAGS else f"{name}="
    if name == "split":  # a number there: the share that validates
        return "validation=0" if value == "train" else value
    if re.fullmatch(r"\{\w+\}", value):
        return f"{name}={value[:-1]}!r}}"
    return f"{name}={value}" if _AS_IT_IS.fullmatch(value) else f"{name}='{value}'"
