"""Images that are no files of this machine: URLs, and what GDAL's virtual file systems reach."""

from __future__ import annotations

import os
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import Request, urlopen

from cropland.errors import SceneError
from cropland.language import _

__all__ = ["ImageFile", "Remote", "fetch", "identity", "image_file"]

SECONDS = 30  # without a byte, after which a server is taken as gone

HTTP = {  # how GDAL reads; whoever sets a variable knows better
    "GDAL_HTTP_MAX_RETRY": "3",  # where the server says that it is busy; what breaks off, `datasets` asks for again
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_LOW_SPEED_TIME": str(SECONDS),
}
os.environ.update({name: value for name, value in HTTP.items() if name not in os.environ})


@dataclass(frozen=True)
class Remote:
    """An image by its address: `https://...`, `s3://...`, or a path such as `/vsizip/...`; named as a `Path` is."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        return self._path.name or self.address

    @property
    def stem(self) -> str:
        return self._path.stem or self.address

    @property
    def suffix(self) -> str:
        return self._path.suffix

    @property
    def folder_name(self) -> str:
        """The last part of the address before the name."""
        return self._path.parent.name

    @property
    def gdal(self) -> str:
        """The path by which GDAL opens it."""
        return f"/vsicurl/{self.address}" if self.is_http else self.address

    @property
    def is_http(self) -> bool:
        return self.address.startswith(("http://", "https://"))

    def beside(self, reference: str) -> str:
        """A reference that stands in this file, as an address."""
        return urljoin(self.address, reference)

    @property
    def _path(self) -> PurePosixPath:
        return PurePosixPath(unquote(urlsplit(self.address).path) if self.is_http else self.address)


ImageFile = Path | Remote


def image_file(given: str | os.PathLike[str] | Remote) -> ImageFile:
    """A file of this machine, or a remote one where the text is an address."""
    if isinstance(given, Remote):
        return given
    text = os.fspath(given).removeprefix("/vsicurl/")
    return Remote(text) if "://" in text or text.startswith("/vsi") else Path(given)


def identity(file: ImageFile) -> tuple[str | int, ...]:
    """What changes when the file is replaced: its size and time; of a remote one what its server tells.

    That is its length, ETag and time of change; for other addresses than HTTP nothing is known.
    Raises `SceneError` where no server answers, `OSError` where there is no file.
    """
    if isinstance(file, Path):
        state = file.stat()
        return os.fspath(file), state.st_mtime_ns, state.st_size
    if not file.is_http:
        return (file.address,)
    # Not HEAD: an address that is signed for GET refuses it.
    with _answer(file, {"Range": "bytes=0-0"}) as answer:
        told = answer.headers
        size = (told["Content-Range"] or "").rpartition("/")[2] or told["Content-Length"] or ""
        return file.address, int(size) if size.isdigit() else "", told["ETag"] or "", told["Last-Modified"] or ""


def fetch(file: Remote) -> bytes:
    """The whole of a small file. Raises `SceneError` where no server gives it."""
    with _answer(file, {}) as answer:
        try:
            content: bytes = answer.read()
        except (OSError, HTTPException) as error:
            raise _lost(file, error) from error
    return content


def _answer(file: Remote, headers: dict[str, str]) -> Any:
    try:
        return urlopen(Request(file.address, headers=headers), timeout=SECONDS)
    except (OSError, ValueError, HTTPException) as error:
        raise _lost(file, error) from error


def _lost(file: Remote, error: Exception) -> SceneError:
    return SceneError(
        _(
            "{path} cannot be reached ({cause}); see that the address is right and the server there",
            path=file,
            cause=" ".join(str(error).split()) or type(error).__name__,
        )
    )
