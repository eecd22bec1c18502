"""Posts: bounded in time and size whatever the other side does."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from headrace.errors import ConfigError, Unavailable
from headrace.rollout.outside.poster import Answer, Poster
from support.loops import run, until


@contextmanager
def listening(talk):
    """The URL of a server that accepts one connection, reads a request and then does what `talk` does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                read_request(connection)
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join(5)
        assert not thread.is_alive()


def read_request(connection):
    """To its last byte: what is left unread resets the connection when it is closed."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += connection.recv(65536)


def drip(connection):
    """One byte every now and then, for ever: no single wait is long."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    try:
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)
    except OSError:
        pass


def post(url, timeout_s=5.0, max_answer_bytes=1000, headers=dict, **options):
    async def main():
        return await Poster(url, timeout_s, max_answer_bytes, **options).post(b"{}", headers)

    return run(main())


def test_the_answer_is_given_back_whatever_its_status(serve):
    site = serve(lambda _: (422, b"no", {}))
    assert post(site.url) == Answer(422, b"no", is_whole=True)
    assert site.received[0].path == "/"


def test_an_answer_that_is_too_long_is_cut(serve):
    site = serve(lambda _: (200, b"x" * 100_000, {}))
    assert post(site.url) == Answer(200, b"x" * 1000, is_whole=False)


def test_an_answer_that_drips_is_over_in_time():
    began = time.monotonic()
    with listening(drip) as url, pytest.raises(Unavailable, match=r"no answer within 0.3 s"):
        post(url, timeout_s=0.3)
    assert 0.25 < time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (b"", "the connection was closed without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", r"the answer is not HTTP \(BadStatusLine\)"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", r"the answer is not HTTP \(IncompleteRead\)"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", r"the answer is not HTTP \(HTTPException\)"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", r"the answer is not HTTP \(LineTooLong\)"),
    ],
)
def test_what_is_no_answer_is_told_without_its_content(sent, problem):
    def talk(connection):
        connection.sendall(sent)

    with listening(talk) as url, pytest.raises(Unavailable, match=f"^{problem}$"):
        post(url)


def test_a_name_without_an_address_is_told():
    with pytest.raises(Unavailable, match=r"^[a-z ]+$"):
        post("http://nothing.invalid/")


def test_tls_with_a_server_that_has_none_is_told(serve):
    with pytest.raises(Unavailable, match=r"^TLS failed: "):
        post(serve().url.replace("http://", "https://"))


def test_a_header_that_cannot_be_sent_is_told_without_it(serve):
    with pytest.raises(Unavailable, match=r"^a header or the host's name is not valid$"):
        post(serve().url, headers=lambda: {"Authorization": "Bearer a\nb"})


def test_what_the_headers_raise_comes_through():
    def refuse():
        raise ConfigError("no secret")

    with pytest.raises(ConfigError, match="no secret"):
        post("http://127.0.0.1:1/", headers=refuse)


def test_proxies_of_the_environment_are_not_used(serve, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert post(serve().url).status == 200


def test_who_waits_for_a_free_thread_waits_within_his_time(serve):
    site = serve(lambda _: (site.closing.wait(10), 200)[1])

    async def main():
        poster = Poster(site.url, 0.5, 1000, limit=2)
        posts = asyncio.gather(*(poster.post(b"", dict) for _ in range(4)), return_exceptions=True)
        await asyncio.sleep(0.25)
        assert len(site.received) <= 2
        return await posts

    assert [str(each) for each in run(main())] == ["no answer within 0.5 s"] * 4


def test_who_leaves_frees_the_thread_at_once(serve):
    site = serve(lambda _: (site.closing.wait(10), 200)[1])

    async def main():
        poster = Poster(site.url, 30.0, 1000)
        task = asyncio.get_running_loop().create_task(poster.post(b"", dict))
        await until(lambda: site.received)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: not poster._threads.are_busy, timeout_s=1)

    run(main())


def test_a_connection_that_nobody_accepts_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        with pytest.raises(Unavailable, match=r"no answer within 0\.2 s"):
            post(f"http://127.0.0.1:{address[1]}/", timeout_s=0.2)
        for filler in fillers:
            filler.close()
