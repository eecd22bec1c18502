"""The document of an event, and when a receiver that fails is tried again."""

import dataclasses
import json
import re
from pathlib import Path

from headrace.rollout.outside.event import MAX_REASON_CHARACTERS, WebhookEvent, new_event_id
from headrace.rollout.outside.receiver import MAX_DELAY_S, MIN_DELAY_S, delay_s

PAGE = (Path(__file__).parents[4] / "docs" / "webhooks.md").read_text()

EVENT = WebhookEvent(
    id="5f0c", kind="promoted", model="digits", rollout=7, version=3, stable=2, step=1, weight=5.0,
    state="running", reason="after 60 s", by="headrace", at=1700000000.25, server="headrace",
)  # fmt: skip


def test_the_document_has_every_field():
    assert json.loads(EVENT.body()) == dataclasses.asdict(EVENT)


def test_the_page_tells_of_every_field():
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE))
    assert {field.name for field in dataclasses.fields(WebhookEvent)} <= told


def test_a_long_reason_is_cut():
    event = dataclasses.replace(EVENT, reason="x" * 5000)
    assert len(json.loads(event.body())["reason"]) == MAX_REASON_CHARACTERS


def test_ids_are_unique():
    assert len({new_event_id() for _ in range(100)}) == 100


def test_delays_grow_from_a_second_to_five_minutes_and_differ():
    for failures in (1, 2, 5, 9, 10, 1000):
        delays = {delay_s(failures) for _ in range(50)}
        assert all(MIN_DELAY_S <= each <= MAX_DELAY_S for each in delays)
        assert len(delays) > 1
    assert max(delay_s(1) for _ in range(50)) <= 2
    assert min(delay_s(20) for _ in range(50)) >= MAX_DELAY_S / 2
