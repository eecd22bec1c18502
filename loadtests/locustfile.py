"""The Locust user: sends a repository's example requests over gRPC at a given rate, whatever the answers do.

Run it from the repository's root: `python -m locust -f loadtests/locustfile.py --headless -u 4 -t 60s`.
loadtests/README.md says how to read the figures.
"""

import logging
import random
from argparse import ArgumentTypeError
from functools import partial
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any

import gevent
from gevent.event import Event
from grpc.experimental.gevent import init_gevent
from locust import User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner

from headrace.errors import ConfigError
from loadtests.arrivals import Arrivals, send_times
from loadtests.client import Client, Outcome
from loadtests.examples import Example, read_examples
from loadtests.lateness import Lateness
from loadtests.served import Served, read_served

init_gevent()

logger = logging.getLogger(__name__)
lateness = Lateness()
served_before = Served()

SAMPLES = Path(__file__).resolve().parent.parent / "model_repository"
REQUEST_TYPE = "grpc"
GRACE_S = 5.0


class WrongAnswer(Exception):
    """The server answered, but not with what the example says."""


class InferenceUser(User):
    """One connection that sends `--rate` requests a second, the examples in turn.

    Answers are not waited for, and a latency counts from the time at which the request was to be sent: a
    server that stalls gets, and is charged with, every request that falls into the stall.
    """

    wait_time = constant(0)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options: Any = environment.parsed_options
        examples = _examples(options)
        random.shuffle(examples)
        self._examples = cycle(examples)
        self._client = Client(options.grpc_url, options.request_timeout)
        arrivals = Arrivals(options.arrivals)
        self._send_times = send_times(arrivals, options.rate, perf_counter(), random.Random())
        self._unanswered_count = 0
        self._all_answered = Event()
        self._all_answered.set()

    def on_stop(self) -> None:
        """Requests under way count, too; each is answered, or given up, within its time-out."""
        if not self._all_answered.wait(self._client.timeout_s + GRACE_S):
            logger.error("%d requests are neither answered nor given up", self._unanswered_count)
        self._client.close()

    @task
    def send(self) -> None:
        due_s = next(self._send_times)
        while (left_s := due_s - perf_counter()) > 0:
            gevent.sleep(left_s)
        example = next(self._examples)
        lateness.observe(perf_counter() - due_s)
        self._unanswered_count += 1
        self._all_answered.clear()
        # Locust ends a user by an exception wherever it is; half a call would never be answered.
        gevent.spawn(self._client.infer, example.request, partial(self._answered, example, due_s))

    def _answered(self, example: Example, due_s: float, outcome: Outcome) -> None:
        self.environment.events.request.fire(
            request_type=REQUEST_TYPE,
            name=example.name,
            response_time=(outcome.at_s - due_s) * 1000,
            response_length=outcome.byte_count,
            exception=outcome.error or _complaint(example, outcome),
            context=self.context(),
        )
        self._unanswered_count -= 1
        if not self._unanswered_count:
            self._all_answered.set()


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("headrace")
    group.add_argument("--grpc-url", default="127.0.0.1:8001", help="Server to send to, HOST:PORT")
    group.add_argument(
        "--repository", default=str(SAMPLES), help="Model repository whose examples/ folders are sent"
    )
    group.add_argument(
        "--models",
        default="",
        help="Models to send to, as in digits,cancer:1; empty for all",
    )
    group.add_argument("--rate", type=_positive, default=10.0, help="Requests a second that each user sends")
    group.add_argument(
        "--arrivals",
        choices=[str(each) for each in Arrivals],
        default=str(Arrivals.POISSON),
        help="constant: equal gaps; poisson: gaps as those of many independent callers",
    )
    group.add_argument(
        "--request-timeout", type=_positive, default=10.0, help="Seconds until a request counts as failed"
    )


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """Ends the run before it begins where there is nothing to send."""
    # gevent counts --run-time from its last look at the clock, which was before all the imports.
    gevent.get_hub().loop.update_now()
    try:
        _examples(environment.parsed_options)
    except ConfigError as error:
        raise SystemExit(str(error)) from error


@events.test_start.add_listener
def note_served(environment: Environment, **_: Any) -> None:
    global served_before
    if not isinstance(environment.runner, WorkerRunner):
        options: Any = environment.parsed_options
        served_before = read_served(options.grpc_url)


@events.test_stop.add_listener
def tell_lateness(**_: Any) -> None:
    """The master of several processes sends nothing itself."""
    if not lateness.sent_count:
        return
    logger.info("%s", lateness)
    if not lateness.is_tolerable:
        logger.warning("the load generator could not keep up, and the latencies include that: see the README")


@events.quitting.add_listener
def tell_served(environment: Environment, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    options: Any = environment.parsed_options
    logger.info(
        "mean of all requests: %.1f ms from their time to their answer, %.1f ms of it within the server "
        "by its own statistics",
        environment.stats.total.avg_response_time,
        read_served(options.grpc_url).mean_ms_since(served_before),
    )


def _examples(options: Any) -> list[Example]:
    return list(read_examples(Path(options.repository), options.models))


def _complaint(example: Example, outcome: Outcome) -> WrongAnswer | None:
    complaint = outcome.answer is not None and example.complaint(outcome.answer)
    return WrongAnswer(complaint) if complaint else None


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise ArgumentTypeError(f"{text} is given; expected a number above 0")
    return number
