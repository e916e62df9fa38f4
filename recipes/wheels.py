"""Which platforms have wheels of the packages that cropland needs: python recipes/wheels.py [FOLDER]

FOLDER is what `make offline` has filled, offline/wheels if not given. For each wheel in it that is not pure Python, pip
is asked for one of the same version on other platforms. Nothing is downloaded. Prints a table.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

PLATFORMS = {
    "Linux, x86-64": [f"manylinux_2_{minor}_x86_64" for minor in range(5, 40)],
    "Linux, aarch64": [f"manylinux_2_{minor}_aarch64" for minor in range(17, 40)],
    "macOS, arm64": [f"macosx_{major}_0_arm64" for major in range(11, 27)],
    "Windows, amd64": ["win_amd64"],
}
OLDEST = {"manylinux": "glibc 2.{}", "macosx": "macOS {}", "win": "yes"}


def main(folder: Path) -> None:
    """One row for each package that is not pure Python, with the oldest system for which it has a wheel."""
    names = sorted(path.name for path in folder.glob("*.whl"))
    compiled = [name for name in names if not name.endswith("-none-any.whl")]
    print(f"{len(names) - len(compiled)} packages are pure Python; {len(compiled)} are compiled:\n")
    print("| package |", " | ".join(PLATFORMS), "|\n|" + "---|" * (1 + len(PLATFORMS)))
    for name in compiled:
        package, version = name.split("-")[:2]
        pinned = f"{package}=={version.partition('+')[0]}"
        print("|", pinned, "|", " | ".join(oldest(pinned, tags) for tags in PLATFORMS.values()), "|", flush=True)


def oldest(pinned: str, tags: list[str]) -> str:
    """The oldest system among these tags for which the index has a wheel for this version of Python."""
    python = "{}.{}".format(*sys.version_info)
    options = [word for tag in tags for word in ("--platform", tag)]
    options += ["--only-binary=:all:", "--python-version", python, "--target", "none", "--ignore-installed"]
    line = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--report", "-", *options]
    done = subprocess.run([*line, pinned], capture_output=True, encoding="utf-8")
    if done.returncode:
        if "No matching distribution" in done.stderr:
            return "**none**"
        raise SystemExit(done.stderr)
    (found,) = json.loads(done.stdout)["install"]
    file = found["download_info"]["url"].rpartition("/")[2]
    kind = re.search(r"manylinux|macosx|win", file)[0]
    numbers = re.findall(r"manylinux_2_(\d+)|macosx_(\d+)", file)
    return OLDEST[kind].format(min((int(a or b) for a, b in numbers), default=0))


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "offline/wheels"))
