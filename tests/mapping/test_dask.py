"""A real scheduler and worker processes: the same bytes as alone, whoever dies on the way, and who differs is named."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cropland
from cropland.cli import main
from large_scene import write_large_scene
from small_model import save_model

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are killed by signals of POSIX")
Process = subprocess.Popen[bytes]


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard")
        self.workers = [self.join(), self.join()]

    @property
    def address(self) -> str:
        import json

        wait_for(lambda: self._file.exists() and self._file.stat().st_size > 0)
        return f"dask:{json.loads(self._file.read_text(encoding='utf-8'))['address']}"

    def join(self, *before: str, **environment: str) -> Process:
        words = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60")
        return self._start("worker", *words, before=before, environment=environment)

    def _start(
        self, what: str, *words: str, before: tuple[str, ...] = (), environment: dict[str, str] | None = None
    ) -> Process:
        command = [*before, sys.executable, "-m", "dask", what, "--scheduler-file", str(self._file), *words]
        return subprocess.Popen(command, env={**os.environ, **(environment or {})}, stderr=subprocess.DEVNULL)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    folder.mkdir()
    made = Cluster(folder)
    others = list(made.workers)
    try:
        yield made
    finally:
        for process in (made.scheduler, *others, *made.workers):
            process.kill()
            process.wait()


def wait_for(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run of many tasks, without `--out`."""
    folder = tmp_path_factory.mktemp("scene")
    model = save_model(folder / "m.safetensors", outputs=("cropland", "boundary"))
    scene = write_large_scene(folder / "scene.tif", (3000, 1400))
    return ["map", str(scene), "--model", str(model.path), "--threads", "1", "--tile", "128"]


@pytest.fixture(scope="module")
def alone(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "out"
    assert main([*words, "--out", str(out)]) == 0
    return out


def check_same(out: Path, alone: Path) -> None:
    for name in ("probability.tif", "boundary.tif", "mask.tif"):
        assert (out / name).read_bytes() == (alone / name).read_bytes(), name


def begun(words: list[str], out: Path, address: str) -> subprocess.Popen[str]:
    """A run that has something in its journal."""
    command = [sys.executable, "-m", "cropland", *words, "--out", str(out), "--executor", address]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    wait_for(lambda: (out.parent / f".{out.name}.unfinished" / "journal.jsonl").exists())
    return running


def test_the_same_bytes_and_a_worker_that_dies_costs_only_what_it_was_at(
    words: list[str], alone: Path, tmp_path: Path
) -> None:
    with cluster(tmp_path / "cluster") as made:
        address = made.address
        assert main([*words, "--out", str(tmp_path / "all"), "--executor", address]) == 0
        check_same(tmp_path / "all", alone)
        running = begun(words, tmp_path / "one", address)
        made.workers[0].send_signal(signal.SIGKILL)
        assert running.wait(120) == 0
        check_same(tmp_path / "one", alone)


def test_a_scheduler_that_is_lost_ends_as_a_kill_does(words: list[str], alone: Path, tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster") as made:
        running = begun(words, tmp_path / "out", made.address)
        made.scheduler.send_signal(signal.SIGKILL)
        _, told = running.communicate(timeout=120)
    assert running.returncode == 3 and "the same command resumes" in told, told
    assert main([*words, "--out", str(tmp_path / "out")]) == 0  # here, where the cluster is gone
    check_same(tmp_path / "out", alone)


def test_a_worker_of_another_version_is_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(Path(cropland.__file__).parent, tmp_path / "cropland")
    (tmp_path / "cropland" / "__init__.py").write_text('"""Another."""\n\n__version__ = "9.9"\n', encoding="utf-8")
    with cluster(tmp_path / "cluster") as made:
        made.workers.append(made.join(PYTHONPATH=str(tmp_path)))
        wait_for_workers(made.address, 3)
        assert main([*words, "--out", str(tmp_path / "out"), "--executor", made.address]) == 2
    told = capsys.readouterr().err
    assert ("the worker tcp://" in told and "cropland: 9.9" in told) or f"cropland: {cropland.__version__}, 9.9" in told
    assert not list(tmp_path.glob("*out*"))


def test_a_worker_that_does_not_see_the_scene_is_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a mount namespace of its own, where another folder lies over the scene's."""
    scene = Path(words[1])
    hidden = f'mount -t tmpfs tmpfs {scene.parent} && cp {tmp_path}/m {words[3]} && exec "$@"'
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("a mount namespace needs root on Linux")
    shutil.copy(words[3], tmp_path / "m")
    with cluster(tmp_path / "cluster") as made:
        made.workers.append(made.join("unshare", "--mount", "sh", "-c", hidden, "sh"))
        wait_for_workers(made.address, 3)
        assert main([*words, "--out", str(tmp_path / "out"), "--executor", made.address]) == 2
    told = capsys.readouterr().err
    assert "does not see" in told and str(scene) in told
    assert not list(tmp_path.glob("*out*"))


def wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    with Client(address.partition(":")[2]) as client:
        client.wait_for_workers(count, timeout=60)


def test_a_scheduler_that_is_not_there_is_told(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cropland.mapping.dask.SECONDS", 1)
    assert main([*words, "--out", str(tmp_path / "out"), "--executor", "dask:tcp://127.0.0.1:9"]) == 2
    assert "no Dask scheduler" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "out"), "--executor", "dask:nonsense://x"]) == 2
    assert main([*words, "--out", str(tmp_path / "out"), "--executor", "spark"]) == 2
    assert not any(tmp_path.iterdir())
