"""What the audit log is told: who did what, or was refused it."""

from dataclasses import dataclass

from headrace.core.caller import Caller

INFER = "infer"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """`outcome` is begun, done or failed, and "" for a refusal; `reason` tells why it was refused or failed.

    `old` and `new` are what was changed, before and after: anything that JSON can hold.
    """

    action: str
    caller: Caller
    model: str = ""
    version: str = ""
    is_allowed: bool = True
    outcome: str = ""
    reason: str = ""
    old: object = None
    new: object = None
