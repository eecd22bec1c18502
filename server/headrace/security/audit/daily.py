"""Archives once a day what the audit log need not keep at hand any longer."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace.core.caller import Caller
from headrace.errors import HeadraceError
from headrace.security.audit.archive import Archiver, sync
from headrace.security.audit.content import timestamp

_log = logging.getLogger(__name__)

INTERVAL_S = 86_400.0
# After a day that failed: what was in the way may pass.
RETRY_S = 3_600.0
# After every thousand records, so that requests and those who write to the log have their turn.
REST_S = 0.1
# In the state folder, where no other is named.
FOLDER_NAME = "audit-archive"
_FOLDER_MODE = 0o700

_SERVER = Caller("headrace")


class _Stopped(Exception):
    """The server is about to end: the rest of the work is for the next one."""


class DailyArchive:
    """A thread that archives the days of the log in `folder` that ended more than `keep_days` days ago.

    It does so at the start and every day, into files in `archive_dir`, which is made where it is missing.
    What goes wrong is logged and counted, and tried again.
    """

    def __init__(
        self,
        folder: Path,
        keep_days: int,
        archive_dir: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        interval_s: float = INTERVAL_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._keep_days = keep_days
        self._archive_dir = archive_dir or folder / FOLDER_NAME
        self._now = now
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._archiver = Archiver(folder, _SERVER, self._rest)
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace audit archive", daemon=True)
        self.done_count = 0
        self.failed_count = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Returns when nothing is archived any more, or the time is over; no record is lost either way."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._is_stopping.wait(self._interval_s if self._archive() else self._retry_s)

    def _archive(self) -> bool:
        """False where that failed."""
        try:
            _make(self._archive_dir)
            self._clear()
            archive = self._archiver.archive(self._before(), self._place)
        except _Stopped:
            return True
        except (HeadraceError, OSError) as error:
            _log.error("the audit log was not archived, and grows: %s", error)
        except Exception:
            _log.exception("the audit log was not archived, and grows: this is a bug")
        else:
            if archive is not None:
                self.done_count += 1
                _log.info("audit log: archived %d records in %s", archive.count, archive.path)
            return True
        self.failed_count += 1
        return False

    def _before(self) -> str:
        """Days are archived whole (UTC): however often the server starts, there is one file a day."""
        midnight = self._now().replace(hour=0, minute=0, second=0, microsecond=0)
        return timestamp(midnight - timedelta(days=self._keep_days))

    def _place(self, first: int, last: int) -> Path:
        """A name that sorts as its records do; a file that an interrupted archive has left goes before it."""
        left = sorted(self._archive_dir.glob(f"audit-{first:012d}-*.jsonl.gz"))
        return left[0] if left else self._archive_dir / f"audit-{first:012d}-{last:012d}.jsonl.gz"

    def _clear(self) -> None:
        """Parts of files that nobody writes to any more are removed: what was to be in them is in the log."""
        for part in self._archive_dir.glob(".audit-*.part"):
            if self._now().timestamp() - part.stat().st_mtime > INTERVAL_S:
                part.unlink(missing_ok=True)

    def _rest(self) -> None:
        if self._is_stopping.wait(REST_S):
            raise _Stopped


def _make(folder: Path) -> None:
    """The folder is there, and will be: what is in it is no safer than its own entry."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(_FOLDER_MODE, exist_ok=True)
    sync(folder.parent)
