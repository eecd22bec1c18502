"""What a request costs over HTTP, as JSON and with binary tensors: a tiny network, beside other servers."""

import http.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks import h2load, servers
from benchmarks.effort import Effort
from benchmarks.h2load import HttpOutcome, HttpRequest
from benchmarks.models import Array, Network, repository, tiny
from benchmarks.report import Figure, Report, at_least, ratios
from benchmarks.rivals.catalogue import BINARY, JSON, RIVALS, Question, Rival, v2_questions
from benchmarks.servers import HttpServer

HEADRACE = "headrace"
CONNECTIONS = 32
# The rates differ by far more than tenfold, so each is asked as much as it answers in this time.
MEASURED_S = 3.0
WARMUP_REQUESTS = 500
WARMUP_S = 0.5
ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Subject:
    """One server asked in one form; `outcomes` grows by one a round."""

    name: str
    form: str
    server: HttpServer
    request: HttpRequest
    outcomes: list[HttpOutcome] = field(default_factory=list)

    @property
    def rates(self) -> tuple[float, ...]:
        return tuple(outcome.requests_per_s for outcome in self.outcomes)

    @property
    def costs(self) -> tuple[float, ...]:
        return tuple(outcome.cpu_us_per_request for outcome in self.outcomes)


def run(effort: Effort) -> Report:
    network = tiny()
    notes: list[str] = []
    with ExitStack() as stack:
        folder = stack.enter_context(repository(network))
        subjects = _headrace(network, folder, stack)
        for rival in RIVALS:
            subjects += _rival(rival, network, folder, stack, notes)
        for subject in subjects:
            subject.server.pause()
        requests = [_requests(subject, effort.seconds(MEASURED_S)) for subject in subjects]
        for _ in range(effort.rounds):
            for subject, count in zip(subjects, requests):
                subject.outcomes.append(_drive(subject, count))
        for subject in subjects:
            subject.server.resume()
    return Report(tuple(_figures(subjects)), tuple(notes))


def _headrace(network: Network, folder: Path, stack: ExitStack) -> list[Subject]:
    running = stack.enter_context(servers.headrace(folder))
    if running.http_port is None:
        raise RuntimeError("headrace runs without HTTP: this is a bug")
    server = HttpServer(running.http_port, running.pid)
    stack.callback(server.resume)
    return _subjects(HEADRACE, server, network, v2_questions(network))


def _rival(rival: Rival, network: Network, folder: Path, stack: ExitStack, notes: list[str]) -> list[Subject]:
    """Nothing where it is not installed or does not start; `notes` then say so."""
    version = rival.version()
    if version is None:
        notes.append(f"{rival.name} is not installed (make rivals)")
        return []
    questions = rival.questions(network)
    try:
        server = stack.enter_context(_started(rival, folder / network.name / "1" / "model.onnx", questions))
    except (RuntimeError, TimeoutError) as error:
        notes.append(f"{rival.name} did not start: {str(error).strip().splitlines()[-1]}")
        return []
    notes.append(f"{rival.name}: {rival.package} {version}")
    return _subjects(rival.name, server, network, questions)


@contextmanager
def _started(rival: Rival, model: Path, questions: Mapping[str, Question]) -> Iterator[HttpServer]:
    """`rival`, once it answers each of `questions`."""

    def is_ready(port: int) -> bool:
        return all(_answer(port, question.request) is not None for question in questions.values())

    with servers.rival(lambda port: rival.command(model, port), is_ready) as server:
        yield server


def _subjects(
    name: str, server: HttpServer, network: Network, questions: Mapping[str, Question]
) -> list[Subject]:
    """One for each form; RuntimeError where an answer is not what ONNX Runtime computes."""
    expected = _expected(network)
    for form, question in questions.items():
        body = _answer(server.port, question.request)
        if body is None or not np.allclose(question.read(body), expected, atol=1e-5):
            raise RuntimeError(f"{name} answers {body!r} to {form}, expected {expected}")
    return [Subject(name, form, server, question.request) for form, question in questions.items()]


def _expected(network: Network) -> Array:
    session = onnxruntime.InferenceSession(network.graph, providers=["CPUExecutionProvider"])
    answer: Array = session.run(["y"], {"x": network.rows(1)})[0]
    return answer[0]


def _answer(port: int, request: HttpRequest) -> bytes | None:
    """The body of the answer; None unless its status is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("POST", request.path, request.body, dict(request.headers))
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == 200 else None


def _requests(subject: Subject, seconds: float) -> int:
    """How many requests take so many seconds, once it is warm."""
    rate = _drive(subject, WARMUP_REQUESTS).requests_per_s
    rate = _drive(subject, round(rate * WARMUP_S)).requests_per_s
    return round(rate * seconds)


def _drive(subject: Subject, requests: int) -> HttpOutcome:
    subject.server.resume()
    try:
        return h2load.drive_http(subject.server, subject.request, requests, CONNECTIONS)
    finally:
        subject.server.pause()


def _figures(subjects: Sequence[Subject]) -> Iterator[Figure]:
    """The ratios of each form, then what they are made of."""
    own = {subject.form: subject for subject in subjects if subject.name == HEADRACE}
    goals = {rival.name: at_least(rival.goal) for rival in RIVALS}
    for form in (JSON, BINARY):
        for subject in subjects:
            if subject.form != form or subject.name == HEADRACE:
                continue
            costs = ratios(subject.costs, own[form].costs)
            rates = ratios(own[form].rates, subject.rates)
            yield Figure(f"{form}: CPU a request, {subject.name} ÷ headrace", costs, goal=goals[subject.name])
            yield Figure(f"{form}: requests/s ÷ {subject.name}", rates)
    for form in (JSON, BINARY):
        for subject in subjects:
            if subject.form == form:
                yield Figure(f"{form}: requests/s, {subject.name}", subject.rates, "1/s")
                yield Figure(f"{form}: CPU a request, {subject.name}", subject.costs, "µs")
