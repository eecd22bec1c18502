"""Who was turned away, and why: counted for the metrics, and recorded in the audit log."""

from collections import Counter

from headrace.core.caller import Caller
from headrace.errors import HeadraceError, LimitExceeded
from headrace.security.audit.event import AuditEvent
from headrace.security.audit.log import Audit


class Refusals:
    """`counts` are by model ("" where that says nothing) and reason."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self.counts: Counter[tuple[str, str]] = Counter()

    def denied(self, action: str, caller: Caller, model: str, error: HeadraceError, reason: str = "") -> None:
        """`caller` may not do `action`; the metrics name no model, as there may be no such model.

        `reason` is counted in place of the error's status, where that is another one by custom.
        """
        self.counts["", reason or error.status.name.lower()] += 1
        self._audit.record(AuditEvent(action, caller, model=model, is_allowed=False, reason=str(error)))

    def limited(self, model: str, error: LimitExceeded) -> None:
        """Somebody who may has had their share; `model` is "" where there is no such model."""
        self.counts[model, error.reason] += 1
