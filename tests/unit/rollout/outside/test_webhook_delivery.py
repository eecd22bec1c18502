"""Webhooks against receivers on the loopback interface: signed, in order, at least once."""

import asyncio
import json
import logging
import re
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.rollout.outside.outbox import StoredOutbox
from headrace.rollout.outside.webhooks import Webhooks
from headrace.settings import RolloutSettings
from headrace.state.database import open_database, transaction
from support.certificates import Authority
from support.loops import run, until

PAGE = (Path(__file__).parents[4] / "docs" / "webhooks.md").read_text()
SECRET = b"correct horse battery staple"


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    return path


@pytest.fixture
def database(tmp_path):
    connection = open_database(tmp_path)
    yield connection
    connection.close()


@pytest.fixture
def outbox(database):
    return StoredOutbox(database)


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as threads:
        yield threads


@asynccontextmanager
async def running(settings, outbox, executor, **options):
    """Webhooks that are started, and try again at once."""
    webhooks = Webhooks(settings, outbox, executor, **{"delay_s": lambda _: 0.01, **options})
    await webhooks.start()
    try:
        yield webhooks
    finally:
        await webhooks.stop()


def add(outbox, *event_ids, urls, at_s=None):
    for event_id in event_ids:
        body = json.dumps({"id": event_id})
        outbox.add(event_id, "promoted", body, urls, time.time() if at_s is None else at_s)


def receivers_check():
    """The code that the page gives to those who write a receiver."""
    (code,) = re.findall(r"```python\n(.*?def verify.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102  our own page
    return names["verify"]


def test_a_post_carries_the_document_and_a_signature_that_the_pages_code_takes(
    serve, outbox, executor, secret_file
):
    site = serve()
    url = f"{site.url}/hooks/rollouts?team=a"
    settings = RolloutSettings(webhook_urls=(url,), webhook_secret_file=secret_file)
    add(outbox, "e1", urls=[url])

    async def main():
        async with running(settings, outbox, executor) as webhooks:
            await until(lambda: webhooks.delivered_count == 1)
            assert (webhooks.failed_count, webhooks.given_up_count) == (0, 0)

    run(main())
    (post,) = site.received
    assert post.path == "/hooks/rollouts?team=a"
    assert post.body == b'{"id": "e1"}'
    assert post.headers["content-type"] == "application/json"
    assert post.headers["headrace-event"] == "promoted"
    assert post.headers["headrace-event-id"] == "e1"
    assert post.headers["user-agent"].startswith("headrace/")
    verify = receivers_check()
    header = post.headers["headrace-signature"]
    assert verify(SECRET, header, post.body)
    assert not verify(SECRET, header, post.body + b" ")
    assert not verify(b"another secret, long enough", header, post.body)
    signed_at = int(re.match(r"t=(\d+),v1=[0-9a-f]{64}$", header)[1])
    later = header.replace(f"t={signed_at}", f"t={signed_at + 1}")
    assert not verify(SECRET, later, post.body)
    assert not verify(SECRET, header, post.body, now=signed_at + 3600)
    assert not verify(SECRET, "", post.body)


def test_a_secret_that_is_replaced_signs_the_next_post(serve, outbox, executor, secret_file):
    site = serve()
    settings = RolloutSettings(webhook_urls=(site.url,), webhook_secret_file=secret_file)
    add(outbox, "e1", urls=[site.url])

    async def main():
        async with running(settings, outbox, executor) as webhooks:
            await until(lambda: webhooks.delivered_count == 1)
            secret_file.write_bytes(b"the new secret of the month")
            add(outbox, "e2", urls=[site.url])
            webhooks.wake()
            await until(lambda: webhooks.delivered_count == 2)

    run(main())
    last = site.received[-1]
    assert receivers_check()(b"the new secret of the month", last.headers["headrace-signature"], last.body)


def test_without_a_secret_posts_are_not_signed_and_the_log_warns(serve, outbox, executor, caplog):
    site = serve()
    add(outbox, "e1", urls=[site.url])

    async def main():
        async with running(RolloutSettings(webhook_urls=(site.url,)), outbox, executor):
            await until(lambda: site.received)

    run(main())
    assert "headrace-signature" not in site.received[0].headers
    assert "webhooks are not signed" in caplog.text


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read: No such file"), (b" short \n", "has 5 bytes: expected at least 16")],
)
def test_a_secret_that_does_not_do_is_refused_at_the_start(tmp_path, outbox, executor, content, problem):
    path = tmp_path / "wrong"
    if content is not None:
        path.write_bytes(content)
    settings = RolloutSettings(webhook_urls=("http://127.0.0.1:1",), webhook_secret_file=path)

    with pytest.raises(ConfigError, match=f"rollout.webhook_secret_file: .*{problem}"):
        run(Webhooks(settings, outbox, executor).start())


@pytest.mark.parametrize("status", [500, 503, 429, 404, 304])
def test_what_is_not_taken_is_posted_again_under_the_same_id(serve, outbox, executor, status):
    answers = [status, status, 204]
    site = serve(lambda _: answers.pop(0))
    add(outbox, "e1", urls=[site.url])

    async def main():
        async with running(RolloutSettings(webhook_urls=(site.url,)), outbox, executor) as webhooks:
            await until(lambda: webhooks.delivered_count == 1)
            assert webhooks.failed_count == 2

    run(main())
    assert {post.headers["headrace-event-id"] for post in site.received} == {"e1"}


def test_a_receiver_that_is_not_there_yet_gets_its_event_later(serve, outbox, executor, caplog):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/hook"
    add(outbox, "e1", urls=[url])
    caplog.set_level(logging.INFO, "headrace")

    async def main():
        async with running(RolloutSettings(webhook_urls=(url,)), outbox, executor) as webhooks:
            await until(lambda: webhooks.failed_count >= 2)
            site = serve(port=port)
            await until(lambda: webhooks.delivered_count == 1)
            return site

    assert len(run(main()).received) == 1
    told = [each.getMessage() for each in caplog.records if "does not take" in each.getMessage()]
    assert told == [f"webhook 1 (http://127.0.0.1:{port}): does not take event e1: connection refused"]
    assert "takes events again" in caplog.text


def test_a_receiver_that_does_not_answer_in_time_is_asked_again(serve, outbox, executor, caplog):
    def respond(_):
        if len(site.received) == 1:
            site.closing.wait(10)
        return 200

    site = serve(respond)
    settings = RolloutSettings(webhook_urls=(site.url,), webhook_timeout_s=0.2)
    add(outbox, "e1", urls=[site.url])

    async def main():
        async with running(settings, outbox, executor) as webhooks:
            await until(lambda: webhooks.delivered_count == 1)
            assert webhooks.failed_count == 1

    run(main())
    assert "no answer within 0.2 s" in caplog.text


def test_events_arrive_in_their_order_whatever_fails(serve, outbox, executor):
    seen = []

    def respond(post):
        seen.append(post.headers["headrace-event-id"])
        return 500 if len(seen) % 2 else 200

    site = serve(respond)
    add(outbox, "e1", "e2", urls=[site.url])

    async def main():
        async with running(RolloutSettings(webhook_urls=(site.url,)), outbox, executor) as webhooks:
            await until(lambda: webhooks.delivered_count == 2)
            add(outbox, "e3", urls=[site.url])
            webhooks.wake()
            await until(lambda: webhooks.delivered_count == 3)

    run(main())
    assert seen == ["e1", "e1", "e2", "e2", "e3", "e3"]


def test_a_slow_receiver_delays_no_other(serve, outbox, executor):
    def hang(_):
        slow.closing.wait(10)
        return 200

    slow, quick = serve(hang), serve()
    settings = RolloutSettings(webhook_urls=(slow.url, quick.url))
    add(outbox, "e1", "e2", "e3", urls=[slow.url, quick.url])

    async def main():
        webhooks = Webhooks(settings, outbox, executor)
        await webhooks.start()
        await until(lambda: len(quick.received) == 3)
        assert len(slow.received) == 1
        await webhooks.stop(0.1)

    run(main())


def test_redirects_are_not_followed(serve, outbox, executor, secret_file):
    other = serve()
    site = serve(lambda _: (307, b"", {"Location": other.url}) if len(site.received) < 3 else 200)
    settings = RolloutSettings(webhook_urls=(site.url,), webhook_secret_file=secret_file)
    add(outbox, "e1", urls=[site.url])

    async def main():
        async with running(settings, outbox, executor) as webhooks:
            await until(lambda: webhooks.delivered_count == 1)
            assert webhooks.failed_count == 2

    run(main())
    assert not other.received


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(serve, database, outbox, executor):
    site = serve(lambda _: 410)
    add(outbox, "e1", urls=[site.url])

    async def main():
        async with running(RolloutSettings(webhook_urls=(site.url,)), outbox, executor) as webhooks:
            await until(lambda: webhooks.given_up_count == 1)
            await asyncio.sleep(0.05)

    run(main())
    assert len(site.received) == 1
    assert database.execute("SELECT state, reason FROM webhook_deliveries").fetchall() == [
        ("given_up", "it answered with status 410")
    ]


def test_what_is_too_old_is_given_up_and_the_next_is_tried(serve, outbox, executor, caplog):
    site = serve()
    settings = RolloutSettings(webhook_urls=(site.url,), webhook_max_age_s=60.0)
    add(outbox, "old", urls=[site.url], at_s=time.time() - 61)
    add(outbox, "new", urls=[site.url])

    async def main():
        async with running(settings, outbox, executor) as webhooks:
            await until(lambda: webhooks.delivered_count == 1)
            assert webhooks.given_up_count == 1

    run(main())
    assert [post.headers["headrace-event-id"] for post in site.received] == ["new"]
    assert "event old is given up: it did not arrive within 60 s" in caplog.text


def test_another_start_goes_on_where_the_last_one_stopped(serve, tmp_path, executor):
    answers = [200, 500]
    site = serve(lambda _: answers.pop(0) if answers else 200)
    settings = RolloutSettings(webhook_urls=(site.url,))

    async def one_life(is_over, delay_s):
        connection = open_database(tmp_path)
        outbox = StoredOutbox(connection)
        if not site.received:
            with transaction(connection):
                add(outbox, "e1", "e2", "e3", urls=[site.url])
        async with running(settings, outbox, executor, delay_s=lambda _: delay_s) as webhooks:
            await until(lambda: is_over(webhooks))
        connection.close()

    run(one_life(lambda webhooks: webhooks.failed_count == 1, 0.2))
    run(one_life(lambda webhooks: webhooks.delivered_count == 2, 0.2))
    assert [post.headers["headrace-event-id"] for post in site.received] == ["e1", "e2", "e2", "e3"]
    assert site.received[2].at_s - site.received[1].at_s >= 0.19


def test_stopping_while_it_waits_to_try_again_is_quick(outbox, executor):
    add(outbox, "e1", urls=["http://127.0.0.1:1"])

    async def main():
        settings = RolloutSettings(webhook_urls=("http://127.0.0.1:1",))
        webhooks = Webhooks(settings, outbox, executor, delay_s=lambda _: 300.0)
        await webhooks.start()
        await until(lambda: webhooks.failed_count == 1)
        webhooks.wake()
        await asyncio.sleep(0.05)
        assert webhooks.failed_count == 1
        began = time.monotonic()
        await webhooks.stop()
        return time.monotonic() - began

    assert run(main()) < 0.5


def test_stopping_while_a_receiver_hangs_is_bounded_and_keeps_the_event(serve, outbox, executor):
    def hang(_):
        site.closing.wait(10)
        return 200

    site = serve(hang)
    add(outbox, "e1", urls=[site.url])

    async def main():
        webhooks = Webhooks(RolloutSettings(webhook_urls=(site.url,)), outbox, executor)
        await webhooks.start()
        await until(lambda: site.received)
        began = time.monotonic()
        await webhooks.stop(0.1)
        return time.monotonic() - began

    assert run(main()) < 0.5
    assert outbox.pending(site.url).event_id == "e1"


def test_an_attempt_under_way_may_finish_when_it_is_stopped(serve, outbox, executor):
    def respond(_):
        time.sleep(0.1)
        return 200

    site = serve(respond)
    add(outbox, "e1", "e2", urls=[site.url])

    async def main():
        webhooks = Webhooks(RolloutSettings(webhook_urls=(site.url,)), outbox, executor)
        await webhooks.start()
        await until(lambda: site.received)
        await webhooks.stop()
        assert webhooks.delivered_count == 1

    run(main())
    assert outbox.pending(site.url).event_id == "e2"


def test_stopping_what_was_not_started_does_nothing(outbox, executor):
    run(Webhooks(RolloutSettings(webhook_urls=("http://127.0.0.1:1",)), outbox, executor).stop())


def test_secrets_and_queries_are_never_logged_or_kept_with_a_failure(
    serve, database, outbox, executor, secret_file, caplog
):
    caplog.set_level(logging.DEBUG)
    answers = [500, 410]
    site = serve(lambda _: answers.pop(0))
    url = f"{site.url}/services/T0PATH?token=T0QUERY"
    settings = RolloutSettings(webhook_urls=(url,), webhook_secret_file=secret_file)
    add(outbox, "e1", urls=[url])

    async def main():
        async with running(settings, outbox, executor) as webhooks:
            await until(lambda: webhooks.given_up_count == 1)
            secret_file.unlink()
            add(outbox, "e2", urls=[url])
            webhooks.wake()
            await until(lambda: webhooks.failed_count == 2)

    run(main())
    reasons = database.execute("SELECT reason FROM webhook_deliveries").fetchall()
    written = caplog.text + str(reasons)
    assert "event e1 is given up" in caplog.text
    assert "event e2: rollout.webhook_secret_file" in caplog.text
    for secret in ("T0PATH", "T0QUERY", SECRET.decode()):
        assert secret not in written


def test_an_outbox_that_fails_is_asked_again(serve, outbox, executor, caplog, monkeypatch):
    class Failing:
        def __init__(self):
            self.left = [OSError("disk full"), KeyError("bug")]

        def __getattr__(self, name):
            return getattr(outbox, name)

        def pending(self, url):
            if self.left:
                raise self.left.pop(0)
            return outbox.pending(url)

    monkeypatch.setattr("headrace.rollout.outside.receiver.OUTBOX_RETRY_S", 0.01)
    monkeypatch.setattr("headrace.rollout.outside.receiver.MAX_DELAY_S", 0.01)
    site = serve()
    add(outbox, "e1", urls=[site.url])

    async def main():
        async with running(RolloutSettings(webhook_urls=(site.url,)), Failing(), executor) as webhooks:
            await until(lambda: webhooks.delivered_count == 1)

    run(main())
    assert "disk full" in caplog.text
    assert "this is a bug" in caplog.text


def test_certificates_are_checked(serve, tmp_path, outbox, executor, caplog):
    authority = Authority(tmp_path)
    files = authority.sign("receiver")
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(files.certificate, files.key)
    site = serve(tls=own)
    settings = RolloutSettings(webhook_urls=(site.url,))
    add(outbox, "e1", urls=[site.url])

    async def distrusting():
        async with running(settings, outbox, executor) as webhooks:
            await until(lambda: webhooks.failed_count == 1)

    async def trusting():
        tls = ssl.create_default_context(cafile=authority.file)
        async with running(settings, outbox, executor, tls=tls) as webhooks:
            await until(lambda: webhooks.delivered_count == 1)

    run(distrusting())
    assert "its certificate is not trusted" in caplog.text
    assert not site.received
    run(trusting())
    assert len(site.received) == 1
