"""The product is the wheel: built from the checkout, it works alone, elsewhere, without network."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import cropland
import source_tree
from source_tree import PACKAGE, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, from a copy of the sources so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        checkout(folder),
    )
    return next(folder.glob("*.whl"))


def checkout(folder: Path) -> Path:
    copy = folder / "checkout"
    for path in [*files(), ROOT / "pyproject.toml", ROOT / "LICENSE"]:
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return copy


def files() -> list[Path]:
    return [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {path.relative_to(PACKAGE.parent).as_posix() for path in files()} <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_the_samples_are_small(wheel):
    assert sum(path.stat().st_size for path in (PACKAGE / "sample").iterdir()) <= 4e6


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The interpreter of an environment that has the wheel; what it needs is lent by the one that runs the tests."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    lent = run(sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    (site / "lent.pth").write_text(lent, encoding="utf-8")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel)
    return python


def test_the_installed_program_is_not_the_checkout(installed, tmp_path):
    place = run(installed, "-c", "import cropland; print(cropland.__file__)", cwd=tmp_path)
    assert not Path(place.strip()).is_relative_to(source_tree.ROOT)
    assert run(installed, "-m", "cropland", "--version", cwd=tmp_path).strip() == cropland.__version__


def test_the_demo_runs_from_there(installed, tmp_path):
    said = run(installed, "-m", "cropland", "demo", "--out", "shown", cwd=tmp_path)
    assert len(list((tmp_path / "shown").rglob("overview.png"))) == 2
    assert "ha" in said and "Mpx/s" in said
