"""Gates that ask Prometheus: a server that answers as Prometheus does, in every way that it can."""

import asyncio
import json
from urllib.parse import parse_qs

import pytest

from headrace.core.plan import PrometheusGate
from headrace.errors import ConfigError
from headrace.rollout.outside.gate_answer import GateAnswer
from headrace.rollout.outside.prometheus import Prometheus, Reading
from headrace.rollout.outside.promql import substitute
from headrace.settings import RolloutSettings
from support.loops import run

SAMPLE = {"metric": {"model": "digits"}, "value": [1700000000.1, "0.25"]}


def success(kind, result):
    return 200, json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode(), {}


def refusal(status, message):
    return status, json.dumps({"status": "error", "errorType": "bad_data", "error": message}).encode(), {}


def query(url, promql="up", **options):
    return run(Prometheus(RolloutSettings(prometheus_url=url, **options)).query(promql))


def test_one_sample_is_the_value(serve):
    site = serve(lambda _: success("vector", [SAMPLE]))

    assert query(f"{site.url}/prometheus/", 'sum(up{job="a&b"})') == Reading(0.25)
    (post,) = site.received
    assert post.path == "/prometheus/api/v1/query"
    assert parse_qs(post.body.decode()) == {"query": ['sum(up{job="a&b"})'], "timeout": ["5"]}
    assert "authorization" not in post.headers


@pytest.mark.parametrize(("text", "value"), [("3", 3.0), ("1e-3", 0.001), ("+Inf", float("inf"))])
def test_a_scalar_is_the_value(serve, text, value):
    site = serve(lambda _: success("scalar", [1700000000, text]))
    assert query(site.url) == Reading(value)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (success("vector", []), "the query finds no data"),
        (success("vector", [SAMPLE] * 3), "the query finds 3 samples: expected one, as of sum(...)"),
        (success("scalar", [1700000000, "NaN"]), "the query's value is NaN, as of a rate without requests"),
        (
            success("vector", [{"metric": {}, "histogram": [1700000000, {}]}]),
            "the query finds a histogram: expected one value, as of histogram_quantile(...)",
        ),
        (success("matrix", []), "the query has a matrix: expected one sample, or a scalar"),
        (success("string", [1700000000, "a"]), "the query has a string: expected one sample, or a scalar"),
        (refusal(400, "parse error:\n end"), "Prometheus refused the query: parse error: end"),
        (refusal(422, "x" * 5000), f"Prometheus refused the query: {'x' * 469}…"),
        (refusal(503, ""), "Prometheus refused the query: status 503"),
        ((200, b'{"status": "success"}', {}), "Prometheus answered with a sample that cannot be read"),
        (success("scalar", 7), "Prometheus answered with a sample that cannot be read"),
        (success("vector", {"a": 1}), "Prometheus answered with a sample that cannot be read"),
        (success("vector", [{"value": [0, "x"]}]), "Prometheus answered with a sample that cannot be read"),
        ((502, b"<html>", {}), "Prometheus answered with status 502, and not in JSON of its own"),
        ((200, b"[]", {}), "Prometheus answered with status 200, and not in JSON of its own"),
        ((200, b"[" * 100_000, {}), "Prometheus answered with status 200, and not in JSON of its own"),
        ((302, b"", {"Location": "/"}), "Prometheus answered with status 302, and not in JSON of its own"),
        ((200, b"x" * 2**21, {}), "Prometheus answered with more than 1048576 bytes: expected one sample"),
    ],
)  # fmt: skip
def test_where_there_is_no_value_it_says_why(serve, answer, problem):
    assert query(serve(lambda _: answer).url) == Reading(None, problem)


def test_a_server_that_is_not_there_is_told():
    assert query("http://127.0.0.1:1") == Reading(None, "Prometheus cannot be asked: connection refused")


def test_a_server_that_hangs_is_told(serve):
    site = serve(lambda _: (site.closing.wait(10), 200)[1])
    problem = "Prometheus cannot be asked: no answer within 0.2 s"
    assert query(site.url, prometheus_timeout_s=0.2) == Reading(None, problem)


def test_without_a_server_gates_wait():
    prometheus = Prometheus(RolloutSettings())

    assert not prometheus.is_configured
    answer = run(prometheus.ask(PrometheusGate("a", "up", 0.0), "digits", 2, 1))
    assert answer == GateAnswer(None, "no Prometheus server is set: expected rollout.prometheus_url")


def test_the_token_is_read_for_every_query(serve, tmp_path):
    site = serve(lambda _: success("scalar", [0, "1"]))
    token = tmp_path / "token"
    prometheus = Prometheus(RolloutSettings(prometheus_url=site.url, prometheus_token_file=token))
    with pytest.raises(ConfigError, match=r"rollout\.prometheus_token_file: .*No such file"):
        prometheus.check()

    async def main():
        reading = await prometheus.query("up")
        assert reading.value is None
        assert "rollout.prometheus_token_file" in reading.problem
        for secret in ("one\n", "two"):
            token.write_text(secret)
            prometheus.check()
            await prometheus.query("up")

    run(main())
    assert [each.headers["authorization"] for each in site.received] == ["Bearer one", "Bearer two"]


def test_many_queries_at_the_same_time_are_all_answered(serve):
    site = serve(lambda _: success("scalar", [0, "1"]))

    async def main():
        prometheus = Prometheus(RolloutSettings(prometheus_url=site.url))
        return await asyncio.gather(*(prometheus.query("up") for _ in range(20)))

    assert run(main()) == [Reading(1.0)] * 20


@pytest.mark.parametrize(
    ("minimum", "maximum", "answer"),
    [
        (None, 0.25, GateAnswer(True, "0.25 is at most 0.25")),
        (None, 0.2, GateAnswer(False, "0.25 is more than 0.2")),
        (0.25, None, GateAnswer(True, "0.25 is at least 0.25")),
        (0.3, None, GateAnswer(False, "0.25 is less than 0.3")),
        (0.1, 0.3, GateAnswer(True, "0.25 is at least 0.1 and at most 0.3")),
    ],
)
def test_a_gate_holds_the_value_against_its_limits(serve, minimum, maximum, answer):
    site = serve(lambda _: success("vector", [SAMPLE]))
    prometheus = Prometheus(RolloutSettings(prometheus_url=site.url))
    gate = PrometheusGate("errors", 'sum(e{model="$model",version="$canary"})', minimum, maximum)

    assert run(prometheus.ask(gate, "digits", 3, 2)) == answer
    assert parse_qs(site.received[0].body.decode())["query"] == ['sum(e{model="digits",version="3"})']


def test_a_gate_waits_where_there_is_no_value(serve):
    prometheus = Prometheus(RolloutSettings(prometheus_url=serve(lambda _: success("vector", [])).url))
    answer = run(prometheus.ask(PrometheusGate("errors", "up", 0.0), "digits", 3, 2))
    assert answer == GateAnswer(None, "the query finds no data")


@pytest.mark.parametrize(
    ("promql", "becomes"),
    [
        ('{m="$model",v="$canary"} / {v="$stable"}', '{m="my-model_1.2",v="12"} / {v="3"}'),
        ("$model$canary", "my-model_1.212"),
        ("$models $model_x $canaryish $ $$ x$", "$models $model_x $canaryish $ $$ x$"),
    ],
)
def test_model_and_versions_are_put_into_a_query(promql, becomes):
    assert substitute(promql, "my-model_1.2", canary=12, stable=3) == becomes


@pytest.mark.parametrize(
    "hostile", ['a"} or vector(0) #', "a'} or x{b='", "a` or `", "a\\", "a\nb", "$canary", "😀"]
)
@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_no_name_of_a_model_ends_the_string_that_it_stands_in(hostile, quote):
    becomes = substitute(f"up{{m={quote}$model{quote}}}", hostile, 2, 1)

    inside = becomes.removeprefix(f"up{{m={quote}").removesuffix(f"{quote}}}")
    assert not set(inside) & set("\"'`\n{}$ ")
    if quote != "`":
        # Escapes of PromQL's strings are those of Go, and these of Python, too.
        assert (
            json.loads(f'"{inside}"')
            if "\\U" not in inside
            else inside.encode().decode("unicode_escape") == hostile
        )
