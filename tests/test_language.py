"""The language: how it is chosen, that every message has a translation, that none is left in English by mistake."""

import ast
import importlib.util
import json
import os
import pickle
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest

from cropland import errors
from cropland.cli import choose, main
from cropland.errors import InputError, RecipeError
from cropland.language import Message, _, joined, language, shown, speaking
from cropland.recipe import read_recipe
from source_tree import PACKAGE, ROOT, sources

CHINESE = re.compile(r"[\u4e00-\u9fff]")
EXPERIMENTS = PACKAGE / "lab" / "chapters"
MARKUP = re.compile(r"\[/?[a-z ]*\]")


@pytest.fixture(scope="module")
def translate():
    spec = importlib.util.spec_from_file_location("translate", ROOT / "recipes" / "translate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def chinese():
    with speaking("zh"):
        yield


@pytest.mark.parametrize(
    ("asked", "environment", "chosen"),
    [
        ("zh", {"CROPLAND_LANG": "en", "LANG": "en_US.UTF-8"}, "zh"),
        ("zh-CN", {}, "zh"),
        ("zh_TW.UTF-8", {}, "zh"),
        ("EN", {"CROPLAND_LANG": "zh"}, "en"),
        (None, {"CROPLAND_LANG": "zh", "LC_ALL": "en_US.UTF-8"}, "zh"),
        (None, {"CROPLAND_LANG": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        (None, {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        (None, {"LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_an_option_comes_before_the_variable_and_that_before_the_locale(asked, environment, chosen):
    assert choose(asked, environment) == chosen


@pytest.mark.parametrize(("asked", "environment"), [("xx", {}), ("", {}), (None, {"CROPLAND_LANG": "fr"})])
def test_a_language_that_there_is_not_is_named(asked, environment):
    with pytest.raises(InputError, match=r"no language '.*'; there are: en, zh"):
        choose(asked, environment)


@pytest.mark.parametrize(("told", "chosen"), [(("Chinese (Simplified)_China", "936"), "zh"), ((None, None), "en")])
def test_without_variables_the_system_says_it(told, chosen, monkeypatch):
    monkeypatch.setattr("locale.getlocale", lambda: told)
    assert choose(None, {}) == chosen


def test_what_is_said_is_english_in_a_file_and_chinese_to_the_person(chinese):
    reason = Message("{name} looks at the whole image", name="mean")
    assert json.dumps(reason) == '"mean looks at the whole image"'
    assert shown(reason) == shown(pickle.loads(pickle.dumps(reason))) == "mean 要看整幅影像"
    assert _("unbounded: {reason}", reason=reason) == "无界：mean 要看整幅影像"
    assert shown(reason, "en") == "mean looks at the whole image" and shown("a name") == "a name"
    assert shown(joined("; ", [reason, "a name"])) == "mean 要看整幅影像; a name"


def test_a_language_belongs_to_its_context_and_not_to_the_process(chinese):
    def seen() -> str:
        return language()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(seen).result() == "en" and pool.submit(copy_context().run, seen).result() == "zh"
    with speaking("en"):
        assert _("none") == "none"
    assert _("none") == "无"


def test_a_command_in_chinese_leaves_nothing_behind(capsys):
    assert main(["--lang", "zh", "show", "--help"]) == 0 and CHINESE.search(capsys.readouterr().out)
    assert main(["show", "--help", "--lang", "en"]) == 0 and not CHINESE.search(capsys.readouterr().out)
    assert language() == "en"


def test_every_message_has_a_translation_and_none_is_left_over(translate):
    known = {message.id: message.string for message in translate.read(translate.PO) if message.id}
    assert set(known) == set(translate.messages())
    assert [text for text, chinese in known.items() if not chinese] == []


def test_places_in_braces_are_the_same_in_both_languages(translate):
    for message in translate.read(translate.PO):
        # Docstrings are not formatted: what stands in braces there is an example.
        if message.id and "\n----" not in message.id:
            assert places(message.string) == places(message.id), message.id


def places(text: str) -> set[str]:
    return {name for _text, name, _format, _conversion in string.Formatter().parse(text) if name is not None}


def test_translated_docstrings_keep_their_parameters(translate):
    for message in translate.read(translate.PO):
        assert parameters(message.string) == parameters(message.id), message.id


def parameters(docstring: str) -> list[str]:
    return re.findall(r"^\w+$", docstring.partition("\n----------\n")[2], flags=re.MULTILINE)


def test_the_compiled_catalogue_is_that_of_the_text(translate):
    assert translate.MO.read_bytes() == translate.compiled(translate.read(translate.PO))


def cropland(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "utf8", "-m", "cropland", *words]
    variables = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=variables)


@pytest.mark.parametrize("words", [("--help",), ("map", "--help"), ("show", "--help")])
def test_the_help_speaks_chinese(words):
    done = cropland("--lang", "zh", *words)
    assert done.returncode == 0 and done.stderr == ""
    assert CHINESE.search(done.stdout) and "退出码" in done.stdout
    # What is left without Chinese are frames, names, commands and their values.
    english = [line for line in done.stdout.splitlines() if re.search(r"[a-z]+( [a-z]+){4}", line)]
    assert [line for line in english if not line.strip().startswith("cropland ")] == []


def test_every_docstring_is_translated(translate):
    known = {message.id: message.string for message in translate.read(translate.PO) if message.id}
    assert all(CHINESE.search(chinese) for text, chinese in known.items() if "\n" in text)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--lang=zh", "mpa"), "没有命令 'mpa'；是否想写 'map'？"),
        (("map", "a.tif", "--lang", "zh", "--foo", "1"), "没有选项 --foo"),
        (("--lang", "zh", "show"), "缺少 WHAT"),
        (("show", "unte", "--lang", "zh"), "是否想写 'unet'？"),
        (("show", "--lang", "zh", "unet", "--json", "--json"), "--json 给了不止一次"),
        (("--lang", "zh", "parcels", "mask.tif", "--min-area-m2", "x"), "'x'，应为 数"),
        (("--lang", "zh", "parcels", "mask.tif", "--min-area-m2=-1"), "'-1'，应为 数 ≥ 0"),
    ],
)
def test_an_error_is_one_line_in_chinese(words, told):
    done = cropland(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("cropland: ") and done.stderr.count("\n") == 1 and told in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows says it in its own words")
def test_what_the_system_says_is_chinese_too(tmp_path):
    (tmp_path / "recipe.toml").mkdir()
    done = cropland("show", str(tmp_path / "recipe.toml"), "--lang", "zh")
    assert done.returncode == 2 and done.stderr == f"cropland: 是文件夹，不是文件: {tmp_path / 'recipe.toml'}\n"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("epochs = 0", "应大于 0"),
        ("schedule = 'x'", "应为以下之一：'cosine', 'constant'"),
        ("epoch = 1", "是否想写 'epochs'？"),
    ],
)
def test_a_fault_in_a_recipe_is_told_in_chinese(setting, told, tmp_path, chinese):
    path = tmp_path / "recipe.toml"
    path.write_text(f"[training]\n{setting}\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert told in shown(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="a pipe has the code page of the system there")
def test_a_console_without_the_letters_is_no_failure():
    done = cropland("--lang", "zh", "--help", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0 and "cropland" in done.stdout


def test_the_variable_speaks_to_people_and_never_to_programs():
    table, values = cropland("show", "unet", CROPLAND_LANG="zh"), cropland("show", "unet", "--json", CROPLAND_LANG="zh")
    assert "感受野" in table.stdout
    assert not CHINESE.search(values.stdout) and json.loads(values.stdout)["anatomy"]["radius"]


def test_what_follows_two_dashes_is_no_option():
    done = cropland("show", "--", "--lang", CROPLAND_LANG="en")
    assert done.returncode == 2 and "'--lang' is no .safetensors" in done.stderr


@pytest.mark.parametrize(
    "path",
    [path for path in sources() if path.name != "language.py" and EXPERIMENTS not in path.parents],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_what_a_person_reads_can_be_translated(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"line {node.lineno}: {ast.unparse(node)}" for node in untranslated(tree)] == []


def untranslated(tree: ast.AST) -> Iterator[ast.expr]:
    """Words that no catalogue can hold: printed without `_`, in another's error without it, or put together in ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called.endswith("Error"):
                own = hasattr(errors, called)
                yield from (each for each in node.args if words(each) and not (own and isinstance(each, ast.Constant)))
            elif called in ("print", "add_row", "add_column"):
                yield from (each for each in node.args if words(each))


def words(node: ast.expr) -> bool:
    """Whether an expression is text with words of its own; those in braces come from elsewhere."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any(re.search(r"[a-z]{2,}", MARKUP.sub("", text).replace("cropland:", "")) for text in texts)


def test_the_walk_finds_what_it_looks_for():
    left = [
        'raise InputError(f"no {name} here")',
        'raise TypeError("no words")',
        'console.print("two words")',
        'print(f"[bold]{n}[/] scenes")',
    ]
    fine = ['raise InputError("no {name}", name=name)', 'console.print(f"[bold]{title}[/]: {text}")']
    assert all(list(untranslated(ast.parse(line))) for line in left)
    assert not any(list(untranslated(ast.parse(line))) for line in fine)
