"""Notebooks that are written for a test."""

import json
from pathlib import Path


def write_notebook(path: Path, *cells: str, minor: int = 5, language: str | None = "python") -> Path:
    """A notebook of nbformat 4; a cell that begins with `#md` is Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"kernelspec": {"name": "k", "language": language}} if language else {}
    plain = {"nbformat": 4, "nbformat_minor": minor, "metadata": metadata, "cells": [_cell(text) for text in cells]}
    path.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
    return path


def _cell(text: str) -> dict[str, object]:
    kind = "markdown" if text.startswith("#md") else "code"
    code = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True), **code}
