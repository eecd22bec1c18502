"""Rollouts under way, drawn anew each second."""

import time
from collections.abc import Sequence

from headrace.cli.client import CallFailed, Client
from headrace.cli.rollout_calls import STATUS
from headrace.cli.rollout_text import status_text
from headrace.cli.rollout_words import is_open
from headrace.cli.screen import Screen
from headrace.pb.headrace.v1 import rollouts_pb2 as pb

INTERVAL_S = 1.0


def current(client: Client, model: str) -> Sequence[pb.Rollout]:
    """The last rollout of `model`, or of each model where that is ""."""
    return client.call(STATUS, pb.RolloutStatusRequest(model_name=model)).rollouts


def watch(client: Client, model: str) -> Sequence[pb.Rollout]:
    """Draws until `model`'s rollout has ended, or somebody interrupts; returns what was shown last.

    A server that does not answer for a while, as one that starts again, is asked again.
    """
    rollouts = current(client, model)
    trouble = ""
    with Screen() as screen:
        try:
            while not model or any(map(is_open, rollouts)):
                text = status_text(rollouts, time.time(), is_of_one=bool(model))
                screen.draw(f"{text}\n\n{trouble}" if trouble else text)
                time.sleep(INTERVAL_S)
                try:
                    rollouts, trouble = current(client, model), ""
                except CallFailed as error:
                    trouble = f"{error}; asked again"
        except KeyboardInterrupt:
            pass
    return rollouts
