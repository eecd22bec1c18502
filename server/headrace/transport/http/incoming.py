"""A request while it arrives: what its parser has reported of it so far."""

from http import HTTPStatus

import httptools

from headrace.transport.http.messages import HttpError, HttpRequest

MAX_HEADERS = 128


class Incoming:
    """Collects one request's parts, and refuses what is too large as soon as it is."""

    __slots__ = ("_header_bytes", "_header_count", "_url", "body", "has_head", "headers", "unread_bytes")

    def __init__(self) -> None:
        self._url = b""
        self._header_count = 0
        self._header_bytes = 0
        self.headers: dict[str, str] = {}
        self.has_head = False
        self.body: bytes | bytearray = b""
        # What has arrived since the request began, where its head has not ended yet.
        self.unread_bytes = 0

    def add_url(self, url: bytes) -> None:
        self._url += url

    def add_header(self, name: bytes, value: bytes, limit_bytes: int) -> None:
        """Of a header that comes again, the values in a row (RFC 9110 §5.3)."""
        self._header_count += 1
        self._header_bytes += len(name) + len(value)
        if self._header_count > MAX_HEADERS or self._header_bytes > limit_bytes:
            raise head_too_large(limit_bytes)
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self.headers.get(key)
        self.headers[key] = text if known is None else f"{known}, {text}"

    def end_head(self, version: str, body_limit_bytes: int) -> None:
        """Checks what can be told of the request before its body comes."""
        self.has_head = True
        if version == "1.1" and "host" not in self.headers:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the request has no Host header")
        expectation = self.headers.get("expect", "100-continue")
        if expectation.lower() != "100-continue":
            raise HttpError(HTTPStatus.EXPECTATION_FAILED, f"the expectation '{expectation}' cannot be met")
        byte_size = int(self.headers.get("content-length", 0))
        if byte_size > body_limit_bytes:
            raise _body_too_large(byte_size, body_limit_bytes)

    def add_body(self, data: bytes, limit_bytes: int) -> None:
        if not self.body:
            self.body = data
        elif isinstance(self.body, bytearray):
            self.body += data
        else:
            self.body = bytearray(self.body) + data
        if len(self.body) > limit_bytes:
            raise _body_too_large(len(self.body), limit_bytes)

    def request(self, method: str, arrived_ns: int) -> HttpRequest:
        path, _, query = self._url.decode("latin-1").partition("?")
        if not path.startswith("/"):
            path = _path_of(self._url)
        return HttpRequest(method, path, query, self.headers, self.body, arrived_ns)


def head_too_large(limit_bytes: int) -> HttpError:
    return HttpError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"the request has more than {MAX_HEADERS} headers, or more than {limit_bytes} bytes of them "
        "(http.max_header_bytes)",
    )


def _body_too_large(byte_size: int, limit_bytes: int) -> HttpError:
    """400 and not 413, as Triton does."""
    return HttpError(
        HTTPStatus.BAD_REQUEST,
        f"the request's body has {byte_size} bytes or more: at most {limit_bytes} are allowed "
        "(http.max_body_bytes)",
    )


def _path_of(url: bytes) -> str:
    """The path of a URL in absolute form (RFC 9112 §3.2.2); "" where it has none."""
    try:
        path = httptools.parse_url(url).path
    except httptools.HttpParserInvalidURLError:
        return ""
    return path.decode("latin-1") if path else "/"
