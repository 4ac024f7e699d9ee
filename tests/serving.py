"""A web server in a thread, with ranges and with the ways in which a real one fails."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Served(NamedTuple):
    """A file, and how it is served.

    Args:
        cut: the first answer ends after so many bytes, as when a connection is lost.
        ranges: whether a Range request is understood.
    """

    data: bytes
    cut: int | None = None
    ranges: bool = True


class Server(NamedTuple):
    """Where it answers, and the requests it had: path and Range header."""

    url: str
    requests: list[tuple[str, str | None]]


@contextmanager
def serve(files: Mapping[str, Served]) -> Generator[Server]:
    """Serve `files` by path (`/name`); anything else is 404."""
    requests: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            first = self.path not in [path for path, _ in requests]
            requests.append((self.path, asked))
            served = files.get(self.path)
            if served is None:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and served.ranges else 0
            if start >= len(served.data) > 0 and start:
                self.send_error(416)
                return
            body = served.data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(served.data) - 1}/{len(served.data)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: served.cut] if served.cut is not None and first else body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_address[1]}", requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
