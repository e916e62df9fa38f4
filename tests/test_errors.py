"""Errors: in Python they name arguments, on the command line options, in the language of the person; they travel."""

import inspect
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from cropland import errors
from cropland.cli import VERBS
from cropland.errors import BandError, InputError, Option, OutputError, ReadError, SceneError
from cropland.language import FOLDER, Message, joined, shown

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("message", "values", "python"),
    [
        ("name it with --bands red=3,green=2 or --sensor", {}, "name it with bands='red=3,green=2' or sensor="),
        ("--bands {name}={at}: there are 4", {"name": "red", "at": 5}, "bands='red=5': there are 4"),
        ("choose with --bands {name}={at},...", {"name": "red", "at": 5}, "choose with bands='red=5,...'"),
        ("--bands {text!r} cannot be read", {"text": "red"}, "bands='red' cannot be read"),
        ("use --overwrite, or another --out", {}, "use overwrite=True, or another out="),
        ("give --labels FILE, or --whole other for all", {}, "give labels=FILE, or whole='other' for all"),
        ("give --crs EPSG:CODE; or --pixel-m", {}, "give crs='EPSG:CODE'; or pixel_m="),
        ("--pixel-m {size} is not a size", {"size": -1.5}, "pixel_m=-1.5 is not a size"),
        ("--nodata {value:g} cannot occur", {"value": -9999.0}, "nodata=-9999 cannot occur"),
        ("--memory of {size:,.1f} MB", {"size": 1234.5}, "memory= of 1,234.5 MB"),
        ("--profile {path}: no folder", {"path": Path("a/b")}, "profile='a/b': no folder"),
        ('--classes "{text}" cannot be read', {"text": "x"}, 'classes="x" cannot be read'),
        ("all on one side with --split train", {}, "all on one side with validation=0"),
        ("for QGIS --tile 1024, not --split validation=0.2", {}, "for QGIS tile=1024, not validation=0.2"),
        ("{option} {text!r} is not known", {"option": Option("--out-crs"), "text": "x"}, "out_crs='x' is not known"),
        ("{a} says nothing", {"a": Option("--where, --layer")}, "where=, layer= says nothing"),
        ("--from {text!r} lies after --to", {"text": "x"}, "from_='x' lies after to="),
        ("give a mask, or --mask none", {}, "give a mask, or mask='none'"),
        ("as `jupyter --to notebook`; start --trust", {}, "as `jupyter --to notebook`; start trust=True"),
        ("{why}", {"why": Message("give --size {n}", n=3)}, "give size=3"),
        ("{why}", {"why": InputError("give --size {n}", n=3)}, "give size=3"),
    ],
)
def test_in_python_an_error_names_arguments(message, values, python):
    assert str(InputError(message, **values)) == python


def test_the_command_line_names_options_in_the_language_of_the_person():
    error = OutputError("{out} exists: add to it with --append, or choose another --out", out=Path("my_map"))
    assert shown(error) == "my_map exists: add to it with --append, or choose another --out"
    assert shown(error, "zh") == "my_map 已存在：用 --append 追加，或另选 --out"


def test_values_that_are_messages_are_translated_with_the_whole():
    advice = Message("did you mean '{name}'?", name="unet")
    error = InputError("no verb '{word}'; {advice}", word="unte", advice=advice)
    assert str(error) == "no verb 'unte'; did you mean 'unet'?"
    assert shown(error, "zh") == "没有命令 'unte'；是否想写 'unet'？"
    assert shown(InputError("{error}", error=error), "zh") == shown(error, "zh")
    assert shown(InputError(advice), "zh") == shown(advice, "zh")
    assert shown(InputError(joined("; ", [advice, advice])), "zh") == "是否想写 'unet'？; 是否想写 'unet'？"


@given(TEXT, TEXT)
def test_a_value_never_changes_the_message(value, other):
    error = BandError("{name} has {other}: --bands {name}=NUMBER, or {{}}", name=value, other=Message("{x}", x=other))
    assert str(error) == f"{value} has {other}: bands='{value}=NUMBER', or {{}}"
    assert shown(error) == f"{value} has {other}: --bands {value}=NUMBER, or {{}}"


@given(TEXT)
def test_a_message_without_values_is_taken_as_it_is(text):
    assert shown(Message(text), "en") == Message(text) == text
    assert shown(InputError(text), "en") == text


def lost(folder: Path) -> None:
    try:
        raise OSError(5, "torn cable")
    except OSError as error:
        advice = Message("did you mean '{name}'?", name=folder.name)
        raise SceneError("{path} is not there; {advice} ({error})", path=folder, advice=advice, error=error) from error


def test_an_error_comes_back_from_another_process_as_it_was_raised():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool, pytest.raises(SceneError) as caught:
        pool.submit(lost, Path("a") / "b").result()
    assert caught.value.values["path"] == Path("a") / "b" and caught.value.exit_status == 2
    assert shown(caught.value, "zh").endswith("是否想写 'b'？ ([Errno 5] torn cable)")


def test_the_cause_travels_as_well():
    with pytest.raises(SceneError) as caught:
        lost(Path("b"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.values) == (caught.value.message, caught.value.values)
    assert str(again.__cause__) == "OSError: [Errno 5] torn cable"


def test_an_unread_window_keeps_what_it_is_of():
    error = ReadError("{path} cannot be read ({cause})", path=Path("a.tif"), window=(0, 1, 2, 3), cause="torn")
    again = pickle.loads(pickle.dumps(error))
    assert (again.path, again.window, again.cause) == (error.path, error.window, error.cause)
    assert str(again) == str(error) == "a.tif cannot be read (torn)" and again.__cause__ is None


def flags() -> set[str]:
    """The options of all commands that are either there or not."""
    found = set()
    for path, _summary in VERBS.values():
        module, name = path.split(":")
        todo = [getattr(import_module(module), name)]
        while todo:
            for parameter in inspect.signature(todo.pop(), eval_str=True).parameters.values():
                if bool in (parameter.annotation, *get_args(parameter.annotation)[:1]):
                    found.add(parameter.name)
                if inspect.isclass(parameter.annotation) and parameter.annotation.__name__.endswith("Options"):
                    todo.append(parameter.annotation)
    return found


def options() -> set[tuple[str, str]]:
    """The options that a message of the catalogue names, and the word after each, if it is a word in small letters."""
    with (FOLDER / "zh" / "LC_MESSAGES" / "cropland.po").open("rb") as file:
        texts = [str(message.id) for message in read_po(file) if "\n" not in message.id]
    return {
        found for text in texts for found in re.findall(r"(?<!`jupyter nbconvert )--([a-z][a-z0-9-]+) ?([a-z]*)", text)
    }


def test_what_is_a_flag_in_a_message_is_one_of_a_command():
    named = {name.replace("-", "_") for name, _word in options()}
    assert named & flags() == errors.FLAGS


def test_a_word_after_an_option_is_its_value_or_prose():
    """A new one is decided here: a value goes to `CHOICES`."""
    prose = (
        "and are as cannot change changes finds has if in is gives lists mean name names needs of or out runs says say "
        "takes to uses where which"
    )
    begins = "en for moved nir red training validation zh"  # of a value with more in it, of a word of the help
    words = {word for _name, word in options() if word}
    assert words <= {*prose.split(), *begins.split(), *errors.CHOICES.split("|")}
