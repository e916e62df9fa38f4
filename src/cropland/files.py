"""A file or a folder appears whole or not at all: it is written beside its place, and renamed when it is complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["replacing", "replacing_folder", "sync", "write_json", "write_text"]


@contextmanager
def replacing(out: Path, *, durable: bool = False, shared: bool = False) -> Iterator[Path]:
    """A path beside `out` to write to, renamed to `out` at the end; after an error it is gone and `out` is as before.

    What a kill leaves of it is overwritten by the next try. durable: return when file and folder are on the disk, so
    that they outlive a power cut. shared: several processes may write it at a time, as in a cache.
    """
    # The suffix stays last, where drivers look at it.
    hidden = out.with_name(f".{out.stem}.{os.getpid() if shared else 'partial'}{out.suffix}")
    try:
        yield hidden
        if durable:
            sync(hidden)
        hidden.replace(out)
        if durable:
            sync(out.parent)
    finally:
        hidden.unlink(missing_ok=True)


@contextmanager
def replacing_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, which takes its place at the end; after an error it is gone."""
    hidden = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(hidden, ignore_errors=True)  # in a container a process often has the number of the one before
    try:
        hidden.mkdir(parents=True)
        yield hidden
        shutil.rmtree(out, ignore_errors=True)
        hidden.rename(out)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def write_text(out: Path, text: str, *, durable: bool = False, shared: bool = False) -> None:
    """Write a text in UTF-8."""
    with replacing(out, durable=durable, shared=shared) as hidden:
        hidden.write_text(text, encoding="utf-8")


def write_json(out: Path, values: Any, *, indent: int | None = 1, durable: bool = False) -> None:
    """Write plain values as JSON."""
    write_text(out, json.dumps(values, indent=indent, ensure_ascii=False), durable=durable)


def sync(path: Path) -> None:
    """Return when a file or folder is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
