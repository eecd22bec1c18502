"""Callers who connect to the encrypted port and say nothing: few are held, and not for long."""

import resource
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adversity.clients import EXPLICIT
from adversity.observing import UNHANDLED, open_file_count
from support.adversity_models import scaler, write_model
from support.certificates import Authority
from support.server import ServerProcess

MAX_CONNECTIONS = 50
HANDSHAKE_TIMEOUT_S = 3.0
SOON_S = 15.0
# What a scrape, a log or the models may open meanwhile.
MARGIN = 10


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    repository = tmp_path_factory.mktemp("models")
    write_model(repository, "scale", scaler(2))
    files = authority.sign("server")
    arguments = (
        *EXPLICIT,
        f"--tls-certificate={files.certificate}",
        f"--tls-key={files.key}",
        f"--http-max-connections={MAX_CONNECTIONS}",
        f"--http-handshake-timeout-s={HANDSHAKE_TIMEOUT_S:g}",
    )
    with ServerProcess(repository, *arguments, is_encrypted=True) as server:
        yield server
        assert server.terminate() == 0, server.log
        assert UNHANDLED.search(server.log) is None, server.log


def get(server: ServerProcess, authority: Authority) -> int:
    trusting = ssl.create_default_context(cafile=authority.file)
    with urllib.request.urlopen(
        f"https://{server.http_url}/v2/health/ready", context=trusting, timeout=SOON_S
    ) as answer:
        return int(answer.status)


def get_soon(server: ServerProcess, authority: Authority) -> float:
    """How many seconds it took until there was an answer."""
    began = time.monotonic()
    while True:
        try:
            assert get(server, authority) == 200
            return time.monotonic() - began
        except OSError:
            assert time.monotonic() - began < SOON_S, server.log
            time.sleep(0.05)


@contextmanager
def silent_callers(server: ServerProcess, count: int) -> Iterator[list[socket.socket]]:
    callers = [socket.create_connection(("127.0.0.1", server.http_port), SOON_S) for _ in range(count)]
    try:
        yield callers
    finally:
        for caller in callers:
            caller.close()


def still_open(callers: list[socket.socket]) -> list[socket.socket]:
    return [caller for caller in callers if not _is_closed(caller)]


def _is_closed(caller: socket.socket) -> bool:
    caller.setblocking(False)
    try:
        return caller.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def wait_until_open(callers: list[socket.socket], count: int) -> None:
    ends_at = time.monotonic() + SOON_S
    while len(still_open(callers)) > count:
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def test_silent_callers_are_few_and_not_for_long(server: ServerProcess, authority: Authority) -> None:
    assert get(server, authority) == 200
    files_before = open_file_count(server)
    with silent_callers(server, 10 * MAX_CONNECTIONS) as callers:
        wait_until_open(callers, MAX_CONNECTIONS)
        assert open_file_count(server) <= files_before + MAX_CONNECTIONS + MARGIN

        # Where some leave, others get in.
        for caller in still_open(callers)[:5]:
            caller.close()
            callers.remove(caller)
        assert get_soon(server, authority) < HANDSHAKE_TIMEOUT_S

        wait_until_open(callers, 0)
        assert get(server, authority) == 200
    ends_at = time.monotonic() + SOON_S
    while open_file_count(server) > files_before + MARGIN:
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def test_a_process_without_files_takes_callers_again_when_it_has_some(
    server: ServerProcess, authority: Authority
) -> None:
    assert get(server, authority) == 200
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    few = open_file_count(server) + 5
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        with silent_callers(server, MAX_CONNECTIONS):
            ends_at = time.monotonic() + SOON_S
            while "callers have to wait for 1 s" not in server.log:
                assert time.monotonic() < ends_at
                time.sleep(0.02)
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)

    get_soon(server, authority)
    assert server.log.count("callers have to wait") < SOON_S
