"""A small server on this machine that can do what real ones do wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """What is served, under which faults.

    cut: bytes of an answer after which the connection closes, for as many requests as `cuts`.
    ranges: whether parts are served. asked: (path, Range) of every request.
    """

    address: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    cut: int = 0
    cuts: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"


@contextmanager
def serve() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, part = self.path.lstrip("/"), self.headers.get("Range") or ""
            web.asked.append((path, part))
            if path in web.status or path not in web.pages:
                self.send_error(web.status.get(path, 404))
                return
            content = web.pages[path]
            start = int(part.removeprefix("bytes=").rstrip("-")) if part and web.ranges else 0
            if start >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            if web.cuts:
                web.cuts -= 1
                rest = rest[: web.cut]
            self.wfile.write(rest)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
