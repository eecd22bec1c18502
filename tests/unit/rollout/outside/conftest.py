"""HTTP servers on the loopback interface, each in a thread, that answer as a test says."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float


class Site:
    """Answers with what `respond` returns: a status, or one with a body and headers."""

    def __init__(self, respond, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.received: list[Received] = []
        # Set at the end: who hangs in `respond` waits for it.
        self.closing = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                site.received.append(Received(self.path, headers, body, time.monotonic()))
                answer = respond(site.received[-1])
                status, content, more = answer if isinstance(answer, tuple) else (answer, b"", {})
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """Callers leave early in some tests."""

        self._server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def start(respond=lambda _: 200, **options) -> Site:
        sites.append(Site(respond, **options))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


@pytest.fixture(autouse=True)
def no_thread_is_left_over():
    yield
    ends_at = time.monotonic() + 5
    while left := [each.name for each in threading.enumerate() if each.name.startswith("headrace")]:
        assert time.monotonic() < ends_at, left
        time.sleep(0.005)
