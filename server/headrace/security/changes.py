"""Changes that callers make: carried out whether or not these wait, and recorded as begun, done or failed."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from headrace.core.caller import Caller
from headrace.errors import HeadraceError
from headrace.security.audit.event import AuditEvent
from headrace.security.audit.log import Audit

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """What `caller` changes of which model; `state` tells how it is, `given` what the caller gave."""

    action: str
    caller: Caller
    model: str
    state: Callable[[], Any]
    given: Any = None


class Changes:
    """Owns the changes under way. One that cannot be recorded may be refused (audit.required)."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._under_way: set[asyncio.Task[Any]] = set()

    async def make(self, change: Change, making: Coroutine[Any, Any, T]) -> T:
        """Makes a change, and records that it begins and how it ends, also where the caller does not wait."""
        task = asyncio.get_running_loop().create_task(self._recorded(change, making))
        self._under_way.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def _recorded(self, change: Change, making: Coroutine[Any, Any, T]) -> T:
        before = _state(change)

        def event(outcome: str, reason: str = "", new: Any = None) -> AuditEvent:
            return AuditEvent(
                change.action,
                change.caller,
                model=change.model,
                outcome=outcome,
                reason=reason,
                old=before,
                new=new,
            )

        try:
            await self._audit.record_now(event("begun", new=change.given))
        except BaseException:
            making.close()
            raise
        try:
            made = await making
        except asyncio.CancelledError:
            self._audit.record(event("failed", "the server stopped", _state(change)))
            raise
        except Exception as error:
            self._audit.record(event("failed", str(error), _state(change)))
            raise
        self._audit.record(event("done", new=_state(change)))
        return made

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, as its caller may be gone


def _state(change: Change) -> Any:
    """None of what there is not, as of an unknown model."""
    try:
        return change.state()
    except HeadraceError:
        return None
