"""The promises that the tree makes: what lies where and what imports what."""

import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import source_tree
from source_tree import PACKAGE, ROOT, module_name, sources

TORCH_FREE = re.compile(
    r"cropland(\.(api|cli|errors|recipe|catalog|model|geo|writers|mapping|parcels|files|progress|probability)(\..*)?"
    r"|\.data(\.(labels|chips|cut|split|doctor))?)?$"
)
HEAVY = {"numpy", "torch", "rasterio", "geopandas", "matplotlib", "pydantic", "openvino", "scipy"}
WHOLE_PROJECT = {
    "test_structure.py",
    "test_wheel.py",
    "test_fuzz.py",
    "test_fuzz_labels.py",
    "test_pages.py",
    "test_qgis_processing.py",
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
    shown = [path for path in files if path.stem != "__init__" and path.name != "py.typed"]
    return {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in shown}


def test_no_two_classes_share_a_name():
    counts = Counter(name for path in sources() for name in source_tree.classes(path))
    assert [name for name, count in counts.items() if count > 1] == []


def test_imports_run_in_no_circle():
    """Also none that is hidden by TYPE_CHECKING or within a function."""
    TopologicalSorter(source_tree.imports()).prepare()


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


def test_a_map_imports_what_makes_parcels_after_the_network():
    """It takes as long to import as the network of a small scene, and 80 MB beside the network of a large one."""
    late = {"geopandas", "pandas", "pyogrio", "scipy", "matplotlib", "contourpy"}
    script = "import sys, cropland.mapping.map, cropland.engines.openvino\n"
    run(f"{script}found = {late} & set(sys.modules)\nassert not found, found")


def test_the_library_imports_nothing_before_it_is_used():
    run(f"import sys, cropland\ndir(cropland)\nassert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)")


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
