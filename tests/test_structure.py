"""The promises that the tree makes: what lies where, how long things are, what imports what."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import source_tree
from source_tree import PACKAGE, ROOT, module_name, sources

TORCH_FREE = re.compile(
    r"cropland(\.(cli|errors|recipe|catalog|model|geo|writers|mapping)(\..*)?"
    r"|\.data(\.(labels|read_labels|chips|cut|cut_scene|split|statistics))?)?$"
)
HEAVY = {"numpy", "torch", "rasterio", "geopandas", "matplotlib", "pydantic", "openvino", "scipy"}
WHOLE_PROJECT = {
    "test_structure.py",
    "test_wheel.py",
    "test_fuzz.py",
    "test_pins.py",
    "test_pages.py",
    "test_readme.py",
    "test_benchmarks.py",
    "test_tutorials.py",
    "test_understand.py",
}  # tests of no single module


def test_the_tree_in_architecture_is_the_real_tree():
    assert drawn_tree() == real_tree()


def drawn_tree() -> set[str]:
    """Paths without suffix, read from lines such as `  geo/   what it is` and the lines of names below."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\nsrc/cropland/\n(.*?)```", text, flags=re.DOTALL)
    folder, found = "", set()
    for line in block.splitlines():
        indent = len(line) - len(line.lstrip())
        names = re.split(r" {2,}", line.strip())[0].split()
        if indent == 2:
            folder = names[0] if names[0].endswith("/") else ""
            found |= set() if folder else set(names)
        else:
            found |= {folder + name for name in names}
    return found


def real_tree() -> set[str]:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    shown = [path for path in files if path.name not in ("__init__.py", "py.typed")]
    return {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in shown}


def test_functions_are_short():
    middle, long = source_tree.percentiles()
    assert middle <= 8 and long <= 35, source_tree.summary()


def test_files_hold_one_idea():
    assert [path.name for path in sources() if source_tree.line_count(path) > 250] == []


def test_the_source_stays_small():
    # Code: documentation may be as long as it must. The lab explains networks, nothing else imports it, and it has a
    # limit of its own; its experiments are content, of 150 lines at most. The header of a test run prints all of it.
    assert source_tree.program_line_count("lab") < 2000
    # Messages in two languages take a line for each of their values: 600 lines, for which 8,000 became 8,600; the
    # network that slides down a scene, with what runs it, is another 600; the journal, the cluster, mosaics, scenes by
    # address, parcels of any size and exported models are 2,500 more; limits of numbers, and what a run
    # went on with, are 50.
    assert source_tree.program_line_count() < 11_750


def test_torch_is_imported_only_where_networks_are():
    quiet = [name for name in map(module_name, sources()) if TORCH_FREE.match(name)]
    script = (
        "import importlib, sys\n"
        f"for name in {quiet}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    run(script)


def test_the_command_line_imports_nothing_heavy():
    run(f"import sys, cropland.cli\nassert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)")


def run(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.name)
def test_tests_have_the_names_of_what_they_test(path: Path):
    place = path.relative_to(ROOT / "tests")
    module = place.with_name(place.name.removeprefix("test_"))
    of_a_shelf = module.stem == module.parent.name
    assert place.name in WHOLE_PROJECT or of_a_shelf or (PACKAGE / module).exists()


def test_the_version_has_an_entry_in_the_changelog():
    from cropland import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
