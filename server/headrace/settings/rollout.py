"""Settings of rollouts: what they ask and tell outside the server."""

# ruff: noqa: RUF009  option() makes a field, as dataclasses.field does

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from headrace.errors import ConfigError
from headrace.settings.option import check, option

# RFC 3986 §2: everything else has to be percent-encoded.
_URL_CHARACTERS = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """Routes, rollouts, and whom they ask and tell outside the server."""

    enabled: bool = option(
        True, "Whether routes and rollouts are kept in the state database and carried out."
    )
    keep_rollouts: int = option(
        100,
        "Rollouts of each model that are kept, with the decisions on them; the oldest go first.",
        flag="rollout-keep",
        minimum=1,
        maximum=1_000_000,
    )
    webhook_urls: tuple[str, ...] = option(
        (),
        "URL that every event of a rollout is posted to; may be given several times.",
        flag="rollout-webhook-url",
        is_secret=True,
    )
    webhook_secret_file: Path | None = option(
        None, "File with the secret, at least 16 bytes, that these posts are signed with."
    )
    webhook_timeout_s: float = option(
        5.0,
        "How long a receiver may take to answer before the event is posted again.",
        unit="seconds",
        minimum=0.1,
        maximum=300,
    )
    webhook_max_age_s: float = option(
        86_400.0,
        "Age at which an event that a receiver does not take is given up.",
        unit="seconds",
        minimum=1,
    )
    prometheus_url: str | None = option(
        None, "Prometheus server, as in http://prometheus:9090, that gates with a query ask."
    )
    prometheus_timeout_s: float = option(
        5.0, "How long it may take to answer.", unit="seconds", minimum=0.1, maximum=300
    )
    prometheus_token_file: Path | None = option(
        None, "File with the bearer token that it is asked with; read again for every query."
    )
    gate_functions: tuple[str, ...] = option(
        (),
        "Function that gates may call, as in slo=ourgates.slo:check or ourgates.slo:check, imported at the "
        "start; may be given several times.",
        flag="rollout-gate-function",
    )
    capture_inputs: bool = option(False, "Whether the worst examples of a comparison keep their inputs.")

    def __post_init__(self) -> None:
        check(self)
        self._check_effects()
        for number, url in enumerate(self.webhook_urls, 1):
            _check_url(f"rollout.webhook_urls: number {number}", url)
            if url in self.webhook_urls[: number - 1]:
                raise ConfigError(f"rollout.webhook_urls: number {number} is given twice: expected it once")
        if self.prometheus_url is not None:
            _check_url("rollout.prometheus_url: it", self.prometheus_url)
            if urlsplit(self.prometheus_url).query:
                raise ConfigError("rollout.prometheus_url: it has a query: expected an URL without one")

    def _check_effects(self) -> None:
        if self.webhook_secret_file is not None and not self.webhook_urls:
            raise ConfigError("rollout.webhook_secret_file: has no effect without rollout.webhook_urls")
        if self.prometheus_token_file is not None and self.prometheus_url is None:
            raise ConfigError("rollout.prometheus_token_file: has no effect without rollout.prometheus_url")
        for name in ("webhook_urls", "prometheus_url", "gate_functions"):
            if getattr(self, name) and not self.enabled:
                raise ConfigError(f"rollout.{name}: has no effect without rollout.enabled")


def _check_url(what: str, url: str) -> None:
    """ConfigError, which does not show the URL: some are secrets."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not _URL_CHARACTERS.fullmatch(url):
        raise ConfigError(f"{what} is no URL: expected http:// or https:// and a host, percent-encoded")
    if parts.username is not None:
        raise ConfigError(f"{what} has a user's name in it: expected an URL without one")
    if "#" in url:
        raise ConfigError(f"{what} has a fragment (#): expected an URL without one")
