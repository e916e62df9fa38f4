"""The command line: names every verb, imports none of them before it is asked for."""

import difflib
import os
import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from cropland import __version__
from cropland.errors import CroplandError, InputError

# Verb: where its `command` lives, and the first line of that docstring, so that the list needs no import.
VERBS = {
    "demo": ("cropland.demo:command", "Map the two sample scenes that ship, to see what cropland does."),
    "map": (
        "cropland.mapping.map_scenes:command",
        "Map the cropland of scenes: probability, mask, parcels and a picture.",
    ),
    "parcels": (
        "cropland.mapping.parcels:command",
        "Turn a mask into parcels: polygons with their area, perimeter and mean probability.",
    ),
    "chips": ("cropland.data.cut:command", "Cut chips for training from scenes and labels."),
    "train": ("cropland.training.train:command", "Train a model from a folder of chips."),
    "evaluate": ("cropland.evaluation.evaluate:command", "Measure a model on chips, or a mask against labels."),
    "lab": ("cropland.lab.lab:command", "Measure what is said of the network on this machine, and write a report."),
    "show": ("cropland.show:command", "Show what a model file, a network or a recipe is made of."),
}


def app(verb: str | None = None) -> App:
    """The commands; `verb` is shown with its own docstring, the others with their line above."""
    commands = App(
        name="cropland",
        help="Cropland in satellite and aerial imagery: a mask, parcels and an honest area.",
        help_epilogue="Exit status: 0 done, 2 the input is wrong (nothing was written), 3 incomplete.",
        help_format="plaintext",  # markdown would fold example blocks and costs its import
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
        version=__version__,
    )
    for name, (path, summary) in VERBS.items():
        commands.command(path, name=name, help=None if name == verb else summary)
    return commands


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line; errors become one line on stderr and the exit status."""
    tokens = sys.argv[1:] if tokens is None else tokens
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries talk to developers; what a person must know is printed as a note
    os.environ.setdefault("CPL_LOG", os.devnull)  # GDAL's own warnings; what matters comes as an error
    try:
        commands = app(_verb(tokens))
        commands(tokens, exit_on_error=False, print_error=False, result_action="return_none")
        sys.stdout.flush()
    except CroplandError as error:
        return _fail(error, error.exit_status)
    except (CycloptsError, OSError) as error:
        return _broken_pipe() if isinstance(error, BrokenPipeError) else _fail(error, 2)
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on where training was and starts everything else anew", 3)
    return 0


def _verb(tokens: Sequence[str]) -> str | None:
    """The word asked for first. Checked here, since cyclopts would import every command to name the nearest."""
    known = (*VERBS, "--help", "-h", "--version")
    word = next(iter(tokens), None)
    if word is None or word in known:
        return word
    close = difflib.get_close_matches(word, known, n=1)
    raise InputError(
        f"no verb '{word}'; " + (f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(VERBS)}")
    )


def _fail(message: object, status: int) -> int:
    print("cropland:", " ".join(str(message).split()), file=sys.stderr)
    return status


def _broken_pipe() -> int:
    # The reader has gone (`| head`): nobody is left to tell, also not at the interpreter's last flush.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 3
