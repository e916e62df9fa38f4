"""The product is the wheel: built from the checkout, it works alone, elsewhere, without network."""

import os
import re
import shutil
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
    others = ("LICENSE", "Makefile", "constraints.txt", "pyproject.toml")
    for path in [*files(), *(ROOT / "recipes" / "offline").iterdir(), *(ROOT / name for name in others)]:
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return copy


def files() -> list[Path]:
    return [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def run(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    about = {name for name in held if ".dist-info/" in name}
    assert held - about == {path.relative_to(PACKAGE.parent).as_posix() for path in files()}
    assert any(name.endswith("licenses/LICENSE") for name in about)


def test_every_package_that_the_wheel_requires_is_pinned(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    required = set(re.findall(r"^Requires-Dist: ([\w-]+)", metadata, re.MULTILINE)) - {"cropland"}
    pinned = re.findall(r"^([\w-]+)==[\d.]+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert required <= set(pinned)


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


@pytest.mark.soak
def test_it_installs_and_maps_without_a_network(tmp_path):
    alone = ["unshare", "--map-root-user", "--net"]  # a namespace that has no network
    if not shutil.which("unshare") or subprocess.run([*alone, "true"]).returncode:
        pytest.skip("no namespace without a network: unshare of util-linux, and the right to use it")
    python, copy = Path(sys.executable), checkout(tmp_path)
    if subprocess.run([python, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp_path, "affine"]).returncode:
        pytest.skip("no package index, from which `make offline` takes the wheels")
    run("make", "-o", ".venv/installed", "offline", f"BIN={python.parent}", cwd=copy)
    assert run(*alone, python, "-c", "import socket; print(socket.if_nameindex())").strip() == "[(1, 'lo')]"
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    bare |= {"PIP_CONFIG_FILE": os.devnull}
    run(*alone, "sh", "install.sh", cwd=copy / "offline", env=bare)
    run(*alone, copy / "offline" / ".venv" / "bin" / "cropland", "demo", cwd=tmp_path, env=bare)
    assert len(list((tmp_path / "demo").rglob("overview.png"))) == 2
