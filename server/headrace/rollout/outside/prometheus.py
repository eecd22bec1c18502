"""Asks a Prometheus server for the values that gates compare."""

import json
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from headrace.core.plan import PrometheusGate
from headrace.errors import HeadraceError
from headrace.rollout.outside.gate_answer import GateAnswer, shortened, waits
from headrace.rollout.outside.poster import Answer, Poster
from headrace.rollout.outside.promql import substitute
from headrace.rollout.outside.secret_file import SecretFile
from headrace.settings import RolloutSettings

# One sample takes some hundred bytes; a query that finds too many shall be told how many.
MAX_ANSWER_BYTES = 2**20
# Queries at the same time; others wait, as part of their time.
MAX_QUERIES = 4
_PATH = "/api/v1/query"


@dataclass(frozen=True, slots=True)
class Reading:
    """The value of a query, or None and in `problem` why there is none."""

    value: float | None
    problem: str = ""


class Prometheus:
    """Instant queries (prometheus.io/docs/prometheus/latest/querying/api/#instant-queries)."""

    def __init__(self, settings: RolloutSettings, tls: ssl.SSLContext | None = None) -> None:
        self._timeout_s = settings.prometheus_timeout_s
        path = settings.prometheus_token_file
        self._token = SecretFile(path, "rollout.prometheus_token_file") if path else None
        self._poster: Poster | None = None
        if settings.prometheus_url is not None:
            url = settings.prometheus_url.rstrip("/") + _PATH
            self._poster = Poster(url, self._timeout_s, MAX_ANSWER_BYTES, limit=MAX_QUERIES, tls=tls)

    @property
    def is_configured(self) -> bool:
        return self._poster is not None

    def check(self) -> None:
        """Blocks; ConfigError where the token's file does not do."""
        if self._token is not None:
            self._token.read()

    async def ask(self, gate: PrometheusGate, model: str, canary: int, stable: int) -> GateAnswer:
        """Whether the value is within the gate's limits; the gate waits where there is no value."""
        reading = await self.query(substitute(gate.query, model, canary, stable))
        value = reading.value
        if value is None:
            return waits(reading.problem)
        if gate.minimum is not None and value < gate.minimum:
            return GateAnswer(False, f"{value:g} is less than {gate.minimum:g}")
        if gate.maximum is not None and value > gate.maximum:
            return GateAnswer(False, f"{value:g} is more than {gate.maximum:g}")
        limits = (
            f"at least {gate.minimum:g}" if gate.minimum is not None else "",
            f"at most {gate.maximum:g}" if gate.maximum is not None else "",
        )
        return GateAnswer(True, f"{value:g} is {' and '.join(filter(None, limits))}")

    async def query(self, promql: str) -> Reading:
        """The one value that `promql` has now."""
        if self._poster is None:
            return Reading(None, "no Prometheus server is set: expected rollout.prometheus_url")
        form = urlencode({"query": promql, "timeout": f"{self._timeout_s:g}"}).encode()
        try:
            answer = await self._poster.post(form, self._headers)
        except HeadraceError as error:
            return Reading(None, f"Prometheus cannot be asked: {error}")
        value, problem = _read(answer)
        return Reading(value, shortened(problem))

    def _headers(self) -> Mapping[str, str]:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.read().decode('latin-1')}"
        return headers


def _read(answer: Answer) -> tuple[float | None, str]:
    """The value, or why there is none."""
    if not answer.is_whole:
        return None, f"Prometheus answered with more than {MAX_ANSWER_BYTES} bytes: expected one sample"
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "status" not in document:
        return None, f"Prometheus answered with status {answer.status}, and not in JSON of its own"
    if document["status"] != "success" or answer.status != 200:
        return None, f"Prometheus refused the query: {document.get('error') or f'status {answer.status}'}"
    try:
        return _read_data(document["data"])
    except (KeyError, TypeError, ValueError, IndexError):
        return None, "Prometheus answered with a sample that cannot be read"


def _read_data(data: Mapping[str, Any]) -> tuple[float | None, str]:
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return _number(result)
    if kind != "vector":
        return None, f"the query has a {kind}: expected one sample, or a scalar"
    if not result:
        return None, "the query finds no data"
    if len(result) > 1:
        return None, f"the query finds {len(result)} samples: expected one, as of sum(...)"
    if "histogram" in result[0]:
        return None, "the query finds a histogram: expected one value, as of histogram_quantile(...)"
    return _number(result[0]["value"])


def _number(sample: Any) -> tuple[float | None, str]:
    """A sample is its time and its value, which is a text."""
    _, text = sample
    value = float(text)
    if math.isnan(value):
        return None, "the query's value is NaN, as of a rate without requests"
    return value, ""
