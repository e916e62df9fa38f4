"""The command line: names every verb, imports none of them before it is asked for, and chooses the language."""

import difflib
import locale
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import TextIOWrapper

from cyclopts import App, CycloptsError, Parameter

from cropland import __version__
from cropland.errors import CroplandError, InputError, Option
from cropland.language import LANGUAGES, Message, _, language, shown, speaking, translated

# Options that were called otherwise before, and what they are called now.
RENAMED = {"--average": "--flips", "--shift": "--allow-datum-shift"}
# Verb: where its `command` lives, and the first line of that docstring, so that the list needs no import.
VERBS = {
    "demo": ("cropland.demo:command", "Map the two sample scenes that ship, to see what cropland does."),
    "find": (
        "cropland.searching.find:command",
        "Find the scenes of an area and a time in a STAC catalog, for `cropland map`.",
    ),
    "map": (
        "cropland.mapping.map:command",
        "Map the cropland of scenes: probability, mask, parcels and a picture.",
    ),
    "parcels": (
        "cropland.parcels.parcels:command",
        "Turn a mask into parcels: polygons with their area, perimeter and mean probability.",
    ),
    "deliver": (
        "cropland.delivering.deliver:command",
        "Deliver parcels to an office: cut by regions, with net areas and codes, in its format, and checked.",
    ),
    "chips": ("cropland.data.cut:command", "Cut chips for training from scenes and labels."),
    "doctor": (
        "cropland.data.doctor:command",
        "Look for faults in scenes and labels, or in a chip folder, before training.",
    ),
    "train": ("cropland.training.train:command", "Train a model from a folder of chips."),
    "suggest": (
        "cropland.suggesting.suggest:command",
        "Choose the windows of a scene that are worth labelling next.",
    ),
    "evaluate": (
        "cropland.evaluation.evaluate:command",
        "Measure a model on chips, or a map against labels: pixels, boundaries and fields.",
    ),
    "compare": (
        "cropland.comparing.compare:command",
        "Compare polygons, as of a land survey or of insured plots, with a map or with two.",
    ),
    "area design": (
        "cropland.sampling.design:command",
        "Draw a stratified random sample of a mask, to be looked at by people.",
    ),
    "area estimate": (
        "cropland.sampling.estimate:command",
        "Estimate the area of cropland and the accuracy of a mask from a sample, with 95 % intervals.",
    ),
    "export": (
        "cropland.export:command",
        "Write a model as a file that other programs run: onnx, openvino or torch.",
    ),
    "lab": (
        "cropland.lab.lab:command",
        "Test common claims about segmentation networks on your machine, and write a report.",
    ),
    "show": ("cropland.show:command", "Show what a model file, a network or a recipe is made of."),
}
# The first word of verbs of two words, and what they are for.
GROUPS = {"area": "Estimate how much cropland there is, with an interval: design a sample, then estimate from it."}


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
    groups = {name: App(name=name, help=translated(summary)) for name, summary in GROUPS.items()}
    if language() != "en":
        from cropland import cli_words

        cli_words.head(commands)
        for group in groups.values():
            cli_words.head(group)
    for name, (path, summary) in VERBS.items():
        first, _space, second = name.partition(" ")
        if second and first not in commands:
            commands.command(groups[first])
        holder = groups[first] if second else commands
        holder.command(path, name=second or first, help=None if name == verb else translated(summary))
    return commands


def named(commands: App, verb: str) -> App:
    """The command of a verb."""
    for word in verb.split():
        commands = commands[word]
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
    asked, tokens = _without_language(tokens)
    try:
        chosen = choose(asked)
    except InputError as error:
        return _fail(error, error.exit_status)
    with speaking(chosen):
        return _run(tokens)


def _run(tokens: Sequence[str]) -> int:
    if language() != "en" and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a console may lack the letters
    try:
        verb = _verb(tokens)
        _check_names(tokens)
        with _docstrings(verb):
            commands = app(verb)
            if verb in VERBS:
                tokens = _with_values(tokens, named(commands, verb))
            commands(tokens, exit_on_error=False, print_error=False, result_action="return_none")
        sys.stdout.flush()
    except CroplandError as error:
        return _fail(error, error.exit_status)
    except (CycloptsError, OSError) as error:
        return _broken_pipe() if isinstance(error, BrokenPipeError) else _fail(_told(error), 2)
    except KeyboardInterrupt:
        message = _("stopped; the same command resumes a map or a training, and starts everything else again")
        return _fail(message, 3)
    return 0


def choose(asked: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The language by `--lang`, else by `CROPLAND_LANG`, else by the locale; English where that is neither.

    Raises `InputError` if one is asked for that there is not.
    """
    wanted = environment.get("CROPLAND_LANG") or None if asked is None else asked
    if wanted is not None:
        short = wanted.lower().replace("_", "-").partition("-")[0].partition(".")[0]
        if short not in LANGUAGES:
            raise InputError("no language '{wanted}'; there are: {names}", wanted=wanted, names=", ".join(LANGUAGES))
        return short
    told = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    by_system = locale.getlocale()[0] or ""  # where no variable says so, as on Windows
    return "zh" if (told or by_system).lower().startswith(("zh", "chinese")) else "en"


def _check_names(tokens: Sequence[str]) -> None:
    """Raise `InputError` for an option that has another name today."""
    for option in (token.partition("=")[0] for token in tokens):
        if option in RENAMED:
            raise InputError("{old} is called {new} now", old=Option(option), new=Option(RENAMED[option]))


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


def _with_values(tokens: Sequence[str], command: App) -> Sequence[str]:
    """The line with `--memory -5GB` as `--memory=-5GB`: cyclopts takes a value that begins with a minus for an option.

    A single dash begins no option but -h.
    """
    options = command.assemble_argument_collection()
    taking = {name for option in options if option.hint is not bool for name in option.names}
    joined: list[str] = []
    for at, token in enumerate(tokens):
        if token == "--":
            return [*joined, *tokens[at:]]
        if joined and joined[-1] in taking and re.match("-[^-]", token) and token != "-h":
            joined[-1] += f"={token}"
        else:
            joined.append(token)
    return joined


def _verb(tokens: Sequence[str]) -> str | None:
    """The verb asked for. Checked here, since cyclopts would import every command to name the nearest."""
    word = next(iter(tokens), None)
    if word in GROUPS and tokens[1:] and not tokens[1].startswith("-"):
        word = f"{word} {tokens[1]}"
        known = [name for name in VERBS if name.startswith(f"{tokens[0]} ")]
    else:
        known = [*dict.fromkeys(name.partition(" ")[0] for name in VERBS), "--help", "-h", "--version"]
    if word is None or word in known:
        return word
    close = difflib.get_close_matches(word, known, n=1)
    known_verbs = Message("there are: {names}", names=", ".join(name for name in known if not name.startswith("-")))
    advice = Message("did you mean '{name}'?", name=close[0]) if close else known_verbs
    raise InputError("no verb '{word}'; {advice}", word=word, advice=advice)


def _docstrings(verb: str | None) -> AbstractContextManager[None]:
    """The help of the verb in the person's language: cyclopts reads it from the docstrings."""
    if language() == "en" or verb not in VERBS:
        return nullcontext()
    from cropland import cli_words

    return cli_words.translated_docstrings(VERBS[verb][0])


def _told(error: CycloptsError | OSError) -> object:
    """In the person's language, where another module must say it."""
    if language() == "en":
        return error
    from cropland import cli_words

    return cli_words.told(error)


def _fail(message: object, status: int) -> int:
    print("cropland:", " ".join(shown(message).split()), file=sys.stderr)
    return status


def _broken_pipe() -> int:
    # The reader has gone (`| head`): nobody is left to tell, also not at the interpreter's last flush.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 3
