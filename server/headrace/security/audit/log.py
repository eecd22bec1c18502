"""The audit log: who changed what, and who was refused, written down in an order that shows tampering."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from headrace.errors import ConfigError, Unavailable
from headrace.security.audit.audit_file import AuditFile
from headrace.security.audit.content import content_of
from headrace.security.audit.daily import DailyArchive
from headrace.security.audit.denials import Denials
from headrace.security.audit.event import INFER, AuditEvent
from headrace.security.audit.writer import MAX_WAITING, Writer
from headrace.settings import AuditSettings
from headrace.state.database import BUSY_TIMEOUT_S

STOP_TIMEOUT_S = 5.0
# Sampled requests leave so much room to what matters more.
ROOM_FOR_SAMPLES = MAX_WAITING // 2


class AuditLog:
    """Records events in the state folder, in the order of the calls; only `record_now` waits for a disk."""

    def __init__(
        self,
        folder: Path,
        settings: AuditSettings,
        clock: Callable[[], float] = time.monotonic,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._is_required = settings.required
        # Of the number as it is written: 0.1 is a tenth, which no float is.
        self._sample_rate = Fraction(repr(settings.inference_sample_rate))
        self._sampled_share = 0
        self._file = AuditFile(folder, busy_timeout_s)
        self._denials = Denials(clock)
        self._writer = Writer(self._file, self._denials, clock)
        self._archive = (
            DailyArchive(folder, settings.keep_days, settings.archive_dir) if settings.keep_days else None
        )

    @property
    def recorded_count(self) -> int:
        """Records that this process has written."""
        return self._writer.recorded_count

    @property
    def lost_count(self) -> int:
        """Those that it could not write."""
        return self._writer.lost_count

    @property
    def archived_count(self) -> int:
        """Archives that this process has made."""
        return self._archive.done_count if self._archive else 0

    @property
    def unarchived_count(self) -> int:
        """How often it has failed to make one."""
        return self._archive.failed_count if self._archive else 0

    def start(self) -> None:
        """From now on events are recorded, or lost where the file cannot be opened and is not required."""
        try:
            self._file.open()
        except (ConfigError, OSError) as error:
            if self._is_required:
                raise ConfigError(f"audit.required: {error}") from None
            self._writer.warn(str(error))
        self._writer.start()
        if self._archive is not None:
            self._archive.start()

    def record(self, event: AuditEvent) -> None:
        """Never waits and never raises; denials that are equal, or very many, are counted instead."""
        content = content_of(event)
        if event.is_allowed:
            self._writer.put(content, room=ROOM_FOR_SAMPLES if event.action == INFER else MAX_WAITING)
        elif self._denials.take(content):
            self._writer.put(content)

    async def record_now(self, event: AuditEvent) -> None:
        """Returns once `event` is on disk, or where it cannot be and is not required; else Unavailable."""
        waiter: Future[bool] = Future()
        is_recorded = self._writer.put(content_of(event), waiter) and await asyncio.wrap_future(waiter)
        if self._is_required and not is_recorded:
            raise Unavailable(f"'{event.action}' cannot be recorded in the audit log, and is refused without")

    def samples_inference(self) -> bool:
        """True for the set share of calls, as evenly as can be."""
        self._sampled_share += self._sample_rate.numerator
        if self._sampled_share < self._sample_rate.denominator:
            return False
        self._sampled_share -= self._sample_rate.denominator
        return True

    def stop(self) -> None:
        """Ends an archive under way, and writes what waits; each for a few seconds at most."""
        if self._archive is not None:
            self._archive.stop(STOP_TIMEOUT_S)
        self._writer.stop(STOP_TIMEOUT_S)


class NoAuditLog:
    """Nothing is recorded."""

    recorded_count = 0
    lost_count = 0
    archived_count = 0
    unarchived_count = 0

    def start(self) -> None: ...

    def record(self, event: AuditEvent) -> None: ...

    async def record_now(self, event: AuditEvent) -> None: ...

    def samples_inference(self) -> bool:
        return False

    def stop(self) -> None: ...


Audit: TypeAlias = AuditLog | NoAuditLog
