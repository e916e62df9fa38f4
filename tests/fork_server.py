"""Answer command lines, each in a child of its own: `python fork_server.py SECONDS FOLDER`, one line in, one line out.

Out comes the status and what went to stderr, as one line; a child that takes too long is ended and answers `hang`.
"""

import faulthandler
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace


def main(seconds: int, folder: Path) -> None:
    for engine in ("openvino", "torch"):
        sys.modules[f"cropland.engines.{engine}"] = SimpleNamespace(open_engine=lambda _model, **_options: brightness)
    from cropland.geo import reading
    from cropland.mapping import map, products  # noqa: F401 - with all that they import, once for every child

    reading.WAITS = ()  # nobody mends the files meanwhile
    products.overview = lambda *_arguments, **_options: None  # a picture takes longer than all the rest
    for number, line in enumerate(sys.stdin.read().splitlines()):
        print(answer(line.split(" "), folder / f"out_{number}", seconds=seconds), flush=True)


def brightness(batch):
    return batch.mean(axis=1, keepdims=True) - 0.5


brightness.about, brightness.no_slide = {}, "it is no network"


def answer(files: list[str], out: Path, *, seconds: int) -> str:
    errors = out.with_suffix(".err")
    child = os.fork()
    if child == 0:
        os._exit(run(files, out, errors=errors, seconds=seconds))
    _, status = os.waitpid(child, 0)
    said = errors.read_text(encoding="utf-8")
    ended = os.waitstatus_to_exitcode(status)
    return f"{'hang' if ended == -signal.SIGALRM else ended} {said.encode('unicode_escape').decode('ascii')}"


def run(files: list[str], out: Path, *, errors: Path, seconds: int) -> int:
    """In the child: the command line, with stderr in a file and stdout nowhere."""
    signal.alarm(seconds)
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    faulthandler.enable()
    from cropland import cli

    scene, model = files
    try:
        return cli.main(["map", scene, "--model", model, "--out", str(out)])
    except BaseException:  # noqa: BLE001 - whatever comes out is what the test looks for
        sys.excepthook(*sys.exc_info())
        return 1


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
