"""The command line from outside: help, exit status, one line of error."""

import importlib
import inspect
import os
import resource
import subprocess
import sys

import pytest

from cropland import cli
from cropland.errors import IncompleteError, InputError


def cropland(*words: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cropland", *words]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", **options)


def one_line(text: str) -> bool:
    return text.startswith("cropland: ") and text.count("\n") == 1


def test_help_lists_every_verb_in_a_moment():
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def seconds() -> float:
        """Of computing, since the clock on the wall also counts the other tests."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = cropland("--help", env=compiled)
        assert done.returncode == 0 and all(verb.split()[0] in done.stdout for verb in cli.VERBS)
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before.ru_utime

    # Compiled once, as everywhere but where somebody forbids it. The best of a few: other processes slow this one down
    # through caches and memory, never up.
    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself_with_an_example(verb, capsys):
    assert cli.main([*verb.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown and f"cropland {verb}" in shown.partition("Example")[2]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_list_says_what_the_docstring_says(verb):
    path, summary = cli.VERBS[verb]
    module, _, name = path.partition(":")
    command = getattr(importlib.import_module(module), name)
    assert inspect.getdoc(command).splitlines()[0] == summary


@pytest.mark.parametrize("words", [["area"], ["area", "--help"], ["area", "-h"]])
def test_a_group_lists_its_verbs(words, capsys):
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "design" in shown and "estimate" in shown and "cropland area" in shown


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["mpa"], "did you mean 'map'?"),
        (["--hlp"], "did you mean '--help'?"),
        (["xyz"], "there are: demo, find, map"),
        (["show", "unet", "--jsn"], "--json"),
        (["show"], "WHAT"),
        (["show", "unte"], "did you mean 'unet'?"),
        (["aera"], "did you mean 'area'?"),
        (["area", "dsign"], "did you mean 'area design'?"),
        (["area", "xyz", "--help"], "there are: area design, area estimate"),
        (["area", "design"], "--mask requires an argument"),
        (["area", "design", "mask.tif", "--sed", "1"], "--seed"),
    ],
)
def test_a_slip_of_the_fingers_gets_one_line_and_2(words, advice, capsys):
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert one_line(error) and advice in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["map", "no.tif", "--out", "out", "--memory", "-5GB"], "--memory -5GB is not an amount of memory"),
        (["map", "no.tif", "--out", "out", "--memory", "0"], "--memory 0 is not an amount of memory"),
        (["map", "no.tif", "--out", "out", "--memory", "0GB"], "--memory 0GB is not an amount of memory"),
        (["map", "no.tif", "--out", "out", "--nodata", "-9999"], "no.tif is not there"),
        (["map", "no.tif", "--out", "out", "--nodata", "-x"], 'unable to convert "-x" into float'),
        (["map", "no.tif", "--out", "-out", "--pixel-m", "-1"], "Must be > 0"),
        (["map", "no.tif", "--out", "out", "--bands", "-red=x"], "bands '-red=x' cannot be read"),
        (["chips", "no.tif", "--out", "out", "--labels", "no.gpkg", "--where", "-area > 3"], "no.gpkg is not there"),
        (["map", "no.tif", "--out", "out", "--overwrite", "-o"], "Unknown option: -o"),
        (["map", "no.tif", "--out", "out", "--memroy", "-5GB"], "Did you mean --memory?"),
        (["map", "no.tif", "--out", "out", "--memory", "--overwrite"], "--memory requires an argument"),
        (["map", "--out", "out", "--", "--memory", "-5GB"], "--memory is not there"),
    ],
)
def test_a_value_may_begin_with_a_minus(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert one_line(error) and said in error
    assert not list(tmp_path.iterdir())


def test_help_after_an_option_is_help(capsys):
    assert cli.main(["map", "--memory", "-h"]) == 0
    assert "Example" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("too\nmany lines"), 2),
        (IncompleteError("stopped"), 3),
        (PermissionError(13, "Permission denied", "out"), 2),
        (KeyboardInterrupt(), 3),
    ],
)
def test_the_error_decides_the_status(error, status, capsys, monkeypatch):
    def command():
        raise error

    monkeypatch.setattr("cropland.show.command", command)
    assert cli.main(["show"]) == status
    assert one_line(capsys.readouterr().err)


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
def test_a_reader_that_goes_early_is_not_an_error_to_print():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "cropland", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    os.close(write)
    assert done.stderr == ""
