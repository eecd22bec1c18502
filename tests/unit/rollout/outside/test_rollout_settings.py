"""Settings of rollouts: what is refused, without showing what may be a secret."""

from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.settings import RolloutSettings
from headrace.settings.printing import to_yaml
from headrace.settings.reading import read_settings


def test_urls_are_read_from_flags_and_the_environment_and_not_printed():
    flags = {"rollout.webhook_urls": ["https://a.example/hook?key=s3cret", "http://[::1]:9000"]}
    environment = {"HEADRACE_ROLLOUT_GATE_FUNCTION": "slo=gates:check,gates:other"}

    effective = read_settings(flags, environment)

    rollout = effective.settings.rollout
    assert rollout.webhook_urls == ("https://a.example/hook?key=s3cret", "http://[::1]:9000")
    assert rollout.gate_functions == ("slo=gates:check", "gates:other")
    assert "s3cret" not in to_yaml(effective)


@pytest.mark.parametrize(
    "url",
    [
        "[hidden]", "s3cret", "ftp://s3cret", "http://", "http:///s3cret", "https://a:port/s3cret", "http://[::1/s3cret",
        "http://a b/s3cret", "http://a/ü-s3cret", "http://a/s3cret\n", "http://a:0/s3cret", "http://a:99999/s3cret",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused_without_showing_it(url):
    with pytest.raises(ConfigError) as refused:
        RolloutSettings(webhook_urls=("http://a.example", url))
    assert str(refused.value) == (
        "rollout.webhook_urls: number 2 is no URL: expected http:// or https:// and a host, percent-encoded"
    )
    with pytest.raises(ConfigError, match=r"rollout.prometheus_url: it is no URL"):
        RolloutSettings(prometheus_url=url)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"webhook_urls": ("http://me:s3cret@a/",)}, "webhook_urls: number 1 has a user's name in it"),
        ({"webhook_urls": ("http://a/#s3cret",)}, "webhook_urls: number 1 has a fragment"),
        ({"webhook_urls": ("http://a/s3cret",) * 2}, "webhook_urls: number 2 is given twice"),
        ({"prometheus_url": "http://a/?s3cret"}, "prometheus_url: it has a query"),
        ({"webhook_secret_file": Path("x")}, "webhook_secret_file: has no effect without rollout.web"),
        ({"prometheus_token_file": Path("x")}, "prometheus_token_file: has no effect without rollout.prom"),
        ({"webhook_urls": ("http://a/",), "enabled": False}, "webhook_urls: has no effect without"),
        ({"gate_functions": ("a:b",), "enabled": False}, "gate_functions: has no effect without rollout.en"),
        ({"webhook_timeout_s": 0.0}, "webhook_timeout_s: 0.0 is not valid: expected a number from"),
    ],
)  # fmt: skip
def test_what_does_not_do_is_refused(given, problem):
    with pytest.raises(ConfigError) as refused:
        RolloutSettings(**given)
    assert str(refused.value).startswith(f"rollout.{problem}")
    assert "s3cret" not in str(refused.value)
