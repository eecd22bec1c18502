"""Callers over HTTP who are slow, rude, broken or gone: each is let go, and everybody else is answered."""

import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adversity.clients import EXPLICIT
from adversity.observing import UNHANDLED, Metrics, assert_sound, open_file_count, resident_bytes
from support.adversity_models import scaler, spinner, write_model
from support.server import ServerProcess, is_ready

MEBIBYTE = 1 << 20
# What the process may keep after all of this: malloc's and ONNX Runtime's arenas keep what they once had.
KEPT_BYTES = 150 * MEBIBYTE
MAX_JSON_VALUES = 100_000
RECEIVE_TIMEOUT_S = 1.0
# A connection is looked at once a second; the rest is for a machine that is busy.
SOON_S = RECEIVE_TIMEOUT_S + 4.0
ONE_BY_ONE = "max_batch_size: 1\ninstance_group: [{kind: KIND_CPU, count: 1}]\n"
# Some tens of milliseconds of work.
A_WHILE = 10_000
FOUR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "scale", scaler(2))
    write_model(folder, "spin", spinner(), config=ONE_BY_ONE)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    arguments = (
        *EXPLICIT,
        f"--http-receive-timeout-s={RECEIVE_TIMEOUT_S:g}",
        f"--limits-max-json-values={MAX_JSON_VALUES}",
    )
    with ServerProcess(repository, *arguments) as server:
        assert infer(server).status == 200
        yield server


@pytest.fixture(scope="module", autouse=True)
def idle_file_count(server: ServerProcess) -> Iterator[int]:
    """The files it has open without callers; memory, connections, queues and log are as before at the end."""
    time.sleep(0.2)  # the first caller's connection closes
    memory_before, files_before = resident_bytes(server), open_file_count(server)
    yield files_before
    wait_until_alone(server, files_before)
    assert_sound(server)
    assert resident_bytes(server) - memory_before < KEPT_BYTES
    assert server.terminate() == 0, server.log


def wait_until_alone(server: ServerProcess, file_count: int) -> None:
    """Returns once no connection is open."""
    ends_at = time.monotonic() + SOON_S
    while open_file_count(server) > file_count:
        assert time.monotonic() < ends_at, "connections are still open"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def control(server: ServerProcess) -> Iterator[None]:
    """Others are answered after each case, over HTTP and over gRPC."""
    yield
    assert ask(server, get("/v2/health/ready", "Connection: close"))[0].status == 200
    assert infer(server).document["outputs"][0]["data"] == [2, 4, 6, 8]
    assert is_ready(server.grpc_url)
    assert UNHANDLED.search(server.log) is None, server.log


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.document["error"])


class Caller:
    """One connection, byte by byte."""

    def __init__(self, server: ServerProcess, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.http_port), timeout_s)
        self._unread = b""

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def end(self) -> None:
        """Sends no more, and still reads."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leaves, and does not say goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def answer(self) -> Answer:
        """The next answer; AssertionError where the server closes the connection instead."""
        while b"\r\n\r\n" not in self._unread:
            self._read()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers["content-length"])
        while len(self._unread) < size:
            self._read()
        body, self._unread = self._unread[:size], self._unread[size:]
        return Answer(int(first.split()[1]), headers, body)

    def is_closed(self) -> bool:
        """Waits until the server has closed the connection: whether there was nothing more to read."""
        try:
            return self._unread + self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _read(self) -> None:
        data = self.socket.recv(65536)
        assert data, f"the connection was closed after {self._unread!r}"
        self._unread += data


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def infer_request(body: bytes, *headers: str, model: str = "scale") -> bytes:
    lines = [f"POST /v2/models/{model}/infer HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def spins(count: int) -> bytes:
    return inputs({"name": "spins", "datatype": "INT64", "shape": [1, 1], "data": [count]})


def inputs(*tensors: dict[str, Any]) -> bytes:
    return json.dumps({"inputs": tensors}).encode()


def ask(server: ServerProcess, data: bytes, count: int = 1) -> list[Answer]:
    with Caller(server) as caller:
        caller.send(data)
        return [caller.answer() for _ in range(count)]


def infer(server: ServerProcess, body: bytes = inputs(FOUR)) -> Answer:
    return ask(server, infer_request(body))[0]


# Slow callers.

CHUNKED = b"POST /v2/models/scale/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
# How a request begins, and what then comes of it five times a second.
DROPS = [
    (b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n"),
    (b"GET /", b"a"),
    (b"G", b""),
    (b"POST / HTTP/1.1\r\n", b""),
    (infer_request(inputs(FOUR))[:-40], b" "),
    (infer_request(inputs(FOUR))[:-1], b""),
    (CHUNKED, b"1\r\n \r\n"),
    (CHUNKED + b"5", b""),
]


def test_callers_who_send_drop_by_drop_are_let_go_and_hold_up_nobody(server):
    slow = [(Caller(server), start, drop) for start, drop in DROPS for _ in range(5)]
    started = time.monotonic()
    for caller, start, _ in slow:
        caller.send(start)
    is_over = threading.Event()

    def drip() -> None:
        while not is_over.wait(0.2):
            for caller, _, drop in slow:
                with suppress(OSError):
                    caller.send(drop)

    with ThreadPoolExecutor(1 + len(slow)) as pool:
        dripping = pool.submit(drip)
        # Each reads at once: what it still sends resets a connection that was closed some time ago.
        answering = [pool.submit(caller.answer) for caller, _, _ in slow]
        assert infer(server).status == 200
        answers = [each.result() for each in answering]
        took_s = time.monotonic() - started
        is_over.set()
        dripping.result()

    assert [answer.status for answer in answers] == [408] * len(slow)
    assert "within 1 s" in answers[0].error
    assert RECEIVE_TIMEOUT_S <= took_s < SOON_S
    for caller, _, _ in slow:
        assert caller.is_closed()
        caller.socket.close()


def test_callers_who_do_not_read_are_let_go(server, idle_file_count):
    with Caller(server, timeout_s=0.5) as caller:
        with pytest.raises((TimeoutError, ConnectionError)):
            while True:
                caller.send(get("/v2") * 1000)
        wait_until_alone(server, idle_file_count)


# Callers who leave.


def wait_until_nothing_waits(server):
    ends_at = time.monotonic() + SOON_S
    while Metrics(server).value("nv_inference_pending_request_count"):
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def test_what_callers_who_hang_up_asked_for_is_not_executed(server):
    executed_before = Metrics(server).value("nv_inference_exec_count", model="spin")
    with Caller(server) as busy:
        busy.send(infer_request(spins(10 * A_WHILE), model="spin"))
        for _ in range(20):
            with Caller(server) as caller:
                caller.send(infer_request(spins(A_WHILE), model="spin"))
                caller.end()
                assert caller.is_closed()
        assert busy.answer().status == 200
    wait_until_nothing_waits(server)
    executed = Metrics(server).value("nv_inference_exec_count", model="spin") - executed_before
    assert executed < 10


def test_callers_who_stop_in_the_middle_of_a_request_are_let_go(server):
    whole = infer_request(inputs(FOUR))
    for size in (0, 1, 20, len(whole) - 1):
        with Caller(server) as caller:
            caller.send(whole[:size])
            caller.end()

            assert caller.is_closed()


def test_callers_who_leave_are_not_waited_for(server):
    for size in (1, 60, None):
        for _ in range(20):
            caller = Caller(server)
            caller.send(infer_request(spins(A_WHILE // 10), model="spin")[:size])
            caller.reset()
    wait_until_nothing_waits(server)


def test_answers_to_a_caller_who_left_among_others_harm_nobody(server):
    body = infer_request(spins(A_WHILE // 10), model="spin")
    leaving = [Caller(server) for _ in range(10)]
    staying = [Caller(server) for _ in range(10)]
    for gone, stays in zip(leaving, staying):
        gone.send(body)
        stays.send(body)
    for caller in leaving:
        caller.reset()

    for caller in staying:
        assert caller.answer().document["outputs"][0]["data"] == [A_WHILE // 10]
        caller.socket.close()


# Unusual but right.


def test_thousands_of_tiny_chunks_are_one_body(server):
    body = inputs(FOUR) + b" " * 20_000
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in body) + b"0\r\nX: y\r\n\r\n"
    head = b"POST /v2/models/scale/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    (answer,) = ask(server, head + chunks)

    assert answer.document["outputs"][0]["data"] == [2, 4, 6, 8]


def test_hundreds_of_requests_sent_ahead_are_answered_in_their_order(server):
    bodies = [inputs({**FOUR, "data": [number, 0, 0, 0]}) for number in range(500)]

    answers = ask(server, b"".join(map(infer_request, bodies)), len(bodies))

    values = [answer.document["outputs"][0]["data"][0] for answer in answers]
    assert values == [2 * number for number in range(500)]


# JSON.


@pytest.mark.parametrize(
    ("depth", "why"),
    [
        (2000, "failed to parse the request JSON buffer"),
        (MAX_JSON_VALUES, "limits.max_json_values"),
        (1_000_000, "limits.max_json_values"),
    ],
)
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_json_is_refused(server, depth, why, opening):
    answer = infer(server, b'{"inputs":' + opening * depth)

    assert answer.status == 400
    assert why in answer.error


def test_deep_data_is_refused(server):
    depth = 100_000
    data = (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":' + b"[" * depth + b"1" + b"]" * depth
    )

    answer = infer(server, data + b"}]}")

    assert answer.status == 400


@pytest.mark.parametrize("value", [b"1,", b"[],", b"{},", b'"",', b'{"a":1},'])
def test_json_of_too_many_values_is_refused_before_it_is_read(server, value):
    before = resident_bytes(server)
    body = b'{"inputs":[' + value * (8 * MEBIBYTE // len(value)) + b"1]}"

    answer = infer(server, body)

    assert answer.status == 400
    assert "limits.max_json_values" in answer.error
    assert resident_bytes(server) - before < 100 * MEBIBYTE


def test_json_of_as_many_values_as_allowed_is_read(server):
    rows = (MAX_JSON_VALUES - 100) // 4
    tensor = {**FOUR, "shape": [rows, 4], "data": [1] * (4 * rows)}

    answer = infer(server, inputs(tensor))

    assert answer.status in (200, 400)
    assert "max_json_values" not in answer.body.decode()


@pytest.mark.parametrize(
    "number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"01", b"+1", b"1.", b"0x1"]
)
def test_numbers_that_json_does_not_have_are_refused(server, number):
    answer = infer(server, inputs(FOUR).replace(b"[1, 2, 3, 4]", b"[1, 2, 3, %b]" % number))

    assert answer.status == 400
    assert "failed to parse the request JSON buffer" in answer.error


def test_numbers_beyond_the_datatype_are_refused(server):
    answer = infer(server, inputs(FOUR).replace(b"[1, 2, 3, 4]", b"[1, 2, 3, 1e300]"))

    assert answer.status == 400
    assert "as FP32" in answer.error


def test_of_a_key_given_twice_the_last_counts(server):
    body = inputs(FOUR).replace(b'"data": ', b'"data": ["not", "these"], "data": ')

    assert infer(server, body).document["outputs"][0]["data"] == [2, 4, 6, 8]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\0",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"{",
        b"[]",
        b"1",
        b'"x"',
        b"null",
        b"{}{}",
        b"{'a':1}",
    ],
)
def test_what_is_no_object_is_refused(server, body):
    assert infer(server, body).status == 400


# The end.


def test_told_to_stop_it_answers_whoever_was_accepted(repository):
    with ServerProcess(repository, *EXPLICIT, "--drain-timeout-s=20") as server:
        idle = Caller(server)
        half = Caller(server)
        body = infer_request(spins(A_WHILE), model="spin")
        half.send(body[:-1])
        busy = [Caller(server, timeout_s=20) for _ in range(6)]
        for caller in busy:
            caller.send(body + body)
        while Metrics(server).value("nv_inference_pending_request_count") < 5:
            time.sleep(0.01)

        server.signal(signal.SIGTERM)

        assert idle.is_closed()
        half.send(body[-1:])
        ends = []
        for caller in [*busy, half]:
            answers = [caller.answer() for _ in range(1 if caller is half else 2)]
            assert [answer.document["outputs"][0]["data"] for answer in answers] == [[A_WHILE]] * len(answers)
            ends.append(answers[-1].headers.get("connection"))
            assert caller.is_closed()
            caller.socket.close()
        idle.socket.close()
        # Who had both answers before the signal was not told that it would be the end.
        assert ends[-2:] == ["close", "close"]
        assert server.wait() == 0
        assert UNHANDLED.search(server.log) is None, server.log
        with pytest.raises(ConnectionRefusedError):
            Caller(server)


def test_told_to_stop_under_load_it_loses_nothing_that_it_accepted(repository):
    """Who asks without pause is answered, or finds the connection closed between two requests."""
    body = infer_request(inputs(FOUR))
    counts = []

    def send(server: ServerProcess) -> None:
        count = 0
        with Caller(server) as caller:
            while True:
                try:
                    caller.send(body)
                    answer = caller.answer()
                except (OSError, AssertionError):
                    assert caller._unread == b"", "an answer breaks off"
                    break
                assert answer.status in (200, 503)
                if answer.status == 503 or answer.headers.get("connection") == "close":
                    break
                count += 1
        counts.append(count)

    with (
        ServerProcess(repository, *EXPLICIT, "--drain-timeout-s=10") as server,
        ThreadPoolExecutor(4) as pool,
    ):
        sending = [pool.submit(send, server) for _ in range(4)]
        time.sleep(0.5)
        server.signal(signal.SIGTERM)
        for each in sending:
            each.result(10)
        assert server.wait(12) == 0
        assert UNHANDLED.search(server.log) is None, server.log
    assert min(counts) > 10
