"""What cyclopts and the system would say in English only: headings and notes of the help, errors. Imported only where
another language is spoken."""

from __future__ import annotations

import difflib
import errno
import importlib
import inspect
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

from cyclopts import (
    App,
    Argument,
    CoercionError,
    CycloptsError,
    Group,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)
from cyclopts.help import DefaultFormatter, DescriptionRenderer, HelpEntry, HelpPanel, InlineText
from cyclopts.validators import Number
from rich.console import Console, ConsoleOptions
from rich.text import Text

from cropland.language import Message, _, shown, translated

KINDS = {int: Message("a whole number"), float: Message("a number"), bool: Message("true or false")}
SYSTEM = {
    errno.ENOENT: Message("No such file or directory"),
    errno.EACCES: Message("Permission denied"),
    errno.EPERM: Message("Operation not permitted"),
    errno.EEXIST: Message("File exists"),
    errno.ENOTDIR: Message("Not a directory"),
    errno.EISDIR: Message("Is a directory"),
    errno.ENOSPC: Message("No space left on device"),
    errno.EROFS: Message("Read-only file system"),
}


def head(commands: App) -> None:
    """Headings, and the lines of `--help` and `--version`."""
    commands.group_commands = Group.create_default_commands(_("Commands"))
    commands.group_arguments = Group.create_default_arguments(_("Arguments"))
    commands.group_parameters = Group.create_default_parameters(_("Parameters"))
    commands.help_formatter = _Formatter()
    commands["--help"].help = _("Display this message and exit.")
    commands["--version"].help = _("Display application version.")


@contextmanager
def translated_docstrings(path: str) -> Iterator[None]:
    """Of a command, `module:name`, and of the classes that hold options in its module; English again afterwards."""
    place, name = path.split(":")
    module = importlib.import_module(place)
    options = [each for word, each in vars(module).items() if word.endswith("Options") and inspect.isclass(each)]
    english = {each: each.__doc__ for each in (getattr(module, name), *options)}
    try:
        for each, text in english.items():
            each.__doc__ = text and translated(inspect.cleandoc(text))
        yield
    finally:
        for each, text in english.items():
            each.__doc__ = text


def told(error: CycloptsError | OSError) -> str:
    """An error in one sentence; in English where no sentence is known."""
    match error:
        case OSError():
            return _of_the_system(error)
        case UnknownOptionError():
            return _unknown(error)
        case MissingArgumentError():
            return _("{name} is missing, or has no value", name=error.keyword or _name(error))
        case CoercionError(token=token) if token:
            name, kind = token.keyword or _name(error), _kind(error.target_type)
            return _("{name}: got '{value}', expected {kind}", name=name, value=token.value, kind=kind)
        case ValidationError(argument=argument) if argument and (limits := list(_limits(argument))):
            token = argument.tokens[0]
            name, kind = token.keyword or argument.name, _("a number {limits}", limits=", ".join(limits))
            return _("{name}: got '{value}', expected {kind}", name=name, value=token.value, kind=kind)
        case RepeatArgumentError():
            return _("{name} is given more than once", name=error.token.keyword)
        case UnusedCliTokensError():
            return _("unexpected arguments: {words}", words=" ".join(error.unused_tokens or ()))
    return str(error)


def _limits(argument: Argument) -> Iterator[str]:
    """As in ≥ 1."""
    validators = argument.parameter.validator
    for each in validators if isinstance(validators, Iterable) else (validators,):
        if isinstance(each, Number):
            limits = {"<": each.lt, "≤": each.lte, ">": each.gt, "≥": each.gte}
            yield from (f"{sign} {limit}" for sign, limit in limits.items() if limit is not None)


def _of_the_system(error: OSError) -> str:
    known = SYSTEM.get(error.errno or 0)
    if known is None or error.strerror != os.strerror(error.errno or 0):
        return str(error)
    return ": ".join([shown(known), *([str(error.filename)] if error.filename else [])])


def _unknown(error: UnknownOptionError) -> str:
    word = error.token.keyword or error.token.value
    known = [name for argument in error.argument_collection for name in argument.names]
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return _("no option {word}; did you mean {name}?", word=word, name=close[0])
    return _("no option {word}; --help lists them", word=word)


def _name(error: CycloptsError) -> str:
    return error.argument.name if error.argument else ""


def _kind(kind: Any) -> str:
    if choices := get_args(kind):
        return ", ".join(map(str, choices))
    return shown(KINDS[kind]) if kind in KINDS else getattr(kind, "__name__", str(kind))


class _Formatter(DefaultFormatter):
    """The help as cyclopts lays it out; what is required is said after it, without a star before it."""

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        text = str(usage).strip()
        for word, known in (("COMMAND", _("COMMAND")), ("OPTIONS", _("OPTIONS")), ("ARGS", _("ARGS"))):
            text = text.replace(word, known)
        console.print(Text(_("Usage: {usage}", usage=text) + "\n", style="bold"))

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        super().__call__(console, options, panel.copy(entries=[_spoken(entry) for entry in panel.entries]))


def _spoken(entry: HelpEntry) -> HelpEntry:
    """With the notes on an option as a part of its description."""
    plain = entry.copy(choices=None, default=None, required=False)
    described = DescriptionRenderer()(plain)
    assert isinstance(described, InlineText)
    for note in _notes(entry):
        described.append(Text(f"[{note}]", "dim"))
    return plain.copy(description=described)


def _notes(entry: HelpEntry) -> Iterator[str]:
    if entry.choices:
        yield _("choices: {choices}", choices=", ".join(entry.choices))
    if entry.default is not None:
        yield _("default: {value}", value=entry.default)
    if entry.required:
        yield _("required")
