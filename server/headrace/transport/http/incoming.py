"""A request while it arrives: what its parser has reported of it so far."""

from http import HTTPStatus

import httptools

from headrace.transport.http.messages import HttpError, HttpRequest

MAX_HEADERS = 128
# How many bytes of a chunked body may be sizes of chunks, for each byte of it.
CHUNK_OVERHEAD = 16
_CONTINUE = "100-continue"
# What names a connection's own affairs, and what an upgrade would be to.
_UPGRADE_HEADERS = frozenset({"connection", "upgrade", "http2-settings"})


class Incoming:
    """Collects one request's parts, and refuses what is too large as soon as it is."""

    __slots__ = (
        "_body_limit_bytes",
        "_fed_bytes",
        "_head_limit_bytes",
        "_header_bytes",
        "_header_count",
        "_url",
        "body",
        "expects_continue",
        "has_head",
        "headers",
    )

    def __init__(self, head_limit_bytes: int, body_limit_bytes: int) -> None:
        self._head_limit_bytes = head_limit_bytes
        self._body_limit_bytes = body_limit_bytes
        self._url = b""
        self._header_count = 0
        self._header_bytes = 0
        self._fed_bytes = 0
        self.headers: dict[str, str] = {}
        self.has_head = False
        self.expects_continue = False
        self.body: bytes | bytearray = b""

    @property
    def is_plain(self) -> bool:
        """True for a request whose head alone says how long it is."""
        return "transfer-encoding" not in self.headers and "expect" not in self.headers

    def add_url(self, url: bytes) -> None:
        self._url += url
        self._header_bytes += len(url)
        if self._header_bytes > self._head_limit_bytes:
            raise self._head_too_large()

    def add_header(self, name: bytes, value: bytes) -> None:
        """Of a header that comes again, the values in a row (RFC 9110 §5.3). Trailers are passed over."""
        self._header_count += 1
        self._header_bytes += len(name) + len(value)
        if self._header_count > MAX_HEADERS or self._header_bytes > self._head_limit_bytes:
            raise self._head_too_large()
        if self.has_head:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self.headers.get(key)
        if known is not None and key == "host":
            raise HttpError(HTTPStatus.BAD_REQUEST, "the request has two Host headers")
        self.headers[key] = text if known is None else f"{known}, {text}"

    def end_head(self, version: str) -> None:
        """Checks what can be told of the request before its body comes."""
        self.has_head = True
        headers = self.headers
        if version == "1.1" and "host" not in headers:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the request has no Host header")
        coding = headers.get("transfer-encoding", "chunked")
        if coding.lower() != "chunked":
            raise HttpError(
                HTTPStatus.BAD_REQUEST, f"the transfer coding '{coding}' is not known: expected chunked"
            )
        byte_size = int(headers.get("content-length", 0))
        if byte_size > self._body_limit_bytes:
            raise self._body_too_large(byte_size)
        if "expect" in headers and version != "1.0":
            self._expect(headers["expect"])

    def add_body(self, data: bytes) -> None:
        if not self.body:
            self.body = data
        elif isinstance(self.body, bytearray):
            self.body += data
        else:
            self.body = bytearray(self.body) + data
        if len(self.body) > self._body_limit_bytes:
            raise self._body_too_large(len(self.body))

    def add_fed(self, byte_size: int) -> None:
        """Told of each piece of this request alone, as the parser keeps what it has not reported."""
        self._fed_bytes += byte_size
        if self._fed_bytes > self._head_limit_bytes + len(self.body) * (1 + CHUNK_OVERHEAD):
            raise self._head_too_large()

    def request(self, method: str, arrived_ns: int) -> HttpRequest:
        path, _, query = self._url.decode("latin-1").partition("?")
        if not path.startswith("/"):
            path = _path_of(self._url)
        return HttpRequest(method, path, query, self.headers, self.body, arrived_ns)

    def head_without_upgrade(self, method: str) -> bytes:
        """The request's head as it would be without its wish to go on in another protocol."""
        lines = [f"{method} {self._url.decode('latin-1')} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name not in _UPGRADE_HEADERS]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _expect(self, expectation: str) -> None:
        if expectation.lower() != _CONTINUE:
            raise HttpError(HTTPStatus.EXPECTATION_FAILED, f"the expectation '{expectation}' cannot be met")
        self.expects_continue = True

    def _head_too_large(self) -> HttpError:
        return HttpError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the request has more than {MAX_HEADERS} headers, or more than {self._head_limit_bytes} bytes "
            "of them (http.max_header_bytes)",
        )

    def _body_too_large(self, byte_size: int) -> HttpError:
        """400 and not 413, as Triton does."""
        return HttpError(
            HTTPStatus.BAD_REQUEST,
            f"the request's body has {byte_size} bytes or more: at most {self._body_limit_bytes} are allowed "
            "(http.max_body_bytes)",
        )


def _path_of(url: bytes) -> str:
    """The path of a URL in absolute form (RFC 9112 §3.2.2); "" where it has none."""
    try:
        path = httptools.parse_url(url).path
    except httptools.HttpParserInvalidURLError:
        return ""
    return path.decode("latin-1") if path else "/"
