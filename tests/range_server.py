"""A web server with range requests on this machine, which can be told to fail.

It is a thread of the test's process. rasterio looks for a file's neighbours without letting other threads run: to open
an address by hand needs what `cropland.geo.reading` sets, or it waits for an answer that cannot come.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class RangeServer:
    """Gives the files of a folder. `fails` says for a request's path how it goes: `half` breaks off within the body,
    `closed` before any answer, a number is an HTTP status; None is well."""

    folder: Path
    fails: Callable[[str], str | int | None] = lambda path: None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    """A server while it lasts; afterwards nobody listens at its address."""
    about = RangeServer(folder)
    handler = type("Handler", (_Handler,), {"about": about})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    about.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield about
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    about: RangeServer

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.about.asked.append((self.command, path, self.headers["Range"]))
        how = self.about.fails(path)
        file = self.about.folder / path.lstrip("/")
        if how == "closed":
            self.close_connection = True
        elif isinstance(how, int) or not file.is_file():
            self.send_error(how if isinstance(how, int) else 404)
        else:
            self._give(file.read_bytes(), body=body, half=how == "half")

    def _give(self, content: bytes, *, body: bool, half: bool) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        first, last = (int(asked[1]), int(asked[2] or len(content) - 1)) if asked else (0, len(content) - 1)
        part = content[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{hash(content)}"')
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.end_headers()
        if body:
            self.wfile.write(part[: len(part) // 2] if half else part)
            self.close_connection = half
