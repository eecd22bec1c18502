"""Rollouts under way, looked at each second: drawn anew on a terminal, told line by line elsewhere."""

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from headrace.cli.client import CallFailed, Client
from headrace.cli.rollout_calls import STATUS
from headrace.cli.rollout_text import status_text
from headrace.cli.rollout_words import is_open, outcome, time_of
from headrace.cli.screen import Screen, is_terminal
from headrace.logs import escape
from headrace.pb.headrace.v1 import rollouts_pb2 as pb

INTERVAL_S = 1.0

# Shows what is known, and what keeps the server from saying more, "" for nothing.
_Show: TypeAlias = Callable[[Sequence[pb.Rollout], str], None]

_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]\d+)?")


def current(client: Client, model: str) -> Sequence[pb.Rollout]:
    """The last rollout of `model`, or of each model where that is ""."""
    return client.call(STATUS, pb.RolloutStatusRequest(model_name=model)).rollouts


def watch(client: Client, model: str, rollouts: Sequence[pb.Rollout]) -> Sequence[pb.Rollout]:
    """Shows `rollouts`, and what becomes of them until `model`'s has ended, or somebody interrupts.

    Returns what was known last. A server that does not answer for a while, as one that starts again, is asked
    again.
    """
    if not is_terminal():
        return _followed(client, model, rollouts, _Lines().show)
    with Screen() as screen:
        return _followed(client, model, rollouts, partial(_draw, screen, is_of_one=bool(model)))


def _followed(
    client: Client, model: str, rollouts: Sequence[pb.Rollout], show: _Show
) -> Sequence[pb.Rollout]:
    trouble = ""
    try:
        while not model or any(map(is_open, rollouts)):
            show(rollouts, trouble)
            time.sleep(INTERVAL_S)
            try:
                rollouts, trouble = current(client, model), ""
            except CallFailed as error:
                trouble = f"{error}; asked again"
    except KeyboardInterrupt:
        pass
    return rollouts


def _draw(screen: Screen, rollouts: Sequence[pb.Rollout], trouble: str, *, is_of_one: bool) -> None:
    text = status_text(rollouts, time.time(), is_of_one=is_of_one)
    screen.draw(f"{text}\n\n{trouble}" if trouble else text)


class _Lines:
    """A line for each change of a rollout's state, step or reason, and for each trouble with the server."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[object, ...]] = {}
        self._trouble = ""

    def show(self, rollouts: Sequence[pb.Rollout], trouble: str) -> None:
        for rollout in rollouts:
            # Reasons count, as in `the step lasts 18 s more`: other numbers alone are no news.
            news = rollout.id, rollout.state, rollout.step, _NUMBER.sub("", rollout.reason)
            if self._told.get(rollout.model_name) != news:
                self._told[rollout.model_name] = news
                _say(f"{outcome(rollout)}: {rollout.reason}" if rollout.reason else outcome(rollout))
        if trouble and trouble != self._trouble:
            _say(trouble)
        self._trouble = trouble


def _say(text: str) -> None:
    print(f"{time_of(time.time())}  {escape(text)}", flush=True)
