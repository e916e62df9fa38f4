"""The command line: names every verb, imports none of them before it is asked for, and chooses the language.

A process speaks one language: in another than English the docstrings themselves are translated before they are read.
"""

import difflib
import os
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import App, CycloptsError, Parameter

from cropland import __version__
from cropland.errors import CroplandError, InputError
from cropland.language import _, choose, language, speak, translated

# Verb: where its `command` lives, and the first line of that docstring, so that the list needs no import.
VERBS = {
    "demo": ("cropland.demo:command", "Map the two sample scenes that ship, to see what cropland does."),
    "map": (
        "cropland.mapping.map:command",
        "Map the cropland of scenes: probability, mask, parcels and a picture.",
    ),
    "parcels": (
        "cropland.parcels.parcels:command",
        "Turn a mask into parcels: polygons with their area, perimeter and mean probability.",
    ),
    "chips": ("cropland.data.cut:command", "Cut chips for training from scenes and labels."),
    "train": ("cropland.training.train:command", "Train a model from a folder of chips."),
    "evaluate": ("cropland.evaluation.evaluate:command", "Measure a model on chips, or a mask against labels."),
    "export": (
        "cropland.export:command",
        "Write a model as a file that other programs run: onnx, openvino or torch.",
    ),
    "lab": ("cropland.lab.lab:command", "Measure what is said of the network on this machine, and write a report."),
    "show": ("cropland.show:command", "Show what a model file, a network or a recipe is made of."),
}


def app(verb: str | None = None) -> App:
    """The commands; `verb` is shown with its own docstring, the others with their line above."""
    commands = App(
        name="cropland",
        help=_("Cropland in satellite and aerial imagery: a mask, parcels and an honest area."),
        help_epilogue=_(
            "Exit status: 0 done, 2 the input is wrong (nothing was written), 3 incomplete.\n"
            "Language: --lang en or --lang zh, or CROPLAND_LANG; else that of the system."
        ),
        help_format="plaintext",  # markdown would fold example blocks and costs its import
        default_parameter=Parameter(negative=(), show_default=_default),
        suppress_keyboard_interrupt=False,
        version=__version__,
    )
    if language() != "en":
        from cropland import cli_words

        cli_words.head(commands)
        if verb in VERBS:
            cli_words.translate_docstrings(VERBS[verb][0])
    for name, (path, summary) in VERBS.items():
        commands.command(path, name=name, help=None if name == verb else translated(summary))
    return commands


def _default(value: object) -> str | None:
    """The default as the help shows it; that of a flag goes without saying."""
    return None if value is None or value is False else str(value)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line; errors become one line on stderr and the exit status."""
    tokens = sys.argv[1:] if tokens is None else tokens
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries talk to developers; what a person must know is printed as a note
    os.environ.setdefault("CPL_LOG", os.devnull)  # GDAL's own warnings; what matters comes as an error
    try:
        tokens = _choose_language(tokens)
        commands = app(_verb(tokens))
        commands(tokens, exit_on_error=False, print_error=False, result_action="return_none")
        sys.stdout.flush()
    except CroplandError as error:
        return _fail(error, error.exit_status)
    except (CycloptsError, OSError) as error:
        return _broken_pipe() if isinstance(error, BrokenPipeError) else _fail(_told(error), 2)
    except KeyboardInterrupt:
        message = _("stopped; the same command goes on where a map or a training was and starts everything else anew")
        return _fail(message, 3)
    return 0


def _choose_language(tokens: Sequence[str]) -> Sequence[str]:
    """Speak from here on; the line without `--lang`."""
    asked, others = _without_language(tokens)
    speak(choose(asked))
    if language() != "en" and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a console may lack the letters
    return others


def _without_language(tokens: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """What `--lang` asks for, anywhere before `--`, and the line without it."""
    for at, token in enumerate(tokens):
        option, equals, value = token.partition("=")
        if option == "--lang":
            rest = tokens[at + 1 :] if equals else tokens[at + 2 :]
            return value if equals else "".join(tokens[at + 1 : at + 2]), [*tokens[:at], *rest]
        if token == "--":
            break
    return None, tokens


def _verb(tokens: Sequence[str]) -> str | None:
    """The word asked for first. Checked here, since cyclopts would import every command to name the nearest."""
    known = (*VERBS, "--help", "-h", "--version")
    word = next(iter(tokens), None)
    if word is None or word in known:
        return word
    close = difflib.get_close_matches(word, known, n=1)
    known_verbs = _("there are: {names}", names=", ".join(VERBS))
    advice = _("did you mean '{name}'?", name=close[0]) if close else known_verbs
    raise InputError(_("no verb '{word}'; {advice}", word=word, advice=advice))


def _told(error: CycloptsError | OSError) -> object:
    """In the person's language, where another module must say it."""
    if language() == "en":
        return error
    from cropland import cli_words

    return cli_words.told(error)


def _fail(message: object, status: int) -> int:
    print("cropland:", " ".join(str(message).split()), file=sys.stderr)
    return status


def _broken_pipe() -> int:
    # The reader has gone (`| head`): nobody is left to tell, also not at the interpreter's last flush.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 3
