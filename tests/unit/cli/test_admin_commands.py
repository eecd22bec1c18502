"""`headrace models` and `headrace batches` against a small server."""

import json

import pytest

from headrace.cli import batches as batches_command
from headrace.pb.headrace.v1 import admin_pb2


@pytest.fixture
def digits(server):
    server.models = [
        admin_pb2.Model(
            name="digits",
            version="3",
            state="READY",
            max_batch_size=32,
            instances=2,
            threads_per_instance=1,
            device="cpu",
            queue_depth=5,
            max_queue_size=1024,
            load_duration_us=1_234_000,
            is_default=True,
        ),
        admin_pb2.Model(name="broken", version="1", state="UNAVAILABLE", reason="bad\x1b[2Jfile"),
    ]
    return server


def batch(closed_at_s: int, **fields: object) -> admin_pb2.Batch:
    given = {"model_version": "3", "requests": 4, "rows": 7, "closed_because": "full", **fields}
    return admin_pb2.Batch(closed_at_ns=closed_at_s * 10**9, **given)


def test_models_are_a_table_with_the_default_marked(digits, run):
    ran = run("models", "--url", digits.url)
    assert ran.status == 0
    header, first, second = ran.lines
    assert header.split()[:3] == ["MODEL", "VERSION", "STATE"]
    assert first.split() == ["digits", "3*", "READY", "32", "2", "1", "cpu", "5/1024", "1.23", "s"]
    assert second.endswith(r"bad\x1b[2Jfile")


def test_models_can_be_limited_to_one(digits, run):
    assert len(run("models", "broken", "--url", digits.url).lines) == 2


def test_models_as_json_have_every_field(digits, run):
    first, second = run("models", "--json", "--url", digits.url).json
    assert first["queue_depth"] == 5
    assert second["is_default"] is False


def test_server_without_models_says_so(server, run):
    assert run("models", "--url", server.url).out == "no models are loaded\n"


def test_batches_are_a_table_newest_last(server, run):
    server.batches = [
        batch(2, padding_rows=1, waited_us=850, executed_us=1500, instance="digits_0_1", error="boom"),
        batch(1),
    ]
    ran = run("batches", "digits", "--version", "3", "--limit", "7", "--url", server.url)
    assert len(ran.lines) == 3
    assert ran.lines[2].split()[2:] == (
        ["3", "7+1", "4", "850", "µs", "full", "1.5", "ms", "digits_0_1", "boom"]
    )
    (request,) = server.batch_requests
    assert (request.model_name, request.model_version, request.limit) == ("digits", "3", 7)


def test_batches_as_json_are_an_object_a_line(server, run):
    server.batches = [batch(1), batch(2)]
    lines = run("batches", "digits", "--json", "--url", server.url).lines
    assert [json.loads(line)["closed_at_ns"] for line in lines] == [10**9, 2 * 10**9]


def test_follow_prints_each_batch_once_until_interrupted(server, run, monkeypatch):
    server.batches = [batch(1)]
    arriving = iter([[], [batch(2), batch(3)], []])

    def sleep(_: float) -> None:
        news = next(arriving, None)
        if news is None:
            raise KeyboardInterrupt
        server.batches = server.batches + news

    monkeypatch.setattr(batches_command.time, "sleep", sleep)
    ran = run("batches", "digits", "--follow", "--json", "--url", server.url)
    assert ran.status == 130
    assert [json.loads(line)["closed_at_ns"] // 10**9 for line in ran.lines] == [1, 2, 3]


def test_negative_limit_is_refused(run):
    ran = run("batches", "digits", "--limit", "-1")
    assert ran.status == 2
    assert "-1 is not valid: expected at least 0" in ran.err


def test_server_that_is_not_there_is_one_clear_line(run):
    ran = run("models", "--url", "127.0.0.1:1", "--timeout", "5")
    assert ran.status == 1
    assert ran.err == "headrace: no server answers at 127.0.0.1:1\n"
