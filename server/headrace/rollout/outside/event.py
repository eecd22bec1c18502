"""The document that receivers of webhooks get of each event of a rollout (docs/webhooks.md)."""

import json
import uuid
from dataclasses import asdict, dataclass

MAX_REASON_CHARACTERS = 2048


def new_event_id() -> str:
    """Unlike any other, of this server and of others."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One event of a rollout. `weight` is the canary's share in percent, `at` in seconds since 1970.

    `kind`, `state`, `reason` and `by` are those of `headrace rollout explain`; `step` counts from 0. `server`
    is the name in the server's metadata.
    """

    id: str
    kind: str
    model: str
    rollout: int
    version: int
    stable: int
    step: int
    weight: float
    state: str
    reason: str
    by: str
    at: float
    server: str

    def body(self) -> str:
        """The document, as JSON."""
        document = asdict(self)
        if len(self.reason) > MAX_REASON_CHARACTERS:
            document["reason"] = self.reason[: MAX_REASON_CHARACTERS - 1] + "…"
        return json.dumps(document)
